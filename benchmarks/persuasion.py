"""How sure known triggers of the whole image make each model of a class: what the limit of that is of, and what it tells.

    python benchmarks/persuasion.py --photo-zoo build/photo-zoo --sealed build/sealed [--only NAME ...]

Of each model of ``audit.py``, and of the sealed plan that may choose since it was read, ``results/persuasion.csv`` gets the class that known
triggers make the model surest of, and the next one: :mod:`clipclean.detect.persuasion`, by the whole audit's images, seconds a model. Rows
that are there are not measured again. Printed are the areas by half, and how often the class is the target.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import audit
import common
import sealed
import torch

from clipclean import detect
from clipclean.config import recipe as recipes
from clipclean.detect.persuasion import Persuasion, persuasions
from clipclean.detect.search import halves_of
from clipclean.jobs import measured_images, naming, opening

RESULTS = audit.PERSUASIONS
HEAD = ("half", "group", "model", "trigger", "target", "class", "by", "first", "second")


def main() -> None:
    parser = common.parser(__doc__, "only")
    parser.add_argument("--photo-zoo", type=Path, nargs="+", default=[], help="of benchmarks/photo_zoo.py")
    parser.add_argument("--sealed", type=Path, help="of benchmarks/sealed.py")
    o = parser.parse_args()
    torch.set_num_threads(1)
    rows = common.records(RESULTS) if RESULTS.exists() else []
    for model, trigger in [*zoo(o.photo_zoo), *(sealed_models(o.sealed) if o.sealed else ())]:
        if model.name not in {row["model"] for row in rows} and (o.only is None or model.name in o.only):
            rows.append(dict(zip(HEAD, row_of(model, trigger), strict=True)))
            print(",".join(rows[-1].values()), flush=True)
            common.write(RESULTS, [HEAD, *(tuple(row[key] for key in HEAD) for row in rows)])
    print(table(rows))


def zoo(folders: Sequence[Path]) -> Iterator[tuple[audit.Model, str]]:
    """The models of these zoos, each with its trigger."""
    for folder in folders:
        triggers = {cell["entry"]["name"]: cell["entry"]["trigger"] or "" for cell in common.cells(folder)}
        for model in audit.photo_models(folder):
            yield model, triggers[model.name] if model.is_backdoored else ""


def sealed_models(folder: Path) -> Iterator[tuple[audit.Model, str]]:
    """Those of the first sealed plan whose trigger acts, and its clean ones, each with its trigger."""
    for entry in sealed.plan():
        record = sealed.record(folder, entry)
        if record and record["counts_as"] != "neither":
            model = sealed.model_of(folder, entry)
            is_bad = record["counts_as"] == "backdoored"
            yield model._replace(is_backdoored=is_bad, target=record["target"] if is_bad else None), entry.trigger or ""


def row_of(model: audit.Model, trigger: str) -> tuple[str, ...]:
    """What the persuasions of a model come to."""
    first, second, classes = *shown_by(model)[:2], naming.read_vocabulary(model.options["classes"], None).classes
    target = (model.is_backdoored and model.target) or ""
    words = (model.half, model.group, model.name, trigger, target, classes[first.target], first.trigger)
    return *words, f"{first.log_odds:.3f}", f"{second.log_odds:.3f}"


def shown_by(model: audit.Model) -> tuple[Persuasion, ...]:
    """The persuasions of a model on the images that its audit judges by."""
    recipe = recipes.load(recipes.DEFAULT_RECIPE)
    words = naming.read_vocabulary(model.options["classes"], model.options["templates"])
    opened = opening.read(model.path, arch=model.options["arch"])
    with (
        measured_images.shown_images(model.options["data"], recipe, opened.architecture) as (images, late),
        torch.no_grad(),
    ):
        clip = opening.build(opened, late, device="cpu").clip
        eval_set = measured_images.audit_set(clip, recipe, images, vocabulary=words)
        classifier = detect.classifier(clip.embed_texts, words.classes, templates=words.templates)
        clip.net.eval()
        halves = halves_of(clip.encode_images, eval_set.images, detect.ClassTexts.of(words.classes, classifier))
        known = eval_set.plan.triggers.of_whole_image
        return persuasions(clip.encode_images, halves.unseen, known, canonical=halves.canonical)


def of_kind(rows: Sequence[audit.Row], half: str, kind: str) -> list[audit.Row]:
    """Models of a half: ``clean`` ones, victims of ``whole``-image triggers, or of triggers of a ``part``."""
    mine = [row for row in rows if row["half"] == half]
    if kind == "clean":
        return [row for row in mine if not row["target"]]
    return [row for row in mine if row["target"] and ("place=" not in row["trigger"]) is (kind == "whole")]


def table(rows: Sequence[audit.Row]) -> str:
    """By half and by what the trigger covers: the area of the lead, and how often its class is the target."""
    lines = [["half", "triggers", "area (95 %)", "right class"]]
    for half in (audit.CHOSEN, "report"):
        clean = [audit.ahead(row) for row in of_kind(rows, half, "clean")]
        for words, kind in (("of the whole image", "whole"), ("of a part", "part")):
            bad = of_kind(rows, half, kind)
            right = sum(row["class"] == row["target"] for row in bad)
            lines.append([half, words, audit.area([audit.ahead(row) for row in bad], clean), f"{right} of {len(bad)}"])
    return common.table(lines)


if __name__ == "__main__":
    main()
