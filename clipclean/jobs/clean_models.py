"""The references of an audit: clean models of the same kind, read or searched, and kept as numbers in a file."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import nn

from clipclean import checkpoint, deadline, detect, files, model, report, requests, untrusted
from clipclean.config import recipe as recipes
from clipclean.errors import ClipcleanError, Inconclusive, RefusedInput, UsageError
from clipclean.jobs import inputs, searching
from clipclean.jobs.inputs import LoadedModel, OpenedCheckpoint, Source
from clipclean.jobs.searching import SearchSettings
from clipclean.schema.results import ReferencesFile
from clipclean.train import RunState

MOST_REFERENCE_BYTES = 50_000_000  # of a references file


def read_reference(source: Source, tested: OpenedCheckpoint, /, *, arch: str | None) -> OpenedCheckpoint:
    """A model to compare with, of the tested model's kind, but with other weights.

    Raises:
        UsageError: it is of another kind, has the same weights, or failed an audit by its own report.
        RefusedInput: the file is unreadable, unsafe or of an unsupported kind.
    """
    refuse_failed(source)
    trusted = inputs.read(source, arch=arch)
    kinds = model.shape_of(trusted.architecture), model.shape_of(tested.architecture)
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"The reference {trusted.place.name} is a {kinds[0]} model, and the tested one {kinds[1]}: their triggers "
            "cannot be compared. Name a clean model of the same architecture."
        )
    if checkpoint.digest(trusted.file.tensors) == checkpoint.digest(tested.file.tensors):
        raise UsageError(
            f"The reference {trusted.place.name} has the same weights as the tested model, so nothing in it could look "
            "abnormal. Name another model, one that you trust."
        )
    return trusted


def refuse_failed(source: Source, /) -> None:
    """Raise UsageError for the output of a cleaning whose own report fails it: that is no clean model to compare with."""
    if isinstance(source, nn.Module):
        return
    located = inputs.located(source)
    place = located.path
    path = (place if place.is_dir() else place.parent) / "report.json"
    try:
        earlier = report.read(path) if path.is_file() else None
    except ClipcleanError:  # of another program
        return
    # An audit's report in the folder of a file may be of any other model.
    if earlier and earlier.verdict == "fail" and (earlier.command == "sanitize" or place.is_dir()):
        raise UsageError(f"{path} fails {located.name}: it is no clean model to compare with. Name another.")


class StoredReferences(NamedTuple):
    """What files of references hold."""

    measured: tuple[detect.References, ...]  # one a file
    digests: frozenset[str]  # SHA-256 of the models in them: none of these is searched again
    files: tuple[str, ...] = ()  # SHA-256 of each file


def stored_references(
    files: Sequence[Path], /, *, kind: str, effort: str, classes: tuple[str, ...]
) -> StoredReferences:
    """The references in files, for a model of this kind; raises RefusedInput and UsageError."""
    references, digests, own = list[detect.References](), set[str](), list[str]()
    for path in files:
        try:
            content = untrusted.read(path, limit=MOST_REFERENCE_BYTES)
        except OSError as error:
            raise RefusedInput(
                f"Cannot read the references {path}: {error.strerror}. Name a file of 'clipclean references build'."
            ) from error
        content_of_file = untrusted.loads(content, path.name, limit=MOST_REFERENCE_BYTES)
        references.append(detect.from_file(content_of_file, path.name, kind=kind, effort=effort, classes=classes))
        digests |= digests_in(content_of_file)
        own.append(hashlib.sha256(content).hexdigest())
    return StoredReferences(tuple(references), frozenset(digests), tuple(own))


def digests_in(content: Mapping[str, object], /) -> set[str]:
    """The SHA-256 of the models in a references file: of each name the last word."""
    models = content.get("models")
    return {str(stored.get("name")).rpartition(" ")[2] for stored in models} if isinstance(models, list) else set()


def all_references(
    settings: SearchSettings,
    trusted: Sequence[OpenedCheckpoint],
    stored: Sequence[detect.References],
    eval_set: detect.EvalSet,
    pairs: inputs.Pairs,
    /,
    *,
    device: str,
    state: RunState | None,
    towards: Sequence[int] = (),
) -> detect.References | None:
    """All clean models to compare with: those that are ``trusted``, once they are searched, and those ``stored``; None without any.

    With ``towards``, places of classes, those are searched for these alone.
    """
    unnamed = eval_set.suspecting([])  # a trigger that was named is one of the tested model alone
    new_references = [
        measured_references(settings, inputs.build(clean, pairs, device=device), unnamed, state=state, towards=towards)
        for clean in trusted
    ]
    return detect.together([*stored, *new_references]) if stored or new_references else None


def measured_references(
    settings: SearchSettings,
    trusted: LoadedModel,
    eval_set: detect.EvalSet,
    /,
    *,
    state: RunState | None,
    towards: Sequence[int] = (),
) -> detect.References:
    """The sizes of one clean model, searched like the tested one, for all classes or ``towards`` those at these places.

    Raises:
        Inconclusive: no search is possible in it.
        OutOfTime: the deadline came before the search ended.
    """
    name = trusted.place.name
    # Its own factor, not that of the tested model.
    plan = dataclasses.replace(eval_set.plan, scale=float(trusted.clip.logit_scale().detach()))
    eval_set = dataclasses.replace(eval_set, plan=plan)
    settings = dataclasses.replace(settings, pointed=tuple(towards), is_reference=True)
    audit = searching.audit_clip(settings, trusted.clip, eval_set, None, what=f"the reference {name}", state=state)
    if audit.is_cut:
        raise deadline.OutOfTime
    if audit.search is None:
        words = audit.why_not[1] if audit.why_not else ""
        raise Inconclusive(f"The reference {name} cannot be compared with: {words}")
    return detect.References("reference", name, (audit.search.sizes(),))


def build_references(request: requests.References, /) -> ReferencesFile:
    """Search clean models as an audit would, and write a references file; returns what it holds: numbers, no weights.

    All models must be of one kind.

    Raises:
        ClipcleanError: of the kind that tells the exit code.
    """
    if not request.models:
        raise UsageError("models: none. Name one at least.")
    files.check_output(f"--out {request.out}", request.out)
    recipe, vocabulary = (
        recipes.load(recipes.STANDARD_RECIPE),
        inputs.read_vocabulary(request.classes, request.templates),
    )
    device = inputs.device_of(request.device)
    for path in request.models:
        refuse_failed(path)
    checkpoints = [inputs.read(path, arch=request.arch, weights=request.weights) for path in request.models]
    kinds = [model.shape_of(clean.architecture) for clean in checkpoints]
    if len(set(kinds)) > 1:
        raise UsageError(f"The models are of several kinds: {', '.join(sorted(set(kinds)))}. Build one file for each.")
    with inputs.shown_images(request, recipe, checkpoints[0].architecture) as (images, late_pairs):
        settings, sizes = SearchSettings(request.effort, request.seed), {}
        # A build that was interrupted goes on with the next model: the searches of all lie in one state until the end.
        with searching.resumable(
            {"references": [clean.file.sha256 for clean in checkpoints], "data": images.digest}
        ) as state:
            for clean in checkpoints:
                loaded = inputs.build(clean, late_pairs, device=device)
                eval_set = inputs.audit_set(loaded.clip, recipe, images, vocabulary=vocabulary)
                searched = measured_references(settings, loaded, eval_set, state=state)
                sizes[f"{clean.place.name} {clean.file.sha256}"] = searched.entries[0]
    stored = detect.as_file(kinds[0], request.effort, vocabulary.classes, sizes)
    files.write_text(request.out, json.dumps(stored, indent=1) + "\n")
    return stored
