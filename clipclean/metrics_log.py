"""The log of ``--log-dir``: losses and rates as metrics.jsonl; TensorBoard and W&B if they are installed."""

import contextlib
import importlib
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from clipclean import files
from clipclean.errors import ResourceError
from clipclean.progress import Listener, Values, heard

METRICS = "metrics.jsonl"


class Log:
    """Writes each step when it is done, from the first one on; a run that ends early leaves the steps until then."""

    def __init__(self, folder: Path, to: tuple[str, ...], stack: contextlib.ExitStack, /) -> None:
        self._folder, self._to, self._stack = folder, to, stack
        self._lines: TextIO | None = None
        self._sinks: list[Any] = []
        self._began = time.monotonic()
        self._last, self._stage = 0, 1

    def values(self, done: int, values: Values) -> None:
        """Note one step; a count that begins again is another training of the same run."""
        lines = self._lines or self._open()
        if done <= self._last:
            self._stage += 1
        self._last = done
        numbers = {name: float(value) for name, value in values.items()}
        row = {"seconds": round(time.monotonic() - self._began, 3), "stage": self._stage, "step": done, **numbers}
        lines.write(json.dumps(row) + "\n")
        lines.flush()
        for sink in self._sinks:
            sink(self._stage, done, numbers)

    def _open(self) -> TextIO:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lines = self._stack.enter_context(files.open_to_append(self._folder / METRICS))
        except OSError as error:
            raise files.cannot_write(self._folder, error) from error
        self._sinks = [_sink(name, self._folder, self._stack) for name in self._to]
        return self._lines


def check_log(folder: Path, /) -> None:
    """Refuse before slow work a folder that could not be logged to, and make nothing.

    Raises:
        ResourceError: nothing can be written in the folder, or another thing than a file is in the place of the log.
    """
    files.check_writable(files.nearest(folder), folder)
    log = folder / METRICS
    if os.path.lexists(log) and not stat.S_ISREG(log.lstat().st_mode):
        raise ResourceError(f"{log} is no file, but a link, pipe or the like. Remove it, or name another --log-dir.")


@contextmanager
def logged(folder: Path | None, to: tuple[str, ...], /) -> Iterator[None]:
    """Log what is trained in a with-block; nothing without a folder. Nothing is made before the first step, and the lines of an earlier
    run stay: one that was resumed has them all. ``check_log`` has passed.
    """
    with contextlib.ExitStack() as stack:
        if folder is not None:
            stack.enter_context(heard(Listener(values=Log(folder, to, stack).values)))
        yield


def _sink(name: str, folder: Path, stack: contextlib.ExitStack) -> Any:  # Any: a function of another library's objects
    if name == "tensorboard":
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter(str(folder))
        stack.callback(writer.close)
        return lambda stage, step, numbers: [
            writer.add_scalar(f"stage {stage}/{key}", value, step) for key, value in numbers.items()
        ]
    run = importlib.import_module("wandb").init(project="clipclean", dir=str(folder))
    stack.callback(run.finish)
    return lambda stage, step, numbers: run.log({f"stage {stage}/{key}": value for key, value in numbers.items()})
