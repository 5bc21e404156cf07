"""``clipclean inspect``: what a checkpoint file is."""

import json
from pathlib import Path
from typing import Any

import click

from clipclean.cli import options

EPILOG = """\b
Examples:
  clipclean inspect model.pt
  clipclean inspect model.safetensors --arch ViT-B-32-quickgelu
  clipclean inspect model.pt --json | jq -r .sha256
"""


@click.command(epilog=EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@options.arch
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@options.verbose
def inspect(**given: Any) -> None:
    """Say what the checkpoint MODEL is: format, architecture, numbers, digests.

    Nothing in it is executed, and no model is built from it. A file that asks for more than weights, is damaged or is
    no CLIP is refused with the reason, and the exit code is 3.
    """
    from clipclean import inspect as reading

    found = reading.inspect(given["model"], arch=given["arch"])
    click.echo(json.dumps(found, indent=2) if given["as_json"] else table(found))


def table(found: dict[str, Any], /) -> str:
    """One line for each fact; what comes from the file cannot drive the terminal."""
    architecture, tensors, size = found["architecture"], found["tensors"], found["preprocess"]
    dtypes = ", ".join(f"{tally['tensors']:,} {name}" for name, tally in tensors["dtypes"].items())
    rows = [
        ("file", found["name"]),
        ("format", f"{found['format']}: {found['producer']}"),
        ("architecture", decided(architecture)),
        ("activation", decided(found["activation"])),
        ("pictures", f"{size['size']} px, {size['resize_mode']}, {size['interpolation']}" if size else "undecided"),
        ("tensors", f"{tensors['tensors']:,} ({dtypes}), {tensors['elements']:,} numbers, {tensors['bytes']:,} bytes"),
        ("size", f"{found['size']:,} bytes"),
        ("sha256", found["sha256"]),
        ("tensor sha256", found["tensor_sha256"]),
        ("config", found["config"] or "none in the same folder"),
        *(("note", note) for note in found["notes"]),
    ]
    return "\n".join(f"{name:15}{printable(text)}" for name, text in rows)


def decided(fact: dict[str, str | None], /) -> str:
    """What was decided and how, or what to do about it."""
    return f"{fact['name']}: {fact['how']}" if fact["name"] else str(fact["how"])


def printable(text: str, /) -> str:
    """The text with what is not printable escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
