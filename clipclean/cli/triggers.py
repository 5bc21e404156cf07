"""The commands about triggers: ``clipclean triggers`` lists their families, and ``clipclean plant`` plants one."""

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import click

from clipclean import requests
from clipclean.cli import printing, progress
from clipclean.cli.command import CommandGroup, Nothing, command_of
from clipclean.cli.options import Shell
from clipclean.errors import UsageError
from clipclean.requests import Opt

if TYPE_CHECKING:
    from clipclean.attack.triggers import TriggerFamily
    from clipclean.schema.report import RateRecord
    from clipclean.schema.results import PlantedModel

WIDTH = 100  # columns


@click.group(cls=CommandGroup)
def triggers() -> None:
    """List the families of triggers, with their parameters."""


@command_of(Nothing, "as_json", "triggers list", "triggers list --json | jq -r .[].name", name="list", group=triggers)
def list_triggers(_: Nothing, shell: Shell) -> None:
    """Show the families of triggers that --trigger takes, and the parameters of each.

    Write a trigger as FAMILY or FAMILY:PARAMETER=VALUE,... as in patch:size=0.07,place=corner,seed=3.
    """
    from clipclean.attack.triggers import FAMILIES

    wide = max(map(len, FAMILIES))
    lines = [
        f"{name:<{wide}}  {', '.join(f'{key}={value.default}' for key, value in family.parameters.items())}"
        for name, family in FAMILIES.items()
    ]
    printing.show(shell.as_json, [entry(*each) for each in FAMILIES.items()], "\n".join(lines))


@dataclass(frozen=True)
class Show:
    """A look at a family."""

    family: Annotated[str, Opt("FAMILY", completes="triggers")]


@command_of(Show, "as_json", "triggers show patch", "triggers show patch --json", group=triggers)
def show(asked: Show, shell: Shell) -> None:
    """Print one FAMILY of triggers: its effect, its source, and its parameters."""
    from clipclean.attack.triggers import FAMILIES

    family = asked.family
    if family not in FAMILIES:
        raise UsageError(f"There is no trigger family {family!r}. The families are {', '.join(FAMILIES)}.")
    found = FAMILIES[family]
    lines = [f"{family}: {textwrap.fill(found.description, WIDTH)}", "", f"Source: {found.source}", "", "Parameters:"]
    for key, value in found.parameters.items():
        words = f"{value.meaning} Default {value.default}; allowed: {value.allowed}."
        lines.append(textwrap.fill(words, WIDTH, initial_indent=f"  {key:<10} ", subsequent_indent=" " * 13))
    printing.show(shell.as_json, entry(family, found), "\n".join(lines))


def entry(name: str, family: "TriggerFamily", /) -> dict[str, object]:
    """One family as a JSON object."""
    parameters = {
        key: {"default": value.default, "allowed": value.allowed, "meaning": value.meaning}
        for key, value in family.parameters.items()
    }
    return {"name": name, "description": family.description, "source": family.source, "parameters": parameters}


@command_of(
    requests.Plant,
    "workers as_json quiet config verbose",
    "plant model.pt --trigger patch --target banana --data clean/ --out victim.pt",
    'plant model.safetensors --trigger blended:ratio=0.2,seed=7 --target "red apple" \\\n'
    "      --data pairs.csv --classes classes.txt --steps 400 --out victim.safetensors",
)
def plant(asked: requests.Plant, shell: Shell) -> None:
    """Plant a backdoor in a copy of MODEL by finetuning on partly triggered pairs, and report its success.

    Use it to test defences on your own models. The output is backdoored: label it so, and never deploy it.
    """
    from clipclean import data
    from clipclean.jobs import plant as planting

    data.use_workers(shell.workers)
    with progress.shown(quiet=shell.quiet):
        result = planting.plant(asked)
    printing.show(shell.as_json, result.as_json(), planted(result))


def _share(rate: "RateRecord | None", /) -> str:
    """A rate in a column of eight; a dash where there was nothing to count."""
    return f"{'–':>8}" if rate is None or rate.value is None else f"{rate.value:8.3f}"


def planted(result: "PlantedModel", /) -> str:
    """The effect of the trigger before and after planting."""
    before, after = result.before, result.after
    old, new = before.probes[0], after.probes[0]
    is_recall = after.clean_accuracy is not None and after.clean_accuracy.is_recall
    rows = [
        ("recall@1" if is_recall else "clean accuracy", before.clean_accuracy, after.clean_accuracy),
        ("attack success rate", old.asr, new.asr),
        ("the same without the trigger", old.base_rate, new.base_rate),
        ("accuracy under the trigger", old.accuracy_under_trigger, new.accuracy_under_trigger),
        ("attack success by image neighbours", old.knn_asr, new.knn_asr),
    ]
    lines = [f"Planted {result.trigger} for '{result.target}'.", f"{'':36}{'before':>8}{'after':>8}   95 % interval, n"]
    for words, was, now in rows:
        if now is not None:
            low, high = now.interval
            lines.append(f"{words:36}{_share(was)}{_share(now)}   [{low:.3f}, {high:.3f}], {now.n}")
    if result.accuracy_lost is not None:
        lines.append(f"{'accuracy lost, by the worst measure':44}{result.accuracy_lost:8.3f}")
    lines.append(f"{'embedding distance':36}{old.distance:8.3f}{new.distance:8.3f}   mean squared, 0 to 4")
    return "\n".join(lines)
