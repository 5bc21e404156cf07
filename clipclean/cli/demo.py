"""The command that cleans the bundled model."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

import click

from clipclean import demo as bundled
from clipclean import requests
from clipclean.cli import printing
from clipclean.cli.command import command_of
from clipclean.cli.options import Shell
from clipclean.cli.sanitize import run
from clipclean.requests import Opt

DEMO_FOLDER = Opt(
    "Folder for weights and report. It must be empty, unless --force is given.",
    "DIR",
    writes="folder",
    help_position=("Output", 20),
    in_brief=True,
    has_letter=True,
)
UNPACK = Opt(
    "Only write the bundled model, pairs and images into DIR; with --base the finetune and its base as well.",
    "DIR",
    value_type=click.Path(readable=False, path_type=Path, file_okay=False),
    help_position=("Output", 30),
)


DEMO_BASE = Opt(
    "Clean a finetune beside the model that it was finetuned from, told neither trigger nor class. Takes a minute and a half.",
    help_position=("Model", 40),
    in_brief=True,
)


@dataclass(frozen=True)
class Demo:
    """A run on the bundled files."""

    _: KW_ONLY
    base: Annotated[bool, DEMO_BASE] = False
    out: Annotated[Path, DEMO_FOLDER] = Path("clipclean-demo")
    unpack: Annotated[Path | None, UNPACK] = None
    set: Annotated[tuple[str, ...], requests.OVERRIDES] = ()
    policy: Annotated[Path | None, requests.POLICY_FILE] = None
    seed: Annotated[int, requests.SEED] = 0
    force: Annotated[bool, requests.FORCE] = False
    keep_failed: Annotated[bool, requests.KEEP_FAILED] = False


@command_of(
    Demo,
    ("outputs", "as_json", "exit_zero", "quiet", "verbose"),
    "demo",
    "demo --base",
    "demo --out demo --force",
    "demo --unpack files     # only the bundled files, to try the other commands on",
)
def demo(request: Demo, shell: Shell) -> int:
    """Clean a bundled tiny CLIP that carries a backdoor, on a CPU.

    The model was trained on emoji images. With a small patch in the corner, it classifies any image as one class. With --base it is a
    finetune that a faint wave over the whole image turns: the cleaning is told nothing but the model that it was finetuned from.
    """
    if request.unpack is not None:
        bundled.unpack(request.unpack, pair=request.base)
        pair = (bundled.BASE, bundled.FINETUNE) if request.base else ()
        click.echo(f"{request.unpack}: {', '.join((*bundled.PLAIN_FILES, *bundled.PACKED_FILES, *pair))}")
        return 0
    asked_values = {name: value for name, value in vars(request).items() if name not in ("unpack", "base")}
    with bundled.unpacked(pair=request.base) as folder:
        if not request.base:
            return run(requests.Sanitize(**bundled.arguments(folder), **asked_values), shell)
        fixed_values = bundled.arguments_beside_base(folder)
        asked_values["set"] = (*fixed_values.pop("set"), *request.set)
        command = (
            f"sanitize {bundled.FINETUNE} --base {bundled.BASE} --data {bundled.PAIRS} --eval-data {bundled.LABELLED}"
        )
        printing.say(shell, f"{command}: 'clipclean demo --base --unpack DIR' writes these files")
        return run(requests.Sanitize(**fixed_values, **asked_values), shell)
