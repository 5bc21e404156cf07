"""The stages of a search that are done, kept in the user's own folder: a killed search goes on from them."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clipclean import deadline, detect, own_state
from clipclean.detect.persuasion import Persuasion
from clipclean.errors import ClipcleanError, ResourceError
from clipclean.jobs import estimate
from clipclean.progress import say
from clipclean.train import RunState, resume

MOST_KEPT_AUDITS = 8  # most interrupted audits that are kept; the oldest is removed first
SAVED_KINDS = (
    detect.Measurement,
    detect.Probe,
    detect.Rate,
    detect.Accuracy,
    detect.SmallestTrigger,
    detect.Strength,
    Persuasion,
)


@dataclass
class SavedSearch:
    """The finished stages of one search, saved in a part of its run's state; without one nothing is saved."""

    _state: RunState | None = None

    @classmethod
    def of(cls, run: RunState | None, name: str, decides: Callable[[], Mapping[str, object]], /) -> "SavedSearch":
        """That of a search in a run, for all that ``decides`` its numbers; the first of several processes keeps it."""
        if run is None or not run.group.is_first:
            return cls()
        return cls(run.part(_file_name(name), decides()).for_one_process())

    def recall(self, name: str, /) -> Any:
        """The result of the stage that an equal search kept under this name, or None."""
        return self._state.recall(_file_name(name), kinds=SAVED_KINDS) if self._state else None

    def keep(self, name: str, result: object, /) -> None:
        """Save the result of a stage; a full disk ends the saving, not the search."""
        if self._state is None:
            return
        try:
            self._state.keep(_file_name(name), result, kinds=SAVED_KINDS)
        except ResourceError as error:
            say(f"{error} The search continues; if it is interrupted, it starts again.")
            self._state = None


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


@contextlib.contextmanager
def resumable(decides: Mapping[str, object], /) -> Iterator[RunState | None]:
    """The state of one audit; None if it cannot be kept.

    It is removed when the audit is done, and stays if the deadline came first.

    Raises:
        Interrupted: the audit was, and finished stages are kept to resume from.
    """
    state = _begun(decides)
    try:
        yield state
    except KeyboardInterrupt as error:
        if state is None:
            raise
        raise state.interrupted() from error
    if state is not None and not deadline.is_over():
        with contextlib.suppress(OSError):
            state.discard()


def _begun(decides: Mapping[str, object]) -> RunState | None:
    fingerprint = resume.digest(decides)
    try:
        folder = own_state.home() / own_state.AUDITS / fingerprint[:32]
        own_state.mark(folder)
        estimate.say_resumed(own_state.spent(folder))
        folder.touch()
        others = (path for path in folder.parent.iterdir() if path != folder)
        for path in sorted(others, key=lambda path: -path.lstat().st_mtime)[MOST_KEPT_AUDITS:]:
            began = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
            RunState(path, "").discard()
            say(
                f"Removed the state of an audit that was interrupted on {began:%d %B}: only {MOST_KEPT_AUDITS} are kept."
            )
    except (ClipcleanError, OSError) as error:
        say(f"{error} The audit continues; if it is interrupted, it starts again.")
        return None
    return RunState(folder, fingerprint)
