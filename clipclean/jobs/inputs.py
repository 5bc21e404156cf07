"""The inputs of a job: from paths to a CLIP on a device, with the images and classes to measure it on."""

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from clipclean import checkpoint, data, demo, detect, model, requests
from clipclean.attack import trigger_files, triggers
from clipclean.config.recipe import Recipe
from clipclean.data import Samples
from clipclean.detect import Suspicion
from clipclean.errors import Inconclusive, UnsupportedModel, UsageError
from clipclean.jobs import model_paths
from clipclean.progress import step
from clipclean.schema.report import ModelRecord

EVIDENCE_BYTES = 600_000_000  # room for the measured images as floats
ACTIVATION_PAIRS = 256  # clean pairs on which GELU and QuickGELU are compared
TRIED_CLASSES = 16  # classes by which a text tower is tried
ALIKE_DISTANCE = 1e-3  # distance of unit embeddings below which they are one: float16 tells apart no less
NAMED_SHARE = 0.9  # share of captions that name one class, from which on an audit takes it for the label

SHOWN_NAMES = 5  # names in a message
Source = requests.Model  # a checkpoint, the name of one, or an open_clip model in memory
LatePairs = Callable[[], data.CleanSet]  # clean pairs that are read at the first call
Pairs = data.CleanSet | LatePairs


# The model: from a path to a CLIP on a device.


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A checkpoint as it was read, and the architecture that its tensors belong to."""

    place: model_paths.Located
    file: checkpoint.Checkpoint
    architecture: model.Architecture


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint as it was read, and the model built from it."""

    place: model_paths.Located
    file: checkpoint.Checkpoint
    clip: model.Clip

    def weights(self) -> dict[str, Tensor]:
        """The model's current tensors in fp32, on the CPU."""
        return {name: tensor.detach().cpu() for name, tensor in self.clip.net.state_dict().items()}

    def record(self) -> ModelRecord:
        """The report's ``model``."""
        architecture = self.clip.architecture
        record = ModelRecord(
            name=self.place.name,
            sha256=self.file.sha256,
            format=self.file.format,
            architecture=architecture.name,
            architecture_how=architecture.how,
            activation="quick_gelu" if architecture.quick_gelu else "gelu",
            activation_how=architecture.activation_how,
            tensor_sha256=checkpoint.digest(self.file.tensors),
        )
        more = {"revision": self.place.revision, "path": self.place.inside}
        return record.model_copy(update={key: value for key, value in more.items() if value})


def device_of(name: str, /) -> str:
    """``auto`` becomes the first CUDA device or the CPU; raises UsageError for a device that is not there."""
    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    number = int(name.partition(":")[2] or 0)  # what a request asks for is of one of these kinds
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number >= count:
        raise UsageError(
            f"--device {name}: PyTorch sees {count or 'no'} CUDA device(s) here{', numbered from 0' if count else ''}. Use "
            f"--device {'cuda' if count else 'cpu'} or auto."
        )
    return f"cuda:{number}"


def opened(
    request: requests.Audit | requests.Sanitize | requests.Screen | requests.Export | requests.Plant | requests.Compare,
    suspicions: Sequence[Suspicion[int | None]] = (),
    /,
) -> OpenedCheckpoint:
    """The model of a request, read; raises what ``read`` raises, and UsageError if a trigger for other images is named."""
    opened_model = read(request.model, arch=request.arch, weights=request.weights)
    side = opened_model.architecture.preprocess.size
    if wrong := [
        f"{t.spec} ({t.side} px)" for t, _ in suspicions if isinstance(t, detect.InvertedTrigger) and t.side != side
    ]:
        raise UsageError(
            f"The model takes images of {side} px, and these triggers were found on others: {', '.join(wrong)}. "
            "Audit this model with --save-triggers, and give the triggers that it finds."
        )
    return opened_model


def read(
    source: Source, /, *, arch: str | None, weights: str | None = None, is_judged: bool = True
) -> OpenedCheckpoint:
    """Read a checkpoint and recognise its architecture; nothing is built yet. ``weights`` chooses among several sets in it.

    With ``is_judged``, settings beside the weights are refused that no tensor shows and no published CLIP has.

    Of a module in memory the tensors are copied; it states its own activation and preprocessing.

    A path may also be a name that ``model_paths.locate`` knows.

    Raises:
        RefusedInput: the file is unreadable, unsafe or of an unsupported kind.
        UnsupportedModel: the tensors do not fit the architecture, or belong to no CLIP with native towers.
        UsageError: the architecture cannot be recognised.
    """
    place, file = file_of(source, weights=weights)
    architecture = recognised(file, place.architecture, arch=arch)
    model.refuse_tokenizer(architecture)
    if is_judged:
        model.refuse_unseen_settings(architecture, str(file.weights.parent / (file.config_name or "")))
    try:
        model.check(architecture, file.tensors)  # a wrong --arch is refused before slow work
    except UnsupportedModel as error:  # there may be several models
        raise UnsupportedModel(f"{place.name}: {error}") from error
    if not isinstance(source, nn.Module):
        return OpenedCheckpoint(place, file, architecture)
    stated = {"model_cfg": architecture.config, "preprocess_cfg": checkpoint.preprocess_of(source)}
    preprocess = model.resolve(file.tensors, arch=None, config=stated, script_quick_gelu=None).preprocess
    architecture = replace(architecture, preprocess=preprocess)
    architecture = architecture.with_activation(bool(file.quick_gelu), "the module's own activation")
    model.check_module(source, architecture, file.tensors)
    return OpenedCheckpoint(place, file, architecture)


def file_of(source: Source, /, *, weights: str | None) -> tuple[model_paths.Located, checkpoint.Checkpoint]:
    """The place of a model, and what is read there; of a module in memory its tensors."""
    place = located(source)
    if isinstance(source, nn.Module):
        return place, checkpoint.of_module(source)
    file = checkpoint.read(place.path, weights=weights)
    place.check(file)
    return place, file


def recognised(
    file: checkpoint.Checkpoint, stated: model.Architecture | None, /, *, arch: str | None
) -> model.Architecture:
    """The architecture of a checkpoint, not yet compared with its tensors; ``stated`` is that which its name stands for.

    Raises:
        UsageError: the architecture cannot be told.
    """
    if stated is not None and arch is None:
        return stated
    return model.resolve(file.tensors, arch=arch, config=file.config, script_quick_gelu=file.quick_gelu)


def build(checkpoint: OpenedCheckpoint, pairs: Pairs, /, *, device: str) -> LoadedModel:
    """The model of a checkpoint, in the fastest memory layout for the device.

    If name, config and archive do not state the activation, it is measured on the clean pairs; a note says where these cannot tell.

    Raises:
        UnsupportedModel: the tensors do not fit the architecture.
        Inconclusive: a tower gives embeddings that are zero or not finite.
    """
    file, architecture = checkpoint.file, checkpoint.architecture
    if architecture.quick_gelu is None:
        clean = pairs if isinstance(pairs, data.CleanSet) else pairs()
        some = detect.spaced(clean.pairs, ACTIVATION_PAIRS)
        pixels, captions = detect.stack([pair.image for pair in some]), [pair.caption for pair in some]
        plain, quick = (
            model.build(architecture.with_activation(is_quick, "candidate"), file.tensors, device=device)
            for is_quick in (False, True)
        )
        choice = model.choose_activation(plain, quick, pixels, captions)
        architecture = architecture.with_activation(choice.quick_gelu, str(choice))
        file = replace(file, notes=(*file.notes, model.UNDECIDED_NOTE)) if choice.is_guess else file
    clip = model.build(architecture, file.tensors, device=device)
    clip.arrange()
    clip.check()
    return LoadedModel(checkpoint.place, file, clip)


def check_texts(clip: model.Clip, classes: Sequence[str], /) -> None:
    """Raise Inconclusive where the text tower tells no class from another: then no accuracy and no success is anything."""
    texts = clip.embed_texts([f"a photo of a {name}" for name in classes[:TRIED_CLASSES]])
    if len(texts) > 1 and float((texts[1:] - texts[0]).norm(dim=1).max()) < ALIKE_DISTANCE:
        raise Inconclusive(
            f"The text tower gives {len(texts)} classes the same embedding, so it carries nothing, and nothing can be measured by it. "
            "Check that the file holds trained weights of both towers, and name the architecture by --arch."
        )


def located(source: Source, /) -> model_paths.Located:
    """The place of a model and its name in a report: that of its file or folder, its own name, or the class of a module."""
    if isinstance(source, nn.Module):
        return model_paths.Located(Path(), type(source).__name__)
    return model_paths.locate(source)


# Words, and the triggers that are suspected of leading to one of them.


def read_vocabulary(classes: Path | Sequence[str] | None, templates: Path | Sequence[str] | None, /) -> data.Vocabulary:
    """The user's classes and templates, in files or as they are; by default ImageNet-1k's names and open_clip's seven simple templates.

    Raises:
        UsageError: two names are one to the model, so that each would hide what is unusual of the other; or what the files hold.
    """
    import open_clip

    usual = [form("{}") for form in open_clip.SIMPLE_IMAGENET_TEMPLATES]
    forms = tuple(usual if templates is None else data.read_templates(templates))
    if classes is None:
        return data.Vocabulary(tuple(open_clip.IMAGENET_CLASSNAMES), forms)  # of which two have one name
    names = data.read_classes(classes)
    if same := model.same_tokens(names):
        groups = "; ".join(", ".join(map(repr, group[:SHOWN_NAMES])) for group in same[:SHOWN_NAMES])
        raise UsageError(
            f"These classes have the same tokens, so no model can tell them apart: {groups}. Leave one of each in."
        )
    return data.Vocabulary(tuple(names), forms)


def suspicions(
    specs: Sequence[str], target: str | None, vocabulary: data.Vocabulary, /
) -> tuple[Suspicion[int | None], ...]:
    """The triggers that the user named, by specs or by files of found ones, with the place of the target class.

    A file brings its own class, unless a target is given.

    Raises:
        UsageError: a trigger or a class is unknown, a target is given without a trigger, or two files are of one name.
        RefusedInput: a file holds no trigger that an audit saved.
    """
    if target is not None and not specs:
        raise UsageError(
            f"--target {target!r} without --trigger: there is nothing to measure for it. Name the trigger that you "
            "suspect, or leave the target out: the panel is tried with every class as the target."
        )
    place = None if target is None else class_number(target, vocabulary.classes)
    suspicions_of_user: list[Suspicion[int | None]] = []
    for spec in specs:
        trigger, target_place = named_trigger(spec), place
        if place is None and isinstance(trigger, detect.InvertedTrigger):
            try:
                target_place = class_number(trigger.target, vocabulary.classes)
            except UsageError as error:
                raise UsageError(f"--trigger {spec}: {error} Or name the class by --target.") from error
        suspicions_of_user.append(Suspicion(trigger, target_place))
    specs_of_files = [trigger.spec for trigger, _ in suspicions_of_user if isinstance(trigger, detect.InvertedTrigger)]
    if twice := [spec for spec in dict.fromkeys(specs_of_files) if specs_of_files.count(spec) > 1]:
        raise UsageError(
            f"Several --trigger files are called {', '.join(twice)}: a report could not tell them apart. Give one of each."
        )
    return tuple(suspicions_of_user)


def named_trigger(spec: str, /) -> detect.TriggerLike:
    """A trigger by its spec, or by a file of a found one.

    Raises:
        UsageError: the spec is none.
        RefusedInput: the file holds no trigger that an audit saved.
    """
    return trigger_files.load(Path(spec)) if spec.endswith(trigger_files.TRIGGER_SUFFIX) else triggers.parse(spec)


def class_number(name: str, classes: Sequence[str], /) -> int:
    """The place of a class name; raises UsageError with near names."""
    import difflib

    if name in classes:
        return list(classes).index(name)
    near = difflib.get_close_matches(name, classes, n=3)
    hint = f" Did you mean {', '.join(map(repr, near))}?" if near else ""
    raise UsageError(
        f"Class {name!r} is not in the vocabulary of {len(classes)} classes.{hint} Give your own list by --classes FILE."
    )


# Images, and those to measure a model on.


def image_cache(recipe: Recipe, architecture: model.Architecture, /, *, views: bool = False) -> data.ImageCache:
    """The image cache of a run, with images in the model's size, within the recipe's limits.

    ``views`` is whether second views will be made of the images.
    """
    preprocess = architecture.preprocess
    fit = data.Fit(preprocess.size, lambda image: model.fit(image, preprocess).contiguous())
    names = [limit.name for limit in dataclasses.fields(data.ReadLimits)]
    limits = data.ReadLimits(**{name: getattr(recipe.data, name) for name in names})
    return data.ImageCache(limits, fit=fit, max_bytes=recipe.data.cache_bytes, views=views)


@contextlib.contextmanager
def shown_images(
    request: requests.Audit | requests.References | requests.Compare,
    recipe: Recipe,
    architecture: model.Architecture,
    /,
) -> Iterator[tuple[data.CleanSet, LatePairs]]:
    """The images of an audit, of the user's or of the demo, and the demo's clean pairs, for the span of a with-block."""
    cache = image_cache(recipe, architecture)
    progress = functools.partial(step, "reading the images")
    with demo.late() as bundled:
        images = data.read_images(*(request.data or [bundled() / demo.LABELLED]), images=cache, progress=progress)
        # Read once and only if needed: most models state their activation.
        yield images, functools.cache(lambda: data.read(bundled() / demo.PAIRS, images=cache))


def audit_set(
    clip: model.Clip,
    recipe: Recipe,
    images: data.CleanSet,
    /,
    *,
    vocabulary: data.Vocabulary,
    suspicions: tuple[Suspicion[int | None], ...] = (),
    panel: bool = True,
) -> detect.EvalSet:
    """Images to audit a model on: with labels if all of them have one in the vocabulary, else with captions.

    If nearly all captions name one class, that is the label, and the other images are left out: recall of captions that repeat means
    little. Without labels and captions, accuracy is not measured, and the model's own answers replace the labels.

    Raises:
        Inconclusive: fewer than two images.
    """
    samples = Samples(images.pairs, data.labels_of(images, vocabulary.classes))
    has_captions = all(pair.caption for pair in images.pairs)
    if samples.labels is None and has_captions:
        labelled = labelled_by_captions(samples, vocabulary)
        samples = labelled if len(labelled.pairs) >= NAMED_SHARE * len(samples.pairs) else samples
    audit_images = eval_set(clip, recipe, samples, vocabulary=vocabulary, suspicions=suspicions, panel=panel)
    if samples.labels is None and has_captions:
        return audit_images
    return replace(audit_images, images=replace(audit_images.images, captions=None))


def labelled_by_captions(samples: Samples, vocabulary: data.Vocabulary, /) -> Samples:
    """The samples whose captions name exactly one class, with it as the label."""
    captions = [pair.caption for pair in samples.pairs]
    numbers = data.classes_in(captions, vocabulary.classes, templates=vocabulary.templates)
    places = (numbers >= 0).nonzero().flatten().tolist()
    return Samples([samples.pairs[place] for place in places], numbers[places])


def eval_set(
    clip: model.Clip,
    recipe: Recipe,
    samples: Samples,
    /,
    *,
    vocabulary: data.Vocabulary,
    suspicions: tuple[Suspicion[int | None], ...],
    panel: bool,
) -> detect.EvalSet:
    """The images to measure on, by their labels if there are any, and by recall of their captions.

    If some have neither label nor caption, accuracy is not measured.

    Raises:
        Inconclusive: fewer than two images. Copies count once, since they are no further evidence.
    """
    pairs, labels = samples.pairs, samples.labels
    if len(pairs) < 2:
        raise Inconclusive(
            f"{len(pairs)} image(s) to measure on: too few to say anything. Give labelled images by --eval-data, or more pairs."
        )
    side = clip.architecture.preprocess.size
    room = max(2, min(recipe.audit.images, EVIDENCE_BYTES // (12 * side * side)))
    places = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:room].sort().values.tolist()
    pixels = detect.stack([pairs[i].image for i in places])
    once = places_of_distinct(pixels)
    places, pixels = [places[place] for place in once], pixels[once]
    if len(places) < 2:
        raise Inconclusive(
            "All images to measure on are copies of one: that is too little to say anything. Give others."
        )
    captions = tuple(pairs[i].caption for i in places)
    images = detect.CleanImages(
        pixels,
        None if labels is None else labels[places],
        captions if all(captions) else None,
        knn=recipe.audit.knn if labels is None else neighbours(labels[places], recipe.audit.knn),
    )
    plan = detect.MeasurementPlan(
        suspicions,
        triggers.known(recipe.audit.panel_seed, are_tried=panel),
        sure=frozenset(trigger.spec for trigger, _ in suspicions),
        classifier=recipe.traits.uses_classes,
        scale=float(clip.logit_scale().detach()),
    )
    return detect.EvalSet(images, vocabulary, plan)


def places_of_distinct(pixels: Tensor, /) -> list[int]:
    """The places of images (N, 3, S, S) that no earlier one equals, pixel by pixel."""
    first: dict[bytes, int] = {}
    for place, image in enumerate(pixels):
        first.setdefault(hashlib.sha256(image.contiguous().numpy().tobytes()).digest(), place)
    return list(first.values())


def neighbours(labels: Tensor, most: int, /) -> int:
    """The number of neighbours that vote: at most the size of a typical class, or a class could never win."""
    counts = torch.bincount(labels)
    return max(1, min(most, int(counts[counts > 0].median())))
