"""The paths that a command reads and writes; no path may be both, under any spelling or link."""

import fnmatch
import glob
import importlib.util
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from clipclean import files, metrics_log, requests, untrusted
from clipclean.errors import UsageError
from clipclean.jobs import model_paths
from clipclean.requests import Opt, Request, name_in_messages

SHARD_PATTERN = re.compile(r"{.*}|[*?]|\[.*?\]")  # braces and wildcards of shards
REPORT_HEAD_BYTES = 4096  # bytes; a report has no zero byte in them
NAME_ANOTHER = "Nothing that is read is ever written over: name another place."


def checked_request(request: Request, /) -> Request:
    """A request once it is checked, and the models that it names are in the cache if it lets them be fetched."""
    check(request)
    if not getattr(request, "download", False):
        return request
    from clipclean.jobs import fetch

    return fetch.fetched(request)


def check(*sources: object) -> None:
    """Refuse, before anything is read, what does not go together in a request, and in what the terminal asks beside it.

    Raises:
        UsageError: two paths of a command are one file, a folder that is written overlaps with something that is read, or an
            option means nothing without another, or needs a package that is not there.
        ResourceError: an output cannot be written.
    """
    options = [
        (name, opt, getattr(source, name)) for source in sources for name, opt in requests.options(source).items()
    ]
    for name, opt, value in options:
        values = value if isinstance(value, tuple) else (value,)
        for path in (getattr(item, "path", item) for item in values):  # of a report
            if isinstance(path, Path) or (isinstance(path, str) and (opt.is_path or opt.reads)):
                requests.check_path(name_in_messages(name), Path(path))
    absent = {name for name, _, value in options if not value}
    negated = {field.name for source in sources for field in fields(source) if field.default is True}  # type: ignore[arg-type] # dataclasses
    for required, why in dict.fromkeys(opt.needs for _, opt, _ in options if opt.needs[0] in absent):
        if idle_options := [
            name_in_messages(name) for name, opt, value in options if opt.needs[0] == required and value
        ]:
            presence = "with" if required in negated else "without"
            absent_flag = requests.flag(required, is_negated=required in negated)
            raise UsageError(f"{' and '.join(idle_options)} {presence} {absent_flag}: {why}")
    outputs = (output for name, _, value in options if name == "outputs" for output in value)
    reports = [(f"--report {output.format}={output.path}", output.path) for output in outputs]
    for name, path in reports:
        check_report(name, path)
    inputs = [*_paths_of(options, lambda opt: opt.reads != "")]
    folders = [*_paths_of(options, lambda opt: opt.writes in ("folder", "log"))]
    outputs_written = [*_paths_of(options, lambda opt: opt.writes == "file"), *reports]
    for (name, path), (what, input_) in itertools.product(outputs_written, inputs):
        if _same(path, input_) or _holds(input_, path) or _is_shard(path, input_):
            raise UsageError(f"{name} would write over {what} ({input_}), or into it. {NAME_ANOTHER}")
    for (name, path), (what, input_) in itertools.product(folders, inputs):
        is_inside = _holds(input_, path) or any(_is_shard(path, folder) for folder in input_.parents)
        if is_inside or _overlap(path, _split(input_)[0]):
            raise UsageError(f"{name} {path} is {what} ({input_}), lies in it, or has it inside. {NAME_ANOTHER}")
    for (name, path), (what, other_path) in itertools.combinations([*folders, *outputs_written], 2):
        if _overlap(path, other_path) or _holds(other_path, path):
            raise UsageError(f"{name} and {what} are one place, or one lies in the other. {NAME_ANOTHER}")
    for name, opt, value in options:
        for package in value if name == "log_to" else ():
            if importlib.util.find_spec(package) is None:
                raise UsageError(
                    f"{name_in_messages(name)} {package} needs a package that is not installed: pip install {package}."
                )
        if opt.writes == "log" and value is not None:
            metrics_log.check_log(value)


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
        if os.path.lexists(path) and b"\0" in untrusted.head(path, REPORT_HEAD_BYTES):
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


def _paths_of(
    options: Sequence[tuple[str, Opt, object]], is_of: Callable[[Opt], bool], /
) -> Iterator[tuple[str, Path]]:
    """The paths in the options of some kind, each with its purpose."""
    for name, opt, value in options:
        for item in (value if isinstance(value, tuple) else (value,)) if is_of(opt) else ():
            if isinstance(item, Path | str) and model_paths.is_name(item):
                yield from ((f"the cache of {name_in_messages(name)}", cache) for cache in model_paths.caches())
            elif isinstance(item, Path) or (isinstance(item, str) and untrusted.answers_yes(Path(item).exists)):
                yield name_in_messages(name), Path(item)


def _split(path: Path) -> tuple[Path, Path]:
    """The folder that a pattern starts from, as the system finds it, and the rest; a path that is there has no rest."""
    plain_parts = (
        path.parts
        if untrusted.answers_yes(path.exists)
        else [*itertools.takewhile(lambda part: not SHARD_PATTERN.search(part), path.parts)]
    )
    return Path(*plain_parts).resolve(), Path(*path.parts[len(plain_parts) :])


def _same(first: Path, second: Path) -> bool:
    """Whether two paths are one, by spelling, by a link, or as two names of one file."""
    return first.resolve() == second.resolve() or (
        untrusted.answers_yes(first.exists) and untrusted.answers_yes(second.exists) and first.samefile(second)
    )


def _holds(folder: Path, path: Path) -> bool:
    """Whether a path lies in a folder that is there, or is to be there."""
    return not folder.is_file() and folder.resolve() in path.resolve().parents


def _overlap(folder: Path, path: Path) -> bool:
    return _same(folder, path) or _holds(folder, path)


def _is_shard(path: Path, pattern: Path) -> bool:
    """Whether a path may be one of the shards that a pattern stands for."""
    folder_text, pattern_rest = _split(pattern)
    whole = f"{glob.escape(str(folder_text))}/{re.sub(r'{.*}', '*', str(pattern_rest))}"
    return pattern_rest != Path() and fnmatch.fnmatchcase(str(path.resolve()), whole)
