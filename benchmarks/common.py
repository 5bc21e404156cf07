"""What the scripts share: arguments, and measured blocks of a page.

A block of a page stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``, and is made of a CSV file.

    python benchmarks/common.py PAGE BLOCK FILE    # FILE has the rows as CSV
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
from typing import Any

SHARED: dict[str, dict[str, Any]] = {  # arguments that several scripts have
    "photos": {
        "type": Path,
        "required": True,
        "help": "the folder for Tiny-ImageNet as arrays; made where it is missing",
    },
    "images": {"type": Path, "required": True, "help": "the folder tiny-imagenet-200"},
    "zoo": {"type": Path, "required": True, "help": "the folder that benchmarks/photo_zoo.py made"},
    "out": {"type": Path, "required": True, "help": "the folder for what is made and measured"},
    "only": {"nargs": "+", "metavar": "NAME", "help": "these models only"},
}
RESULTS = Path(__file__).parent / "results"
NAMES = re.compile(r"<!-- ([\w-]+):begin -->")
SENTENCE = textwrap.TextWrapper(130, break_long_words=False, break_on_hyphens=False)  # in lines of a page
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


def markdown(rows: Iterable[list[str]]) -> str:
    """Rows as Markdown; a column of numbers stands on the right."""
    parts = []
    for is_blank, part in groupby(rows, key=lambda row: not row):
        if is_blank:
            continue
        own = list(part)
        parts.append(table(own) if len(own[0]) > 1 else "\n".join(SENTENCE.fill(row[0]) for row in own))
    return "\n\n".join(parts)


def table(rows: list[list[str]]) -> str:
    """A table of equally long rows, the first of which is its head."""
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    right = [bool(body) and all(NUMBER.fullmatch(cell) for cell in column) for column in zip(*body, strict=True)]
    rule = "|" + "|".join("--:" if each else "---" for each in right) + "|"
    return "\n".join([row(head), rule, *map(row, body)])


def row(cells: Iterable[object]) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def cells(folder: Path, half: str = "") -> list[dict]:
    """What a script made or measured, a JSON file each: of one half, or of both."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return [cell for cell in found if "entry" in cell and half in ("", cell["entry"]["half"])]


def lineage(zoo: Path, entry: dict) -> list[dict]:
    """The entries of a model and of those that it was made from."""
    base = entry["base"]
    return [entry, *(lineage(zoo, json.loads((zoo / f"{base}.json").read_text())["entry"]) if base else [])]


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def records(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by the names of its columns."""
    head, *rows = read(path)
    return [dict(zip(head, row, strict=True)) for row in rows]


def write(path: Path, rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    keep(Path(sys.argv[1]), sys.argv[2], read(Path(sys.argv[3])))
