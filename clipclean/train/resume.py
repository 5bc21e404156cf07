"""A run that may be interrupted: its steps, its ends on signals, and its state, from which it goes on bit by bit."""

import contextlib
import hashlib
import json
import re
import signal
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clipclean import __version__, checkpoint, deadline, files, own_state
from clipclean.errors import Interrupted, RefusedInput, UsageError
from clipclean.progress import Progress, say, step
from clipclean.train.distributed import ALONE, Group, LostProcess
from clipclean.train.loop import Step, is_out_of_memory, losses_of

LOGGED_STEPS = 200  # points of the loss curve in the report
ENDING_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # signals that end a run after its step, with its state saved
SAVE_SECONDS = 30.0  # between two saved states, or ten times what saving takes
STATE_SUFFIX = ".safetensors"  # of every file that is written, and so of every file that is ever deleted
STATE_NAME = "state"
RECORD_NAME = "record"  # in a file: JSON in a byte tensor beside the others, so that neither is ever of another state
TENSOR_KEY, SET_KEY, KIND_KEY = "#tensor", "#set", "#kind"  # in that JSON
PARTIAL_NAME = re.compile(r"\.tmp[A-Za-z0-9]{6}")  # what the safetensors library calls a file until it is whole


def program() -> dict[str, str]:
    """The versions that a state is good for: another one may draw other numbers."""
    return {"clipclean": __version__, "torch": torch.__version__}


def digest(decides: object, /) -> str:
    """A key from all that determines a result, which JSON can hold."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


class TrainingSoFar(NamedTuple):
    """How far a training is."""

    steps: int = 0  # done
    losses: Sequence[dict[str, float]] = ()  # of those that were noted
    seconds: float = 0.0  # spent


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
        """The state of the run that writes ``out`` and is determined by the given values.

        Raises:
            UsageError: several processes do not work on the same.
        """
        state = cls(own_state.place_of(out), digest(decides), group=group)
        group.check_same(state.fingerprint)
        return state

    def for_one_process(self) -> "RunState":
        """The same for one process that no other waits for."""
        return replace(self, group=ALONE)

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
        run = self.run or self.fingerprint
        return RunState(self.folder / name, digest([self.fingerprint, decides]), run, self.group)

    def resume(self, net: nn.Module, optimizer: torch.optim.Optimizer, /) -> TrainingSoFar:
        """Restore what an equal, interrupted run saved.

        A state of another run, or one that cannot be read, is ignored and will be overwritten.
        """
        state = self.recall(STATE_NAME)
        if state is None:
            return TrainingSoFar()
        so_far, weights, moments = state
        net.load_state_dict(weights, strict=True)
        restore(net, optimizer, moments)
        return TrainingSoFar(*so_far)

    def save(self, net: nn.Module, optimizer: torch.optim.Optimizer, so_far: TrainingSoFar, /) -> None:
        """Keep the state whole or not at all; raises ResourceError.

        Randomness needs no state: each sample's draws come from the seed, the epoch and its number.
        """
        self.keep(STATE_NAME, [so_far, net.state_dict(), moments(net, optimizer)])

    def recall(self, name: str, /, *, kinds: Collection[type] = ()) -> Any:
        """The value that an equal run kept under this name, with tensors on the CPU; None if there is none."""
        return self.group.of_first(lambda: self._read(name, {kind.__name__: kind for kind in kinds}))

    def _read(self, name: str, kinds: Mapping[str, type]) -> Any:
        path = self.folder / f"{name}{STATE_SUFFIX}"
        content = _read_file(path) if path.exists() else None
        if content is None or content[1]["fingerprint"] != self.fingerprint or "value" not in content[1]:
            return None
        tensors, record = content

        def build(entry: dict[str, Any]) -> Any:
            # What a dataclass or a dictionary holds are tuples; JSON has lists only.
            entry = {key: tuple(item) if isinstance(item, list) else item for key, item in entry.items()}
            if TENSOR_KEY in entry:
                return tensors[entry[TENSOR_KEY]]
            if SET_KEY in entry:
                return frozenset(entry[SET_KEY])
            return kinds[entry.pop(KIND_KEY)](**entry) if KIND_KEY in entry else entry

        try:
            return json.loads(json.dumps(record["value"]), object_hook=build)
        except (KeyError, TypeError):  # kept by a version whose kinds or fields had other names
            return None

    def keep(self, name: str, value: object, /, *, kinds: Collection[type] = ()) -> None:
        """Write a value whole or not at all: what JSON can hold, tensors, frozen sets, and dataclasses of these ``kinds``.

        Raises:
            TypeError: it holds something else.
            ResourceError: the disk is full, or the folder not writable.
        """
        if not self.group.is_first:
            return
        tensors: dict[str, Tensor] = {}

        def encode(item: object) -> dict[str, object]:
            if isinstance(item, Tensor):
                tensors[key := f"tensor{len(tensors)}"] = item.detach().cpu()
                return {TENSOR_KEY: key}
            if is_dataclass(item) and type(item) in kinds:
                return {KIND_KEY: type(item).__name__} | {
                    field.name: getattr(item, field.name) for field in fields(item)
                }
            if isinstance(item, frozenset):
                return {SET_KEY: sorted(item)}
            raise TypeError(f"{type(item).__name__} is not kept, only {', '.join(kind.__name__ for kind in kinds)}.")

        record = {"fingerprint": self.fingerprint, "run": self.run or self.fingerprint, "value": value}
        text = json.dumps(record, default=encode).encode()
        tensors[RECORD_NAME] = torch.tensor(list(text), dtype=torch.uint8)
        own_state.private(self.folder)
        path = self.folder / f"{name}{STATE_SUFFIX}"
        files.write_whole(path, lambda partial: checkpoint.write_safetensors(partial, tensors, metadata={}))

    def claim(self, /, *, force: bool) -> None:
        """Refuse to overwrite the state of an interrupted run of other settings or another version; ``force`` discards it.

        Raises:
            UsageError: there is such a run.
        """
        if not self.group.is_first:
            return
        for path in (*_inside(self.folder), *(inner for folder in _inside(self.folder) for inner in _inside(folder))):
            content = _read_file(path) if path.suffix == STATE_SUFFIX else None
            if content is None:  # nothing to resume from
                continue
            if content[1].get("run", content[1]["fingerprint"]) == self.fingerprint:
                return
            if not force:
                raise UsageError(
                    "A run with other settings, or of another version, was interrupted on its way to this output, and its state is "
                    "kept. Give its settings to go on with it, name another --out, or give --force to discard it."
                )
            self.discard()
            own_state.mark(self.folder)
            return

    def interrupted(self) -> Interrupted:
        """The exception for a run that is interrupted between the parts that it keeps."""
        if any(self.folder.rglob(f"*{STATE_SUFFIX}")):
            return Interrupted(
                "Interrupted. Give the same command again to go on after the last part that was finished."
            )
        return Interrupted("Interrupted before a part was finished that could be kept: the same command begins again.")

    def finish(self) -> None:
        """Mark the state as that of a run that has ended: what is kept saves another cleaning."""
        if self.group.is_first and self.folder.is_dir():
            own_state.mark(self.folder, is_finished=True)

    def forget(self, name: str, /) -> None:
        """Remove the files under this name."""
        if self.group.is_first:
            (self.folder / f"{name}{STATE_SUFFIX}").unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the whole state: files of the kind that ``keep`` writes, the mark, and folders that are then empty."""
        for folder in (*_inside(self.folder), self.folder):
            for path in _inside(folder):
                is_partial = path.name.endswith(files.PARTIAL_SUFFIX) or PARTIAL_NAME.fullmatch(path.name)
                if is_partial or path.suffix == STATE_SUFFIX or path == self.folder / own_state.MARK_NAME:
                    path.unlink()
        _remove_empty(self.folder)


def _read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and the record of a file from ``keep``; None if it cannot be read."""
    try:
        tensors = dict(checkpoint.read(path).tensors)
        record = json.loads(bytes(tensors.pop(RECORD_NAME).tolist()))
        return (tensors, record) if isinstance(record["fingerprint"], str) else None
    except (RefusedInput, KeyError, ValueError, TypeError, AttributeError):
        return None


def _remove_empty(folder: Path) -> None:
    """Remove the folders in a folder, and itself, if nothing is in them but its mark."""
    for path in _inside(folder):
        with contextlib.suppress(OSError):  # not a folder, or not empty
            path.rmdir()
    with contextlib.suppress(OSError):
        if [path.name for path in _inside(folder)] == [own_state.MARK_NAME]:
            (folder / own_state.MARK_NAME).unlink()
        folder.rmdir()


def _inside(folder: Path) -> list[Path]:
    """The content of a folder; empty if there is none, or a file or a link in its place."""
    try:
        return list(folder.iterdir()) if stat.S_ISDIR(folder.lstat().st_mode) else []
    except FileNotFoundError:
        return []


def moments(net: nn.Module, optimizer: torch.optim.Optimizer, /) -> dict[str, dict[str, Tensor]]:
    """What AdamW knows of each parameter, by its name; live memory, to be written at once."""
    return {name: dict(optimizer.state[p]) for name, p in _named_parameters(net, optimizer) if p in optimizer.state}


def restore(net: nn.Module, optimizer: torch.optim.Optimizer, moments: Mapping[str, Mapping[str, Tensor]], /) -> None:
    """Put moments back, bit by bit, on the devices that AdamW keeps them on, and in the order of the weights' bytes.

    A fused AdamW goes through weights and moments byte by byte: moments of another memory format would be mixed up.
    """
    for name, parameter in _named_parameters(net, optimizer):
        counted_on = parameter.device if optimizer.defaults.get("fused") else "cpu"
        if name in moments:
            optimizer.state[parameter] = {
                m: t.to(counted_on, copy=True) if m == "step" else torch.empty_like(parameter).copy_(t)
                for m, t in moments[name].items()
            }


def _named_parameters(net: nn.Module, optimizer: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [(name, p) for name, p in net.named_parameters() if id(p) in mine]


# A run.


@dataclass(frozen=True)
class Run:
    """The settings of a run."""

    seed: int  # decides every draw
    precision: str  # fp32, bf16 or auto
    progress: Progress = step  # receives each step
    state: RunState | None = None  # where an interrupted run is saved and resumed; None saves nothing
    group: Group = ALONE  # the processes that share each batch; all have the ``state``, which the first one writes

    def stopping(self, stop: Callable[[], bool] | None = None, /) -> "Run":
        """The same, whose progress raises Interrupted where ``stop`` says so, and OutOfTime at the deadline."""

        def report(what: str, done: int, total: int) -> None:
            self.progress(what, done, total)
            if stop is not None and self.group.any(stop()):
                raise interrupted(done, total, is_kept=False)
            self.group.check_time()

        return replace(self, progress=report)

    def state_of(self, out: Path, decides: Mapping[str, object], /) -> RunState:
        """The state of the run that writes ``out``, which its processes share; see :meth:`RunState.of`."""
        return RunState.of(out, decides, group=self.group)

    def for_one_process(self) -> "Run":
        """The same for one process that no other waits for."""
        return replace(self, group=ALONE)

    def keep(self, net: nn.Module, optimizer: torch.optim.Optimizer, so_far: TrainingSoFar, /) -> None:
        """Save how far a training is, where a state is kept."""
        if self.state is not None:
            self.state.save(net, optimizer, so_far)


def take_steps(
    steps: Iterator[Step],
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    so_far: TrainingSoFar,
    /,
    *,
    total: int,
    stop: Callable[[], bool],
    run: Run,
) -> TrainingSoFar:
    """Take the steps that follow ``so_far``, noting some losses; save the state now and then, and before any end.

    Returns where it ends: after fewer than ``total`` steps at the deadline.

    Raises:
        Interrupted: ``stop`` said so.
        LostProcess: another process has ended.
        RefusedInput: a file of the data broke since it was first read.
        torch.OutOfMemoryError: one pair at a time is too many.
    """
    first, start, losses = so_far.steps, time.monotonic(), list(so_far.losses)
    done, due, logged_steps = first, start + SAVE_SECONDS, list[Step]()

    def so_far_now() -> TrainingSoFar:
        """Where it is, with the losses that were noted."""
        losses.extend(_noted(logged_steps))
        logged_steps.clear()
        # The time of earlier processes of this run counts, too.
        return TrainingSoFar(done, losses, so_far.seconds + time.monotonic() - start)

    if first:
        say(f"Going on after step {first} of {total}, where this run was interrupted.")
    run.progress("finetuning", first, total)
    try:
        for current in steps:
            done = current.number + 1
            if current.number % max(1, total // LOGGED_STEPS) == 0 or done == total:
                logged_steps.append(current)
            run.progress("finetuning", done, total)
            # All processes must stop at the same step: one that goes on alone waits for the others without end.
            now, stopping = time.monotonic(), run.group.any(stop())
            late = deadline.is_set() and run.group.any(deadline.is_over())
            if stopping or late or now >= due or done == total:
                run.keep(net, optimizer, so_far_now())
                # Saving takes at most about a tenth of the time, however large the model and slow the disk.
                due = time.monotonic() + max(SAVE_SECONDS, 10 * (time.monotonic() - now))
            if stopping:
                raise interrupted(done, total)
            if late:
                break
    except (LostProcess, RefusedInput, RuntimeError, MemoryError) as error:
        if not isinstance(error, LostProcess | RefusedInput) and not is_out_of_memory(error):
            raise
        run.keep(net, optimizer, so_far_now())  # the weights are those of the last whole step
        if stop():
            raise interrupted(done, total) from error
        raise
    return so_far_now()


def _noted(steps: Sequence[Step]) -> Iterator[dict[str, float]]:
    """The losses of steps, with number and rate: a look at one waits for its step on a GPU, so it is taken late."""
    for current, parts in zip(steps, losses_of(steps), strict=True):
        yield {"step": current.number, "lr": current.lr, **parts}


def interrupted(done: int, total: int, /, *, is_kept: bool = True) -> Interrupted:
    """The exception for a run that stops between two steps; ``is_kept``: whether what these steps made is there when it goes on."""
    after = "from there" if is_kept else "after the last part that was finished: these steps are taken again"
    return Interrupted(f"Interrupted after step {done} of {total}. Give the same command again to go on {after}.")


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a question that the loop asks; the second one kills as usual.

    Outside the main thread signals cannot be caught: the question is then always answered no.
    """
    signals: list[int] = []
    handlers: dict[int, Any] = {}  # handlers are opaque

    def note(number: int, _frame: object) -> None:
        signals.append(number)
        signal.signal(number, handlers[number])

    try:
        for number in (int(getattr(signal, name)) for name in ENDING_SIGNALS if hasattr(signal, name)):
            if signal.getsignal(number) == signal.SIG_IGN:  # of nohup
                continue
            handlers[number] = signal.getsignal(number)
            signal.signal(number, note)
    except ValueError:
        handlers.clear()
    try:
        yield lambda: bool(signals)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
