"""The saved state of a run that is under way, in a folder that only its user can write."""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import torch
from torch import Tensor, nn

from clipclean import checkpoint, export, files, finetune
from clipclean.errors import RefusedInput, ResourceError, UsageError

PLACE = "CLIPCLEAN_STATE"  # names the folder instead of the user's own
SUFFIX = ".safetensors"  # of every file that is kept, and so of every file that is ever deleted
STATE = "state"
RECORD = "record"  # a byte tensor with JSON: step, losses, fingerprint; in the same file, so never out of step with it


@dataclass(frozen=True)
class RunState:
    """Where the state lies, and the fingerprint that says which runs may go on from it."""

    folder: Path
    fingerprint: str

    @classmethod
    def of(cls, out: Path, decides: dict[str, Any], /) -> "RunState":
        """The state of the run that writes ``out`` and is decided by the given values."""
        text = json.dumps(decides, sort_keys=True).encode()
        return cls(folder_of(out), hashlib.sha256(text).hexdigest())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the output for one process; the folder is removed again if nothing was kept in it.

        The lock lies beside the folder and stays: a lock that is removed can be held twice.

        Raises:
            UsageError: another process works on the same output.
            ResourceError: the folder cannot be made, or others may write in it.
        """
        private(self.folder.parent)
        lock = filelock.FileLock(self.folder.with_suffix(".lock"), timeout=0, mode=0o600)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise UsageError(
                "Another clipclean run is writing this output. Wait for it, or name another --out."
            ) from error
        except OSError as error:
            raise files.cannot_write(self.folder, error) from error
        try:
            private(self.folder)  # whoever held the lock may have removed it
            yield
        finally:
            _remove_empty(self.folder)
            lock.release()

    def part(self, name: str, decides: dict[str, Any], /) -> "RunState":
        """The state of one part of the run, in a folder of its own; it goes when the run's does.

        Raises:
            ResourceError: the folder cannot be made.
        """
        text = json.dumps([self.fingerprint, decides], sort_keys=True).encode()
        inner = RunState(self.folder / name, hashlib.sha256(text).hexdigest())
        private(inner.folder)
        return inner

    def resume(self, net: nn.Module, optimizer: torch.optim.Optimizer, /) -> tuple[int, list[dict[str, float]], float]:
        """Put back what an equal, interrupted run left: (steps done, losses so far, seconds spent).

        A state of another run, or one that cannot be read, is ignored and will be overwritten: (0, [], 0.0).
        """
        saved = self.read()
        if saved is None:
            return 0, [], 0.0
        tensors, record = saved
        finetune.restore(net, optimizer, tensors)
        return int(record["step"]), list(record["losses"]), float(record["seconds"])

    def save(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        /,
        *,
        step: int,
        losses: list[dict[str, float]],
        seconds: float,
    ) -> None:
        """Write the state whole or not at all; raises ResourceError."""
        self.write(finetune.capture(net, optimizer), {"step": step, "losses": losses, "seconds": seconds})

    def read(self, name: str = STATE, /) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The tensors and the record that an equal run left under this name; None where there is nothing of that kind."""
        path = self.folder / f"{name}{SUFFIX}"
        if not path.exists():
            return None
        try:
            tensors = dict(checkpoint.read(path).tensors)
            record: dict[str, Any] = json.loads(bytes(tensors.pop(RECORD).tolist()))
            is_ours = record.pop("fingerprint") == self.fingerprint
        except (RefusedInput, KeyError, ValueError, TypeError, AttributeError):
            return None
        return (tensors, record) if is_ours else None

    def write(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any], /, *, name: str = STATE) -> None:
        """Write named tensors and a record that JSON can hold, whole or not at all; raises ResourceError."""
        text = json.dumps({"fingerprint": self.fingerprint, **record}).encode()
        state = {**tensors, RECORD: torch.tensor(list(text), dtype=torch.uint8)}
        path = self.folder / f"{name}{SUFFIX}"
        files.write_whole(path, lambda partial: export.write_safetensors(partial, state, metadata={}))

    def forget(self, name: str, /) -> None:
        """Remove what was written under this name."""
        (self.folder / f"{name}{SUFFIX}").unlink(missing_ok=True)

    def discard(self) -> None:
        """Forget all that was kept: files of the kind that ``write`` leaves, and folders that are empty then."""
        for folder in (*_inside(self.folder), self.folder):
            for path in _inside(folder):
                if path.suffix == SUFFIX or path.name.endswith(files.PARTIAL):
                    path.unlink()
        _remove_empty(self.folder)


def folder_of(out: Path, /) -> Path:
    """Where the state of the run that writes ``out`` lies.

    Never beside ``out`` or in it: what comes with a model, from git or a tar archive, must not be taken for a state
    of our own, and links in it must not lead us anywhere.
    """
    return home() / "runs" / hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:32]


def home() -> Path:
    """The user's folder for states: CLIPCLEAN_STATE, else ``clipclean`` in XDG_STATE_HOME or in ~/.local/state.

    Raises:
        UsageError: CLIPCLEAN_STATE is a relative path, or there is no home.
    """
    if given := os.environ.get(PLACE):
        if not Path(given).is_absolute():
            raise UsageError(f"{PLACE}={given} is a relative path. Give an absolute one.")
        return Path(given)
    states = Path(os.environ.get("XDG_STATE_HOME", ""))
    if states.is_absolute():
        return states / "clipclean"
    try:
        return Path.home() / ".local" / "state" / "clipclean"
    except RuntimeError as error:
        raise UsageError(f"There is no home folder to keep the state of a run in. Name a folder by {PLACE}.") from error


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
        for each in (top, *(parent for parent in reversed(folder.parents) if top in parent.parents), folder):
            with contextlib.suppress(FileExistsError):
                each.mkdir(mode=0o700)
            _check_private(each)
    except OSError as error:
        raise ResourceError(
            f"Cannot keep the state of the run in {folder}: {os.strerror(error.errno or 0)}. Name a folder of your own by {PLACE}."
        ) from error


def _check_private(folder: Path) -> None:
    """Raise ResourceError unless the folder itself, not what a link in its place leads to, is the user's alone."""
    if os.name != "posix":
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(opened)
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ResourceError(
                f"{folder} belongs to another user, or others may write in it. A run keeps its state only where nobody else "
                f"can change it: mend its permissions (chmod 700), or name another folder by {PLACE}."
            )
        if found.st_mode & 0o055:
            os.fchmod(opened, 0o700)
    finally:
        os.close(opened)


def _remove_empty(folder: Path) -> None:
    """Remove the folders in a folder, and itself, if nothing is in them."""
    for path in (*_inside(folder), folder):
        with contextlib.suppress(OSError):  # not a folder, or not empty
            path.rmdir()


def _inside(folder: Path) -> list[Path]:
    """What is in a folder; nothing where there is none, or a file or a link in its place."""
    try:
        return list(folder.iterdir()) if stat.S_ISDIR(folder.lstat().st_mode) else []
    except FileNotFoundError:
        return []
