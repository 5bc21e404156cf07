"""The state of a run between two steps: saved in the user's own folder, restored bit by bit."""

import contextlib
import hashlib
import json
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clipclean import __version__, checkpoint, files, own_state
from clipclean.errors import RefusedInput, UsageError
from clipclean.train.distributed import ALONE, Group

SUFFIX = ".safetensors"  # of every file that is written, and so of every file that is ever deleted
STATE = "state"
UNFINISHED = re.compile(r"\.tmp[A-Za-z0-9]{6}")  # what the safetensors library calls a file until it is whole


def program() -> dict[str, str]:
    """The versions that a state is good for: another one may draw other numbers."""
    return {"clipclean": __version__, "torch": torch.__version__}


def digest(decides: object, /) -> str:
    """A key from all that determines a result, which JSON can hold."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class RunState:
    """The place of the state, and the fingerprint of the runs that may resume from it.

    The first of several processes writes and removes it, and all read what the first reads: they must make the same calls.
    """

    folder: Path
    fingerprint: str
    run: str = ""  # of a part: the fingerprint of its run
    group: Group = ALONE

    @classmethod
    def of(cls, out: Path, decides: Mapping[str, object], /, *, group: Group = ALONE) -> "RunState":
        """The state of the run that writes ``out`` and is determined by the given values."""
        return cls(own_state.place_of(out), digest(decides), group=group)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the output for one process; the folder is removed again if nothing was saved in it.

        Raises:
            UsageError: another process works on the same output.
            ResourceError: the folder cannot be made, or others may write in it.
        """
        if not self.group.is_first:
            yield
            return
        with own_state.locked(self.folder):
            own_state.mark(self.folder)
            try:
                yield
            finally:
                _remove_empty(self.folder)

    def part(self, name: str, decides: Mapping[str, object], /) -> "RunState":
        """The state of one part of the run, in a folder of its own; it is removed with the run's state."""
        whole = self.run or self.fingerprint
        return RunState(self.folder / name, digest([self.fingerprint, decides]), whole, self.group)

    def resume(self, net: nn.Module, optimizer: torch.optim.Optimizer, /) -> tuple[int, list[dict[str, float]], float]:
        """Restore the state of an equal, interrupted run: (steps done, losses so far, seconds spent).

        A state of another run, or one that cannot be read, is ignored and will be overwritten: (0, [], 0.0).
        """
        saved = self.read()
        if saved is None:
            return 0, [], 0.0
        tensors, record = saved
        restore(net, optimizer, tensors)
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
        if self.group.is_first:
            self.write(capture(net, optimizer), {"step": step, "losses": losses, "seconds": seconds})

    def read(self, name: str = STATE, /) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The tensors and the record that an equal run saved under this name; None if there are none."""
        return self.group.of_first(lambda: self._read(name))

    def _read(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        path = self.folder / f"{name}{SUFFIX}"
        saved = _saved(path) if path.exists() else None
        if saved is None or saved[1].pop("fingerprint") != self.fingerprint:
            return None
        saved[1].pop("run", None)
        return saved

    def write(self, tensors: Mapping[str, Tensor], record: Mapping[str, object], /, *, name: str = STATE) -> None:
        """Write named tensors and a record that JSON can hold, whole or not at all; raises ResourceError."""
        if not self.group.is_first:
            return
        own_state.private(self.folder)
        own = {"fingerprint": self.fingerprint, "run": self.run or self.fingerprint}
        state = checkpoint.with_record(tensors, own | dict(record))
        path = self.folder / f"{name}{SUFFIX}"
        files.write_whole(path, lambda partial: checkpoint.write_safetensors(partial, state, metadata={}))

    def claim(self, /, *, force: bool) -> None:
        """Refuse to overwrite the state of an interrupted run of other settings or another version; ``force`` discards it.

        Raises:
            UsageError: there is such a run.
        """
        if not self.group.is_first:
            return
        for path in (*_inside(self.folder), *(inner for each in _inside(self.folder) for inner in _inside(each))):
            saved = _saved(path) if path.suffix == SUFFIX else None
            if saved is None:  # nothing to resume from
                continue
            if saved[1].get("run", saved[1]["fingerprint"]) == self.fingerprint:
                return
            if not force:
                raise UsageError(
                    "A run with other settings, or of another version, was interrupted on its way to this output, and its state is "
                    "kept. Give its settings to go on with it, name another --out, or give --force to discard it."
                )
            self.discard()
            own_state.mark(self.folder)
            return

    def forget(self, name: str, /) -> None:
        """Remove the files under this name."""
        if self.group.is_first:
            (self.folder / f"{name}{SUFFIX}").unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the whole state: files of the kind that ``write`` writes, the mark, and folders that are then empty."""
        for folder in (*_inside(self.folder), self.folder):
            for path in _inside(folder):
                is_partial = path.name.endswith(files.PARTIAL) or UNFINISHED.fullmatch(path.name)
                if is_partial or path.suffix == SUFFIX or path == self.folder / own_state.MARK:
                    path.unlink()
        _remove_empty(self.folder)


def _saved(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and the record of a file from ``write``; None if it cannot be read."""
    try:
        tensors, record = checkpoint.split_record(checkpoint.read(path).tensors)
        return (tensors, record) if isinstance(record["fingerprint"], str) else None
    except (RefusedInput, KeyError, ValueError, TypeError, AttributeError):
        return None


def _remove_empty(folder: Path) -> None:
    """Remove the folders in a folder, and itself, if nothing is in them but its mark."""
    for path in _inside(folder):
        with contextlib.suppress(OSError):  # not a folder, or not empty
            path.rmdir()
    with contextlib.suppress(OSError):
        if [path.name for path in _inside(folder)] == [own_state.MARK]:
            (folder / own_state.MARK).unlink()
        folder.rmdir()


def _inside(folder: Path) -> list[Path]:
    """The content of a folder; empty if there is none, or a file or a link in its place."""
    try:
        return list(folder.iterdir()) if stat.S_ISDIR(folder.lstat().st_mode) else []
    except FileNotFoundError:
        return []


MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def capture(net: nn.Module, optimizer: torch.optim.Optimizer, /) -> dict[str, Tensor]:
    """Weights, buffers and AdamW moments under flat names; views of live memory, to be written at once.

    Randomness needs no state: each sample's draws come from the seed, the epoch and its number.
    """
    state = {f"net.{name}": tensor.detach() for name, tensor in net.state_dict().items()}
    for name, parameter in _owned(net, optimizer):
        for moment in MOMENTS:
            if moment in optimizer.state.get(parameter, {}):
                state[f"optimizer.{name}.{moment}"] = optimizer.state[parameter][moment].detach()
    return state


def restore(net: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor], /) -> None:
    """Put a captured state back, bit by bit, on the devices that AdamW keeps it on, and in the order of the weights' bytes.

    A fused AdamW goes through weights and moments byte by byte: moments of another memory format would be mixed up.
    """
    weights = {n.removeprefix("net."): t for n, t in state.items() if n.startswith("net.")}
    net.load_state_dict(weights, strict=True)
    for name, parameter in _owned(net, optimizer):
        moments = {m: state[f"optimizer.{name}.{m}"] for m in MOMENTS if f"optimizer.{name}.{m}" in state}
        if moments:
            counted_on = parameter.device if optimizer.defaults.get("fused") else "cpu"
            optimizer.state[parameter] = {
                m: t.to(counted_on, copy=True) if m == "step" else torch.empty_like(parameter).copy_(t)
                for m, t in moments.items()
            }


def _owned(net: nn.Module, optimizer: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [(name, p) for name, p in net.named_parameters() if id(p) in mine]
