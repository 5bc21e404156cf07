"""The saved state of a run that is under way, in a hidden folder beside its output or in it."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clipclean import checkpoint, export, files, finetune
from clipclean.errors import RefusedInput, UsageError

FOLDER = ".clipclean-run"
STATE = "state.safetensors"
LOCK = "lock"
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
        """Hold the folder for one process; it is removed again if nothing was kept in it.

        Raises:
            UsageError: another process works on the same output.
            ResourceError: the folder cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / LOCK).open("w")
        except OSError as error:
            raise files.cannot_write(self.folder, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise UsageError(
                f"Another clipclean run is writing this output ({self.folder}). Wait for it, or name another --out."
            ) from error
        try:
            yield
        finally:
            if not self._kept():
                shutil.rmtree(self.folder, ignore_errors=True)
            lock.close()  # last: nobody else may have begun in a folder that is removed

    def part(self, name: str, decides: dict[str, Any], /) -> "RunState":
        """The state of one part of the run, in a folder of its own; it goes when the run's does.

        Raises:
            ResourceError: the folder cannot be made.
        """
        text = json.dumps([self.fingerprint, decides], sort_keys=True).encode()
        inner = RunState(self.folder / name, hashlib.sha256(text).hexdigest())
        try:
            inner.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise files.cannot_write(inner.folder, error) from error
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
        path = self.folder / name
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
        files.write_whole(self.folder / name, lambda partial: export.write_safetensors(partial, state, metadata={}))

    def forget(self, name: str, /) -> None:
        """Remove what was written under this name."""
        (self.folder / name).unlink(missing_ok=True)

    def discard(self) -> None:
        """Forget all that was kept; the folder goes when the lock is given up."""
        for path in self._kept():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _kept(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.name != LOCK]


def folder_of(out: Path, /) -> Path:
    """Where the state of the run that writes ``out`` lies: on the same file system, so that files can be moved over.

    Beside ``out``, so that nothing stands in it before the run has ended. In it where it is a file system of its own,
    as a container's volume is, or where nothing can be written beside it.
    """
    place = out.resolve()
    if place.is_dir() and (place.is_mount() or not os.access(place.parent, os.W_OK)):
        return place / FOLDER
    return place.parent / f".{place.name}{FOLDER}"
