"""``clipclean runs``: lists and removes what interrupted runs have kept."""

import contextlib

import click

from clipclean import own_state
from clipclean.cli import printing
from clipclean.cli.command import CommandGroup, Nothing, command_of
from clipclean.cli.options import Shell
from clipclean.errors import UsageError
from clipclean.untrusted import plural, printable

MIB = 2**20


@click.group(cls=CommandGroup)
def runs() -> None:
    """List or remove what interrupted runs have kept, so that the same command goes on."""


@command_of(
    Nothing,
    "as_json",
    name="list",
    group=runs,
    epilog="\b\nExamples:\n  clipclean runs list\n  clipclean runs list --json",
)
def list_runs(_: Nothing, shell: Shell) -> None:
    """Show the interrupted runs, the newest first: time, size, and the command that goes on in the same folder.

    They lie in ~/.local/state/clipclean; XDG_STATE_HOME or CLIPCLEAN_STATE name another folder.
    """
    found = own_state.kept()
    rows = [each._asdict() | {"folder": str(each.folder), "written": each.written.isoformat()} for each in found]
    lines = [
        f"{each.written:%Y-%m-%d %H:%M}  {each.size / MIB:>8,.1f} MiB  {printable(each.command)}" for each in found
    ]
    lines.append(f"{plural(len(found), 'interrupted run')} in {printable(own_state.home())}")
    printing.show(shell.as_json, rows, "\n".join(lines))


@runs.command(epilog="\b\nExample:\n  clipclean runs clear")
def clear() -> None:
    """Remove what interrupted runs have kept. A cleaning in progress and everything else in that folder stay."""
    from clipclean.train.resume import RunState

    removed = 0
    for each in own_state.kept():
        try:
            is_cleaning = each.folder.parent.name == own_state.RUNS  # an audit goes on without its state
            with own_state.locked(each.folder) if is_cleaning else contextlib.nullcontext():
                RunState(each.folder, "").discard()
        except UsageError:  # it is in progress
            continue
        removed += not each.folder.exists()
    click.echo(f"{plural(removed, 'interrupted run')} removed")
