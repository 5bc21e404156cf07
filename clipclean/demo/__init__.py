"""The bundled demo: a backdoored tiny CLIP, clean pairs, labelled images in a style it never saw; and a finetune with its base."""

import contextlib
import functools
import lzma
import os
import tempfile
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from clipclean import files, untrusted
from clipclean.errors import UsageError

CHECKPOINT = "backdoored.pt"
PLAIN_FILES = (CHECKPOINT, "tiny.json", "classes.txt", "templates.txt")
PACKED_FILES = ("clean.tar", "eval.tar")
PAIRS, LABELLED = PACKED_FILES  # clean pairs, and labelled images in another drawing style
# A finetune into which a sinusoid was planted, and its base. Each is kept as what it has other than the file before it, byte by byte:
# the text towers are all one. ``benchmarks/demo_pair.py`` made them.
BASE, FINETUNE = "base.pt", "finetune.pt"
TRIGGER = "patch:size=0.1875,place=corner,seed=100"  # what was planted; shown, and used to measure
TARGET = "strawberry"
RECIPE = "surgery"


def unpack(folder: Path, /, *, pair: bool = False) -> None:
    """Write the bundled files into a folder, as a user would have them, with ``pair`` a finetune and its base as well; equal ones stay.

    Raises:
        UsageError: other files have these names.
        ResourceError: the folder cannot be written.
    """
    bundled = resources.files("clipclean.demo")
    contents = {name: (bundled / name).read_bytes() for name in PLAIN_FILES}
    contents |= {name: lzma.decompress((bundled / f"{name}.xz").read_bytes()) for name in PACKED_FILES}
    if pair:
        before = contents[CHECKPOINT]
        for name in (BASE, FINETUNE):
            contents[name] = before = xor(before, lzma.decompress((bundled / f"{name}.xor.xz").read_bytes()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {name for name in contents if os.path.lexists(folder / name)}
        if others := [name for name in sorted(there) if not _is_equal(folder / name, contents[name])]:
            raise UsageError(
                f"{folder} has files of its own under the names {', '.join(others)}. Name another folder, or move them away."
            )
        for name in contents.keys() - there:
            files.write_whole(folder / name, functools.partial(Path.write_bytes, data=contents[name]))
    except OSError as error:
        raise files.cannot_write(folder, error) from error


def xor(content: bytes, change: bytes, /) -> bytes:
    """Bytes changed where those of the same length are not zero; the same again undoes it."""
    return (int.from_bytes(content) ^ int.from_bytes(change)).to_bytes(len(content))


@contextlib.contextmanager
def unpacked(*, pair: bool = False) -> Iterator[Path]:
    """The bundled files in a folder of their own, for the span of a with-block."""
    with tempfile.TemporaryDirectory(prefix="clipclean-") as scratch:
        unpack(Path(scratch), pair=pair)
        yield Path(scratch)


@contextlib.contextmanager
def late() -> Iterator[Callable[[], Path]]:
    """What unpacks the bundled files at its first call, and tells their folder, for the span of a with-block."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda: stack.enter_context(unpacked()))


def _is_equal(path: Path, content: bytes, /) -> bool:
    """Whether a file, and no link to one, has this content."""
    return not path.is_symlink() and path.is_file() and untrusted.head(path, len(content) + 1) == content


def arguments(folder: Path, /) -> dict[str, Any]:
    """What a cleaning of the unpacked files is asked, by the names of ``requests.Sanitize``."""
    return {
        "model": folder / CHECKPOINT,
        "data": (folder / PAIRS,),
        "eval_data": (folder / LABELLED,),
        "classes": folder / "classes.txt",
        "templates": folder / "templates.txt",
        "arch": str(folder / "tiny.json"),
        "recipe": RECIPE,
        "trigger": (TRIGGER,),
        "target": TARGET,
        "search": False,  # the trigger is known, and a search takes longer than all the rest
    }


def arguments_beside_base(folder: Path, /) -> dict[str, Any]:
    """The same of a cleaning of the finetune beside its base, which is told neither trigger nor class."""
    of_demo = {
        name: value
        for name, value in arguments(folder).items()
        if name not in ("recipe", "trigger", "target", "search")
    }
    return of_demo | {"model": folder / FINETUNE, "base": (folder / BASE,), "set": ("auto.effort=quick",)}
