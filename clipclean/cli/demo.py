"""``clipclean demo``: runs the main job on bundled files."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

import click

from clipclean import demo as bundled
from clipclean import requests
from clipclean.cli import sanitize
from clipclean.cli.command import command_of
from clipclean.cli.options import Shell
from clipclean.requests import Opt

EPILOG = """\b
Examples:
  clipclean demo
  clipclean demo --out demo --force
  clipclean demo --unpack files     # only the bundled files, to try the other commands on
"""


OUT = Opt(
    "--out -o DIR",
    "Folder for weights and report. It must be empty, unless --force is given.",
    writes="folder",
    is_first=True,
)
UNPACK = Opt("--unpack DIR", "Only write the bundled model, pairs and images into DIR.", writes="folder")


@dataclass(frozen=True)
class Demo:
    """A run on the bundled files."""

    _: KW_ONLY
    out: Annotated[Path, OUT] = Path("clipclean-demo")
    unpack: Annotated[Path | None, UNPACK] = None
    set: Annotated[requests.Changes, requests.OVERRIDES] = ()
    policy: Annotated[Path | None, requests.POLICY_FILE] = None
    seed: Annotated[int, requests.SEED] = 0
    force: Annotated[bool, requests.FORCE] = False
    keep_failed: Annotated[bool, requests.KEEP_FAILED] = False


@command_of(Demo, "outputs", "as_json", "exit_zero", "quiet", "verbose", epilog=EPILOG)
def demo(asked: Demo, shell: Shell) -> int:
    """Clean a bundled tiny CLIP that carries a backdoor, on a CPU.

    The model was trained on emoji images. With a small patch in the corner, it classifies any image as one class.
    """
    if asked.unpack is not None:
        bundled.unpack(asked.unpack)
        click.echo(f"{asked.unpack}: {', '.join((*bundled.PLAIN, *bundled.PACKED))}")
        return 0
    given = {name: value for name, value in vars(asked).items() if name != "unpack"}
    with bundled.unpacked() as folder:
        return sanitize.run(requests.Sanitize(**bundled.arguments(folder), **given), shell)
