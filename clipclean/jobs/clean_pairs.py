"""The clean pairs of a job: read, screened, and divided between training and measuring."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from clipclean import data, detect, model, requests, untrusted
from clipclean.config.recipe import Recipe
from clipclean.data import Samples
from clipclean.detect import ranking
from clipclean.errors import Inconclusive, UsageError
from clipclean.jobs.measured_images import labelled_by_captions
from clipclean.progress import say, step
from clipclean.requests import ScreenRule
from clipclean.schema.results import ScreenedRecord

# A loss of accuracy of two points is told from none on 400 to 500 images (docs/evidence.md, "Loss of accuracy"). A quarter of the pairs
# is what a cleaning can spare; of fewer than 400 that is too little to see such a loss by, and they are better spent on training.
SEES_BY, SEES_BY_SHARE, SEES_FROM = 500, 0.25, 400
PairRule = float | Literal["auto", "report"]  # a share of the pairs that are dropped, a threshold of its own, or none
SHOWN_CAPTIONS = 3  # captions in a message
CHOOSES_BY_SHARE = 0.2  # of fewer, for a method that chooses


@dataclass(frozen=True)
class PairSource:
    """Where clean pairs are read from, and labelled images to measure on."""

    paths: Sequence[Path]
    image_key: str | None  # their columns, where a user named them
    caption_key: str | None
    labelled_paths: Sequence[Path] = ()
    has_own_templates: bool = False  # whether images without captions get them from the templates

    @classmethod
    def of(cls, request: requests.Sanitize | requests.Plant, /) -> "PairSource":
        """That of a request."""
        return cls(
            request.data,
            request.image_key,
            request.caption_key,
            request.eval_data or (),
            has_own_templates=request.templates is not None,
        )


def pairs_of(source: PairSource, cache: data.ImageCache, /, *, templates: Sequence[str] = ()) -> data.CleanSet:
    """Clean pairs; raises RefusedInput, UsageError or Inconclusive where they are unusable."""
    clean = data.read(
        *source.paths,
        images=cache,
        image_key=source.image_key,
        caption_key=source.caption_key,
        templates=templates,
        progress=partial(step, "reading the data"),
    )
    if len(clean.pairs) < 2:
        raise Inconclusive(
            f"{clean.name} holds {len(clean.pairs)} usable pair(s): a contrastive loss needs others to contrast with."
        )
    return clean


def read(
    source: PairSource, recipe: Recipe, vocabulary: data.Vocabulary, cache: data.ImageCache, /
) -> tuple[data.CleanSet, Samples | None]:
    """The set to train on, and the labelled images to measure on, or None where the user gave none.

    Labelled images without captions that are trained on get captions from the templates that the user gave.
    """
    if recipe.traits.needs_captions:
        clean = pairs_of(source, cache, templates=vocabulary.templates if source.has_own_templates else ())
    else:
        clean = data.read_images(*source.paths, images=cache, progress=partial(step, "reading the data"))
    if not source.labelled_paths:
        return clean, None
    return clean, data.read_labelled(*source.labelled_paths, images=cache, classes=vocabulary.classes)


def divide(
    clean: data.CleanSet, recipe: Recipe, vocabulary: data.Vocabulary, /, *, hold_out: bool
) -> tuple[Samples, Samples]:
    """The samples to train on, and those held out to measure on; with labels if all images have one.

    Raises:
        UsageError: the method needs labels, and there are none.
    """
    labels = data.labels_of(clean, vocabulary.classes) if recipe.traits.uses_classes else None
    if labels is None and recipe.traits.needs_labels:
        raise UsageError(
            f"The recipe {recipe.name} trains on labels, and not every image of {clean.name} has one among the "
            f"{len(vocabulary.classes):,} classes. Put the images into folders named like the classes, give a table with a "
            "column label, or name the right classes by --classes FILE."
        )
    parts = split(len(clean), recipe) if hold_out else (range(len(clean)), ())
    to_train, held_out = (
        Samples([clean.pairs[i] for i in rows], None if labels is None else labels[[*rows]]) for rows in parts
    )
    return to_train, held_out


def split(pairs: int, recipe: Recipe, /) -> tuple[list[int], list[int]]:
    """The places of pairs to train on, and of those to measure on: as many as the budget needs, by the number of pairs alone."""
    held_out = round(pairs * recipe.data.held_out_share)
    if pairs >= SEES_FROM:
        held_out = max(held_out, min(SEES_BY, round(pairs * SEES_BY_SHARE)))
    elif recipe.traits.chooses:
        held_out = max(held_out, round(pairs * CHOOSES_BY_SHARE))
    order = torch.randperm(pairs, generator=torch.Generator().manual_seed(0)).tolist()
    return sorted(order[held_out:]), sorted(order[:held_out])


def warn_of_few(to_measure: Samples, /, *, least: int) -> None:
    """Say before slow work that the images to measure on are too few for a verdict."""
    if (count := len(to_measure.pairs)) < least:
        say(
            f"There are {count:,} images to measure on, and at least {least} are needed to see a loss of accuracy or what is left of a "
            "trigger: the verdict will be inconclusive (CC020). Give labelled images by --eval-data, or more pairs."
        )


def labelled_if_enough(samples: Samples, vocabulary: data.Vocabulary, /, *, least: int) -> Samples:
    """The samples whose captions name exactly one class, with it as the label, if there are at least ``least``.

    Recall alone misjudges the cost of a cleaning: finetuning on captions gains recall while it loses classes.
    """
    if samples.labels is not None:
        return samples
    labelled_samples = labelled_by_captions(samples, vocabulary)
    words = f"{len(samples.pairs)} pairs are held out to measure on; {len(labelled_samples.pairs)} of their captions name one class"
    if len(labelled_samples.pairs) < least:
        labelled_keys = {pair.key for pair in labelled_samples.pairs}
        missed = [pair.caption for pair in samples.pairs if pair.key not in labelled_keys]
        examples = untrusted.first_few(missed, most=SHOWN_CAPTIONS, show=lambda caption: repr(str(caption)[:60]))
        unnamed_words = (
            f" Captions that name none of the {len(vocabulary.classes):,} classes, or several: {examples}."
            if missed
            else ""
        )
        say(
            f"{words}, fewer than {least}, so a loss of accuracy is estimated without labels.{unnamed_words} Give labelled images by "
            "--eval-data, or by --classes a list that has what the captions name."
        )
        return samples
    say(f"{words}, which is their label.")
    return labelled_samples


def screening_rule(screen: ScreenRule, clean: data.CleanSet, /) -> PairRule | None:
    """The rule that the pairs are screened by; None where they are not, as in a set that is too small, or has images without captions,
    unless pairs are to be dropped.

    Raises:
        UsageError: they are, and there are images without captions.
    """
    only_reports = screen == "report"
    if screen == "off" or (only_reports and len(clean.pairs) < ranking.LEAST_RANKED_PAIRS):
        return None
    if all(pair.caption for pair in clean.pairs):
        return screen
    if only_reports:
        return None
    raise UsageError(f"{clean.name} has images without captions, and screening compares the two. Leave --screen out.")


def screen_pairs(
    rule: PairRule | None, clip: model.Clip, clean: data.CleanSet, triggers: Sequence[detect.TriggerLike], /
) -> tuple[data.CleanSet, ScreenedRecord | None]:
    """The clean set without the pairs that screening drops, and the report's ``data.screened``; no rule screens nothing."""
    if rule is None:
        return clean, None
    scored = ranking.rank_pairs(clip, clean.pairs, triggers=triggers, what="screening the pairs")
    drop = None if rule == "report" else rule
    dropped = scored.dropped(drop)
    keys = [pair.key for pair, is_dropped in zip(clean.pairs, dropped.tolist(), strict=True) if is_dropped]
    record = ranking.record(scored, drop)
    return ranking.kept(clean, dropped), record.model_copy(update={"dropped_keys": tuple(keys)})
