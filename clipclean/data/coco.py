"""COCO captions: one JSON file with image names, and captions by image number."""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from clipclean.data import sample
from clipclean.data.sample import Listing, SampleEntry, Unusable, whole_file
from clipclean.errors import RefusedInput
from clipclean.untrusted import asked, leads_out, printable

_NAME = re.compile(r"captions_(\w+)")  # captions_train2017.json points to the folder train2017


def is_coco(told: Mapping[str, object], /) -> bool:
    """Whether a JSON object has the two lists of a COCO file."""
    return isinstance(told.get("images"), list) and isinstance(told.get("annotations"), list)


def read_coco(path: Path, told: Mapping[str, object], /) -> Listing:
    """The captions of a COCO file, each with its image; images of several captions give several pairs.

    Images are looked for where COCO's archives put them: beside the file, beside its folder, and in ``train2017`` or
    ``images/train2017`` there, for ``captions_train2017.json``. Names that lead out of that folder are not read.

    Raises:
        RefusedInput: no such folder has the images; names those that were looked into.
    """
    found = Listing("coco")
    named = ((_number(row.get("id")), row.get("file_name")) for row in _rows(told["images"]))
    names = {number: name for number, name in named if number and isinstance(name, str) and name}
    folder = _folder(path, list(names.values()))
    image = functools.cache(functools.partial(_image, folder))
    captioned: set[str] = set()
    for place, row in enumerate(_rows(told["annotations"])):
        name, words = names.get(_number(row.get("image_id"))), row.get("caption")
        if name is None:
            found.entries.append(SampleEntry(f"annotation {place}", problem="it belongs to no image of the file"))
        else:
            captioned.add(name)
            found.entries.append(replace(image(name), caption=sample.caption(words) if isinstance(words, str) else ""))
    found.entries += [image(name) for name in names.values() if name not in captioned]
    return found


def _image(folder: Path, name: str, /) -> SampleEntry:
    """An image without a caption, or why it is not read."""
    path = PurePosixPath(name)
    try:
        source = whole_file(folder / name)
    except Unusable as error:
        return SampleEntry(printable(name), problem=str(error))
    if path.is_absolute() or ".." in path.parts or leads_out(folder / name, folder):
        return SampleEntry(printable(name), problem="a name that leads out of the folder of images")
    return SampleEntry(printable(name), source)


def _folder(path: Path, names: Sequence[str], /) -> Path:
    """The folder in which most of the first images are."""
    here = path.absolute().parent
    part = _NAME.fullmatch(path.stem)
    below = [part[1]] if part else []
    places = [
        place / inside
        for place in (here, here.parent)
        for inside in ("", "images", *below, *(f"images/{name}" for name in below))
    ]
    some = [name for name in names[:20] if not PurePosixPath(name).is_absolute()]
    best = max(places, key=lambda place: sum(asked((place / name).is_file) for name in some))
    if some and not any(asked((best / name).is_file) for name in some):
        looked = ", ".join(printable(place) for place in places)
        raise RefusedInput(
            f"{printable(path)} is a COCO file, and its images ({printable(some[0])}, …) are in none of {looked}. Put the "
            "folder of images beside the file or beside its folder."
        )
    return best


def _rows(rows: object, /) -> list[Mapping[str, object]]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _number(value: object, /) -> str:
    """An identifier as text; other sets than COCO use words."""
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
