"""The user's own state folder: states of runs, locks, and notes on unfinished moves."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from clipclean import files, untrusted
from clipclean.errors import RefusedInput, ResourceError, UsageError

STATE_VARIABLE = "CLIPCLEAN_STATE"  # names the folder instead of the user's own

MAX_MARK = 2**20  # bytes
MAX_SECONDS = 2.0**40
MARK_NAME = "command.json"  # in each folder of a state: it is ours, and this goes on with it
FOLDERS = RUNS, AUDITS = "runs", "audits"  # of states, below the home
COMMAND: ContextVar[str] = ContextVar("command", default="the same call in Python")
Note = dict[str, Any]  # JSON that clipclean wrote itself, into a folder that is the user's alone


def home() -> Path:
    """The folder: CLIPCLEAN_STATE, else ``clipclean`` in XDG_STATE_HOME or in ~/.local/state.

    Raises:
        UsageError: CLIPCLEAN_STATE is a relative path, or there is no home.
    """
    if path := os.environ.get(STATE_VARIABLE):
        if not Path(path).is_absolute():
            raise UsageError(f"{STATE_VARIABLE}={path} is a relative path. Give an absolute one.")
        return Path(path)
    states = Path(os.environ.get("XDG_STATE_HOME", ""))
    if states.is_absolute():
        return states / "clipclean"
    try:
        return Path.home() / ".local" / "state" / "clipclean"
    except RuntimeError as error:
        raise UsageError(
            f"There is no home folder for the state of a run. Name a folder by {STATE_VARIABLE}."
        ) from error


def place_of(out: Path, /) -> Path:
    """The folder for the state of any run that writes ``out``, in any spelling of the path.

    It is never beside ``out`` or in it: files that come with a model, from git or a tar archive, must not count as our state,
    and links in them must not lead us anywhere.
    """
    return home() / RUNS / hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:32]


def private(folder: Path, /) -> None:
    """Make a folder below ``home()`` that only its user can enter, and check that it, and those above it, are so.

    Checked on the open descriptor without following a link: whoever could write there could make us delete or take
    over files of their choosing.

    Raises:
        ResourceError: it cannot be made, is a link, or belongs to somebody else.
    """
    top = home()
    try:
        top.parent.mkdir(parents=True, exist_ok=True)
        for directory in (top, *(parent for parent in reversed(folder.parents) if top in parent.parents), folder):
            with contextlib.suppress(FileExistsError):
                directory.mkdir(mode=0o700)
            _check_private(directory)
    except OSError as error:
        raise ResourceError(
            f"Cannot keep the state of the run in {folder}: {os.strerror(error.errno or 0)}. Name a folder of your own by {STATE_VARIABLE}."
        ) from error


class SavedState(NamedTuple):
    """The state of a run: its folder, the command that goes on with it, when bytes were last written to it, and whether the run ended.

    One that ended without weights is kept for ``--keep-failed``, which then need not clean again.
    """

    folder: Path
    command: str
    size: int
    written: datetime
    finished: bool


def mark(folder: Path, /, *, is_finished: bool = False) -> None:
    """Make the folder of a state, marked as ours with the command that goes on with it; raises ResourceError."""
    private(folder)
    last, times = _read_mark(folder), _kept_files(folder)
    began, spent = _number(last, "began"), 0.0
    if times and began:  # with the time of the last process, until it last kept something
        spent = _number(last, "spent") + max(0.0, max(times) - began)
    values = {"command": COMMAND.get(), "began": time.time(), "spent": spent, "finished": is_finished}
    files.write_text(folder / MARK_NAME, json.dumps(values))


def spent(folder: Path, /) -> float:
    """Seconds that earlier processes of a run took for what is kept of it; 0 where nothing is."""
    return _number(_read_mark(folder), "spent") if _kept_files(folder) else 0.0


def _kept_files(folder: Path) -> list[float]:
    """When each part that is kept was written."""
    return [path.lstat().st_mtime for path in folder.rglob("*") if path.name != MARK_NAME and path.is_file()]


def _number(values: Note, key: str) -> float:
    value = values.get(key)
    return float(value) if isinstance(value, int | float) and 0 <= value < MAX_SECONDS else 0.0


def _read_mark(folder: Path) -> Note:
    """What the mark of a state says; empty where there is none of ours."""
    try:
        return untrusted.loads(untrusted.read(folder / MARK_NAME, limit=MAX_MARK), MARK_NAME, limit=MAX_MARK)
    except (OSError, ValueError, RefusedInput):
        return {}


def saved_states() -> list[SavedState]:
    """The states of runs, the newest first: folders that ``mark`` marked. Links and what else lies there are left out."""
    states = []
    for folder in (state_folder for name in FOLDERS for state_folder in (home() / name).glob("[0-9a-f]*")):
        values = _read_mark(folder)
        if not values or folder.is_symlink() or folder.parent.is_symlink():
            continue
        stats = [path.lstat() for path in folder.rglob("*")]
        last_write = datetime.fromtimestamp(max(status.st_mtime for status in stats), UTC)
        size = sum(status.st_size for status in stats)
        states.append(SavedState(folder, str(values.get("command")), size, last_write, values.get("finished") is True))
    return sorted(states, key=lambda state: state.written, reverse=True)


@contextlib.contextmanager
def locked(state_path: Path, /) -> Iterator[None]:
    """Lock an output for one process, by the place of its state.

    The lock lies beside the folder of the state and stays: a lock that is removed can be held twice.

    Raises:
        UsageError: another process works on the same output.
        ResourceError: the lock cannot be made, or others may write where it lies.
    """
    private(state_path.parent)
    lock = filelock.FileLock(state_path.with_suffix(".lock"), timeout=0, mode=0o600)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise UsageError("Another clipclean run is writing this output. Wait for it, or name another --out.") from error
    except OSError as error:
        raise files.cannot_write(state_path, error) from error
    try:
        yield
    finally:
        lock.release()


def note(out: Path, value: Note | None, /) -> None:
    """Keep one note on an output, whole or not at all, in the place of an earlier one; None removes it."""
    state_path = place_of(out)
    private(state_path.parent)
    if value is None:
        state_path.with_suffix(".json").unlink(missing_ok=True)
    else:
        files.write_text(state_path.with_suffix(".json"), json.dumps(value))


def noted(out: Path, /) -> Note | None:
    """The note on an output, if there is one that can be read."""
    state_path = place_of(out).with_suffix(".json")
    if not state_path.is_file():
        return None
    private(state_path.parent)
    try:
        value = json.loads(state_path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _check_private(folder: Path) -> None:
    """Raise ResourceError unless the folder itself, not what a link in its place leads to, is the user's alone."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise ResourceError(
                f"{folder} belongs to another user, or others may write to it. A run keeps its state only where no other "
                f"user can change it: fix its permissions (chmod 700), or name another folder by {STATE_VARIABLE}."
            )
        if status.st_mode & 0o055:
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
