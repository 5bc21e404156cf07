"""Commands that a report suggests: each runs as it is printed, with what its own run was given."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clipclean.schema.report import Report, SuspectRecord

_SPEC = re.compile(r"[A-Za-z0-9:=.,_-]+")  # a trigger that needs no file
_NAMED = ("--trigger", "--target")
PAIRS = "CLEAN_PAIRS"  # stands for what only the user has


class RunPaths(NamedTuple):
    """What a run was given, as the user named it, for commands that can be copied; empty where that is not known."""

    folder: str = ""  # of the weights and the report
    model: str = ""
    data: str = ""
    recipe: str = ""
    found: str = ""  # where an audit saved its triggers
    repeated: tuple[tuple[str, str, str], ...] = ()  # others: a command that takes them, flag and value


NOWHERE = RunPaths()


def commands(report: Report, place: RunPaths, /) -> list[tuple[str, str]]:
    """The purpose of each next command, and its words, ready to be copied; empty if there is nothing to do."""
    folder, model = place.folder or "FOLDER", place.model or report.model.name
    if report.is_audit:
        if report.verdict == "pass":
            return []
        suspect = next(iter(report.suspects), None)
        named = _named(report, suspect, place) if suspect else ()
        words = ("sanitize", model, "--data", PAIRS, "--recipe", "auto", "--out", "cleaned", *named)
        purpose = "Clean the model on image and caption pairs that you trust"
        return [(purpose, _command(words, place, but=_NAMED if named else ()))]
    if report.verdict == "pass":
        loads = any(export.format.startswith("open_clip") for export in report.exports or ())
        call = f"open_clip.create_model_and_transforms({json.dumps(f'local-dir:{folder}', ensure_ascii=False)})"
        return [
            ("Check that the folder is whole", _command(("verify", folder), place)),
            *([("Load the weights in Python", call)] if loads else []),
        ]
    if place.recipe == "auto":
        words = ("audit", model, "--effort", "thorough")
        return [("Search the model as it is", _command(words, place, but=_NAMED))]
    words = ("sanitize", model, "--data", place.data or PAIRS, "--recipe", "auto", "--out", folder, "--force")
    return [("Try several recipes, and take the best", _command(words, place))]


def _command(words: Sequence[str], place: RunPaths, *, but: Sequence[str] = ()) -> str:
    """A command line with all options of the run that the command takes, but for some."""
    kept = [word for command, *given in place.repeated if command == words[0] and given[0] not in but for word in given]
    return shlex.join(["clipclean", *words, *kept])


def _named(report: Report, suspect: SuspectRecord, place: RunPaths) -> tuple[str, ...]:
    """The options that name a suspect's trigger: the one that was saved, else its spec; none where it has neither."""
    found = report.measurements.search.found or ()
    saved = next((each.file for each in found if each.file and each.class_ == suspect.class_), None)
    if saved and place.found:
        return ("--trigger", str(Path(place.found) / saved))  # a file brings its own class
    spec = suspect.trigger or ""
    if _SPEC.fullmatch(spec) and not spec.startswith("found:"):
        return ("--trigger", spec, "--target", suspect.class_)
    return ()
