"""The references of an audit: clean models of the same kind, read or searched, and kept as numbers in a file."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from clipclean import checkpoint, deadline, detect, model, report, untrusted
from clipclean.errors import ClipcleanError, Inconclusive, RefusedInput, UsageError
from clipclean.findings import Finding
from clipclean.jobs import measured_images, opening, searching
from clipclean.jobs.opening import LoadedModel, OpenedCheckpoint, Source
from clipclean.jobs.searching import SearchSettings
from clipclean.train import RunState

MOST_REFERENCE_BYTES = 50_000_000  # of a references file


def read_reference(source: Source, tested: OpenedCheckpoint, /, *, arch: str | None) -> OpenedCheckpoint:
    """A model to compare with, of the tested model's kind, but with other weights.

    Raises:
        UsageError: it is of another kind, has the same weights, or failed an audit by its own report.
        RefusedInput: the file is unreadable, unsafe or of an unsupported kind.
    """
    refuse_failed(source)
    trusted = opening.read(source, arch=arch)
    kinds = model.shape_of(trusted.architecture), model.shape_of(tested.architecture)
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"The reference {trusted.source.name} is a {kinds[0]} model, and the tested one {kinds[1]}: their triggers "
            "cannot be compared. Name a clean model of the same architecture."
        )
    if checkpoint.digest(trusted.file.tensors) == checkpoint.digest(tested.file.tensors):
        raise UsageError(
            f"The reference {trusted.source.name} has the same weights as the tested model, so nothing in it could look "
            "abnormal. Name another model, one that you trust."
        )
    return trusted


def refuse_failed(source: Source, /) -> None:
    """Raise UsageError for the output of a cleaning whose own report fails it: that is no clean model to compare with."""
    if isinstance(source, nn.Module):
        return
    located = opening.located(source)
    model_path = located.path
    path = (model_path if model_path.is_dir() else model_path.parent) / "report.json"
    try:
        earlier = report.read(path) if path.is_file() else None
    except ClipcleanError:  # of another program
        return
    # An audit's report in the folder of a file may be of any other model.
    if earlier and earlier.verdict == "fail" and (earlier.command == "sanitize" or model_path.is_dir()):
        raise UsageError(f"{path} fails {located.name}: it is no clean model to compare with. Name another.")


class StoredReferences(NamedTuple):
    """What files of references hold."""

    references: tuple[detect.References, ...]  # one a file
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
    pairs: measured_images.Pairs,
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
        measured_references(settings, opening.build(clean, pairs, device=device), unnamed, state=state, towards=towards)
        for clean in trusted
    ]
    return detect.merged_references([*stored, *new_references]) if stored or new_references else None


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
    name = trusted.source.name
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


def reference_findings(
    own: Mapping[str, Tensor],
    trusted: Sequence[OpenedCheckpoint],
    eval_set: detect.EvalSet,
    pairs: measured_images.Pairs,
    /,
    *,
    device: str,
) -> list[Finding]:
    """What speaks against models as references: that one hardly knows the classes, or has much of the tested model's ``own`` weights."""
    vocabulary = replace(eval_set.vocabulary, templates=eval_set.vocabulary.templates[:1])
    brief = replace(eval_set, vocabulary=vocabulary).suspecting([]).trying(detect.KnownTriggers())
    findings = list[Finding]()
    for reference in trusted:
        if detect.are_kin(own, reference.file.tensors):
            findings.append(detect.kin_reference(reference.source.name))
        clip = opening.build(reference, pairs, device=device).clip
        findings += detect.strange_reference(reference.source.name, searching.measure(clip, brief))
    return findings
