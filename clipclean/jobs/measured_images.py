"""The images of a job, and those to measure a model on."""

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from clipclean import data, demo, detect, model
from clipclean.attack import triggers
from clipclean.config.recipe import Recipe
from clipclean.data import Samples
from clipclean.detect import Suspicion
from clipclean.errors import Inconclusive
from clipclean.progress import step

LatePairs = Callable[[], data.CleanSet]  # clean pairs that are read at the first call
Pairs = data.CleanSet | LatePairs
EVIDENCE_BYTES = 600_000_000  # room for the measured images as floats
NAMED_SHARE = 0.9  # share of captions that name one class, from which on an audit takes it for the label


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
    paths: Sequence[Path] | None, recipe: Recipe, architecture: model.Architecture, /
) -> Iterator[tuple[data.CleanSet, LatePairs]]:
    """The images of an audit, of the user's or of the demo, and the demo's clean pairs, for the span of a with-block."""
    cache = image_cache(recipe, architecture)
    progress = functools.partial(step, "reading the images")
    with demo.late() as bundled:
        images = data.read_images(*(paths or [bundled() / demo.LABELLED]), images=cache, progress=progress)
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
    rows = (numbers >= 0).nonzero().flatten().tolist()
    return Samples([samples.pairs[row] for row in rows], numbers[rows])


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
            f"{len(pairs)} image(s) to measure on: too few to say anything. Give more images, best with labels."
        )
    side = clip.architecture.preprocess.size
    room = max(2, min(recipe.audit.images, EVIDENCE_BYTES // (12 * side * side)))
    rows = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:room].sort().values.tolist()
    pixels = detect.stack([pairs[i].image for i in rows])
    once = places_of_distinct(pixels)
    rows, pixels = [rows[row] for row in once], pixels[once]
    if len(rows) < 2:
        raise Inconclusive(
            "All images to measure on are copies of one: that is too little to say anything. Give others."
        )
    captions = tuple(pairs[i].caption for i in rows)
    images = detect.CleanImages(
        pixels,
        None if labels is None else labels[rows],
        captions if all(captions) else None,
        knn=recipe.audit.knn if labels is None else neighbours(labels[rows], recipe.audit.knn),
    )
    plan = detect.MeasurementPlan(
        suspicions,
        triggers.known(recipe.audit.panel_seed, are_tried=panel),
        sure=frozenset(trigger.spec for trigger, _ in suspicions),
        classifier=recipe.traits.uses_classes,
        scale=float(clip.logit_scale().detach()),
    )
    return detect.EvalSet(images, vocabulary, plan)


def spaced(clean: data.CleanSet, most: int, /) -> tuple[Tensor, list[str]]:
    """The pixels (B, 3, S, S) and captions of at most so many clean pairs, evenly spaced over the set."""
    pairs = detect.spaced(clean.pairs, most)
    return detect.stack([pair.image for pair in pairs]), [pair.caption for pair in pairs]


def places_of_distinct(pixels: Tensor, /) -> list[int]:
    """The places of images (N, 3, S, S) that no earlier one equals, pixel by pixel."""
    first: dict[bytes, int] = {}
    for row, image in enumerate(pixels):
        first.setdefault(hashlib.sha256(image.contiguous().numpy().tobytes()).digest(), row)
    return list(first.values())


def neighbours(labels: Tensor, most: int, /) -> int:
    """The number of neighbours that vote: at most the size of a typical class, or a class could never win."""
    counts = torch.bincount(labels)
    return max(1, min(most, int(counts[counts > 0].median())))
