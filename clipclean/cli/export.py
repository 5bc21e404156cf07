"""``clipclean export``: writes the same weights in the layout of another library."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipclean import untrusted
from clipclean.api import requests, roles
from clipclean.cli import options, printing, progress
from clipclean.cli.command import command, option
from clipclean.export.formats import DEFAULT

if TYPE_CHECKING:
    from clipclean.schema.results import Exported

EPILOG = """\b
Examples:
  clipclean export model.pt --format hf --out model-hf
  clipclean export model.pt --format hf --format onnx --data clean/ --out model-hf
  clipclean export cleaned/ --format onnx --onnx-preset immich --out ViT-B-32__cleaned
"""


@command(epilog=EPILOG)
@click.argument("model", type=click.Path(readable=False, path_type=Path))
@option("--format -f", options.LAYOUTS_HELP, multiple=True, required=True)
@options.out
@option(
    "--data -d CLEAN",
    "Images and captions to compare on, in any format that sanitize takes. If the checkpoint does not state "
    "the activation, it is measured on them.",
    **options.SETS,
    show_default="the demo's",
)
@options.keyed
@options.loaded
@option("--normalize", "ONNX: the graphs scale embeddings to length 1.")
@option(
    "--fp16",
    "ONNX: store weights in half precision. Half the size; the parity check then has wider limits.",
)
@option(
    "--onnx-preset",
    "ONNX: name files, inputs and outputs as this consumer expects.",
    default=DEFAULT,
)
@options.force
@options.as_json
@options.spoken
@options.label
def export(**given: Any) -> None:
    """Write the weights of the checkpoint MODEL in other layouts, and check that they give the same embeddings.

    In another process, the library of each layout loads it and embeds real images and captions. If an embedding differs beyond
    its limit, the command fails and writes nothing. It does not audit: a backdoor is exported like everything else.
    """
    roles.check(given, out="folder")
    from clipclean.jobs import export as export_job

    with progress.shown(quiet=given["quiet"]) as shown, requests.of_export(given) as request:
        result = export_job.convert(request, progress=shown)
    printing.show(given["as_json"], result.as_json(), table(result, given["out"]))


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
