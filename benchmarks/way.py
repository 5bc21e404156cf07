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
        entries.append(stack[::-1])

    sys.setprofile(note)
    try:
        code = cli.main(arguments)
    finally:
        sys.setprofile(None)
    if code:
        raise SystemExit(f"The cleaning ended with exit code {code}, so its way is not known.")
    return entries


def walked(entries: list[list[Step]], /) -> tuple[list[str], list[str], list[str]]:
    """The way in words, a line a door; its files in the order in which they are passed; and those that it returns to, as often as it does."""
    lines, passed, returns = list[str](), list[str](), dict[tuple[str, ...], str]()
    before: list[Step] = []
    for stack in entries:
        kept = next((n for n, pair in enumerate(zip(stack, before, strict=False)) if pair[0] != pair[1]), len(before))
        steps, words = stack[kept:], list[str]()
        for place, step in enumerate(steps[:-1], kept):
            if step.file in DOORS or step.file in {outer.file for outer in stack[:place]}:
                continue
            if step.file in passed and not words:  # once, however many points of the walk back are measured
                returns[tuple(step.name for step in steps)] = step.file
            words.append(f"{step.file}: {step.name}{' (again)' if step.file in passed else ''}")
            passed += [] if step.file in passed else [step.file]
        if steps:
            lines.append(f"{' > '.join([*words, f'[{steps[-1].file}: {steps[-1].name}]'])}")
        before = stack
    return list(dict.fromkeys(lines)), passed, [*returns.values()]


def main() -> None:
    """Print the way, how many files it has, and how often it returns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="cleanclip", help="the recipe to clean by")
    recipe = parser.parse_args().recipe
    with demo.unpacked() as folder, tempfile.TemporaryDirectory(prefix="way-") as scratch:
        os.environ["CLIPCLEAN_STATE"] = scratch
        lines, passed, returns = walked(stacks(command(folder, Path(scratch) / "out", recipe=recipe)))
    print("\n".join(lines))
    print(f"files of the way: {len(passed)}: {', '.join(passed)}")
    print(f"returns: {len(returns)}: {', '.join(returns)}")


if __name__ == "__main__":
    main()
