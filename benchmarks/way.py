"""The way of a cleaning through the source: which files lie between its arguments and the rooms that do the work, and how often it
returns to one that it has left.

    python benchmarks/way.py
    python benchmarks/way.py --recipe mmcl

A cleaning of two steps is run on the bundled files. A door is a function of a lower room that reads, builds, measures, trains or writes
(``DOORS``). Whenever one is entered, the files on the call stack above it are passed: together they are the way. It returns where it goes on
in a file that was passed before and is on the stack no longer. What a file looks up in passing, and comes back from, is not on the way.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from clipclean import cli, demo

PACKAGE = Path(demo.__file__).parents[1]
DOORS = {  # by the file of each room, its functions that begin the work
    "config/recipe.py": ("chosen",),
    "checkpoint/reader.py": ("read",),
    "data/dataset.py": ("read", "read_images"),
    "data/labels.py": ("read_labelled",),
    "model/clip.py": ("build",),
    "detect/measure.py": ("measure",),
    "methods/training.py": ("clean",),
    "methods/walk_back.py": ("walk_back",),
    "config/policy.py": ("apply",),
    "export/formats.py": ("write",),
    "export/records.py": ("write",),
    "export/placing.py": ("place",),
    "report/__init__.py": ("write",),
}


class Step(NamedTuple):
    """A function on the call stack: its file, its name, and its frame, kept so that no other call is taken for it."""

    file: str
    name: str
    frame: FrameType


def command(folder: Path, out: Path, /, *, recipe: str) -> list[str]:
    """A cleaning of two steps of the unpacked files; nothing is searched for, and the weights are written whatever the verdict."""
    names = {"model": demo.CHECKPOINT, "data": demo.PAIRS, "eval-data": demo.LABELLED, "arch": "tiny.json"}
    names |= {"classes": "classes.txt", "templates": "templates.txt"}
    model, *paths = (f"{folder / name}" for name in names.values())
    flags = [f"--{name}" for name in names if name != "model"]
    places = [word for pair in zip(flags, paths, strict=True) for word in pair]
    short = "--set train.max_steps=2 --set train.warmup_steps=1 --no-panel --no-search --keep-failed --exit-zero --quiet --device cpu"
    known = ["--trigger", demo.TRIGGER, "--target", demo.TARGET, "--recipe", recipe]
    return ["sanitize", model, *places, *known, "--out", str(out), *short.split()]


def stacks(arguments: list[str], /) -> list[list[Step]]:
    """Runs a command; the stack of calls within the package, the outermost first, at each entry into a door, which is its last."""
    root, entries = f"{PACKAGE}{os.sep}", list[list[Step]]()

    def note(frame: FrameType, event: str, _: object) -> None:
        path = frame.f_code.co_filename
        if event != "call" or not path.startswith(root):
            return
        if frame.f_code.co_name not in DOORS.get(path.removeprefix(root), ()):
            return
        stack, caller = list[Step](), frame
        while caller is not None:
            if (file := caller.f_code.co_filename).startswith(root):
                stack.append(Step(file.removeprefix(root), caller.f_code.co_qualname, caller))
            caller = caller.f_back  # type: ignore[assignment] # None ends the loop
        entries.append(without_callbacks(stack[::-1]))

    sys.setprofile(note)
    try:
        code = cli.main(arguments)
    finally:
        sys.setprofile(None)
    if code:
        raise SystemExit(f"The cleaning ended with exit code {code}, so its way is not known.")
    return entries


def without_callbacks(stack: list[Step], /) -> list[Step]:
    """A stack without the files that call straight back into one that called them: what is handed a function is not passed."""
    kept = list[Step]()
    for step in stack:
        places = [place for place, outer in enumerate(kept) if outer.file == step.file]
        if places and kept[-1].file != step.file:
            del kept[places[-1] + 1 :]
        kept.append(step)
    return kept


class Way(NamedTuple):
    """The way in words, a line a door; its files as they are passed; those that it returns to; and its rooms, as often as one is entered."""

    lines: list[str]
    files: list[str]
    returns: list[str]
    rooms: Counter[str]


def walked(entries: list[list[Step]], /) -> Way:
    """The way to the doors that were entered."""
    lines, passed, returns, rooms = list[str](), list[str](), dict[str, str](), set[tuple[str, str]]()
    before: list[Step] = []
    for stack in entries:
        kept = next((n for n, pair in enumerate(zip(stack, before, strict=False)) if pair[0] != pair[1]), len(before))
        steps, words = stack[kept:], list[str]()
        for place, step in enumerate(steps[:-1], kept):
            if step.file in DOORS or step.file in {outer.file for outer in stack[:place]}:
                continue
            if step.file in passed and not words:  # once, however many points of the walk back are measured
                returns[" ".join(step.name for step in steps)] = step.file
            room, outer = room_of(step), {room_of(other) for other in stack[:place]}
            rooms |= set() if room in outer else {(room, step.name)}
            words.append(f"{step.file}: {step.name}{' (again)' if step.file in passed else ''}")
            passed += [] if step.file in passed else [step.file]
        if steps:
            lines.append(f"{' > '.join([*words, f'[{steps[-1].file}: {steps[-1].name}]'])}")
        before = stack
    return Way(list(dict.fromkeys(lines)), passed, [*returns.values()], Counter(room for room, _ in rooms))


def room_of(step: Step, /) -> str:
    """The folder that a file is in, or its name."""
    return step.file.partition("/")[0]


def main() -> None:
    """Print the way, how many files it has, and how often it returns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="cleanclip", help="the recipe to clean by")
    recipe = parser.parse_args().recipe
    with demo.unpacked() as folder, tempfile.TemporaryDirectory(prefix="way-") as scratch:
        os.environ["CLIPCLEAN_STATE"] = scratch
        way = walked(stacks(command(folder, Path(scratch) / "out", recipe=recipe)))
    print("\n".join(way.lines))
    print(f"files of the way: {len(way.files)}: {', '.join(way.files)}")
    print(f"returns: {len(way.returns)}: {', '.join(way.returns)}")
    print(f"rooms, as often as one is entered: {', '.join(f'{room} {times}' for room, times in way.rooms.items())}")


if __name__ == "__main__":
    main()
