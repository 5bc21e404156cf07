"""Replacing an earlier output folder by a finished one: entirely or not at all, even if the process is killed.

What is being moved where is noted in the user's own folder before the first file moves. Whoever works on the same output next
ends what a killed process began.
"""

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clipclean import files, own_state, untrusted
from clipclean.errors import RefusedInput, UsageError
from clipclean.export import records

SCRATCH_PREFIX = ".clipclean-scratch-"  # how the names of folders begin that files are written into first
NEW_FOLDER, OLD_FOLDER = "new", "old"  # in them: what is written, and what it took the place of


@dataclass(frozen=True)
class OutputState:
    """The content of an output folder."""

    # Digests by name of the files that an earlier run left, by its own record and as they are.
    earlier: Mapping[str, str] = field(default_factory=dict)
    run: str | None = None  # that was killed after all its files had come, and before it could say so

    def check(self, out: Path, run: str, /, *, force: bool) -> None:
        """Raise UsageError where the finished result of another run would be replaced unasked."""
        if self.run not in (None, run) and not force:
            raise _not_empty(out)


def look(out: Path, /, *, force: bool, names: Collection[str], is_dry: bool = False) -> OutputState:
    """Refuse before slow work what could not be written after it, once what a killed process began is ended.

    Args:
        out: where to.
        force: whether files of an earlier run may be replaced: those that its checksums list, and that are as listed.
        names: of all files that a run may write.
        is_dry: whether nothing may be changed; then what a killed process began is left to the run.

    Raises:
        UsageError: ``out`` is a file or a link; it has content and may not be overwritten; or it has files under our
            names that are not ours.
        ResourceError: ``out`` or its parent cannot be written.
    """
    try:
        str(out).encode()  # a system may take any bytes for a name, and no JSON holds those that are not UTF-8
        if out.is_symlink() or (out.exists() and not out.is_dir()):
            raise UsageError(f"--out {out} is a file or a link. Name a folder.")
        is_begun = is_dry and own_state.noted(out) is not None
        run = None if is_dry else _end_killed(out)
        files.check_writable(files.nearest(out), out)
        if is_begun or not out.exists() or not any(out.iterdir()):
            return OutputState()
        if run is None and not force:
            raise _not_empty(out)
        return OutputState(_earlier(out, names), run)
    except UnicodeEncodeError as error:
        raise UsageError(
            f"--out {untrusted.printable(out)} is not UTF-8 text, but reports name the folder. Choose another name."
        ) from error
    except OSError as error:
        raise files.cannot_write(out, error) from error


@contextlib.contextmanager
def scratch_folder(out: Path, /) -> Iterator[Path]:
    """A new, empty, hidden folder on the disk of ``out`` to write into, of a name that nobody can foresee.

    Beside ``out``, so that nothing stands in it before the run has ended. In it where it is a file system of its own,
    as a container's volume is, or where nothing can be written beside it.

    Raises:
        ResourceError: it cannot be made, or the disk is full.
    """
    resolved = out.resolve()
    is_inside = resolved.is_dir() and (resolved.is_mount() or not os.access(resolved.parent, os.W_OK))
    scratch = (resolved if is_inside else files.nearest(resolved.parent)) / f"{SCRATCH_PREFIX}{secrets.token_hex(8)}"
    own_state.note(out, {"scratch": str(scratch)})
    try:
        scratch.mkdir(mode=0o700)
        for name in (NEW_FOLDER, OLD_FOLDER):
            (scratch / name).mkdir()
        yield scratch / NEW_FOLDER
    except OSError as error:
        raise files.cannot_write(out, error) from error
    finally:
        if "new" not in (own_state.noted(out) or {}):  # nothing is being moved
            _remove(scratch)
            own_state.note(out, None)


def move_in(new: Path, out: Path, /, *, earlier: Mapping[str, str], run: str) -> None:
    """Move what was written into ``out``; then what an earlier run left, and this one has not, goes.

    A file takes the place of the earlier one in one step, the checksums last of all. If one cannot be moved, those before it are moved
    back. Afterwards ``close_run`` is due.
    """
    moves = {"scratch": str(new.parent), "new": records.digests(new) | _sums_of(new), "old": dict(earlier), "run": run}
    for name in moves["new"]:
        with (new / name).open("rb+") as stream:
            os.fsync(stream.fileno())
    _keep_earlier(new.parent / OLD_FOLDER, out, earlier)
    own_state.note(out, moves)
    try:
        _forward(new.parent, out, moves)
    except BaseException:  # Ctrl-C as well
        _undo(new.parent, out, moves)
        own_state.note(out, None)
        raise
    _remove(new.parent)


def close_run(out: Path, /) -> None:
    """The result has been told: the next run finds an ordinary folder."""
    own_state.note(out, None)


def _not_empty(out: Path) -> UsageError:
    return UsageError(
        f"--out {out} is not empty. Name another folder, or pass --force to overwrite clipclean's files in it."
    )


def _earlier(out: Path, names: Collection[str]) -> dict[str, str]:
    """The files that an earlier run left, by its checksums.

    Raises:
        UsageError: others stand under our names.
    """
    present = [name for name in sorted(names) if os.path.lexists(out / name)]
    try:
        digests = records.parse(untrusted.read(out / records.SUMS_NAME, limit=records.MAX_SUMS)) | _sums_of(out)
    except (RefusedInput, OSError):
        digests = {}
    ours = {name: digests[name] for name in present if name in digests and _digest(out, name) == digests[name]}
    if foreign := [name for name in present if name not in ours]:
        raise UsageError(
            f"--out {out} holds {untrusted.first_few(foreign, show=untrusted.printable)}: no {records.SUMS_NAME} of an earlier "
            "run lists them as they are, and nothing else is ever overwritten. Move them away, or name another folder."
        )
    return ours


def _sums_of(folder: Path) -> dict[str, str]:
    """The digest of the checksums themselves."""
    digest = _digest(folder, records.SUMS_NAME)
    return {records.SUMS_NAME: digest} if digest else {}


def _digest(folder: Path, name: str) -> str | None:
    """The digest of a regular file that no link leads to; None for all else."""
    path = folder / name
    try:
        if any((folder / parent).is_symlink() for parent in Path(name).parents[:-1]):
            return None
        return files.sha256(path) if stat.S_ISREG(path.lstat().st_mode) else None
    except OSError:
        return None


def _end_killed(out: Path) -> str | None:
    """Finish the work of a killed process; returns its run if all its files were moved in."""
    if own_state.noted(out) is None:
        return None
    with own_state.locked(own_state.place_of(out)):
        note = own_state.noted(out)
        if note is None:
            return None
        scratch = Path(note["scratch"])
        if "new" in note and scratch.is_dir():  # else nothing was being moved, or all had been
            _forward(scratch, out, note)
        _remove(scratch)
        if "new" in note and all(_digest(out, name) == digest for name, digest in note["new"].items()):
            return str(note["run"])
        own_state.note(out, None)  # somebody has changed or removed the result since, or there was none
        return None


def _forward(scratch: Path, out: Path, note: own_state.Note) -> None:
    """Move in the remaining files, then remove those of the earlier run."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if not out.exists() or not any(out.iterdir()):
        with contextlib.suppress(OSError):  # a mount, or a system that does not replace empty folders
            (scratch / NEW_FOLDER).replace(out)
    for name in sorted(note["new"], key=lambda name: name == records.SUMS_NAME):
        if (scratch / NEW_FOLDER / name).exists():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / NEW_FOLDER / name).replace(out / name)
    for name in note["old"].keys() - note["new"].keys():
        if _digest(out, name) == note["old"][name]:
            files.remove(out, name)


def _keep_earlier(aside: Path, out: Path, names: Iterable[str]) -> None:
    """A second name for each earlier file, under which it outlives its first."""
    for name in names:
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            (aside / name).hardlink_to(out / name)
        except OSError:  # a file system without hard links
            shutil.copy2(out / name, aside / name)


def _undo(scratch: Path, out: Path, note: own_state.Note) -> None:
    """Undo ``_forward``."""
    if not (scratch / NEW_FOLDER).exists():  # the folder was moved as a whole
        out.replace(scratch / NEW_FOLDER)
    for name in note["new"]:
        if not (scratch / NEW_FOLDER / name).exists() and name not in note["old"]:
            files.remove(out, name)
    for name in note["old"]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / OLD_FOLDER / name).replace(out / name)
    _remove(scratch)
    with contextlib.suppress(OSError):  # not ours, or not empty
        if not note["old"]:
            out.rmdir()


def _remove(scratch: Path) -> None:
    """Remove a scratch folder of ours; a link in its place is left alone."""
    if scratch.name.startswith(SCRATCH_PREFIX) and not scratch.is_symlink():
        shutil.rmtree(scratch, ignore_errors=True)
