"""``clipclean export``: writes the same weights in the layout of another library."""

from pathlib import Path
from typing import TYPE_CHECKING

from clipclean import requests, untrusted
from clipclean.api import roles
from clipclean.cli import printing, progress
from clipclean.cli.command import command_of
from clipclean.cli.options import Shell

if TYPE_CHECKING:
    from clipclean.schema.results import Exported

EPILOG = """\b
Examples:
  clipclean export model.pt --format hf --out model-hf
  clipclean export model.pt --format hf --format onnx --data clean/ --out model-hf
  clipclean export cleaned/ --format onnx --onnx-preset immich --out ViT-B-32__cleaned
"""


@command_of(requests.Export, "as_json", "quiet", "config", "verbose", epilog=EPILOG)
def export(asked: requests.Export, shell: Shell) -> None:
    """Write the weights of the checkpoint MODEL in other layouts, and check that they give the same embeddings.

    In another process, the library of each layout loads it and embeds real images and captions. If an embedding differs beyond
    its limit, the command fails and writes nothing. It does not audit: a backdoor is exported like everything else.
    """
    roles.check(asked)
    from clipclean.jobs import export as export_job

    with progress.shown(quiet=shell.quiet):
        result = export_job.convert(asked)
    printing.show(shell.as_json, result.as_json(), table(result, asked.out))


def table(result: "Exported", out: Path, /) -> str:
    """A line for each file of weights, and what it was compared with."""
    lines = []
    for entry in result.exports:
        parity = entry.parity
        lines.append(f"{out / entry.path}  sha256 {entry.sha256}")
        lines.append(
            f"  {parity['reader']}: largest difference {parity['max_difference']:.2g}, smallest cosine "
            f"{parity['min_cosine']:.7f}, same best caption for {parity['top1_agreement']:.1%}, n {parity['n']}"
        )
        if parity.get("captions_alike", 0) < parity.get("captions", 0):
            lines.append(
                f"  note: its tokenizer reads {parity['captions'] - parity['captions_alike']} of {parity['captions']} "
                "captions otherwise than open_clip's does"
            )
    return "\n".join(untrusted.printable(line) for line in lines)
