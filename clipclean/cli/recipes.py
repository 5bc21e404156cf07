"""``clipclean recipes``: lists, shows, validates and measures recipes, and prints their schema."""

import json
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from clipclean import files, requests
from clipclean.api import roles
from clipclean.cli import printing, progress
from clipclean.cli.command import CommandGroup, Nothing, command_of
from clipclean.cli.options import Shell
from clipclean.config import evidence, recipe
from clipclean.config.methods import METHODS
from clipclean.errors import UsageError
from clipclean.requests import Opt

if TYPE_CHECKING:
    from clipclean.auto.bench import BenchRequest


@click.group(cls=CommandGroup)
def recipes() -> None:
    """List, show, validate and measure recipes."""


@command_of(Nothing, "as_json", "recipes list", name="list", group=recipes)
def list_recipes(_: Nothing, shell: Shell) -> None:
    """Show the recipes that ship with clipclean, and where each was measured to work and where not."""
    known = [recipe.load(name) for name in recipe.names()]
    wide = max(len(each.name) for each in known)
    lines = []
    for each in known:
        lines.append(f"{each.name:<{wide}}  {each.description}")
        lines += [f"{'':<{wide}}  - {scale + ': ' if each.scales else ''}{line}" for scale, line in _measured(each)]
    lines.append(
        f"\nA recipe picks its values by the model: tiny holds below {recipe.TINY // 10**6} million parameters, few there with fewer than "
        f"{recipe.FEW:,} pairs and at most {recipe.FEW_CLASSES} classes. NAME@SCALE forces one, as in cleanclip@usual."
    )
    printing.show(shell.as_json, [_facts(each) for each in known], "\n".join(lines))


def _facts(each: recipe.Recipe) -> dict[str, Any]:
    """A recipe as JSON, with the digest of each scale and what was measured with it."""
    scales = {
        scale: {
            "sha256": recipe.digest(recipe.at_scale(each, scale)),
            "measured": [line for own, line in _measured(each) if own == scale],
        }
        for scale in recipe.scales(each)
    }
    return each.model_dump(include={"name", "revision", "method", "description"}) | {"scales": scales}


def _measured(each: recipe.Recipe) -> list[tuple[str, str]]:
    """Each scale with a line a place where it was measured, and with the result; or with one that it was not."""
    lines: list[tuple[str, str]] = []
    for scale in recipe.scales(each):
        places: dict[str, list[recipe.Evidence]] = {}
        for block in recipe.own_evidence(recipe.at_scale(each, scale)):
            places.setdefault(evidence.place(block), []).append(block)
        for place, blocks in places.items():
            worst = evidence.worst(blocks, each.audit.max_accuracy_loss)
            lines.append((scale, f"{worst} on {place}: {evidence.results(evidence.expected(blocks))}"))
        if not places and not METHODS[each.method].chooses:
            lines.append((scale, "not measured"))
    return lines


@dataclass(frozen=True)
class Show:
    """A look at a recipe."""

    name: Annotated[str, Opt("NAME|FILE", completes="recipes")]
    resolved: Annotated[bool, Opt("--resolved", "Print every value, with defaults, as JSON.")] = False


@command_of(Show, "", "recipes show cleanclip > my.yaml", "recipes show my.yaml --resolved", group=recipes)
def show(asked: Show, _shell: Shell) -> None:
    """Print a recipe as it is in its file, or with every value."""
    loaded = recipe.load(asked.name)
    click.echo(loaded.model_dump_json(indent=2) if asked.resolved else recipe.text(asked.name).rstrip("\n"))


@dataclass(frozen=True)
class Validate:
    """A check of recipe files."""

    files: Annotated[tuple[str, ...], Opt("FILE...")]


@command_of(Validate, "", "recipes validate my.yaml", "recipes validate recipes/*.yaml", group=recipes)
def validate(asked: Validate, _shell: Shell) -> None:
    """Check recipe files. Each error names its line; with any error the exit code is 2."""
    problems = []
    for file in asked.files:
        try:
            loaded = recipe.load(file)
        except UsageError as error:
            problems.append(str(error))
        else:
            click.echo(f"{file}: ok: {loaded.name} revision {loaded.revision}, sha256 {recipe.digest(loaded)}")
    if problems:
        raise UsageError("\n".join(problems))


@command_of(Nothing, "", "recipes schema > recipe.schema.json", group=recipes)
def schema(_: Nothing, _shell: Shell) -> None:
    """Print the JSON Schema of a recipe, for editors and other programs."""
    click.echo(json.dumps(recipe.schema(), indent=2))


MODEL = requests.models(
    "--model MODEL", "A model to plant backdoors in, with the data of --data and --eval-data.", shown="the bundled one"
)
ATTACKS = Opt(
    "Cleaning: --attacks N",
    "Number of kinds of backdoor, planted one at a time. Each kind gets its own block of evidence.",
    takes=click.IntRange(1, 6),
)
OUT = Opt(
    "--out -o DIR",
    "Folder for copies of the recipes with their evidence.",
    takes=click.Path(path_type=Path, file_okay=False),
    writes="file",
    shown="the current folder",
    is_first=True,
)
ADD = Opt(
    "--add", "Keep the earlier evidence for the same values of the recipe, where attack, model or data were others."
)


@dataclass(frozen=True)
class Bench:
    """A measurement of recipes."""

    names: Annotated[tuple[str, ...], Opt("RECIPE...", reads="text", completes="recipes")]
    _: KW_ONLY
    model: Annotated[Path | None, MODEL] = None
    data: Annotated[
        requests.Places | None,
        requests.sets("--data -d CLEAN", "Clean pairs for planting and cleaning.", is_first=True),
    ] = None
    eval_data: Annotated[requests.Data | None, requests.EVAL_DATA] = None
    arch: Annotated[str | None, requests.ARCH] = None
    classes: Annotated[requests.Names | None, requests.CLASSES] = None
    templates: Annotated[requests.Names | None, requests.TEMPLATES] = None
    attacks: Annotated[int, ATTACKS] = 3
    seeds: Annotated[
        str, Opt("Cleaning: --seeds N,N,...", "Seeds; each gets a victim and a run. A block of evidence pools them.")
    ] = "0,1,2"
    steps: Annotated[int | None, requests.STEPS] = None
    lr: Annotated[float | None, requests.PLANTING_RATE] = None
    batch_size: Annotated[int | None, requests.PLANTING_BATCH] = None
    out: Annotated[Path | None, OUT] = None
    write: Annotated[
        bool, Opt("--write", "Write the evidence into the recipe files themselves. Their earlier evidence is lost.")
    ] = False
    add: Annotated[bool, ADD] = False
    device: Annotated[str, requests.DEVICE] = "auto"
    force: Annotated[bool, requests.FORCE] = False


@command_of(
    Bench,
    "quiet verbose",
    "recipes bench unlearn --seeds 1,2,3",
    "recipes bench my.yaml --write --model model.pt --data clean/ --eval-data labelled/ --classes classes.txt",
    "recipes bench my.yaml --write --add --model other.pt --data clean/ --eval-data labelled/ --classes classes.txt",
    group=recipes,
)
def bench(asked: Bench, shell: Shell) -> None:
    """Measure each RECIPE on planted backdoors, and write the evidence into a copy of it.

    The benchmark plants backdoors in the bundled tiny model, or in MODEL, one at a time. It cleans each victim by the unchanged
    recipe and measures it before and after. The same command gives the same evidence on the same machine.
    """
    seeds = seeds_in(asked.seeds)
    loaded = {name: recipe.load(name) for name in asked.names}
    places = {name: _place(name, each, asked) for name, each in loaded.items()}
    for place in () if asked.write else places.values():
        roles.check(replace(asked, out=place))
        files.check_writable(files.nearest(place.parent), place)
    from clipclean import demo
    from clipclean.auto import bench as benches  # torch comes with it: after what can fail fast

    with demo.unpacked() as bundled, progress.shown(quiet=shell.quiet):
        request = _request(asked, seeds, demo.arguments(bundled))
        for name, each in loaded.items():
            blocks = benches.bench(each, request, places[name])
            earlier = recipe.load(recipe.file(name)).evidence or ()
            written = benches.added(earlier, blocks, keep=asked.add)
            benches.write(places[name], benches.with_evidence(recipe.text(name), written))
            for block in blocks:
                before, after = block.before, block.after
                click.echo(
                    f"{each.name}  {block.attack.partition(' planted')[0]}: attack {before.attack_success.value:.3f} -> "
                    f"{after.attack_success.value:.3f} (base {after.base_rate.value:.3f}), accuracy {before.clean_accuracy.value:.3f} -> "
                    f"{after.clean_accuracy.value:.3f}, under the trigger {after.accuracy_under_trigger.value:.3f}, "
                    f"n {after.attack_success.n}, seeds {', '.join(map(str, block.seeds))}"
                )
            click.echo(f"written: {places[name]}")


def seeds_in(text: str, /) -> tuple[int, ...]:
    """Different whole numbers with commas between them; raises UsageError."""
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--seeds {text!r} are not numbers. Write them as in 0,1,2.") from error
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UsageError(f"--seeds {text!r}: seeds are different from each other, and none is negative.")
    return seeds


def _place(name: str, loaded: recipe.Recipe, asked: Bench) -> Path:
    """Where the recipe with its evidence goes; refused before slow work."""
    if asked.write:
        return recipe.file(name)
    place: Path = (asked.out or Path()) / f"{loaded.name}.yaml"
    if place.exists() and not asked.force:
        raise UsageError(f"{place} exists. Name another folder by --out, or pass --force to overwrite it.")
    return place


def _request(asked: Bench, seeds: tuple[int, ...], bundled: dict[str, Any]) -> "BenchRequest":  # Any: values of options
    """What to measure on: the user's files, or else the bundled ones."""
    own = {key: getattr(asked, key) for key in ("model", "data", "eval_data", "arch", "classes", "templates")}
    if not any(own.values()):
        own = {key: bundled[key] for key in own}
    elif None in (own["model"], own["data"], own["eval_data"]):
        raise UsageError(
            "Give --model, --data and --eval-data together, or none of the options to measure on the bundled files."
        )
    from clipclean.auto.bench import BenchRequest

    chosen = {key: value for key in ("steps", "lr", "batch_size") if (value := getattr(asked, key)) is not None}
    cleaning = requests.Sanitize(
        **own, device=asked.device, out=Path(), recipe="auto", precision="auto", screen="off", force=True
    )
    return BenchRequest(cleaning, asked.attacks, seeds, recipe.planting(**chosen))
