"""Process settings: thread counts, standard streams that cannot control a terminal, and what torchrun says."""

import contextlib
import ctypes
import faulthandler
import io
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from clipclean import machine, own_state, untrusted
from clipclean.errors import UsageError

if TYPE_CHECKING:
    from clipclean.cli.options import Shell
    from clipclean.train import Launch


class Forgiving(io.TextIOWrapper):
    """A stream that goes on where its file is full, closed or gone: a message that nobody can read changes nothing."""

    def write(self, text: str, /) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError, ValueError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on what can be passed on."""
        with contextlib.suppress(OSError, ValueError):
            super().flush()


def secure() -> None:
    """Make the streams of this process such that no message can fail; for a process that is all ours.

    Closed ones lead nowhere, so that no file of a run gets their number. What an encoding lacks is written as an escape.
    """
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115, PTH123 # for good
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stderr = _apart(sys.stderr)


def _apart(stream: TextIO) -> TextIO:
    """Give Python's stderr a descriptor of its own, and drop the direct output of C libraries.

    libjpeg writes a line about every odd byte of an image from outside, past all that makes messages printable. faulthandler
    still reports a crash.
    """
    try:
        message_stream = Forgiving(
            open(os.dup(2), "wb"),  # noqa: SIM115, PTH123 # for good
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=True,
        )
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        faulthandler.enable(message_stream)
    except (OSError, ValueError):
        return stream
    return message_stream


def abandon_stdout() -> None:
    """Let nothing more be written to stdout, which is full or gone: Python would complain once more when it exits."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def say(text: str, /) -> None:
    """A line or more on stderr, safe on a terminal and in a CI log, whatever names are in it.

    A name among the arguments of the command may break the line that it stands in, so its escapes take its place first.
    """
    command_words = shlex.split(own_state.COMMAND.get())
    parts = {
        part for word in command_words for part in (word, word.partition("=")[2], Path(word).name, *Path(word).parts)
    }
    for part in sorted((part for part in parts if not part.isprintable()), key=len, reverse=True):
        text = text.replace(part, untrusted.printable(part))
    with contextlib.suppress(OSError, ValueError):
        click.echo(untrusted.message(text), err=True)


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # parameters of glibc's mallopt


def be_a_good_neighbour() -> None:
    """Set the variables that OpenMP and torch read when they are loaded, so before torch is imported; the user's values stay.

    By default a thread that waits for the others spins. Where two programs share the cores, each then burns the time that the
    other needs. And torch makes an empty folder for compiled code in the folder for temporary files, unless the place that it
    is told is there already; nothing is compiled here, so nothing is ever written to that.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(__file__).parent))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if (fewer := machine.usable()) < machine.available():  # a container's quota, which OpenMP does not see
        os.environ.setdefault("OMP_NUM_THREADS", str(fewer))


def keep_freed_memory() -> None:
    """Let the C library keep the memory that tensors free, for the next ones; elsewhere than in glibc, and where the user chose, nothing.

    By default glibc gives every large block back at once. The kernel then clears the same pages again for each layer of each
    pass: a third of the processor time of a search on a ViT-B/32.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ:
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)


def thread_count() -> int:
    """Threads that torch will compute with, as far as can be told before it is imported."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdecimal() and int(threads) else machine.usable()


# Several processes under torchrun: which one this is, where it computes, and whether it may speak.


def load_torch(device: str, shell: "Shell", /) -> tuple[str, bool]:
    """Load PyTorch, after all that can fail fast; the device, as PyTorch spells it, and whether no progress is shown.

    Raises:
        UsageError: there is no such device, or several processes would share one.
    """
    from clipclean import progress
    from clipclean.cli.progress import display

    with display(quiet=is_silent(shell)), progress.stage("loading PyTorch"):
        from clipclean import data
        from clipclean.jobs import opening
    launch = launch_settings()
    data.use_workers(shell.workers)
    if launch is not None and launch.local_size > 1 and device != "cpu":  # each takes a GPU of its own
        if device.startswith("cuda:"):
            raise UsageError(
                f"--device {device} names one GPU for several processes. Use --device cuda: each takes its own."
            )
        import torch

        device = f"cuda:{launch.local_rank}" if torch.cuda.is_available() else device
    return opening.device_of(device), shell.quiet or (launch is not None and launch.rank > 0)


def is_silent(shell: "Shell", /) -> bool:
    """Whether nothing is printed: by --quiet, or because another process of the run prints; needs no torch."""
    return shell.quiet or bool(os.environ.get("RANK", "0").lstrip("0"))


def launch_settings() -> "Launch | None":
    """The settings that torchrun gave this process; reports which of its variables are ignored."""
    from clipclean import train

    if ignored := train.leftovers(os.environ):
        say(f"clipclean: note: {', '.join(ignored)} ignored: torchrun sets more, so it did not start this process.")
    return train.launch_of(os.environ)


def check_single(what: str, /) -> None:
    """Raise UsageError for work that only one process can do."""
    if os.environ.get("WORLD_SIZE", "1") != "1" and (launch := launch_settings()) is not None and launch.size > 1:
        raise UsageError(f"{what} runs in one process, and here are {launch.size}. Start it without torchrun.")
