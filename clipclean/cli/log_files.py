"""``--log-dir``: losses and rates as metrics.jsonl and metrics.csv; TensorBoard and W&B if installed."""

import contextlib
import csv
import importlib
import importlib.util
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from clipclean import files
from clipclean.errors import UsageError
from clipclean.progress import Listener, Values

COLUMNS = ("seconds", "stage", "step", "loss", "lr")  # of the CSV, which has the same ones for every run
EXTRAS = {"tensorboard": "tensorboard", "wandb": "wandb"}  # what --log-to takes, and the package that it needs


class Log:
    """Writes each step when it is done; a run that ends early leaves the steps until then."""

    def __init__(self, folder: Path, lines: TextIO, table: TextIO, sinks: list[Any]) -> None:
        self.folder = folder
        self._lines, self._table = lines, csv.writer(table)
        self._file = table
        self._sinks = sinks
        self._began = time.monotonic()
        self._last, self._stage = 0, 1
        self._table.writerow(COLUMNS)

    def values(self, done: int, values: Values) -> None:
        """Note one step; a count that begins again is another training of the same run."""
        if done <= self._last:
            self._stage += 1
        self._last = done
        seconds = round(time.monotonic() - self._began, 3)
        numbers = {name: float(value) for name, value in values.items()}
        row = {"seconds": seconds, "stage": self._stage, "step": done, **numbers}
        self._lines.write(json.dumps(row) + "\n")
        self._lines.flush()
        self._table.writerow([row.get(name, "") for name in COLUMNS])
        self._file.flush()
        for sink in self._sinks:
            sink(self._stage, done, numbers)


@contextlib.contextmanager
def listener(folder: Path | None, to: tuple[str, ...], /) -> Iterator[tuple[Listener, ...]]:
    """The listener to losses for the span of a with-block; none without a folder.

    Raises:
        UsageError: the package is not installed, or there is no folder.
        ResourceError: the folder cannot be written.
    """
    if folder is None:
        if to:
            raise UsageError("--log-to without --log-dir: name the folder that the logs go to.")
        yield ()
        return
    missing = [name for name in to if importlib.util.find_spec(EXTRAS[name]) is None]
    if missing:
        raise UsageError(
            f"--log-to {missing[0]} needs a package that is not installed: pip install {EXTRAS[missing[0]]}."
        )
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lines = stack.enter_context(files.begun(folder / "metrics.jsonl"))
            table = stack.enter_context(files.begun(folder / "metrics.csv"))
        except OSError as error:
            raise files.cannot_write(folder, error) from error
        yield (Listener(values=Log(folder, lines, table, [_sink(name, folder, stack) for name in to]).values),)


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
