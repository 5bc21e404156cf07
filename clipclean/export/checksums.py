"""``SHA256SUMS``: the digest of every file below a folder, as ``sha256sum`` writes and checks it."""

import re
from pathlib import Path, PurePosixPath

from clipclean import files
from clipclean.errors import RefusedInput

NAME = "SHA256SUMS"
MAX_BYTES = 2**20  # of the list; a folder of ours has at most thirty files
LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[^\x00-\x1f\x7f\\]+)")


def digests(folder: Path, /) -> dict[str, str]:
    """The SHA-256 of every file below the folder but ``SHA256SUMS``, by its name relative to it."""
    return {name: files.sha256(folder / name) for name in files.below(folder) if name != NAME}


def text(folder: Path, /) -> str:
    """The list over every file below the folder, sorted by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests(folder).items())


def parse(listed: bytes, /) -> dict[str, str]:
    """Digests by name, of a list that may be anything.

    Raises:
        RefusedInput: it is too long or no such list, names a file twice, or names one outside the folder.
    """
    if len(listed) > MAX_BYTES:
        raise RefusedInput(f"{NAME} has {len(listed):,} bytes; no honest one needs more than {MAX_BYTES:,}.")
    found: dict[str, str] = {}
    for number, line in enumerate(listed.decode("utf-8", "backslashreplace").splitlines(), start=1):
        match = LINE.fullmatch(line)
        if match is None:
            raise RefusedInput(f"{NAME}, line {number}, is no digest with a name: {line[:80]!a}.")
        name = match["name"]
        if not is_inside(name):
            raise RefusedInput(f"{NAME}, line {number}, names a file outside its folder: {name[:80]!a}.")
        if name in found:
            raise RefusedInput(f"{NAME}, line {number}, names a file for the second time: {name[:80]!a}.")
        found[name] = match["digest"]
    if not found:
        raise RefusedInput(f"{NAME} is empty, so it protects nothing.")
    return found


def is_inside(name: str, /) -> bool:
    """Whether a relative name, in the one spelling of it, stays in its folder."""
    return str(PurePosixPath(name)) == name and not name.startswith("/") and ".." not in name.split("/")
