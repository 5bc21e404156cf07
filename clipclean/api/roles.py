"""The paths that a command reads and writes; no path may be both, under any spelling or link."""

import fnmatch
import glob
import importlib.util
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from clipclean import files, progress, requests, untrusted
from clipclean.errors import UsageError
from clipclean.jobs import model_paths
from clipclean.requests import Asked, Opt, called

PATTERN = re.compile(r"{.*}|[*?]|\[.*?\]")  # braces and wildcards of shards
HEAD = 4096  # bytes; a report has no zero byte in them
NAME_ANOTHER = "Nothing that is read is ever written over: name another place."


def ready(asked: Asked, /) -> Asked:
    """A request once it is checked, and the models that it names are in the cache if it lets them be fetched."""
    check(asked)
    if not getattr(asked, "download", False):
        return asked
    from clipclean.jobs import fetch

    return fetch.fetched(asked)


def check(*asked: object) -> None:
    """Refuse, before anything is read, what does not go together in a request, and in what the terminal asks beside it.

    Raises:
        UsageError: two paths of a command are one file, a folder that is written overlaps with something that is read, or an
            option means nothing without another, or needs a package that is not there.
        ResourceError: an output cannot be written.
    """
    given = [(name, known, getattr(each, name)) for each in asked for name, known in requests.options(each).items()]
    for name, known, value in given:
        several = value if isinstance(value, tuple) else (value,)
        for path in (getattr(each, "path", each) for each in several):  # of a report
            if isinstance(path, Path) or (isinstance(path, str) and (known.is_path or known.reads)):
                requests.check_path(called(name), Path(path))
    absent = {name: known.flags[0] for name, known, value in given if known.flags and not value}
    for needed, why in dict.fromkeys(known.needs for _, known, _ in given if known.needs[0] in absent):
        if idle := [called(name) for name, known, value in given if known.needs[0] == needed and value]:
            how = "with" if absent[needed].startswith("--no-") else "without"
            raise UsageError(f"{' and '.join(idle)} {how} {absent[needed]}: {why}")
    outputs = (each for name, _, value in given if name == "outputs" for each in value)
    reports = [(f"--report {each.format}={each.path}", each.path) for each in outputs]
    for name, path in reports:
        check_report(name, path)
    inputs = [*_places(given, lambda known: known.reads != "")]
    folders = [*_places(given, lambda known: known.writes in ("folder", "log"))]
    written = [*_places(given, lambda known: known.writes == "file"), *reports]
    for (name, path), (what, read) in itertools.product(written, inputs):
        if _same(path, read) or _holds(read, path) or _is_shard(path, read):
            raise UsageError(f"{name} would write over {what} ({read}), or into it. {NAME_ANOTHER}")
    for (name, path), (what, read) in itertools.product(folders, inputs):
        is_inside = _holds(read, path) or any(_is_shard(path, folder) for folder in read.parents)
        if is_inside or _overlap(path, _split(read)[0]):
            raise UsageError(f"{name} {path} is {what} ({read}), lies in it, or has it inside. {NAME_ANOTHER}")
    for (name, path), (what, other) in itertools.combinations([*folders, *written], 2):
        if _overlap(path, other) or _holds(other, path):
            raise UsageError(f"{name} and {what} are one place, or one lies in the other. {NAME_ANOTHER}")
    for name, known, value in given:
        if missing := [each for each in (value if known.is_package else ()) if importlib.util.find_spec(each) is None]:
            raise UsageError(
                f"{called(name)} {missing[0]} needs a package that is not installed: pip install {missing[0]}."
            )
        if known.writes == "log" and value is not None:
            progress.check_log(value)


def check_report(name: str, path: Path, /) -> None:
    """Refuse to overwrite anything that cannot be an earlier report: links, pipes, devices, files that are no text.

    Raises:
        UsageError: that is so, or there is no such folder.
        ResourceError: nothing can be written there.
    """
    try:
        files.check_output(name, path)
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
            raise UsageError(f"{name} is a link, a pipe or a device, and would be replaced by a file. Name a file.")
        if os.path.lexists(path) and b"\0" in untrusted.head(path, HEAD):
            raise UsageError(
                f"{name} exists but is not a text file, so it is not an earlier report. Name another file."
            )
    except OSError as error:
        raise files.cannot_write(path, error) from error


def check_reports(folder: Path | None, names: Sequence[str], /) -> None:
    """Refuse before slow work a folder in which reports of these names could not be written after it, and make nothing.

    Raises:
        UsageError: something is in the way.
        ResourceError: nothing can be written there.
    """
    if folder is None:
        return
    files.check_writable(files.nearest(folder), folder)
    for name in names if folder.is_dir() else ():
        check_report(f"--report-dir: {name}", folder / name)


def _places(given: Sequence[tuple[str, Opt, Any]], is_of: Callable[[Opt], bool], /) -> Iterator[tuple[str, Path]]:
    """The paths in the options of some kind, each with its purpose."""
    for name, known, value in given:
        for each in (value if isinstance(value, tuple) else (value,)) if is_of(known) else ():
            if isinstance(each, Path | str) and model_paths.is_name(each):
                yield from ((f"the cache of {called(name)}", cache) for cache in model_paths.caches())
            elif isinstance(each, Path) or (isinstance(each, str) and untrusted.answers_yes(Path(each).exists)):
                yield called(name), Path(each)


def _split(path: Path) -> tuple[Path, Path]:
    """The folder that a pattern starts from, as the system finds it, and the rest; a path that is there has no rest."""
    plain = (
        path.parts
        if untrusted.answers_yes(path.exists)
        else [*itertools.takewhile(lambda part: not PATTERN.search(part), path.parts)]
    )
    return Path(*plain).resolve(), Path(*path.parts[len(plain) :])


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are one, by spelling, by a link, or as two names of one file."""
    return one.resolve() == other.resolve() or (
        untrusted.answers_yes(one.exists) and untrusted.answers_yes(other.exists) and one.samefile(other)
    )


def _holds(folder: Path, path: Path) -> bool:
    """Whether a path lies in a folder that is there, or is to be there."""
    return not folder.is_file() and folder.resolve() in path.resolve().parents


def _overlap(folder: Path, path: Path) -> bool:
    return _same(folder, path) or _holds(folder, path)


def _is_shard(path: Path, pattern: Path) -> bool:
    """Whether a path may be one of the shards that a pattern stands for."""
    place, rest = _split(pattern)
    whole = f"{glob.escape(str(place))}/{re.sub(r'{.*}', '*', str(rest))}"
    return rest != Path() and fnmatch.fnmatchcase(str(path.resolve()), whole)
