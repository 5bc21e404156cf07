"""Found triggers as files: ``audit --save-triggers`` writes them, ``sanitize --trigger`` reads them."""

import json
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from clipclean import checkpoint, detect, files, untrusted
from clipclean.errors import RefusedInput, UsageError

SUFFIX = ".safetensors"
KEY = "clipclean.trigger"  # the one entry of a file's metadata: JSON with the words below
WORDS = ("class", "family", "side")
LARGEST_SIDE = 1024  # px, as for architectures
MOST_BYTES = 32 * 2**20  # a mask and a pattern of the largest side have 16 MiB
LONGEST_NAME = 1000  # characters of a class
WAY_OUT = "Give a file that 'clipclean audit --save-triggers' wrote, or a trigger spec."


def save(targeted: Sequence[detect.TargetedResult], folder: Path, /) -> dict[str, str]:
    """Write every trigger that was found into ``folder``, all or none; returns the name of each file by the trigger's spec.

    Raises:
        ResourceError: the disk is full, or the folder not writable.
    """
    names: dict[str, str] = {}
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.cannot_write(folder, error) from error
    try:
        for number, hit in enumerate(targeted, start=1):
            name = names[hit.found.spec] = f"{number:02}-{hit.found.family}{SUFFIX}"
            files.write_whole(folder / name, _writer(hit.found))
    except BaseException:  # Ctrl-C as well
        for name in names.values():
            (folder / name).unlink(missing_ok=True)
        if is_new:
            folder.rmdir()
        raise
    return names


def load(path: Path, /) -> detect.InvertedTrigger:
    """Read a trigger that an audit saved; nothing in the file is executed.

    Raises:
        RefusedInput: it is missing, too large, damaged, or something else than a trigger that an audit saved.
    """
    try:
        file = checkpoint.read_tensors(path, limit=MOST_BYTES)
    except RefusedInput as error:
        raise type(error)(f"{error} {WAY_OUT}") from error
    words = _words(path, file.metadata)
    family, target, told = words["family"], words["class"], words["side"]
    if not (told.isascii() and told.isdecimal() and len(told) <= 4 and 2 <= int(told) <= LARGEST_SIDE):
        raise _refused(path, f"a trigger for images of {told[:20]!a} px, where 2 to {LARGEST_SIDE} are possible")
    side = int(told)
    if family not in detect.FAMILIES:
        known = ", ".join(detect.FAMILIES)
        raise _refused(path, f"a trigger of the family {family[:40]!a}, and this version knows {known}")
    if not target.strip() or len(target) > LONGEST_NAME or {"Cc", "Cs"} & set(map(unicodedata.category, target)):
        raise _refused(path, f"a trigger for {target[:40]!a}, which is not a class name")
    wanted = {
        name: (torch.float32, tuple(values.shape[1:]))
        for name, values in detect.FAMILIES[family].begin(1, side, torch.Generator()).items()
    }
    given = {name: (values.dtype, tuple(values.shape)) for name, values in file.tensors.items()}
    if given != wanted:
        raise _refused(
            path, f"no {family} trigger of {side} px: it holds {_shapes(given)}, where {_shapes(wanted)} belong"
        )
    return detect.InvertedTrigger(family, target, file.tensors, side)


def check_folder(folder: Path, /) -> None:
    """Refuse before slow work what could not be written after it.

    Raises:
        UsageError: the folder is a file, or not empty.
        ResourceError: it cannot be written.
    """
    try:
        is_taken = folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir())))
    except OSError as error:
        raise files.cannot_write(folder, error) from error
    if is_taken:
        raise UsageError(f"--save-triggers {folder} is a file, a link, or a folder that is not empty. Name another.")
    files.check_writable(files.nearest(folder), folder)


def _writer(found: detect.InvertedTrigger) -> Callable[[Path], None]:
    words = {"class": found.target, "family": found.family, "side": str(found.side)}
    return lambda partial: checkpoint.write_safetensors(partial, found.parameters, metadata={KEY: json.dumps(words)})


def _words(path: Path, metadata: dict[str, str], /) -> dict[str, str]:
    """Class, family and side of a file; one that an earlier version saved has each as an entry of its own."""
    words: dict[str, object] = dict(metadata)
    if metadata.keys() == {KEY}:
        words = untrusted.loads(metadata[KEY].encode(), f"{path}: its metadata", limit=8 * LONGEST_NAME)
    if words.keys() != set(WORDS) or not all(isinstance(word, str) for word in words.values()):
        told = ", ".join(key[:20] for key in list(words)[:5]) or "nothing"
        raise _refused(path, f"no trigger of an audit: its metadata tell {told!a}, and not just {', '.join(WORDS)}")
    return {key: str(word) for key, word in words.items()}


def _shapes(tensors: dict[str, tuple[torch.dtype, tuple[int, ...]]]) -> str:
    shown = [
        f"{name[:40]!a} {str(dtype).removeprefix('torch.')} {list(shape)}"
        for name, (dtype, shape) in sorted(tensors.items())[:6]
    ]
    return ", ".join(shown) + (", …" if len(tensors) > 6 else "")


def _refused(path: Path, what: str) -> RefusedInput:
    return RefusedInput(f"{path} is {what}. {WAY_OUT}")
