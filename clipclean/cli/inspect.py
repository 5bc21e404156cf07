"""``clipclean inspect``: describes checkpoint files."""

from typing import TYPE_CHECKING

import click

from clipclean import api, requests
from clipclean.cli import printing
from clipclean.cli.command import command_of
from clipclean.cli.options import Shell
from clipclean.errors import ClipcleanError, RefusedInput, UsageError
from clipclean.untrusted import printable

if TYPE_CHECKING:
    from clipclean.schema.results import Inspection, Recognised

EPILOG = """\b
Examples:
  clipclean inspect model.pt
  clipclean inspect model.pt --json | jq -r .sha256
  clipclean inspect before.pt after.safetensors
"""


@command_of(requests.Inspect, "models", "as_json", "config", "verbose", epilog=EPILOG)
def inspect(asked: requests.Inspect, shell: Shell) -> None:
    """Describe the checkpoint MODEL: format, architecture, numbers, digests.

    Nothing in it is executed, and no model is built from it. A file that is unsafe, damaged or no CLIP is refused with the
    reason and exit code 3; its JSON has `error` and `kind`: unsafe, unsupported or unreadable. With several MODELs all are
    read, JSON is a list, and a refused one decides the exit code.
    """
    entries: list[dict[str, object]] = []
    refusals: list[tuple[type[ClipcleanError], str]] = []  # an exception would keep what was read of the file in memory
    is_one = len(shell.models) == 1
    for path in shell.models:
        try:
            found = api.inspect(path, arch=asked.arch, weights=asked.weights)
        except (RefusedInput, UsageError) as error:
            entries.append({"name": path.name} if is_one else {"path": str(path)})
            entries[-1] |= printing.refused(error)
            refusals.append((type(error), str(error)))
        else:
            entries.append(found.as_json() if is_one else {"path": str(path), **found.as_json()})
            if not shell.as_json:
                click.echo(table(found, found.name) if is_one else f"{table(found, str(path))}\n")
    if shell.as_json:
        printing.echo_json(entries[0] if is_one else entries)
    if refusals:
        worst = max((kind for kind, _ in refusals), key=lambda kind: kind.exit_code)
        raise worst("\n".join(dict.fromkeys(message for _, message in refusals)))


def table(found: "Inspection", name: str, /) -> str:
    """One line for each fact of the file that is called so; what comes from it cannot drive the terminal."""
    tensors, size = found.tensors, found.preprocess
    dtypes = ", ".join(f"{tally.tensors:,} {dtype}" for dtype, tally in tensors.dtypes.items())
    rows = [
        ("file", name),
        ("format", f"{found.format}: {found.producer}"),
        ("architecture", decided(found.architecture)),
        ("activation", decided(found.activation)),
        ("images", f"{size.size} px, {size.resize_mode}, {size.interpolation}" if size else "undecided"),
        ("tensors", f"{tensors.tensors:,} ({dtypes}), {tensors.elements:,} numbers, {tensors.bytes:,} bytes"),
        ("size", f"{found.size:,} bytes"),
        ("sha256", found.sha256),
        ("tensor sha256", found.tensor_sha256),
        ("config", found.config or "none in the same folder"),
        *((f"for {library}", words) for library, words in found.loaders.items()),
        *(("note", note) for note in found.notes),
    ]
    return "\n".join(f"{label:14} {printable(text)}" for label, text in rows)


def decided(fact: "Recognised", /) -> str:
    """A fact with its source, or advice if it is unknown."""
    return f"{fact.name}: {fact.how}" if fact.name else fact.how
