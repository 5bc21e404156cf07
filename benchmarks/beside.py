"""Tables of what the code of others does on models of the zoo, of ``results/others.csv``; the default of ours beside it is of ``results/auto-now``.

Their code is fetched, and run unchanged where it can be; benchmarks/results/others.md says what was put around it. None of it is kept here.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import common
import photo_cleaning

FILE = common.RESULTS / "others.csv"
OURS = "clipclean"
SHOWN = ("published", "chosen")  # kinds of settings; others were tried as well, or on a victim of the half that chose
Row = dict[str, str]


def rows(job: str, file: Path = FILE) -> list[Row]:
    """Those of one job: ``audit`` or ``cleaning``."""
    return [row for row in common.records(file) if row["job"] == job]


def audits(file: Path = FILE) -> str:
    """A row a model, a column a tool: what it said, its number, and the seconds of a processor."""
    found = rows("audit", file)
    tools = list(dict.fromkeys(row["tool"] for row in found))
    body = []
    for model in dict.fromkeys(row["model"] for row in found):
        own = {row["tool"]: row for row in found if row["model"] == model}
        body.append([short(model), *(told(own[tool]) if tool in own else "–" for tool in tools)])
    return common.table([["model", *tools], *body])


def told(row: Row) -> str:
    number = f"{row['said']} ({row['score']})" if row["score"] else row["said"]
    return f"{number}, {float(row['core_seconds']):.0f} s"


def cleanings(file: Path = FILE) -> str:
    """A row a tool and setting: the excess that is left of each victim's attack and the most that returned, and what it cost."""
    found = [row for row in rows("cleaning", file) if row["kind"] in SHOWN]
    victims = list(dict.fromkeys(row["model"] for row in found if row["left"]))
    head = ["tool", "rate", *(f"{short(model)}: left (returned)" for model in victims)]
    head += ["points lost by these", "by a clean model", "processor s"]
    body = []
    for tool, setting in dict.fromkeys((row["tool"], row["setting"]) for row in found):
        own = {row["model"]: row for row in found if (row["tool"], row["setting"]) == (tool, setting)}
        body.append([tool, setting, *of_setting(own, victims)])
    ours = {}
    for model in dict.fromkeys(row["model"] for row in found):
        if cells := [cell for cell in default() if cell["entry"]["name"] == model]:
            ours[model] = as_row(cells)
    return common.table([head, *body, [f"**{OURS}, its default**", "", *of_setting(ours, victims)]])


def default() -> list[dict]:
    """The cells of the default command, told nothing and without a clean model."""
    return [cell for cell in common.cells(common.RESULTS / "auto-now") if not cell.get("beside")]


def as_row(cells: Sequence[dict]) -> Row:
    """The runs on one model, a seed each, in the columns of the file: means, and the most that returned."""
    is_victim = bool(cells[0]["entry"]["trigger"])
    return {
        "left": f"{mean(cell['after']['excess'] for cell in cells):.3f}" if is_victim else "",
        "returned": f"{max(cell['rebound']['excess'] for cell in cells):.3f}" if is_victim else "",
        "lost": f"{mean(map(photo_cleaning.lost, cells)):.1f}",
        "core_seconds": f"{mean(cell['seconds'] for cell in cells):.0f}",
    }


def of_setting(own: dict[str, Row], victims: Sequence[str]) -> list[str]:
    """The cells of one row of the table."""
    left = [f"{own[m]['left']} ({own[m]['returned'] or '–'})" if m in own else "–" for m in victims]
    lost = ", ".join(own[model]["lost"] for model in victims if model in own)
    clean = ", ".join(row["lost"] for row in own.values() if not row["left"]) or "–"
    return [*left, lost, clean, f"{mean(float(row['core_seconds']) for row in own.values()):.0f}"]


def short(model: str) -> str:
    return model.removeprefix("report-resnet-10-").removesuffix("-1" if "clean" not in model else "")
