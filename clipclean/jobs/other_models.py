"""The other models of an audit: references and base of the same kind, witnesses of any kind."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from clipclean import checkpoint, deadline, detect, model, train, untrusted
from clipclean.config import recipe as recipes
from clipclean.detect import weights, witness
from clipclean.errors import Inconclusive, UsageError
from clipclean.jobs import inputs, saved_search, searching
from clipclean.jobs.inputs import LoadedModel, Opened, Source
from clipclean.jobs.searching import SearchSettings
from clipclean.progress import Progress, say
from clipclean.train.resume import RunState

MOST_BYTES = 50_000_000  # of a references file


def read_reference(source: Source, tested: Opened, /, *, arch: str | None) -> Opened:
    """A model to compare with, of the tested model's kind, but with other weights.

    Raises:
        UsageError: it is of another kind, or has the same weights.
        RefusedInput: the file is unreadable, unsafe or of an unsupported kind.
    """
    trusted = inputs.read(source, arch=arch)
    kinds = model.kind_of(trusted.architecture), model.kind_of(tested.architecture)
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"The reference {inputs.located(source).name} is a {kinds[0]} model, and the tested one {kinds[1]}: their triggers "
            "cannot be compared. Name a clean model of the same architecture."
        )
    _refuse_same(source, trusted, tested, "reference", "so nothing in it could look abnormal")
    return trusted


def read_base(source: Source, tested: Opened, /, *, arch: str | None) -> Opened:
    """The checkpoint that the tested model was finetuned from: of the same architecture, tokenizer and image size.

    Raises:
        UsageError: it is another architecture, or has the same weights.
        RefusedInput: the file is unreadable, unsafe or of an unsupported kind.
    """
    base = inputs.read(source, arch=arch)
    if other := [name for name, value in _traits(base).items() if value != _traits(tested)[name]]:
        raise UsageError(
            f"The base {inputs.located(source).name} has another {' and another '.join(other)} than the tested model, so the one "
            "was not finetuned from the other. Name the checkpoint that the training began with, or give this one by --witness."
        )
    _refuse_same(source, base, tested, "base", "so nothing was finetuned")
    return base


def read_witness(source: Source, tested: Opened, /, *, arch: str | None) -> Opened:
    """A witness: a model of any architecture, with its own tokenizer and image size.

    Raises:
        UsageError: its architecture cannot be told, or it has the tested model's weights.
        RefusedInput: the file is unreadable, unsafe or of an unsupported kind.
    """
    found = inputs.read(source, arch=arch)
    _refuse_same(source, found, tested, "witness", "so it would say the same of every trigger")
    return found


def _refuse_same(source: Source, one: Opened, tested: Opened, role: str, why: str) -> None:
    if checkpoint.digest(one.file.tensors) == checkpoint.digest(tested.file.tensors):
        raise UsageError(
            f"The {role} {inputs.located(source).name} has the same weights as the tested model, {why}. Name another model, one "
            "that you trust."
        )


def _traits(opened: Opened) -> dict[str, object]:
    """The settings that finetuning does not change."""
    config = opened.architecture.config
    text, vision = config["text_cfg"], dict(config["vision_cfg"])
    vision.pop("image_size", None)
    names = ("vocab_size", "context_length", "hf_tokenizer_name")
    return {
        "tokenizer": [text.get(name) for name in names],
        "image size": opened.architecture.preprocess.size,
        "image tower": vision,
    }


def changed(tested: LoadedModel, base: LoadedModel, /) -> weights.WeightChange:
    """How far the tested model has moved from its base."""
    return weights.compare(tested.clip.net.state_dict(), base.clip.net.state_dict())


def testimony(
    source: Source,
    loaded: LoadedModel,
    eval_set: detect.EvalSet,
    suspects: Sequence[detect.Suspect],
    progress: Progress,
    /,
) -> witness.Testimony:
    """The effect on one witness of the triggers that count against the suspects.

    Raises:
        Inconclusive: the witness hardly knows the classes, so its answers show nothing.
    """
    clip, name = loaded.clip, inputs.located(source).name
    triggers = [entry for suspect in suspects for entry in witness.triggers_of(suspect, eval_set.tried).values()]
    stage = f"asking the witness {name}"
    classifier = detect.classifier(
        clip.embed_texts,
        eval_set.classes,
        templates=eval_set.templates,
        batch_size=eval_set.batch_size,
        progress=lambda done, total: progress(stage, done, total + 1),
    )
    found = witness.testify(
        clip.embed_images,
        classifier,
        eval_set,
        side=clip.architecture.preprocess.size,
        name=name,
        architecture=clip.architecture.name,
        triggers=triggers,
    )
    progress(stage, 1, 1)
    if found.accuracy.n and (doubt := detect.unsound(found.accuracy, classes=len(eval_set.classes))):
        raise Inconclusive(f"The witness {name} cannot speak for these classes: {doubt.message} Name another.")
    return found


def testimonies(
    witnesses: Sequence[tuple[Source, Opened]],
    eval_set: detect.EvalSet,
    suspects: Sequence[detect.Suspect],
    progress: Progress,
    /,
    *,
    pairs: Path,
    device: str,
) -> list[witness.Testimony]:
    """The effect of the suspects' triggers on each witness; ``pairs`` decide an activation that its file does not name."""
    recipe, made = recipes.load(recipes.DEFAULT), []
    for source, opened in witnesses:
        late = inputs.late_pairs(pairs, inputs.image_cache(recipe, opened.architecture))
        loaded = inputs.build(opened, late, device=inputs.device_of(device))
        made.append(testimony(source, loaded, eval_set, suspects, progress))
    return made


def stored_references(
    files: Sequence[Path], /, *, kind: str, effort: str, classes: tuple[str, ...]
) -> list[detect.References]:
    """The references in files, for a model of this kind."""
    return [
        detect.from_file(
            untrusted.loads(untrusted.read(path, limit=MOST_BYTES), path.name, limit=MOST_BYTES),
            path.name,
            kind=kind,
            effort=effort,
            classes=classes,
        )
        for path in files
    ]


def measured_references(
    settings: SearchSettings,
    path: inputs.Source,
    trusted: LoadedModel,
    eval_set: detect.EvalSet,
    progress: Progress,
    /,
    *,
    state: RunState | None = None,
    group: train.Group = train.ALONE,
) -> detect.References:
    """The sizes of one clean model, searched exactly like the tested one.

    Raises:
        Inconclusive: no search is possible in it.
        OutOfTime: the deadline came before the search ended.
    """
    name = inputs.located(path).name
    # Its own factor, not that of the tested model: what was found in it serves audits of every other model.
    eval_set = dataclasses.replace(eval_set, scale=float(trusted.clip.logit_scale().detach()))
    deciding = settings.decides(trusted.clip, eval_set)
    key = saved_search.digest(deciding)
    if (
        settings.is_cached
        and (sizes := detect.of_first(group, lambda: saved_search.known_sizes(key), kinds={})) is not None
    ):
        say(f"The reference {name} was searched before, on the same images: nothing is searched in it again.")
        return detect.References("reference", name, (sizes,))
    named = f" the reference {name}"
    memory = saved_search.part(state, f"searching{named}", deciding)
    seen = searching.audit_clip(
        settings, trusted.clip, eval_set, None, progress, what=named, memory=memory, group=group
    )
    if (seen.search and seen.search.cut) or (seen.why_not and seen.why_not[0] == "CC024"):
        raise deadline.OutOfTime
    if seen.search is None:
        words = seen.why_not[1] if seen.why_not else ""
        raise Inconclusive(f"The reference {name} cannot be compared with: {words}")
    searching.keep_sizes(settings, deciding, seen, group)
    return detect.References("reference", name, (seen.search.sizes(),))
