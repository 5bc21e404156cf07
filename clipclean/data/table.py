"""A table of pictures and captions: CSV, TSV or JSON lines."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clipclean.data import text
from clipclean.data.sample import Entry, Found, ImageSource, Unusable, as_label, open_regular, reason, whole_file
from clipclean.errors import RefusedInput, UsageError
from clipclean.untrusted import printable

KNOWN = {"open_clip": ("filepath", "title"), "CleanCLIP": ("image", "caption"), "Hugging Face": ("file_name", "text")}
LABEL = "label"
URL = re.compile(r"(pipe:|[A-Za-z][A-Za-z0-9+.-]+:/)")  # two letters at least: C:/ is a drive
_SEPARATORS = "\t,;"  # open_clip's default first
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_ .-]{0,39}")  # as people call columns
_SHOWN = 30  # columns that a message names
_FIELD = 131_072  # characters of one CSV field


class Columns(NamedTuple):
    """The names under which a table keeps pictures and, where it has them, captions."""

    image: str
    caption: str | None


class _Row(NamedTuple):
    """The values of one row by column, or what is wrong with it."""

    line: int
    values: Mapping[str, object]
    problem: str = ""


def read_table(path: Path, /, *, image_key: str | None, caption_key: str | None, captions: bool) -> Found:
    """The rows of a table; pictures are files named relative to it, or by absolute paths.

    Args:
        path: JSON lines where the first character is a brace, or else CSV with a header; tab, comma or semicolon.
        image_key: column of the pictures; None looks for a known one.
        caption_key: column of the captions; None looks for a known one.
        captions: whether the table must have captions.

    Raises:
        UsageError: the columns are missing or ambiguous; names what was found, what is known and what to pass.
        RefusedInput: not UTF-8, a line or field too long, broken quotes.
    """
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as stream:
            lines = _lines(stream, path)
            first = next(lines, "")
            if first.lstrip().startswith("{"):
                return _records(first, lines, path, image_key=image_key, caption_key=caption_key, captions=captions)
            if first.lstrip().startswith("["):
                raise RefusedInput(
                    f"{printable(path)} is a JSON array. Write one object in each line (JSON lines) and try again."
                )
            return _csv(first, lines, path, image_key=image_key, caption_key=caption_key, captions=captions)
    except Unusable as error:
        raise RefusedInput(f"{printable(path)} cannot be read: {error}.") from error
    except OSError as error:
        raise RefusedInput(f"{printable(path)} cannot be read: {reason(error)}.") from error


def columns_of(
    names: Sequence[str], /, *, image_key: str | None, caption_key: str | None, captions: bool, table: str
) -> Columns:
    """The columns of pictures and captions among ``names``.

    An explicit key wins; else the one complete pair of ``KNOWN``; else the only known name of each sort.

    Raises:
        UsageError: none, or more than one choice.
    """
    pairs = {(image_key or image, caption_key or caption) for image, caption in KNOWN.values()}
    whole = [pair for pair in sorted(pairs) if set(pair) <= set(names)]
    if len(whole) == 1:
        return Columns(*whole[0])
    images = {image for image, _ in pairs} & set(names)
    words = {caption for _, caption in pairs} & set(names)
    if len(images) == 1 and (len(words) == 1 or (not captions and caption_key is None)):
        return Columns(images.pop(), words.pop() if len(words) == 1 else None)
    wanted = "pictures and captions" if captions else "pictures"
    # A file that is no table may hold anything, and its first line is not ours to print.
    is_table = all(_COLUMN.fullmatch(name) for name in names) and len(names) != 1
    shown = ", ".join(map(repr, names[:_SHOWN])) if is_table else f"{len(names)} that are not called like columns"
    found = shown or "none"
    known = ", ".join(f"{image} and {caption} ({who})" for who, (image, caption) in KNOWN.items())
    raise UsageError(
        f"{printable(table)} does not tell which columns hold {wanted}. Columns found: {found}."
        f" Known are {known}. "
        "Rename the columns, or name yours with --image-key NAME and --caption-key NAME."
    )


def _lines(stream: io.TextIOWrapper, path: Path, /) -> Iterator[str]:
    number = 0
    try:
        while line := stream.readline(text.TEXT_BYTES + 1):
            number += 1
            if len(line) > text.TEXT_BYTES:
                raise RefusedInput(
                    f"{printable(path)}, line {number}: longer than {text.TEXT_BYTES:,} characters. A table has "
                    "one sample a line."
                )
            yield line
    except UnicodeDecodeError as error:
        raise RefusedInput(
            f"{printable(path)} is not UTF-8 text (after line {number}: {error.reason}). Save it as UTF-8. "
            "clipclean reads folders of pictures, CSV, TSV, JSON lines and WebDataset tar shards."
        ) from error


def _records(
    first: str, lines: Iterator[str], path: Path, /, *, image_key: str | None, caption_key: str | None, captions: bool
) -> Found:
    head = _record(1, first)
    if head.problem:
        raise RefusedInput(f"{printable(path)}, line 1: {head.problem}. JSON lines hold one object in each line.")
    columns = columns_of(
        [*head.values], image_key=image_key, caption_key=caption_key, captions=captions, table=str(path)
    )
    found = Found("jsonl", [_entry(head, columns, path)])
    found.entries += [
        _entry(_record(number, line), columns, path) for number, line in enumerate(lines, start=2) if line.strip()
    ]
    return found


def _record(number: int, line: str, /) -> _Row:
    try:
        return _Row(number, text.record(line))
    except ValueError as error:
        return _Row(number, {}, printable(str(error)))


def _csv(
    first: str, lines: Iterator[str], path: Path, /, *, image_key: str | None, caption_key: str | None, captions: bool
) -> Found:
    known = {name for pair in KNOWN.values() for name in pair} | {image_key, caption_key}
    headers = {separator: _header(first, separator) for separator in _SEPARATORS}
    # The separator that shows most known columns; then the one that shows most columns.
    separator = max(headers, key=lambda mark: (len(known & set(headers[mark])), len(headers[mark])))
    names = headers[separator]
    columns = columns_of(names, image_key=image_key, caption_key=caption_key, captions=captions, table=str(path))
    found = Found("tsv" if separator == "\t" else "csv")
    reader = csv.reader(lines, delimiter=separator)
    before = csv.field_size_limit(_FIELD)  # one for the process, so it is put back
    try:
        found.entries = [_entry(_row(reader.line_num + 1, row, names), columns, path) for row in reader if row]
    except csv.Error as error:
        raise RefusedInput(
            f"{printable(path)}, line {reader.line_num + 1}: {error}. Look for a quotation mark that is never closed."
        ) from error
    finally:
        csv.field_size_limit(before)
    return found


def _header(line: str, separator: str, /) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        return []


def _row(line: int, row: list[str], names: list[str], /) -> _Row:
    if len(row) > len(names):
        return _Row(line, {}, f"{len(row)} fields under {len(names)} columns: put captions with separators in quotes")
    return _Row(line, dict(zip(names, row, strict=False)))


def _entry(row: _Row, columns: Columns, table: Path, /) -> Entry:
    listed, words = row.values.get(columns.image), row.values.get(columns.caption or "")
    place = f"line {row.line}"
    if row.problem:
        return Entry(place, None, "", None, row.problem)
    if not isinstance(listed, str) or not listed.strip():
        return Entry(place, None, "", None, f"no text under {printable(columns.image)}")
    caption = text.caption(words) if isinstance(words, str) else ""
    label = as_label(row.values.get(LABEL))
    key = printable(listed.strip())
    try:
        return Entry(key, _located(listed.strip(), table), caption, label)
    except Unusable as error:
        return Entry(key, None, caption, label, str(error))


def is_address(name: str, /) -> bool:
    """Whether a table takes this name of a picture for an address on the network, which it refuses."""
    return URL.match(name) is not None


def _located(listed: str, table: Path, /) -> ImageSource:
    if is_address(listed):
        raise Unusable("an address; clipclean reads local files only")
    return whole_file(table.parent / listed)
