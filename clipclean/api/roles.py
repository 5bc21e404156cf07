"""The paths that a command reads and writes; no path may be both, under any spelling or link."""

import itertools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from clipclean import files, untrusted
from clipclean.api.requests import Given
from clipclean.errors import UsageError
from clipclean.jobs import model_paths

# Parameters by how messages call them. Those of a text that may also be a name count where a file is called so.
READ = {
    "model": "the model", "models": "the model", "data": "--data", "eval_data": "--eval-data", "reference": "--reference",
    "references": "--references", "baseline": "--baseline",
    "policy": "--policy", "classes": "--classes", "templates": "--templates", "recipe": "--recipe", "arch": "--arch",
    "triggers": "--trigger", "trusted": "--trusted", "file": "the report", "public_key": "--public-key",
}  # fmt: skip
FOLDERS = {"log_dir": "--log-dir", "report_dir": "--report-dir", "save_triggers": "--save-triggers"}
FILES = {"save_kept": "--save-kept"}
PATTERN = re.compile(r"\\\{.*\\\}|\\\*|\\\?|\\\[.*?\\\]")  # braces and wildcards of shards, once escaped
HEAD = 4096  # bytes; a report has no zero byte in them


class Role(NamedTuple):
    """A path and its purpose."""

    name: str
    path: Path


def check(given: Given, /, *, out: str | None = None) -> None:
    """Refuse, before anything is read, outputs that would overwrite an input or each other.

    Args:
        given: the parameters of a command, by name.
        out: whether its ``out`` is a "folder" or a "file".

    Raises:
        UsageError: two paths of a command are one file, or a folder that is written overlaps with something that is read.
        ResourceError: an output cannot be written.
    """
    folders = list(_of(given, FOLDERS | ({"out": "--out"} if out == "folder" else {})))
    written = list(_of(given, FILES | ({"out": "--out"} if out == "file" else {})))
    reports = [Role(f"--report {o.format}={o.path}", o.path) for o in given.get("outputs", ()) if o.path is not None]
    for report in reports:
        check_report(report)
    inputs = list(_of(given, READ))
    for role in (*written, *reports):
        for read in inputs:
            if _same(role.path, read.path) or _holds(read.path, role.path) or _is_shard(role.path, read.path):
                raise UsageError(f"{role.name} would write over {read.name} ({read.path}), or into it. {NAME_ANOTHER}")
    for role in folders:
        for read in inputs:
            if (
                _same(role.path, _place(read.path))
                or _holds(read.path, role.path)
                or _holds(role.path, _place(read.path))
                or any(_is_shard(role.path, folder) for folder in read.path.parents)
            ):
                raise UsageError(
                    f"{role.name} {role.path} is {read.name} ({read.path}), lies in it, or has it inside. {NAME_ANOTHER}"
                )
    outputs = [*folders, *written, *reports]
    for number, one in enumerate(outputs):
        for other in outputs[:number]:
            if _same(one.path, other.path) or _holds(one.path, other.path) or _holds(other.path, one.path):
                raise UsageError(f"{other.name} and {one.name} are one place, or one lies in the other. {NAME_ANOTHER}")


NAME_ANOTHER = "Nothing that is read is ever written over: name another place."


def check_report(role: Role, /) -> None:
    """Refuse to overwrite anything that cannot be an earlier report: links, pipes, devices, files that are no text.

    Raises:
        UsageError: that is so, or there is no such folder.
        ResourceError: nothing can be written there.
    """
    path, name = role.path, role.name
    try:
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise UsageError(f"{name}: name a file in a folder that exists. Make the folder first.")
        if os.path.lexists(path):
            if path.is_symlink() or not path.is_file():
                raise UsageError(
                    f"{name} is a link, a pipe or a device, and would be replaced by a file. Name a file; - means stdout."
                )
            if b"\0" in untrusted.head(path, HEAD):
                raise UsageError(
                    f"{name} exists but is not a text file, so it is not an earlier report. Name another file."
                )
    except OSError as error:
        raise files.cannot_write(path, error) from error
    files.check_writable(path.absolute().parent, path)


def _of(given: Given, parameters: Mapping[str, str]) -> Iterator[Role]:
    for key, name in parameters.items():
        value = given.get(key)
        for each in value if isinstance(value, tuple | list) else (value,):
            if model_paths.is_name(each):
                yield from (Role(f"the cache of {name}", cache) for cache in model_paths.caches())
            elif isinstance(each, Path) or (isinstance(each, str) and _is_there(Path(each))):
                parts = [each] if _is_there(Path(each)) else str(each).split("::")  # several sets in one value
                yield from (Role(name, Path(part)) for part in parts)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _place(path: Path) -> Path:
    """The path as the system finds it; of a pattern, which is no file, the folder that it starts from."""
    return Path(*_plain(path)).resolve() if _is_pattern(path) else path.resolve()


def _is_pattern(path: Path) -> bool:
    return PATTERN.search(re.escape(str(path))) is not None and not _is_there(path)


def _plain(pattern: Path) -> list[str]:
    """The parts of a pattern before the first with braces or wildcards."""
    return [*itertools.takewhile(lambda part: not PATTERN.search(re.escape(part)), pattern.parts)]


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are one, by spelling, by a link, or as two names of one file."""
    if one.resolve() == other.resolve():
        return True
    return _is_there(one) and _is_there(other) and one.samefile(other)


def _holds(folder: Path, path: Path) -> bool:
    """Whether a path lies in a folder that is there, or is to be there."""
    return (
        not folder.is_file() and path.resolve() != folder.resolve() and path.resolve().is_relative_to(folder.resolve())
    )


def _is_shard(path: Path, pattern: Path) -> bool:
    """Whether a path may be one of the shards that a pattern stands for."""
    if not _is_pattern(pattern):
        return False
    plain = _plain(pattern)
    whole = str(Path(*plain).resolve().joinpath(*pattern.parts[len(plain) :]))
    return re.fullmatch(PATTERN.sub(".*", re.escape(whole)), str(path.resolve())) is not None
