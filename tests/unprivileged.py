"""Acts in a process that may not do everything: root reads and writes everywhere, so where this is root another user acts."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

NOBODY = 65534  # the number that Linux keeps for a user without rights


def as_nobody(act: Callable[[], Any]) -> Any:
    """What ``act`` returns or raises in a child of another user where this is root, of the same user elsewhere.

    The child may not find modules that are not imported yet.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(act, there))
    child.start()
    there.close()
    try:
        end = here.recv()
    except EOFError:
        child.join()
        raise AssertionError(f"the child ended by {child.exitcode}") from None
    child.join()
    if isinstance(end, BaseException):
        raise end
    return end


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder that this other user owns and can reach, as pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="unprivileged-") as place:
        Path(place).chmod(0o755)
        if os.geteuid() == 0:
            os.chown(place, NOBODY, NOBODY)
        yield Path(place)


def _run(act: Callable[[], Any], answer: Connection) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        end = act()
    except BaseException as error:
        end = error
    answer.send(end)
