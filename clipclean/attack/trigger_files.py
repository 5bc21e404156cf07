"""Found triggers as files: ``audit --save-triggers`` writes them, ``sanitize --trigger`` reads them."""

import json
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from clipclean import checkpoint, detect, files, untrusted
from clipclean.errors import RefusedInput, UsageError

TRIGGER_SUFFIX = ".safetensors"
TRIGGER_METADATA_KEY = "clipclean.trigger"  # the one entry of a file's metadata: JSON with the words below
WORD_NAMES = ("class", "family", "side")
LARGEST_SIDE = 1024  # px, as for architectures
MAX_TRIGGER_BYTES = 32 * 2**20  # a mask and a pattern of the largest side have 16 MiB
LONGEST_NAME = 1000  # characters of a class
TRIGGER_ADVICE = "Give a file that 'clipclean audit --save-triggers' wrote, or a trigger spec."


def save(results: Sequence[detect.TargetedResult], folder: Path, /) -> dict[str, str]:
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
        for number, result in enumerate(results, start=1):
            name = names[result.trigger.spec] = f"{number:02}-{result.trigger.family}{TRIGGER_SUFFIX}"
            files.write_whole(folder / name, _writer(result.trigger))
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
        file = checkpoint.read_tensors(path, limit=MAX_TRIGGER_BYTES)
    except RefusedInput as error:
        raise type(error)(f"{error} {TRIGGER_ADVICE}") from error
    words = _words(path, file.metadata)
    family, target, side_text = words["family"], words["class"], words["side"]
    if not (
        side_text.isascii() and side_text.isdecimal() and len(side_text) <= 4 and 2 <= int(side_text) <= LARGEST_SIDE
    ):
        raise _refusal(path, f"a trigger for images of {side_text[:20]!a} px, where 2 to {LARGEST_SIDE} are possible")
    side = int(side_text)
    if family not in detect.SEARCH_FAMILIES:
        families = ", ".join(detect.SEARCH_FAMILIES)
        raise _refusal(path, f"a trigger of the family {family[:40]!a}, and this version knows {families}")
    if not target.strip() or len(target) > LONGEST_NAME or {"Cc", "Cs"} & set(map(unicodedata.category, target)):
        raise _refusal(path, f"a trigger for {target[:40]!a}, which is not a class name")
    family_shapes = {
        name: (torch.float32, tuple(values.shape[1:]))
        for name, values in detect.SEARCH_FAMILIES[family].begin(1, side, torch.Generator()).items()
    }
    file_shapes = {name: (values.dtype, tuple(values.shape)) for name, values in file.tensors.items()}
    if file_shapes != family_shapes:
        raise _refusal(
            path,
            f"no {family} trigger of {side} px: it holds {_shapes(file_shapes)}, where {_shapes(family_shapes)} belong",
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


def _writer(trigger: detect.InvertedTrigger) -> Callable[[Path], None]:
    words = {"class": trigger.target, "family": trigger.family, "side": str(trigger.side)}
    return lambda partial: checkpoint.write_safetensors(
        partial, trigger.parameters, metadata={TRIGGER_METADATA_KEY: json.dumps(words)}
    )


def _words(path: Path, metadata: dict[str, str], /) -> dict[str, str]:
    """Class, family and side of a file; one that an earlier version saved has each as an entry of its own."""
    words: dict[str, object] = dict(metadata)
    if metadata.keys() == {TRIGGER_METADATA_KEY}:
        words = untrusted.loads(
            metadata[TRIGGER_METADATA_KEY].encode(), f"{path}: its metadata", limit=8 * LONGEST_NAME
        )
    if words.keys() != set(WORD_NAMES) or not all(isinstance(word, str) for word in words.values()):
        keys = ", ".join(key[:20] for key in list(words)[:5]) or "nothing"
        raise _refusal(
            path, f"no trigger of an audit: its metadata tell {keys!a}, and not just {', '.join(WORD_NAMES)}"
        )
    return {key: str(word) for key, word in words.items()}


def _shapes(tensors: dict[str, tuple[torch.dtype, tuple[int, ...]]]) -> str:
    lines = [
        f"{name[:40]!a} {str(dtype).removeprefix('torch.')} {list(shape)}"
        for name, (dtype, shape) in sorted(tensors.items())[:6]
    ]
    return ", ".join(lines) + (", …" if len(tensors) > 6 else "")


def _refusal(path: Path, fault: str) -> RefusedInput:
    return RefusedInput(f"{path} is {fault}. {TRIGGER_ADVICE}")
