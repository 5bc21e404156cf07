"""A table of images and captions: CSV, TSV, JSON lines, a JSON array or COCO's captions."""

import csv
import functools
import io
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from clipclean import untrusted
from clipclean.data import sample
from clipclean.data.formats import READABLE_FORMATS
from clipclean.data.sample import DataRequest, ImageSource, Listing, SampleEntry, Unusable
from clipclean.errors import RefusedInput, UsageError
from clipclean.untrusted import answers_yes, leads_out, printable

COLUMN_PAIRS = {
    "open_clip": ("filepath", "title"),
    "CleanCLIP": ("image", "caption"),
    "Hugging Face": ("file_name", "text"),
}
# Common names of these columns, in any case of letters; used if no pair of ``COLUMN_PAIRS`` is complete.
IMAGE_NAMES = {image for image, _ in COLUMN_PAIRS.values()}
IMAGE_NAMES |= {"image_path", "img_path", "image_file", "filename", "path", "img", "jpg", "png"}
CAPTION_NAMES = ("title", "caption", "text", "captions", "sentence", "sentences", "description")
ADDRESS_NAMES = ("url", "image_url")  # of images elsewhere: known, so that a message can say what to do
LABEL_COLUMN = "label"
URL = re.compile(r"(pipe:|[A-Za-z][A-Za-z0-9+.-]+:/)")  # two letters at least: C:/ is a drive
_SEPARATORS = "\t,;"  # open_clip's default first
_COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_ .-]{0,39}")  # as people call columns
_COLUMNS_SHOWN = 30  # columns that a message names
JSON_BYTES = 500_000_000  # of one JSON file; COCO's largest has 92 MB
_MAX_FIELD = 131_072  # characters of one CSV field
_COCO_NAME = re.compile(r"captions_(\w+)")  # captions_train2017.json points to the folder train2017


class Columns(NamedTuple):
    """The names under which a table keeps images and, where it has them, captions."""

    image: str
    caption: str | None


class _Row(NamedTuple):
    """The values of one row by column, or what is wrong with it."""

    line: str
    values: Mapping[str, object]
    problem: str = ""


def read_table(path: Path, request: DataRequest, /) -> Listing:
    """The rows of a table; images are files named relative to it, or by absolute paths.

    A file whose name ends in ``.json`` holds one array of objects, COCO's captions, or JSON lines after all.

    Args:
        path: JSON lines where the first character is a brace, or else CSV with a header; tab, comma or semicolon.
        request: columns that were named; whether the table must have captions.

    Raises:
        UsageError: the columns are missing or ambiguous; names what was found, what is known and what to pass.
        RefusedInput: not UTF-8, a line or field too long, broken quotes.
    """
    try:
        with io.TextIOWrapper(sample.open_regular(path), encoding="utf-8-sig", newline="") as stream:
            lines = _lines(stream, path)
            if path.suffix.lower() == ".json" and not _is_json_lines(stream):
                return _json(path, request)
            first = next(lines, "")
            if first.lstrip().startswith("{"):
                return _records(first, lines, path, request)
            if first.lstrip().startswith("["):
                return _json(path, request)
            return _csv(first, lines, path, request)
    except (Unusable, OSError) as error:
        raise RefusedInput(f"{printable(path)} cannot be read: {sample.reason(error)}.") from error


def columns_of(names: Sequence[str], request: DataRequest, /, *, table: str) -> Columns:
    """The columns of images and captions among ``names``.

    An explicit key wins; else the one complete pair of ``COLUMN_PAIRS``; else the only known name of each sort.

    Raises:
        UsageError: none, or more than one choice.
        RefusedInput: several columns have one name.
    """
    pairs = {(request.image_key or image, request.caption_key or caption) for image, caption in COLUMN_PAIRS.values()}
    complete_pairs = [pair for pair in sorted(pairs) if set(pair) <= set(names)]
    images = _among(names, request.image_key, IMAGE_NAMES) or _among(names, request.image_key, ADDRESS_NAMES)
    words = _among(names, request.caption_key, CAPTION_NAMES)
    if duplicates := [name for name in names if name in {*images, *words, LABEL_COLUMN} and names.count(name) > 1]:
        raise RefusedInput(
            f"{printable(table)} has {names.count(duplicates[0])} columns called {printable(duplicates[0])}. Rename all but one of them."
        )
    if len(complete_pairs) == 1:
        return Columns(*complete_pairs[0])
    can_lack = not request.captions or (request.labels_serve and LABEL_COLUMN in names)
    if len(images) == 1 and (len(words) == 1 or (can_lack and request.caption_key is None)):
        return Columns(images[0], words[0] if len(words) == 1 else None)
    contents = "images and captions" if request.captions else "images"
    # A file that is no table may hold anything, and its first line is not ours to print.
    is_table = all(_COLUMN_NAME.fullmatch(name) for name in names) and len(names) != 1
    column_words = (
        ", ".join(map(repr, names[:_COLUMNS_SHOWN])) if is_table else f"{len(names)} that are not called like columns"
    )
    known_pairs = ", ".join(f"{image} and {caption} ({who})" for who, (image, caption) in COLUMN_PAIRS.items())
    # Where no captions are needed no command takes such an option.
    way_out = ", or name yours with --image-key NAME and --caption-key NAME" if request.captions else ""
    raise UsageError(
        f"{printable(table)} does not tell which columns hold {contents}. Columns found: {column_words or 'none'}."
        f" Known are {known_pairs}, and other usual names where there is one of each. "
        f"Rename the columns{way_out}."
    )


def _among(names: Sequence[str], key: str | None, known_names: Collection[str], /) -> list[str]:
    """The column that was named, or those with a known name."""
    return [name for name in names if (name == key if key else name.strip().lower() in known_names)]


def _is_json_lines(stream: io.TextIOWrapper, /) -> bool:
    """Whether a stream begins with one whole object a line, of two lines at least; it is put back."""
    try:
        first, second = (stream.readline(sample.MAX_TEXT_BYTES) for _ in range(2))
        stream.seek(0)
        sample.record(first)
    except ValueError:  # that it is not UTF-8 is said by whoever reads it as one value
        return False
    return second.lstrip().startswith("{")


def _json(path: Path, request: DataRequest, /) -> Listing:
    """One JSON value: an array of objects, or COCO's captions."""
    try:
        value = untrusted.value(untrusted.read(path, limit=JSON_BYTES).decode(sample.UTF8))
    except (ValueError, RecursionError) as error:
        raise RefusedInput(
            f"{printable(path)} is not JSON ({printable(str(error)[:200])}). Mend it, or write one object in each line."
        ) from error
    if isinstance(value, dict):
        if is_coco(value):
            return _coco(path, value)
        value = [value]
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise RefusedInput(
            f"{printable(path)} is JSON, and neither an array of objects, one for each image, nor a COCO file of captions."
        )
    columns = columns_of([*value[0]] if value else [], request, table=str(path))
    rows = (_Row(f"entry {number}", row) for number, row in enumerate(value, start=1))
    return Listing("json", [*_entries(rows, columns, path)])


def _lines(stream: io.TextIOWrapper, path: Path, /) -> Iterator[str]:
    number = 0
    try:
        while line := stream.readline(sample.MAX_TEXT_BYTES + 1):
            number += 1
            if len(line) > sample.MAX_TEXT_BYTES:
                raise RefusedInput(
                    f"{printable(path)}, line {number}: longer than {sample.MAX_TEXT_BYTES:,} characters. A table has "
                    "one sample a line."
                )
            yield line
    except UnicodeDecodeError as error:
        raise RefusedInput(
            f"{printable(path)} is not UTF-8 text (after line {number}: {error.reason}). Save it as UTF-8. "
            f"clipclean reads {READABLE_FORMATS}."
        ) from error


def _records(first: str, lines: Iterator[str], path: Path, request: DataRequest, /) -> Listing:
    head = _record(1, first)
    if head.problem:
        raise RefusedInput(f"{printable(path)}, line 1: {head.problem}. JSON lines hold one object in each line.")
    columns = columns_of([*head.values], request, table=str(path))
    rows = (_record(number, line) for number, line in enumerate(lines, start=2) if line.strip())
    return Listing("jsonl", [*_entries(itertools.chain([head], rows), columns, path)])


def _record(number: int, line: str, /) -> _Row:
    try:
        return _Row(f"line {number}", sample.record(line))
    except ValueError as error:
        return _Row(f"line {number}", {}, printable(str(error)))


def _csv(first: str, lines: Iterator[str], path: Path, request: DataRequest, /) -> Listing:
    known_names = {*IMAGE_NAMES, *CAPTION_NAMES, request.image_key, request.caption_key}
    headers = {separator: _header(first, separator) for separator in _SEPARATORS}
    # The separator that shows most known columns; then the one that shows most columns.
    separator = max(headers, key=lambda mark: (len(known_names & set(headers[mark])), len(headers[mark])))
    names = headers[separator]
    columns = columns_of(names, request, table=str(path))
    reader = csv.reader(lines, delimiter=separator)
    before = csv.field_size_limit(_MAX_FIELD)  # one for the process, so it is put back
    try:
        rows = (_row(f"line {reader.line_num + 1}", row, names) for row in reader if row)
        return Listing("tsv" if separator == "\t" else "csv", [*_entries(rows, columns, path)])
    except csv.Error as error:
        raise RefusedInput(
            f"{printable(path)}, line {reader.line_num + 1}: {error}. Look for a quotation mark that is never closed."
        ) from error
    finally:
        csv.field_size_limit(before)


def _header(line: str, separator: str, /) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        return []


def _row(line: str, row: list[str], names: list[str], /) -> _Row:
    if len(row) > len(names):
        return _Row(line, {}, f"{len(row)} fields under {len(names)} columns: put captions with separators in quotes")
    return _Row(line, dict(zip(names, row, strict=False)))


def _entries(rows: Iterable[_Row], columns: Columns, table: Path, /) -> Iterator[SampleEntry]:
    """The pairs of rows: one each, or one for each of a list of captions."""
    for row in rows:
        file_name, words = row.values.get(columns.image), row.values.get(columns.caption or "")
        if row.problem or not isinstance(file_name, str) or not file_name.strip():
            yield SampleEntry(row.line, problem=row.problem or f"no text under {printable(columns.image)}")
            continue
        key, label = printable(file_name.strip()), sample.as_label(row.values.get(LABEL_COLUMN))
        try:
            source = image_source(file_name.strip(), table.parent)
        except Unusable as error:
            yield SampleEntry(key, label=label, problem=str(error))
            continue
        for text in words if isinstance(words, list) and words else [words]:
            yield SampleEntry(key, source, sample.caption(text) if isinstance(text, str) else "", label)


def is_address(name: str, /) -> bool:
    """Whether a table takes this name of an image for an address on the network, which it refuses."""
    return URL.match(name) is not None


def image_source(file_name: str, folder: Path, /) -> ImageSource:
    """The image that a table in ``folder`` names; raises Unusable."""
    if is_address(file_name):
        raise Unusable("an address; clipclean reads local files only")
    return sample.whole_file(folder / file_name)


def is_coco(value: Mapping[str, object], /) -> bool:
    """Whether a JSON object has the two lists of a COCO file."""
    return isinstance(value.get("images"), list) and isinstance(value.get("annotations"), list)


def _coco(path: Path, value: Mapping[str, object], /) -> Listing:
    """The captions of a COCO file, which has two lists: each with its image; images of several captions give several pairs.

    Images are looked for where COCO's archives put them: beside the file, beside its folder, and in ``train2017`` or
    ``images/train2017`` there, for ``captions_train2017.json``. Names that lead out of that folder are not read.

    Raises:
        RefusedInput: no such folder has the images; names those that were looked into.
    """
    listing = Listing("coco")
    numbered_names = ((_number(row.get("id")), row.get("file_name")) for row in _rows(value["images"]))
    names = {number: name for number, name in numbered_names if number and isinstance(name, str) and name}
    folder = _coco_folder(path, list(names.values()))
    image = functools.cache(functools.partial(_coco_image, folder))
    captioned_names: set[str] = set()
    for row_number, row in enumerate(_rows(value["annotations"])):
        name, words = names.get(_number(row.get("image_id"))), row.get("caption")
        if name is None:
            listing.entries.append(
                SampleEntry(f"annotation {row_number}", problem="it belongs to no image of the file")
            )
        else:
            captioned_names.add(name)
            listing.entries.append(
                replace(image(name), caption=sample.caption(words) if isinstance(words, str) else "")
            )
    listing.entries += [image(name) for name in names.values() if name not in captioned_names]
    return listing


def _coco_image(folder: Path, name: str, /) -> SampleEntry:
    """An image without a caption, or why it is not read."""
    path = PurePosixPath(name)
    try:
        source = sample.whole_file(folder / name)
    except Unusable as error:
        return SampleEntry(printable(name), problem=str(error))
    if path.is_absolute() or ".." in path.parts or leads_out(folder / name, folder):
        return SampleEntry(printable(name), problem="a name that leads out of the folder of images")
    return SampleEntry(printable(name), source)


def _coco_folder(path: Path, names: Sequence[str], /) -> Path:
    """The folder in which most of the first images are."""
    folder = path.absolute().parent
    match = _COCO_NAME.fullmatch(path.stem)
    below = [match[1]] if match else []
    folders = [
        candidate / inside
        for candidate in (folder, folder.parent)
        for inside in ("", "images", *below, *(f"images/{name}" for name in below))
    ]
    examples = [name for name in names[:20] if not PurePosixPath(name).is_absolute()]
    best = max(folders, key=lambda candidate: sum(answers_yes((candidate / name).is_file) for name in examples))
    if examples and not any(answers_yes((best / name).is_file) for name in examples):
        folder_words = ", ".join(printable(candidate) for candidate in folders)
        raise RefusedInput(
            f"{printable(path)} is a COCO file, and its images ({printable(examples[0])}, …) are in none of {folder_words}. Put the "
            "folder of images beside the file or beside its folder."
        )
    return best


def _rows(rows: Any, /) -> list[Mapping[str, object]]:  # Any: a list of JSON values
    return [row for row in rows if isinstance(row, dict)]


def _number(value: object, /) -> str:
    """An identifier as text; other sets than COCO use words."""
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
