"""Saved searches: a killed audit resumes from its state in the user's own folder."""

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from clipclean import deadline, own_state, train
from clipclean.detect.stages import Packed
from clipclean.errors import ClipcleanError, Interrupted, ResourceError
from clipclean.progress import say
from clipclean.train.resume import RunState

MOST = 8  # most interrupted audits that are kept; the oldest is removed first


@dataclasses.dataclass
class SavedSearch:
    """The finished stages of one search, saved in a part of its run's state; without a state nothing is saved."""

    _state: RunState | None  # the part of the run that this search is

    def recall(self, name: str, /) -> Packed | None:
        """The stage that an equal search saved under this name, or None."""
        kept = self._state.read(_file(name)) if self._state else None
        return None if kept is None else (kept[0], kept[1]["value"])

    def keep(self, name: str, packed: Packed, /) -> None:
        """Save the result of a stage; a full disk ends the saving, not the search."""
        if self._state is None:
            return
        tensors, told = packed
        try:
            self._state.write(tensors, {"value": told}, name=_file(name))
        except ResourceError as error:
            say(f"{error} The search continues; if it is interrupted, it starts again.")
            self._state = None


NOTHING = SavedSearch(None)


def _file(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def part(state: RunState | None, name: str, decides: Mapping[str, object], /) -> SavedSearch:
    """The saved search of one model in a run, for all that determines its numbers; the first of several processes keeps it."""
    if state is None or not state.group.is_first:
        return NOTHING
    return SavedSearch(dataclasses.replace(state.part(_file(name), dict(decides)), group=train.ALONE))


@contextlib.contextmanager
def kept(decides: Mapping[str, object], /) -> Iterator[RunState | None]:
    """The state of one audit; None if it cannot be kept.

    It is removed when the audit is done, and stays if the deadline came first.

    Raises:
        Interrupted: the audit was, and finished stages are kept to resume from.
    """
    state = _begun(decides)
    try:
        yield state
    except KeyboardInterrupt as error:
        if state is None or not any(state.folder.glob("*/*.safetensors")):
            raise
        raise Interrupted(
            "Interrupted. Give the same command again to go on after the last step that was done."
        ) from error
    if state is not None and not deadline.is_over():
        with contextlib.suppress(OSError):
            state.discard()


def _begun(decides: Mapping[str, object]) -> RunState | None:
    found = digest(decides)
    try:
        folder = own_state.home() / own_state.AUDITS / found[:32]
        own_state.mark(folder)
        folder.touch()
        _bound(folder)
    except (ClipcleanError, OSError) as error:
        say(f"{error} The audit continues; if it is interrupted, it starts again.")
        return None
    return RunState(folder, found)


def digest(decides: Mapping[str, object], /) -> str:
    """A key from all that determines a result."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _bound(own: Path) -> None:
    """Remove the oldest states of other audits if there are too many, with a message."""
    others = sorted((each for each in own.parent.iterdir() if each != own), key=lambda each: -each.lstat().st_mtime)
    for each in others[MOST:]:
        began = datetime.fromtimestamp(each.lstat().st_mtime, UTC)
        RunState(each, "").discard()
        say(f"Removed the state of an audit that was interrupted on {began:%d %B}: only {MOST} are kept.")
