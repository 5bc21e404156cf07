"""``clipclean triggers``: lists the families of triggers and their parameters."""

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import click

from clipclean.cli import printing
from clipclean.cli.command import CommandGroup, Nothing, command_of
from clipclean.cli.options import Shell
from clipclean.errors import UsageError
from clipclean.requests import Opt

if TYPE_CHECKING:
    from clipclean.attack.triggers import TriggerFamily

WIDTH = 100  # columns


@click.group(cls=CommandGroup)
def triggers() -> None:
    """List the families of triggers, with their parameters."""


@command_of(
    Nothing,
    "as_json",
    name="list",
    group=triggers,
    epilog="\b\nExamples:\n  clipclean triggers list\n  clipclean triggers list --json | jq -r .[].name",
)
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


@command_of(
    Show,
    "as_json",
    group=triggers,
    epilog="\b\nExamples:\n  clipclean triggers show patch\n  clipclean triggers show patch --json",
)
def show(asked: Show, shell: Shell) -> None:
    """Print one FAMILY of triggers: its effect, its source, and its parameters."""
    from clipclean.attack.triggers import FAMILIES

    family = asked.family
    if family not in FAMILIES:
        raise UsageError(f"There is no trigger family {family!r}. The families are {', '.join(FAMILIES)}.")
    found = FAMILIES[family]
    printing.show(shell.as_json, entry(family, found), family_text(family, found))


def entry(name: str, family: "TriggerFamily", /) -> dict[str, object]:
    """One family as a JSON object."""
    parameters = {
        key: {"default": value.default, "allowed": value.allowed, "meaning": value.meaning}
        for key, value in family.parameters.items()
    }
    return {"name": name, "description": family.description, "source": family.source, "parameters": parameters}


def family_text(name: str, family: "TriggerFamily", /) -> str:
    """One family in paragraphs."""
    lines = [f"{name}: {textwrap.fill(family.description, WIDTH)}", "", f"Source: {family.source}", "", "Parameters:"]
    for key, value in family.parameters.items():
        words = f"{value.meaning} Default {value.default}; allowed: {value.allowed}."
        lines.append(textwrap.fill(words, WIDTH, initial_indent=f"  {key:<10} ", subsequent_indent=" " * 13))
    return "\n".join(lines)
