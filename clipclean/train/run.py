"""Running a finetuning: records of steps, saved states, and clean endings on signals."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from clipclean import deadline
from clipclean.errors import Interrupted, RefusedInput
from clipclean.progress import Progress, say, step
from clipclean.train.distributed import ALONE, Group, LostProcess
from clipclean.train.loop import Step, is_out_of_memory, losses_of
from clipclean.train.resume import RunState

LOGGED_STEPS = 200  # points of the loss curve in the report
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")  # signals that end a run after its step, with its state saved
SAVE_SECONDS = 30.0  # between two saved states, or ten times what saving takes


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

        def told(what: str, done: int, total: int) -> None:
            self.progress(what, done, total)
            if stop is not None and self.group.any(stop()):
                raise interrupted(done, total)
            self.group.check_time()

        return replace(self, progress=told)


def walk(
    steps: Iterator[Step],
    losses: list[dict[str, float]],
    /,
    *,
    first: int,
    total: int,
    save: Callable[[int], None],
    stop: Callable[[], bool],
    run: Run,
) -> int:
    """Take the steps from ``first`` on, noting some ``losses``; save the state now and then, and before any end.

    Returns the number of steps done: fewer than ``total`` after the deadline.

    Raises:
        Interrupted: ``stop`` said so.
        LostProcess: another process has ended.
        RefusedInput: a file of the data broke since it was first read.
        torch.OutOfMemoryError: one pair at a time is too many.
    """
    done, due, every = first, time.monotonic() + SAVE_SECONDS, max(1, total // LOGGED_STEPS)
    noted: list[Step] = []

    def keep(done: int) -> None:
        """Save, with the losses that were noted: a look at one waits for its step on a GPU, so none is taken before."""
        read = zip(noted, losses_of(noted), strict=True)
        losses.extend({"step": taken.number, "lr": taken.lr, **parts} for taken, parts in read)
        noted.clear()
        save(done)

    if first:
        say(f"Going on after step {first} of {total}, where this run was interrupted.")
    run.progress("finetuning", first, total)
    try:
        for taken in steps:
            done = taken.number + 1
            if taken.number % every == 0 or done == total:
                noted.append(taken)
            run.progress("finetuning", done, total)
            # All processes must stop at the same step: one that goes on alone waits for the others without end.
            now, stopping = time.monotonic(), run.group.any(stop())
            late = deadline.is_set() and run.group.any(deadline.is_over())
            if stopping or late or now >= due or done == total:
                keep(done)
                # Saving takes at most about a tenth of the time, however large the model and slow the disk.
                due = time.monotonic() + max(SAVE_SECONDS, 10 * (time.monotonic() - now))
            if stopping:
                raise interrupted(done, total)
            if late:
                break
    except (LostProcess, RefusedInput, RuntimeError, MemoryError) as error:
        if not isinstance(error, LostProcess | RefusedInput) and not is_out_of_memory(error):
            raise
        keep(done)  # the weights are those of the last whole step
        if stop():
            raise interrupted(done, total) from error
        raise
    return done


def interrupted(done: int, total: int, /) -> Interrupted:
    """The exception for a run that stops between two steps."""
    return Interrupted(f"Interrupted after step {done} of {total}. Give the same command again to go on from there.")


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a question that the loop asks; the second one kills as usual.

    Outside the main thread signals cannot be caught: the question is then always answered no.
    """
    caught: list[int] = []
    previous: dict[int, Any] = {}  # handlers are opaque

    def note(number: int, _frame: object) -> None:
        caught.append(number)
        signal.signal(number, previous[number])

    try:
        for number in (int(getattr(signal, name)) for name in ENDING if hasattr(signal, name)):
            if signal.getsignal(number) == signal.SIG_IGN:  # of nohup
                continue
            previous[number] = signal.getsignal(number)
            signal.signal(number, note)
    except ValueError:
        previous.clear()
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
