"""What a clean set holds: picks the reader of a path from its content, and expands path patterns."""

import functools
import glob
import importlib
import itertools
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from clipclean import untrusted
from clipclean.data import folder, table
from clipclean.data.formats import CONTAINERS, READABLE_FORMATS
from clipclean.data.sample import DataRequest, Listing, Scratch, reason
from clipclean.errors import RefusedInput, UsageError
from clipclean.files import joined_words
from clipclean.untrusted import printable

TABLE_NAMES = ("captions.jsonl", "captions.csv", "captions.tsv", "metadata.jsonl", "metadata.csv")
SPLIT_NAMES = ("train", "validation", "val", "valid", "dev", "test")  # by what is taken of several
_ARCHIVE_WORDS = "a packed folder: unpack it, and name the folder"
_FOREIGN_FORMATS = {
    b"PK\x03\x04": _ARCHIVE_WORDS,
    b"\x1f\x8b": _ARCHIVE_WORDS,
    b"BZh": _ARCHIVE_WORDS,
    b"\xfd7zXZ": _ARCHIVE_WORDS,
    b"\x28\xb5\x2f\xfd": "zstd-compressed",
    b"\x89HDF": "an HDF5 file",
    b"\xff\xd8\xff": "a single image",
    b"\x89PNG": "a single image",
    b"\x80": "a pickle, which clipclean never loads",
}


def find(sources: Sequence[Path], request: DataRequest, /, *, scratch: Scratch) -> Listing:
    """The samples of a clean set, in the order of the set; images are not opened yet.

    Args:
        sources: each a file or folder, or a pattern.
        request: columns that were named; whether captions are needed.
        scratch: where images are copied out of Parquet.

    Raises:
        RefusedInput: missing, remote, unreadable, or of no known format.
        UsageError: columns are missing or ambiguous.
    """
    source = printable(joined_words(sources))
    if any(table.URL.match(str(source_path)) for source_path in sources):
        raise RefusedInput(f"{source} is not on this machine. Download it first and give the copy's path.")
    paths = [path for source_path in sources for path in expand(source_path)]
    if missing := [path.name for path in paths if not os.path.lexists(path)] if "{" in source else []:
        raise RefusedInput(
            f"{len(missing)} of the {len(paths)} shards of {source} are missing: {untrusted.first_few(missing)}. Complete them, "
            "or narrow the range."
        )
    if len(paths) == 1:
        return _read_path(paths[0], request, scratch)
    union, formats = Listing("several"), set()
    for path in paths:
        listing = _read_path(path, request, scratch)
        formats.add(listing.format)
        name = printable(path.name)
        union.entries += [replace(entry, key=f"{name}/{entry.key}") for entry in listing.entries]
        for ignored in listing.ignored.values():
            union.ignore(ignored.reason, *ignored.examples, count=ignored.count)
    if len(formats) == 1:
        union.format = formats.pop()
    return union


def _read_path(path: Path, request: DataRequest, scratch: Scratch, /) -> Listing:
    if path.is_dir():
        return _in_folder(path, request, scratch)
    try:
        head = untrusted.head(path, 512)
    except (OSError, ValueError) as error:
        raise RefusedInput(f"{printable(path)} cannot be read: {reason(error)}. Give {READABLE_FORMATS}.") from error
    foreign = next((kind for mark, kind in _FOREIGN_FORMATS.items() if head.startswith(mark)), None)
    kinds = (kind for kind, container in CONTAINERS.items() if container.tells(head))
    suffix = path.suffix.lower().removeprefix(".")
    is_named = suffix in CONTAINERS and CONTAINERS[suffix].is_told_by_name
    if kind := next(kinds, suffix if is_named else ""):
        return _containers(kind, [path], request, scratch)
    if foreign:
        raise RefusedInput(
            f"{printable(path)} is {foreign}. clipclean reads {READABLE_FORMATS}: turn it into one of these."
        )
    return table.read_table(path, request)


def _containers(kind: str, paths: Sequence[Path], request: DataRequest, scratch: Scratch) -> Listing:
    """The samples of files that contain the images."""
    try:
        module = importlib.import_module(f"clipclean.data.{CONTAINERS[kind].module}")  # pyarrow takes a while to import
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pyarrow":
            raise
        raise UsageError(
            f"{printable(paths[0])} is a table of images, and these are read by pyarrow, which is not installed: pip install pyarrow."
        ) from error
    listing: Listing = module.read(kind, paths, request, scratch)
    return listing


def _in_folder(path: Path, request: DataRequest, scratch: Scratch, /) -> Listing:
    tables = [name for name in TABLE_NAMES if os.path.lexists(path / name)]
    if len(tables) > 1:
        raise UsageError(f"{printable(path)} holds {' and '.join(tables)}. Name the one you mean.")
    if tables:
        return table.read_table(_inside(path, [path / tables[0]])[0], request)
    for kind in CONTAINERS:
        files = sorted([*path.glob(f"*.{kind}"), *(path / "data").glob(f"*.{kind}")])
        # Beside each folder of images img2dataset leaves a Parquet file of what it did.
        if files := [file for file in files if not file.with_suffix("").is_dir()]:
            return _first_split(
                _inside(path, files), functools.partial(_containers, kind, request=request, scratch=scratch)
            )
    if files := sorted([*path.glob("captions_*.json"), *(path / "annotations").glob("captions_*.json")]):
        return _first_split(_inside(path, files), lambda paths: table.read_table(paths[0], request), at_most=1)
    if split := _split_folder(path):
        listing = _in_folder(split, request, scratch)
        for name in SPLIT_NAMES:
            if split.name != name and (path / name).is_dir():
                listing.ignore(f"splits beside {split.name}, of which each can be named itself", name)
        return listing
    if request.image_key is not None:
        raise UsageError(
            f"--image-key {printable(request.image_key)} names a column, and {printable(path)} is a folder of images "
            "without a table. Leave it out, or name the table."
        )
    return folder.read_folder(path, request)


def _split_folder(path: Path, /) -> Path | None:
    """The first split of a folder whose splits have tables or containers of their own; a folder of class folders has none."""
    marks = (*TABLE_NAMES, "state.json")
    for name in SPLIT_NAMES:
        split = path / name
        if split.is_dir() and not untrusted.leads_out(split, path):
            if any(os.path.lexists(split / mark) for mark in marks):
                return split
            if any(next(split.glob(f"*.{suffix}"), None) for suffix in CONTAINERS):
                return split
    return None


def _first_split(files: list[Path], read: Callable[[list[Path]], Listing], /, *, at_most: int | None = None) -> Listing:
    """Those of the first split that files name, as ``train-00000-of-00002`` or ``captions_train2017`` do; all if none does."""
    words = ["".join(itertools.takewhile(str.isalpha, file.stem.removeprefix("captions_"))) for file in files]
    by_split = ([file for file, word in zip(files, words, strict=True) if word == name] for name in SPLIT_NAMES)
    selection = next(filter(None, by_split), files)
    if at_most is not None and len(selection) > at_most:
        raise UsageError(
            f"{printable(files[0].parent)} holds {untrusted.first_few([file.name for file in selection])}. Name the one you mean."
        )
    listing = read(selection)
    for file in files:
        if file not in selection:
            listing.ignore("files of other splits, of which each can be named itself", file.name)
    return listing


def _inside(folder: Path, files: Sequence[Path], /) -> list[Path]:
    """Files of a folder, none of which is a link that leads out of it."""
    if outside := [file.name for file in files if untrusted.leads_out(file, folder)]:
        raise RefusedInput(
            f"{printable(folder)} holds links that lead out of it: {untrusted.first_few(outside)}. Nothing is read through "
            "them; name the intended file or folder."
        )
    return [*files]


MAX_PATHS = 100_000  # paths of one pattern
_LONGEST_PATTERN = 4096  # characters of a pattern
_RANGE_PATTERN = re.compile(r"\{(-?\d{1,9})\.\.(-?\d{1,9})(\.\.-?\d+)?\}")
_WILDCARD = re.compile(r"[*?\[]")


def expand(pattern: Path, /) -> list[Path]:
    """The paths of ``shard-{000..003}.tar`` and ``*.tar``, in their order; a path that is there stands for itself.

    Braces are those of webdataset, by the same library. Its ``expand_urls`` is not used: it puts environment variables into
    paths, and makes a list of a billion as readily as of ten.

    Raises:
        RefusedInput: more than 100,000 paths, unbalanced braces, or a wildcard that nothing matches.
    """
    if untrusted.answers_yes(pattern.exists):
        return [pattern]
    text = str(pattern)
    paths = [Path(name) for name in _braces(text)]
    if len(paths) == 1 and _WILDCARD.search(text):
        paths = sorted(Path(name) for name in itertools.islice(glob.iglob(text), MAX_PATHS + 1))  # noqa: PTH207 # absolute patterns
        if not paths:
            raise RefusedInput(f"Nothing matches {printable(pattern)}. Check the pattern, and where it starts from.")
        _refuse_many(pattern, len(paths))
    return paths


def _braces(pattern: str, /) -> list[str]:
    if "{" not in pattern:
        return [pattern]
    from braceexpand import braceexpand

    # Counted before anything is expanded, and rather too high for nested braces: the library makes lists of them.
    ranges = [abs(int(last) - int(first)) + 1 for first, last, _ in _RANGE_PATTERN.findall(pattern)]
    _refuse_many(pattern, math.prod(ranges) * 2 ** min(pattern.count(","), 64))
    if len(pattern) > _LONGEST_PATTERN:
        raise RefusedInput(f"The pattern {printable(pattern[:80])}… is too long. Give fewer paths.")
    try:
        return list(braceexpand(pattern, escape=False))
    except ValueError as error:
        raise RefusedInput(f"The braces of {printable(pattern)} are not balanced. Close each one.") from error


def _refuse_many(pattern: str | Path, count: int, /) -> None:
    if count > MAX_PATHS:
        raise RefusedInput(
            f"{printable(pattern)} stands for {count:,} shards; {MAX_PATHS:,} are the most. Check the range."
        )
