"""A folder of images, each with its caption in a text file of the same name."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from clipclean.data import sample
from clipclean.data.sample import (
    IMAGE_KINDS,
    MAX_TEXT_BYTES,
    SIDECAR_KINDS,
    DataRequest,
    ImageSource,
    Listing,
    SampleEntry,
    Unusable,
)
from clipclean.errors import RefusedInput
from clipclean.untrusted import leads_out, printable


def read_folder(root: Path, request: DataRequest, /) -> Listing:
    """Every JPEG, PNG and WebP file below ``root``, by path, with ``.txt``, ``.json`` and ``.cls`` of the same stem.

    An image in a subfolder carries the subfolder's name as label. Hidden files, links that lead out of the folder,
    pipes and devices are not read.

    Raises:
        RefusedInput: a folder cannot be listed.
    """
    listing = Listing("folder")
    files: dict[str, ImageSource | str] = {}  # by path below root, with slashes; of what is not read the reason
    for item, name in _walk(root, listing):
        try:
            files[name] = sample.whole_file(Path(item.path))
            if item.is_symlink() and leads_out(Path(item.path), root):
                files[name] = "a symbolic link that leads out of the folder"
        except Unusable as error:
            files[name] = str(error)
    stems = {_stem(name) for name in files if _kind(name) in IMAGE_KINDS}
    for name, source in sorted(files.items()):
        if _kind(name) in IMAGE_KINDS:
            listing.entries.append(_entry(PurePosixPath(name), source, files, request))
        elif isinstance(source, str):
            listing.ignore(f"files: {source}", name)
        elif _kind(name) not in SIDECAR_KINDS:
            listing.ignore(sample.ignored_kind(name), name)
        elif _stem(name) not in stems:
            listing.ignore("text files without an image of the same name", name)
    return listing


def _kind(name: str, /) -> str:
    return PurePosixPath(name).suffix[1:].lower()


def _stem(name: str, /) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _walk(root: Path, listing: Listing, /) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Files below ``root`` with their names relative to it; a stack, since a hostile tree is deep."""
    folders = [""]
    while folders:
        below = folders.pop()
        try:
            with os.scandir(root / below) as scan:
                items = list(scan)
        except OSError as error:
            raise RefusedInput(
                f"The folder {printable(root / below)} cannot be listed: {sample.reason(error)}. Mend its permissions, or "
                "move it out."
            ) from error
        for item in items:
            name = f"{below}/{item.name}" if below else item.name
            if item.name.startswith("."):
                listing.ignore("hidden files or folders", name)
            elif item.is_dir(follow_symlinks=False):
                folders.append(name)
            elif item.is_symlink() and Path(item.path).is_dir():  # the entry itself raises on a loop
                listing.ignore("symbolic links to folders", name)
            else:
                yield item, name


def _entry(
    path: PurePosixPath, source: ImageSource | str, files: Mapping[str, ImageSource | str], request: DataRequest, /
) -> SampleEntry:
    if isinstance(source, str):
        return SampleEntry(printable(path), problem=source)
    sidecars: dict[str, bytes] = {}
    problem = ""
    for kind in SIDECAR_KINDS:
        beside = files.get(str(path.with_suffix(f".{kind}")))
        try:
            if isinstance(beside, ImageSource):
                sidecars[kind] = beside.load(max_bytes=MAX_TEXT_BYTES)
        except Unusable as error:
            problem = f"its .{kind} cannot be read: {error}"
    label = printable(path.parent.name) or None
    return sample.with_sidecars(str(path), source, sidecars, request, label=label, problem=problem)
