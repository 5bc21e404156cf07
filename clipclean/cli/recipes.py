"""``clipclean recipes`` lists, shows, validates and measures recipes; ``clipclean triggers`` shows their families."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipclean import files, requests
from clipclean.api import roles
from clipclean.cli import printing, progress
from clipclean.cli.command import RECIPE_NAMES, TRIGGER_FAMILIES, CommandGroup, Option, as_json_option, command_of
from clipclean.cli.options import Shell
from clipclean.config import evidence, recipe
from clipclean.config.methods import METHODS
from clipclean.errors import UnusableSettings, UsageError
from clipclean.requests import Opt

if TYPE_CHECKING:
    from clipclean.attack.triggers import TriggerFamily


@click.group(cls=CommandGroup)
def recipes() -> None:
    """List, show, validate and measure recipes."""


@recipes.command("list", examples=("recipes list",))
@as_json_option
def list_recipes(as_json: bool) -> None:
    """Show the recipes that ship with clipclean, and where each was measured to work and where not."""
    recipes = [recipe.load(name) for name in recipe.names()]
    wide = max(len(loaded.name) for loaded in recipes)
    lines = []
    for loaded in recipes:
        lines.append(printing.fitted(f"{loaded.name:<{wide}}  {loaded.description}", indent=wide + 2))
        lines += [printing.fitted(f"{'':<{wide}}  - {line}", indent=wide + 4) for line in _measurements(loaded)]
    rows = [
        loaded.model_dump(include={"name", "revision", "method", "description"})
        | {"sha256": recipe.digest(loaded), "measured": _measurements(loaded)}
        for loaded in recipes
    ]
    printing.show(as_json, rows, "\n".join(lines))


def _measurements(loaded: recipe.Recipe) -> list[str]:
    """A line a model that a recipe was measured on, with the result; or one that its file has no measurements."""
    evidence_by_model: dict[str, list[recipe.Evidence]] = {}
    for block in recipe.own_evidence(loaded):
        evidence_by_model.setdefault(evidence.model_words(block), []).append(block)
    lines = [
        f"{evidence.worst(blocks, loaded.audit)} on {model_words}: {evidence.results(evidence.expected(blocks))}"
        for model_words, blocks in evidence_by_model.items()
    ]
    return lines or [
        "measures its candidates in each run" if METHODS[loaded.method].chooses else "no measurements in its file"
    ]


RESOLVED = Opt("Print every value, with defaults, as JSON.", help_position=("Output", 150))


@recipes.command(examples=("recipes show cleanclip > my.yaml", "recipes show my.yaml --resolved"))
@click.argument("name", metavar="NAME|FILE", shell_complete=RECIPE_NAMES)
@click.option("--resolved", cls=Option, opt=RESOLVED, is_flag=True)
def show(name: str, resolved: bool) -> None:
    """Print a recipe as it is in its file, or with every value."""
    loaded = recipe.load(name)
    click.echo(loaded.model_dump_json(indent=2) if resolved else recipe.text(name).rstrip("\n"))


@recipes.command(examples=("recipes validate my.yaml", "recipes validate mine/*.yaml"))
@click.argument("paths", metavar="FILE...", nargs=-1, required=True)
def validate(paths: tuple[str, ...]) -> None:
    """Check recipe files. Each error names its line; with any error the exit code is 2."""
    problems = []
    for file in paths:
        try:
            loaded = recipe.load(file)
        except UsageError as error:
            problems.append(str(error))
        else:
            click.echo(f"{file}: ok: {loaded.name} revision {loaded.revision}, sha256 {recipe.digest(loaded)}")
    if problems:
        raise UnusableSettings("\n".join(problems))


@recipes.command(examples=("recipes schema > recipe.schema.json",))
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors and other programs."""
    click.echo(json.dumps(recipe.schema(), indent=2))


@command_of(
    requests.Bench,
    ("quiet", "verbose"),
    "recipes bench unlearn --seeds 1,2,3",
    "recipes bench my.yaml --write --model model.pt --data clean/ --eval-data labelled/ --classes classes.txt",
    "recipes bench my.yaml --write --add --model other.pt --data clean/ --eval-data labelled/ --classes classes.txt",
    group=recipes,
)
def bench(request: requests.Bench, shell: Shell) -> None:
    """Measure each RECIPE on planted backdoors, and write the evidence into a copy of it.

    The benchmark plants backdoors in the bundled tiny model, or in MODEL, one at a time. It cleans each victim by every unchanged
    recipe and measures it before and after. The same command gives the same evidence on the same machine.
    """
    loaded = {name: recipe.load(name) for name in request.names}
    destinations = {name: _destination(name, loaded_recipe, request) for name, loaded_recipe in loaded.items()}
    for destination in () if request.write else destinations.values():
        roles.check(replace(request, out=destination))
        files.check_writable(files.nearest(destination.parent), destination)
    from clipclean import demo
    from clipclean.auto import measuring_recipes  # torch comes with it: after what can fail fast

    with demo.unpacked() as folder, progress.display(quiet=shell.quiet):
        if not any(getattr(request, name) for name in measuring_recipes.MEASURED_ON):
            bundled = demo.arguments(folder)
            request = replace(request, **{name: bundled[name] for name in measuring_recipes.MEASURED_ON})
        elif None in (request.model, request.data, request.eval_data):
            raise UsageError(
                "Give --model, --data and --eval-data together, or none of the options to measure on the bundled files."
            )
        evidence_by_recipe = measuring_recipes.measure(
            list(loaded.values()), request, next(iter(destinations.values()))
        )
        for (name, loaded_recipe), blocks in zip(loaded.items(), evidence_by_recipe, strict=True):
            earlier = recipe.load(recipe.file(name)).evidence or ()
            evidence_blocks = measuring_recipes.added(earlier, blocks, keep=request.add)
            measuring_recipes.write(
                destinations[name], measuring_recipes.with_evidence(recipe.text(name), evidence_blocks)
            )
            for block in blocks:
                before, after = block.before, block.after
                click.echo(
                    f"{loaded_recipe.name}  {block.attack.partition(' planted')[0]}: attack {before.attack_success.value:.3f} -> "
                    f"{after.attack_success.value:.3f} (base {after.base_rate.value:.3f}), accuracy {before.clean_accuracy.value:.3f} -> "
                    f"{after.clean_accuracy.value:.3f}, under the trigger {after.accuracy_under_trigger.value:.3f}, "
                    f"n {after.attack_success.n}, seeds {', '.join(map(str, block.seeds))}"
                )
            click.echo(f"written: {destinations[name]}")


def _destination(name: str, loaded: recipe.Recipe, request: requests.Bench) -> Path:
    """Where the recipe with its evidence goes; refused before slow work."""
    if request.write:
        return recipe.file(name)
    path: Path = (request.out or Path()) / f"{loaded.name}.yaml"
    if path.exists() and not request.force:
        raise UsageError(f"{path} exists. Name another folder by --out, or pass --force to overwrite it.")
    return path


# ``clipclean triggers``.

FAMILY_WIDTH = 100  # columns of a paragraph in a terminal, at most


@click.group(cls=CommandGroup)
def triggers() -> None:
    """List the families of triggers, with their parameters."""


@triggers.command("list", examples=("triggers list", "triggers list --json | jq -r .[].name"))
@as_json_option
def list_triggers(as_json: bool) -> None:
    """Show the families of triggers that --trigger takes, and the parameters of each.

    Write a trigger as FAMILY or FAMILY:PARAMETER=VALUE,... as in patch:size=0.07,place=corner,seed=3.
    """
    from clipclean.attack.triggers import KNOWN_FAMILIES

    wide = max(map(len, KNOWN_FAMILIES))
    lines = [
        printing.fitted(
            f"{name:<{wide}}  {', '.join(f'{key}={value.default}' for key, value in family.parameters.items())}",
            indent=wide + 2,
        )
        for name, family in KNOWN_FAMILIES.items()
    ]
    printing.show(as_json, [family_json(*item) for item in KNOWN_FAMILIES.items()], "\n".join(lines))


@triggers.command("show", examples=("triggers show patch", "triggers show patch --json"))
@click.argument("family", metavar="FAMILY", shell_complete=TRIGGER_FAMILIES)
@as_json_option
def show_family(family: str, as_json: bool) -> None:
    """Print one FAMILY of triggers: its effect, its source, and its parameters."""
    from clipclean.attack.triggers import KNOWN_FAMILIES

    if family not in KNOWN_FAMILIES:
        raise UsageError(f"There is no trigger family {family!r}. The families are {', '.join(KNOWN_FAMILIES)}.")
    trigger_family = KNOWN_FAMILIES[family]
    lines = [
        printing.fitted(f"{family}: {trigger_family.description}", indent=2, most=FAMILY_WIDTH),
        "",
        printing.fitted(f"Source: {trigger_family.source}", indent=2, most=FAMILY_WIDTH),
        "",
        "Parameters:",
    ]
    for key, value in trigger_family.parameters.items():
        words = f"{value.meaning.rstrip('.')}. Default {value.default}; allowed: {value.allowed}."
        lines.append(printing.fitted(f"  {key:<10} {words}", indent=13, most=FAMILY_WIDTH))
    printing.show(as_json, family_json(family, trigger_family), "\n".join(lines))


def family_json(name: str, family: "TriggerFamily", /) -> dict[str, object]:
    """One family as a JSON object."""
    parameters = {
        key: {"default": value.default, "allowed": value.allowed, "meaning": value.meaning}
        for key, value in family.parameters.items()
    }
    return {"name": name, "description": family.description, "source": family.source, "parameters": parameters}
