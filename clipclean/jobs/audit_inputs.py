"""The inputs of an audit, read and checked before anything is measured."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipclean import data, detect, requests
from clipclean.attack import power, trigger_files
from clipclean.jobs import measured_images, opening, results
from clipclean.jobs.job import Job
from clipclean.jobs.opening import LoadedModel
from clipclean.jobs.searching import SearchSettings
from clipclean.jobs.shared_inputs import SharedInputs
from clipclean.progress import stage
from clipclean.report import RunPaths


@dataclass(frozen=True)
class AuditInputs:
    """The inputs of an audit."""

    shared: SharedInputs
    loaded: LoadedModel  # the model, built
    images: data.CleanSet  # that were given
    late_pairs: measured_images.LatePairs  # the bundled clean pairs, read if needed
    planting: Sequence[data.Pair]  # to plant with: the user's images, or else the clean pairs; none without --power
    eval_set: detect.EvalSet  # the images to measure every model on
    settings: SearchSettings
    is_bundled: bool  # whether the user gave no images
    names_weights: bool  # whether the user chose among several sets of weights
    has_power: bool  # whether test backdoors are planted in copies
    trigger_folder: Path | None  # to save found triggers in
    labels: Mapping[str, str]  # of the report
    paths: RunPaths  # for the commands that the report suggests


@contextlib.contextmanager
def read_for_audit(job: Job[requests.Audit], /) -> Iterator[AuditInputs]:
    """All inputs of an audit, checked, and the tested model, built, for the span of a with-block; raises what the readers raise."""
    request, recipe = job.request, job.recipe
    if request.save_triggers is not None:
        trigger_files.check_folder(request.save_triggers)
    shared = SharedInputs.of(job)
    vocabulary, architecture = shared.vocabulary, shared.checkpoint.architecture
    with measured_images.shown_images(request.data, recipe, architecture) as (images, late_pairs):
        with stage("building the model"):
            loaded = opening.build(shared.checkpoint, late_pairs, device=shared.device)
        panel = not shared.named_suspicions or request.search
        eval_set = measured_images.audit_set(
            loaded.clip, recipe, images, vocabulary=vocabulary, suspicions=shared.named_suspicions, panel=panel
        )
        # Beside clean models all variants of known triggers are compared; without them some persuade the model itself.
        if not shared.compares:
            eval_set = eval_set.trying(eval_set.plan.triggers.without_variants())
        elif not shared.base:
            eval_set = eval_set.trying(replace(eval_set.plan.triggers, of_whole_image=()))
        clean_images = late_pairs() if request.power and request.data is None else images
        planting = power.pairs_of(clean_images, vocabulary.classes, vocabulary.templates) if request.power else ()
        yield AuditInputs(
            shared=shared,
            loaded=loaded,
            images=images,
            late_pairs=late_pairs,
            planting=planting,
            eval_set=eval_set,
            settings=SearchSettings(request.effort, request.seed, search=request.search),
            is_bundled=request.data is None,
            names_weights=request.weights is not None,
            has_power=request.power,
            trigger_folder=request.save_triggers,
            labels=request.label,
            paths=results.paths_of(request),
        )
