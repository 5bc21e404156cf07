"""``clipclean cache``: lists and clears kept audit results."""

import click

from clipclean.cli import options, printing
from clipclean.cli.command import CommandGroup
from clipclean.untrusted import printable


@click.group(cls=CommandGroup)
def cache() -> None:
    """List or remove the kept results of audits, which answer an equal audit at once."""


@cache.command("list", epilog="\b\nExamples:\n  clipclean cache list\n  clipclean cache list --json")
@options.as_json
def list_results(as_json: bool) -> None:
    """Show the kept audits, the newest first: time, verdict, size and model.

    They are in ~/.cache/clipclean; XDG_CACHE_HOME or CLIPCLEAN_CACHE name another folder.
    """
    from clipclean.jobs import result_cache

    found = result_cache.entries()
    if as_json:
        rows = [
            {"model": e.model, "verdict": e.verdict, "kept": e.kept, "bytes": e.size, "path": str(e.path)}
            for e in found
        ]
        printing.echo_json(rows)
        return
    for entry in found:
        click.echo(f"{entry.kept}  {entry.verdict:<12}  {entry.size:>9,}  {printable(entry.model)}")
    click.echo(f"{len(found)} result(s) in {result_cache.home()}")


@cache.command(epilog="\b\nExample:\n  clipclean cache clear")
def clear() -> None:
    """Remove all kept results."""
    from clipclean.jobs import result_cache

    click.echo(f"{result_cache.clear()} result(s) removed")
