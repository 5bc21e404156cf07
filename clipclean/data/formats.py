"""Which reader a path is for, told by what it is."""

import os
from pathlib import Path

from clipclean import untrusted
from clipclean.data import folder, shards, table
from clipclean.data.sample import Found, reason
from clipclean.errors import RefusedInput, UsageError
from clipclean.untrusted import printable

TABLES = ("captions.jsonl", "captions.csv", "captions.tsv", "metadata.jsonl", "metadata.csv")
_USTAR = slice(257, 262)  # where a tar header says "ustar"
_FOREIGN = {
    b"\x1f\x8b": "gzip-compressed",
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ": "xz-compressed",
    b"\x28\xb5\x2f\xfd": "zstd-compressed",
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\x89HDF": "an HDF5 file",
    b"\xff\xd8\xff": "a single picture",
    b"\x89PNG": "a single picture",
    b"\x80": "a pickle, which clipclean never loads",
}


def find(path: Path, /, *, image_key: str | None, caption_key: str | None, captions: bool) -> Found:
    """The samples of a clean set, in the order of the set; pictures are not opened yet.

    Raises:
        RefusedInput: missing, remote, unreadable, or of no known format.
        UsageError: columns are missing or ambiguous.
    """
    if table.URL.match(str(path)):
        raise RefusedInput(
            f"{printable(path)} is not on this machine: local paths only. Download it first and give the copy's path."
        )
    if path.is_dir():
        return _in_folder(path, image_key=image_key, caption_key=caption_key, captions=captions)
    if "{" in path.name and not path.exists():
        return _in_shards(path, image_key=image_key, caption_key=caption_key)
    start = _start(path)
    if start[_USTAR] == b"ustar" or path.suffix.lower() == ".tar":
        return shards.read_shards([path], image_key=image_key, caption_key=caption_key)
    if kind := next((kind for mark, kind in _FOREIGN.items() if start.startswith(mark)), None):
        raise RefusedInput(
            f"{printable(path)} is {kind}. clipclean reads folders of pictures, CSV, TSV, JSON lines and plain "
            "WebDataset tar shards; turn it into one of these."
        )
    return table.read_table(path, image_key=image_key, caption_key=caption_key, captions=captions)


def _in_folder(path: Path, /, *, image_key: str | None, caption_key: str | None, captions: bool) -> Found:
    tables = [name for name in TABLES if os.path.lexists(path / name)]
    if len(tables) > 1:
        raise UsageError(f"{printable(path)} holds {' and '.join(tables)}. Name the one that is meant.")
    archives = sorted(path.glob("*.tar"))
    if outside := [
        name for name in (*tables, *(each.name for each in archives)) if untrusted.leads_out(path / name, path)
    ]:
        named = ", ".join(map(printable, outside[:5])) + (", …" if len(outside) > 5 else "")
        raise RefusedInput(
            f"{printable(path)} holds links that lead out of it: {named}. Nothing is read through them; name what is meant."
        )
    if tables:
        return table.read_table(path / tables[0], image_key=image_key, caption_key=caption_key, captions=captions)
    if archives:
        return shards.read_shards(archives, image_key=image_key, caption_key=caption_key)
    if image_key is not None:
        raise UsageError(
            f"--image-key {printable(image_key)} names a column, and {printable(path)} is a folder of pictures "
            "without a table. Leave it out, or name the table."
        )
    return folder.read_folder(path, caption_key=caption_key)


def _in_shards(path: Path, /, *, image_key: str | None, caption_key: str | None) -> Found:
    archives = shards.expand(str(path))
    if missing := [archive.name for archive in archives if not archive.exists()]:
        named = ", ".join(map(printable, missing[:5])) + (", …" if len(missing) > 5 else "")
        raise RefusedInput(
            f"{len(missing)} of the {len(archives)} shards of {printable(path)} are missing: {named}. Complete them, "
            "or narrow the range."
        )
    return shards.read_shards(archives, image_key=image_key, caption_key=caption_key)


def _start(path: Path, /) -> bytes:
    try:
        return untrusted.head(path, 512)
    except (OSError, ValueError) as error:
        raise RefusedInput(
            f"{printable(path)} cannot be read: {reason(error)}. Give a folder of pictures, a table, or tar shards."
        ) from error
