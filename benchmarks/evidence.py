"""Every measured table of the pages: how much of it is there, by which commit, what it took, and how it is made. One command makes what is missing.

    python benchmarks/evidence.py                       # the list; changes nothing
    python benchmarks/evidence.py --run [NAME ...]      # make what is missing, one after the other; a stopped run goes on
    python benchmarks/evidence.py --commands [NAME ...] # the commands alone, to run by hand

Each measurement is a script of this folder that goes on where it ended. What a run took by the clock is kept in BUILD/evidence.json; the time
that is left is that of the rows which are missing, at the processor seconds of those that are there. A measurement whose rule was frozen
before its models were read names the commit that must judge, and is not run here. The images are Tiny-ImageNet: ``photo_zoo.py`` says where from.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import common
import printed
from common import RESULTS

HERE = Path(__file__).parent
PHOTOS = "--photos {build}/photos --images {images}"
SECONDS = ("core_seconds", "seconds", "cleaning_seconds")  # what rows and cells call the time of a processor
EARLIER = "earlier versions"
JOBS_TIMED = 7 * 2 * 3  # whole jobs, models that people use, turns


@dataclass(frozen=True)
class State:
    """What is there of a measurement."""

    rows: int
    planned: int | None  # None: as many as there are
    commits: tuple[str, ...]
    seconds: tuple[float, ...]  # of a processor, of the rows that have them

    @property
    def missing(self) -> int:
        return max(0, (self.planned or self.rows) - self.rows)


@dataclass(frozen=True)
class Measurement:
    """One measurement, the tables that it fills, and the commands that make it."""

    blocks: tuple[str, ...]  # between markers of a page, or a file of docs
    state: Callable[[], State]
    commands: tuple[str, ...] = ()  # empty: made by hand, or by a script that has gone; results/README.md says how
    commit: str | None = None  # that must judge
    cells: str | None = None  # a folder of BUILD, of which results get the cells


def stored(name: str, *, planned: int | None = None, measured: str | None = None, commit: str | None = None) -> State:
    """The rows of a CSV file that have a value in a column, or all."""
    head, *rows = [row for row in common.read(RESULTS / f"{name}.csv") if len(row) > 1] or [[]]
    told = [dict(zip(head, row, strict=True)) for row in rows if len(row) == len(head)]
    mine = [row for row in told if measured is None or row[measured]]
    return State(len(mine), planned, commits_of(mine, commit), seconds_of(mine))


def audited(name: str, /) -> State:
    """The finetunes of a plan that were audited, of those whose trigger took."""
    rows = common.records(RESULTS / f"{name}.csv")
    planned = [row for row in rows if row["kind"] != "base" and row["counts_as"] != "neither"]
    return stored(name, planned=len(planned), measured="verdict")


def celled(*folders: str, planned: int | None = None, commit: str | None = None) -> State:
    """The cells of folders, a JSON file each."""
    cells = [cell for folder in folders for cell in common.cells(RESULTS / folder)]
    return State(len(cells), planned, commits_of(cells, commit), seconds_of(cells))


def commits_of(rows: Sequence[Mapping], commit: str | None, /) -> tuple[str, ...]:
    found = {str(row["revision"])[:8] for row in rows if row.get("revision")}
    return tuple(sorted(found)) or ((commit,) if commit else ())


def seconds_of(rows: Sequence[Mapping], /) -> tuple[float, ...]:
    told = [sum(float(row[key]) for key in SECONDS if row.get(key)) for row in rows]
    return tuple(seconds for seconds in told if seconds)


def plan(name: str, /) -> int:
    """The models of a plan that is committed."""
    return len(common.read(HERE / name)) - 1


def victims(name: str, /) -> int:
    head, *rows = common.read(HERE / name)
    return sum(bool(row[head.index("trigger")]) for row in rows)


def auto_now() -> tuple[str, ...]:
    """The default command on each model that its table shows, alone and beside a clean one."""
    told = [(cell["entry"]["name"], cell.get("beside")) for cell in common.cells(RESULTS / "auto-now")]
    large = [name for name, _ in told if "large" in name]
    zoos = {"photo-zoo": [name for name, beside in told if not beside and name not in large], "large": large}
    cleaning = f"{PHOTOS} --half report --methods auto --out {{build}}/auto-now"
    alone = [
        f"photo_cleaning.py {cleaning} --zoo {{build}}/{zoo} --only {' '.join(names)}" for zoo, names in zoos.items()
    ]
    with_reference = " ".join(name for name, beside in told if beside)
    beside = f"photo_cleaning.py {cleaning} --zoo {{build}}/photo-zoo --beside report-resnet-10-clean-2 --only {with_reference}"
    return (*alone, beside, f"photo_cleaning.py {cleaning} --zoo {{build}}/photo-zoo --along")


CLEANING = f"photo_cleaning.py {PHOTOS} --half report"
NAMED = "report-resnet-10-scratch-patch-1 report-resnet-10-scratch-blended-2"
MEASUREMENTS: dict[str, Measurement] = {
    "audit": Measurement(
        ("audit", "audit-triggers"),
        lambda: stored("audit", commit=EARLIER),
        (
            *(
                f"photo_zoo.py {PHOTOS} --out {{build}}/{name} --plan {name}"
                for name in ("lineages", "longer", "drawn")
            ),
            "audit.py --photo-zoo {build}/lineages {build}/longer {build}/drawn --out {build}/audit --half report --keep",
        ),
    ),
    "audit-pairs": Measurement(
        ("audit-pairs",),
        lambda: stored("audit-pairs"),
        ("audit.py --photo-zoo {build}/pairs --out {build}/audit --no-run --pairs",),
    ),
    "whole-image": Measurement(
        (),
        lambda: stored("whole-image"),
        (
            *(
                f"photo_zoo.py {PHOTOS} --out {{build}}/{name} --plan {name}"
                for name in ("halves", "lineages", "pairs")
            ),
            "whole_image.py --photos {build}/photos --zoo {build}/halves {build}/lineages {build}/pairs --sealed {build}/sealed "
            "--out {build}/whole-image --keep",
        ),
    ),
    "sealed": Measurement(
        (),
        lambda: stored("sealed", planned=2 * plan("sealed.csv")),
        (f"sealed.py {PHOTOS} --out {{build}}/sealed",),
        commit="c7ee47f7",
    ),
    "sealed-again": Measurement(
        ("sealed-again",),
        lambda: stored("sealed-again", planned=plan("sealed.csv")),
        (f"sealed.py {PHOTOS} --out {{build}}/sealed --again",),
    ),
    "sealed-3": Measurement(
        ("sealed-3",),
        lambda: stored("sealed-3", planned=2 * plan("sealed-3.csv")),
        (f"sealed.py --plan benchmarks/sealed-3.csv {PHOTOS} --out {{build}}/sealed3",),
        commit="23f4bc73",
    ),
    "persuasion": Measurement(
        (),
        lambda: stored("persuasion"),
        ("persuasion.py --photo-zoo {build}/photo-zoo --sealed {build}/sealed",),
    ),
    "sealed-2": Measurement(
        (),
        lambda: stored("sealed-2", planned=2 * plan("sealed-2.csv")),
        (f"sealed.py --plan benchmarks/sealed-2.csv {PHOTOS} --out {{build}}/sealed2",),
        commit="2b3d2062",
    ),
    "second-cleaning": Measurement(
        ("second-cleaning",),
        lambda: celled("second-cleaning", planned=victims("sealed-2.csv")),
        (
            f"sealed_cleaning.py --plan benchmarks/sealed-2.csv {PHOTOS} --zoo {{build}}/sealed2 --out {{build}}/second-cleaning",
        ),
        cells="second-cleaning",
    ),
    "finetunes": Measurement(
        ("finetunes", "finetunes-aims"),
        lambda: audited("finetunes"),
        (f"finetunes.py {PHOTOS} --zoo {{build}}/sealed {{build}}/large --out {{build}}/finetunes",),
    ),
    "finetunes-sealed": Measurement(
        ("finetunes-sealed",),
        lambda: audited("finetunes-sealed"),
        (f"finetunes.py {PHOTOS} --plan benchmarks/finetunes-sealed.csv --out {{build}}/finetunes",),
    ),
    "auto-now": Measurement(
        ("auto-now", "auto-now-others"),
        lambda: celled("auto-now", commit="84e9355a; large models: earlier"),
        auto_now(),
        cells="auto-now",
    ),
    "paper-now": Measurement(
        ("paper-now",),
        lambda: celled("paper-now", planned=2, commit="6650a677"),
        (
            f"{CLEANING} --zoo {{build}}/large --out {{build}}/paper-now --methods mmcl cleanclip --only report-large-20-scratch-patch-1",
        ),
        cells="paper-now",
    ),
    "named-now": Measurement(
        ("named-now",),
        lambda: celled("named-now", planned=8, commit="84e9355a"),
        (
            f"{CLEANING} --zoo {{build}}/photo-zoo --out {{build}}/named-now --methods cleanclip par unlearn mmcl --only {NAMED}",
        ),
        cells="named-now",
    ),
    "photo-cleaning": Measurement(
        ("photo-cleaning", "photo-claims", "frontier.svg"), lambda: celled("photo-cleaning", commit=EARLIER)
    ),
    "usual": Measurement(("usual-cleaning", "usual-claims"), lambda: celled("usual", commit=EARLIER)),
    "long-job": Measurement(("long-job",), lambda: celled("photo-long", commit=EARLIER)),
    "screening": Measurement(
        ("screening-photos",),
        lambda: celled("screening-photos", planned=12),
        (
            f"screening_photos.py {PHOTOS} --zoo {{build}}/photo-zoo --out benchmarks/results/screening-photos --only "
            "report-resnet-10-planted-patch-1 report-resnet-10-planted-badnets-1 report-resnet-10-planted-dct-1 "
            "report-resnet-50-planted-stripes-1 report-resnet-50-planted-text-1 report-vit-10-planted-sinusoid-1",
        ),
    ),
    "walk": Measurement(("walk",), lambda: stored("walk", commit="64de6954")),
    "accuracy-lost": Measurement(("accuracy-lost",), lambda: stored("accuracy-lost-draws", commit="dbdb0111")),
    "others": Measurement(("others-audits", "others-cleanings"), lambda: stored("others")),
    "whole-runs": Measurement(
        ("times", "large", "profile"),
        lambda: stored("large", planned=JOBS_TIMED, measured="took"),
        (
            "speed.py --out {build}/speed --turns 3 --write benchmarks/results/tables.md --large quick-10 standard-10 quick-1000 standard-1000 "
            "planted-10 cleanclip auto",
            "speed.py --out {build}/speed --turns 3 --write benchmarks/results/tables.md --models {build}/photo-zoo/resnet-32.json "
            "{build}/photo-zoo/vit-32.json --large standard-10 planted-10 cleanclip auto",
        ),
    ),
    "step": Measurement(
        ("step", "step-fp32", "gpu"),
        lambda: stored("step", planned=6),
        ("speed.py --out {build}/speed --write docs/running.md --rounds 3",),
    ),
    "scanners": Measurement(("scanners-total",), lambda: stored("scanners-total")),
    "fuzz": Measurement(
        ("fuzz-total",),
        lambda: stored("fuzz"),
        ("fuzz.py --out {build}/fuzz.json --write benchmarks/results/fuzz.csv",),
    ),
    "printed": Measurement(
        ("quoted output",),
        lambda: State(len(list(printed.PRINTED.glob("*.txt"))), len(printed.COMMANDS), (), ()),
        ("printed.py --run",),
    ),
    "demo": Measurement(("demo",), lambda: stored("demo")),
    "versions": Measurement(("versions",), lambda: stored("versions")),
    "report-pages": Measurement(("pages",), lambda: stored("pages")),
}
SCRIPTS = {"versions": "make versions", "report-pages": "make pages", "demo": "make demo, then by hand"}


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--run", nargs="*", metavar="NAME", help="make what is missing of these, or of all")
    parser.add_argument("--commands", nargs="*", metavar="NAME", help="print the commands of these, or of all")
    parser.add_argument("--build", type=Path, default=Path("build"), help="the folder for models and searches")
    parser.add_argument("--images", type=Path, default=Path("build/IMagenet/tiny-imagenet-200"), help="Tiny-ImageNet")
    o = parser.parse_args()
    names = [*(o.run or ()), *(o.commands or ())] or list(MEASUREMENTS)
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        parser.error(f"no measurement {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    times = o.build / "evidence.json"
    clock = json.loads(times.read_text()) if times.exists() else {}
    if o.commands is not None:
        lines = [line for name in names for line in commands(name, o.build, o.images)]
        print(*lines, sep="\n")
        return 0
    if o.run is None:
        print(common.table(listed(names, clock)))
        return 0
    for name in names:
        state = MEASUREMENTS[name].state()
        if (not o.run and not state.missing) or MEASUREMENTS[name].commit:
            continue
        for words in commands(name, o.build, o.images):
            print(f"{name}: {words}", flush=True)
            began = time.monotonic()
            code = subprocess.run(shlex.split(words), cwd=HERE.parent, check=False).returncode
            clock[name] = clock.get(name, 0.0) + time.monotonic() - began
            times.write_text(json.dumps(clock, indent=1) + "\n")
            if code:
                print(f"{name}: ended with {code}; the same command goes on", file=sys.stderr)
                return code
        if folder := MEASUREMENTS[name].cells:
            for path in (o.build / folder).glob("*.json"):
                shutil.copy(path, RESULTS / folder)
    return 0


def commands(name: str, build: Path, images: Path, /) -> list[str]:
    """The commands of a measurement, from the root of the repository."""
    values = {"build": build, "images": images}
    return [f"{sys.executable} benchmarks/{words.format(**values)}" for words in MEASUREMENTS[name].commands]


def listed(names: Sequence[str], clock: Mapping[str, float], /) -> list[list[str]]:
    """A row a measurement."""
    rows = [["measurement", "tables", "there", "commits", "processor time", "left", "by the clock", "made by"]]
    for name in names:
        found = MEASUREMENTS[name]
        state = found.state()
        count = f"{state.rows} of {state.planned}" if state.planned else str(state.rows)
        left = duration(state.missing * mean(state.seconds)) if state.missing and state.seconds else ""
        scripts = dict.fromkeys(words.partition(" ")[0] for words in found.commands)
        made_by = ", ".join(scripts) or SCRIPTS.get(name, "no script: results/README.md")
        if found.commit:
            made_by += f", by hand in a checkout of {found.commit}"
        spent = duration(sum(state.seconds)) if state.seconds else ""
        cells = [", ".join(state.commits), spent, left or ("nothing" if not state.missing else "?")]
        rows.append([name, ", ".join(found.blocks), count, *cells, duration(clock.get(name, 0.0)), made_by])
    return rows


def duration(seconds: float, /) -> str:
    """In the unit that fits; nothing for no time."""
    if not seconds:
        return ""
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 3600
        else f"{seconds / 60:.0f} min"
        if seconds >= 120
        else f"{seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
