"""The result cache: kept audit results, so that repeating an identical audit takes a second.

An entry is found by a digest of all that decides a result: the bytes of every file that is read, the settings, and the program
itself. It is taken only if it carries a code that nobody else can make: the key for it lies with the user's own state, not in
the cache. Whatever is wrong with the cache, an audit is run as if there were none.
"""

import contextlib
import functools
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import clipclean
from clipclean import files, own_state, untrusted
from clipclean.errors import ClipcleanError
from clipclean.report import PageImages, Report, parse

PLACE = "CLIPCLEAN_CACHE"  # names the folder instead of the user's own
MAX_ENTRIES = 256
MAX_BYTES = 64 * 2**20  # of one entry; a report with its images has less than a megabyte
MAX_FILES = 200_000  # of a folder of images that is digested
SUFFIX = ".result"
PARTS = (".reference", ".classifier")  # kept beside whole results: sizes of references, and text classifiers
TABLES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".arrow")  # they may name files anywhere
VERSION = 1  # of the layout of an entry


@dataclass(frozen=True)
class Cached:
    """A report, and the images of its page."""

    report: Report
    images: PageImages


@dataclass(frozen=True)
class Entry:
    """A line of the list: the model, the time, and the verdict."""

    path: Path
    size: int
    model: str
    verdict: str
    kept: str


def home() -> Path | None:
    """The folder: CLIPCLEAN_CACHE, else ``clipclean`` in XDG_CACHE_HOME or in ~/.cache; None where there is none."""
    for given, below in ((os.environ.get(PLACE, ""), ""), (os.environ.get("XDG_CACHE_HOME", ""), "clipclean")):
        if given and Path(given).is_absolute():
            return Path(given) / below
    try:
        return Path.home() / ".cache" / "clipclean"
    except RuntimeError:
        return None


def key(settings: Mapping[str, object], read: Mapping[str, Path | None], /) -> str | None:
    """The digest of all that determines a result; None if something cannot be read, or is too large to read twice.

    Args:
        settings: JSON values.
        read: the files and folders that a run reads, by their purpose.
    """
    try:
        digests = {name: None if path is None else _digest(path) for name, path in read.items()}
    except (OSError, ValueError):
        return None
    if None in (digests[name] for name, path in read.items() if path is not None):
        return None
    decides = {"layout": VERSION, "program": program(), "settings": settings, "read": digests}
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()


def is_self_contained(data: Path, /) -> bool:
    """Whether all images are read from this path: a tar archive, or a folder without tables and links to folders."""
    if not data.is_dir():
        return data.suffix == ".tar" and data.is_file()
    return not any(each.suffix.lower() in TABLES or (each.is_symlink() and each.is_dir()) for each in data.rglob("*"))


def _digest(path: Path) -> str | None:
    """The digest of a file's bytes, or of all files below a folder with their names."""
    if not path.is_dir():
        return files.sha256(path)
    names = sorted(each for each in path.rglob("*") if not each.is_dir())
    if len(names) > MAX_FILES:
        return None
    total = hashlib.sha256()
    for each in names:
        name = os.fsencode(each.relative_to(path))
        total.update(b"%d:%s" % (len(name), name))
        total.update(bytes.fromhex(files.sha256(each)))
    return total.hexdigest()


def program() -> dict[str, str]:
    """The program: this package by its content, and the versions of the packages that affect a result."""
    versions = {name: metadata.version(name) for name in ("torch", "torchvision", "open_clip_torch", "numpy", "pillow")}
    return {"clipclean": _package(), **versions}


@functools.cache
def _package() -> str:
    """The digest of this package's files, computed once: an audit needs it for each of its models."""
    total = hashlib.sha256()
    folder = Path(clipclean.__file__).parent
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".py", ".json", ".yaml", ".j2", ".css") and path.is_file():
            total.update(os.fsencode(path.relative_to(folder)) + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def load(wanted: str, /) -> Cached | None:
    """The result that was kept under a key, or None; its notes say that it comes from the cache."""
    body = part(wanted, SUFFIX)
    if body is None:
        return None
    try:
        told: Any = untrusted.value(body)
        made = parse(json.loads(told["report"]))
        note = f"Taken from the result cache: this very audit was run at {told['kept']}. --no-cache runs it again."
        return Cached(
            made.model_copy(update={"notes": (*made.notes, note)}),
            PageImages(*(tuple(kind) for kind in told["images"])),
        )
    except (ClipcleanError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # of another layout: as if it were not there


def save(wanted: str, text: str, images: PageImages, /) -> bool:
    """Keep a report as JSON text, and its images, under a key; whether it could be kept."""
    kept = datetime.now(UTC).isoformat(timespec="seconds")
    return keep_part(wanted, SUFFIX, json.dumps({"kept": kept, "report": text, "images": images}).encode())


def part(wanted: str, suffix: str, /) -> bytes | None:
    """The entry under a key, a result or one of ``PARTS``; None if there is none, or none that is authentic."""
    folder = home()
    if folder is None or not _is_private(folder):
        return None
    return _authentic(folder / f"{wanted}{suffix}")


def keep_part(wanted: str, suffix: str, body: bytes, /) -> bool:
    """Keep a result or a part of an audit under a key; whether it could be kept."""
    folder, secret = home(), _secret()
    if folder is None or secret is None or len(body) > MAX_BYTES or not _is_private(folder, make=True):
        return False
    path = folder / f"{wanted}{suffix}"
    content = _code(secret, _name(path), body) + b"\n" + body
    try:
        files.write_whole(path, lambda partial: _write(partial, content))
        _bound(folder, suffix)
    except (ClipcleanError, OSError):
        return False
    return True


def entries() -> list[Entry]:
    """The authentic entries, the newest first."""
    folder = home()
    if folder is None or not _is_private(folder):
        return []
    found = []
    for path in _newest_first(folder, SUFFIX):
        body = _authentic(path)
        if body is not None:
            told = json.loads(body)
            made = json.loads(told["report"])
            found.append(Entry(path, len(body), made["model"]["name"], made["verdict"], told["kept"]))
    return found


def clear() -> int:
    """Remove every entry, authentic or not, and the parts kept beside; how many results. Nothing else is ever removed."""
    folder = home()
    if folder is None or not _is_private(folder):
        return 0
    removed = 0
    for suffix in (SUFFIX, *PARTS):
        for path in _newest_first(folder, suffix):
            with contextlib.suppress(OSError):
                path.unlink()
                removed += suffix == SUFFIX
    return removed


def _name(path: Path) -> str:
    """The name that an entry's code covers: the key of a result, and the whole name of a part."""
    return path.name.removesuffix(SUFFIX)


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)


def _newest_first(folder: Path, suffix: str) -> list[Path]:
    """The files of the folder that are named as entries are, by when they were written; links are not followed."""

    def dated() -> Iterator[tuple[float, Path]]:
        for path in folder.glob(f"*{suffix}"):
            with contextlib.suppress(OSError):
                if not path.is_symlink() and path.is_file():
                    yield path.stat().st_mtime, path

    return [path for _, path in sorted(dated(), reverse=True)]


def _bound(folder: Path, suffix: str) -> None:
    """Remove the oldest entries if there are too many."""
    for path in _newest_first(folder, suffix)[MAX_ENTRIES:]:
        path.unlink(missing_ok=True)


def _authentic(path: Path) -> bytes | None:
    """The content of an entry, if only this user can have written it under this name."""
    secret = _secret()
    try:
        content = untrusted.read(path, limit=MAX_BYTES + 100)
    except (OSError, ValueError):
        return None
    code, _, body = content.partition(b"\n")
    if secret is None or not hmac.compare_digest(code, _code(secret, _name(path), body)):
        return None
    return body


def _code(secret: bytes, wanted: str, body: bytes) -> bytes:
    return hmac.new(secret, wanted.encode() + b"\n" + body, hashlib.sha256).hexdigest().encode()


def _secret() -> bytes | None:
    """This user's key, made at its first use, in a folder that nobody else can enter; None if it cannot be made."""
    try:
        folder = own_state.home() / "keys"
        own_state.private(folder)
        path = folder / "cache"
        with contextlib.suppress(OSError):
            found = untrusted.read(path, limit=32)
            if len(found) == 32:
                return found
        files.write_whole(path, lambda partial: _write(partial, secrets.token_bytes(32)))
        return untrusted.read(path, limit=32)
    except (ClipcleanError, OSError):
        return None


def _is_private(folder: Path, *, make: bool = False) -> bool:
    """Whether the folder is one, no link, of this user, and nobody else may write in it."""
    try:
        if make:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
        if folder.is_symlink() or not folder.is_dir():
            return False
        found = folder.stat()
    except OSError:
        return False
    return os.name != "posix" or (found.st_uid == os.geteuid() and not found.st_mode & 0o022)
