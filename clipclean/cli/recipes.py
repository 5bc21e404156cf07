"""``clipclean recipes``: list, show and validate recipes, and print their schema."""

import json

import click

from clipclean import recipe
from clipclean.errors import UsageError


@click.group()
def recipes() -> None:
    """List, show and validate recipes."""


@recipes.command("list", epilog="\b\nExamples:\n  clipclean recipes list\n  clipclean recipes list --json")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, for programs.")
def list_recipes(as_json: bool) -> None:
    """Show the recipes that ship with clipclean."""
    known = [recipe.load(name) for name in recipe.names()]
    if as_json:
        click.echo(json.dumps([_summary(each) for each in known], indent=2))
        return
    rows = [("NAME", "METHOD", "WHAT IT IS FOR"), *((each.name, each.method, each.description) for each in known)]
    wide, wider = (max(len(row[column]) for row in rows) for column in (0, 1))
    for name, method, description in rows:
        click.echo(f"{name:<{wide}}  {method:<{wider}}  {description}")


@recipes.command(
    epilog="\b\nExamples:\n  clipclean recipes show cleanclip > my.yaml\n  clipclean recipes show my.yaml --resolved"
)
@click.argument("name", metavar="NAME|FILE")
@click.option("--resolved", is_flag=True, help="Print every value that holds, defaults included, as JSON.")
def show(name: str, resolved: bool) -> None:
    """Print a recipe, as it was written or with every value that holds."""
    loaded = recipe.load(name)
    click.echo(loaded.model_dump_json(indent=2) if resolved else recipe.text(name).rstrip("\n"))


@recipes.command(
    epilog="\b\nExamples:\n  clipclean recipes validate my.yaml\n  clipclean recipes validate recipes/*.yaml"
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
def validate(files: tuple[str, ...]) -> None:
    """Check recipe files; every error is told with its line, and any makes the exit code 2."""
    problems = []
    for file in files:
        try:
            loaded = recipe.load(file)
        except UsageError as error:
            problems.append(str(error))
        else:
            click.echo(f"{file}: ok: {loaded.name} revision {loaded.revision}, sha256 {recipe.digest(loaded)}")
    if problems:
        raise UsageError("\n".join(problems))


@recipes.command(epilog="\b\nExample:\n  clipclean recipes schema > recipe.schema.json")
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors and other programs."""
    click.echo(json.dumps(recipe.schema(), indent=2))


def _summary(each: recipe.Recipe) -> dict[str, object]:
    return {
        "name": each.name,
        "revision": each.revision,
        "method": each.method,
        "scale": each.scale,
        "description": each.description,
        "sha256": recipe.digest(each),
        "validated": recipe.is_validated(each, overridden=False),
    }
