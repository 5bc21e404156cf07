"""What the scripts share: arguments, measured blocks of a page, cells of a benchmark, and figures of a zoo's models.

A block of a page stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``, and is made of a CSV file.

    python benchmarks/common.py PAGE BLOCK FILE    # FILE has the text as Markdown
"""

import argparse
import csv
import json
import re
import sys
import textwrap
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

SHARED = {  # arguments that several scripts have
    "photos": {"type": Path, "required": True, "help": "the folder that benchmarks/photos.py made"},
    "images": {"type": Path, "required": True, "help": "the folder tiny-imagenet-200"},
    "zoo": {"type": Path, "required": True, "help": "the folder that benchmarks/photo_zoo.py made"},
    "out": {"type": Path, "required": True, "help": "the folder for what is made and measured"},
    "only": {"nargs": "+", "metavar": "NAME", "help": "these models only"},
}
RESULTS = Path(__file__).parent / "results"
NAMES = re.compile(r"<!-- ([\w-]+):begin -->")
NUMBER = re.compile(r"[-–−]?([\d.,:]*\d( ?(%|h|min|GB|MB|M|×))?)?")


def parser(doc: str | None, *shared: str) -> argparse.ArgumentParser:
    """The parser of a script, which says what it is for."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in shared:
        made.add_argument(f"--{name}", **SHARED[name])
    return made


def fill(page: Path, block: str, text: str) -> None:
    """Put ``text`` in the place of what stands between the markers of a block, which the page has once each."""
    begin, end = f"<!-- {block}:begin -->", f"<!-- {block}:end -->"
    head, rest = page.read_text(encoding="utf-8").split(begin)
    _, tail = rest.split(end)
    page.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}", encoding="utf-8")


def keep(page: Path, block: str, rows: Iterable[Iterable[object]]) -> None:
    """Store tables and sentences as ``results/BLOCK.csv``, and fill the page from there."""
    write(RESULTS / f"{block}.csv", rows)
    fill(page, block, markdown(read(RESULTS / f"{block}.csv")))


def rows_of(text: str) -> list[list[str]]:
    """Markdown as rows: cells of tables, a sentence as a row of one cell, an empty row between them."""
    rows: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("|"):
            if set(line) - set("|-: "):
                rows.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows and rows[-1] and len(rows[-1]) == 1 and line.strip():
            rows[-1][0] += f" {line.strip()}"  # a wrapped sentence
        else:
            rows.append([line.strip()] if line.strip() else [])
    return rows


def markdown(rows: Iterable[list[str]]) -> str:
    """Rows as Markdown; a column of numbers stands on the right."""
    parts = []
    for is_blank, part in groupby(rows, key=lambda row: not row):
        if is_blank:
            continue
        own = list(part)
        parts.append(table(own) if len(own[0]) > 1 else "\n".join(fill_line(row[0]) for row in own))
    return "\n\n".join(parts)


def fill_line(sentence: str) -> str:
    """A sentence in lines of a page."""
    return textwrap.fill(sentence, 130, break_long_words=False, break_on_hyphens=False)


def table(rows: list[list[str]]) -> str:
    """A table of equally long rows, the first of which is its head."""
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    right = [bool(body) and all(NUMBER.fullmatch(cell) for cell in column) for column in zip(*body, strict=True)]
    rule = "|" + "|".join("--:" if each else "---" for each in right) + "|"
    return "\n".join([row(head), rule, *map(row, body)])


def row(cells: Iterable[object]) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def write(path: Path, rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


# Cells, one JSON file each, of a method: a recipe, perhaps with values of its own (``RECIPE:KEY=VALUE,…``), or a name that no recipe has.


def of_recipe(method: str, /):  # -> Recipe
    """The recipe that a method names, with its changes."""
    from clipclean.config import recipe

    name, _, changes = method.partition(":")
    return recipe.override(recipe.load(name), changes.split(",") if changes else [])


def digest_of(method: str, /) -> str | None:
    """The digest of a method's values; None of one that is no recipe, or chooses among recipes."""
    from clipclean.config import recipe
    from clipclean.config.methods import METHODS

    name = method.partition(":")[0]
    if name.partition("@")[0] not in recipe.names() and ".yaml" not in name:
        return None
    named = of_recipe(method)
    return None if METHODS[named.method].chooses else recipe.digest(named)


def is_current(place: Path, method: str, /) -> bool:
    """Whether a file has a cell of the method as it is now; one that does not name its values counts."""
    return place.exists() and json.loads(place.read_text()).get("recipe_sha256") in (None, digest_of(method))


# Models of a zoo.

REFINETUNE = (100, 31)  # steps and seed of the benign finetuning after which a cleaned model is measured again


def named(entries: list, only: list[str] | None) -> list:
    """The entries of some names with the models that they start from, or all; for other zoos as well."""
    if only is None:
        return entries
    known = {entry.name: entry for entry in entries}
    if unknown := set(only) - known.keys():
        sys.exit(f"not in the plan: {', '.join(sorted(unknown))}; benchmarks/photo_zoo.csv lists the names")
    wanted = {*only, *(known[name].base for name in only)}
    return [entry for entry in entries if entry.name in wanted]


def kept(out: Path, entry, wanted: dict) -> dict | None:  # of any zoo: an entry has a name and a base
    """The record of a model that has what is wanted and was made from the base that is there now; None without one."""
    path, base = out / f"{entry.name}.json", out / f"{entry.base}.json"
    if not (path.exists() and path.with_suffix(".pt").exists()):
        return None
    record = json.loads(path.read_text())
    current = json.loads(base.read_text())["sha256"] if entry.base and base.exists() else None
    wanted = wanted | {"base_sha256": current}
    return record if all(record.get(key) == value for key, value in wanted.items()) else None


def figures(measured: dict) -> dict:
    """Of a report's measurements: clean accuracy, and of the planted trigger, if there is one, what it does."""
    probe = measured["probes"][0] if measured["probes"] else None
    return {
        "accuracy": measured["clean_accuracy"]["value"],
        "excess": probe and probe["excess_asr"]["value"],
        "interval": probe and probe["excess_asr"]["interval"],
        "n": probe and probe["asr"]["n"],
        "under_trigger": probe and probe["accuracy_under_trigger"]["value"],
        "distance": probe and probe["distance"],
    }


def finetune_benignly(clip, pairs: list, steps: int = REFINETUNE[0], lr: float | None = None) -> None:
    """Go on training on clean pairs, in place, as whoever deploys the model might."""
    from clipclean.attack import poison
    from clipclean.config import recipe
    from clipclean.train.run import Run

    seed, control = REFINETUNE[1], recipe.load("mmcl@tiny")
    poison.finetune(
        clip,
        pairs,
        control,
        recipe.planting(steps=steps, batch_size=128, lr=lr or control.train.lr),
        implants=(),
        run=Run(seed, control.train.precision, lambda what, done, total: None),
    )


if __name__ == "__main__":
    keep(Path(sys.argv[1]), sys.argv[2], rows_of(Path(sys.argv[3]).read_text(encoding="utf-8").strip()))
