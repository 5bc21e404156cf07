"""Measure one model: clean accuracy, the triggers that were named, and the panel, on one set of pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipclean import data, model
from clipclean.detect import zeroshot
from clipclean.detect.metrics import Rate
from clipclean.detect.probes import Probe, Trigger, embeddings, probe

EMBED_BATCH = 128  # images or texts that a tower takes at a time


@dataclass(frozen=True)
class Evidence:
    """What a model is measured on; the same for the model before and after.

    ``pixels`` (N, 3, S, S) in [0, 1] go with ``labels`` (N,), places in ``classes``, or with ``captions`` where there
    are no labels, or with neither: then accuracy is not measured. Where both are given, recall is measured beside accuracy. ``suspicions`` are triggers with the place of their
    target class, or None for "whichever".
    """

    pixels: Tensor
    labels: Tensor | None
    captions: tuple[str, ...] | None
    classes: tuple[str, ...]
    templates: tuple[str, ...]
    suspicions: tuple[tuple[Trigger, int | None], ...]
    panel: tuple[Trigger, ...]
    knn: int
    batch_size: int
    classifier: bool = True  # False: make the zero-shot classifier only where a measurement asks for it


@dataclass(frozen=True)
class Accuracy:
    """A rate of clean images that come out right, which of them do (N,), and what right means."""

    rate: Rate
    correct: Tensor
    definition: str

    def as_dict(self) -> dict[str, Any]:
        """For a report."""
        return self.rate.as_dict() | {"definition": self.definition}


@dataclass(frozen=True)
class Measurement:
    """What was measured on one model.

    ``correct`` (N,) bool pairs two measurements picture by picture, and is empty where accuracy was not measured;
    ``bank`` (K, D) is the zero-shot classifier; empty where nothing asked for one.
    """

    clean_accuracy: Rate
    definition: str
    correct: Tensor
    known: tuple[Probe, ...]
    panel: tuple[Probe, ...]
    knn: int
    bank: Tensor
    recall: Accuracy | None = None  # beside an accuracy by labels
    answers: Tensor | None = None  # (N,) classes that the images are taken for; None without a classifier

    def as_dict(self) -> dict[str, Any]:
        """``measurements`` of the report."""
        probes = [p.as_dict() | {"known": True} for p in self.known] + [
            p.as_dict() | {"known": False} for p in self.panel
        ]
        return {
            "clean_accuracy": self.clean_accuracy.as_dict() | {"definition": self.definition},
            "probes": probes,
            **({"recall": self.recall.as_dict()} if self.recall else {}),
            "knn": self.knn,
            "search": {},
            "distances": {p["trigger"]: p["distance"] for p in probes},
        }


def measure(
    embed_images: Callable[[Tensor], Tensor],
    embed_texts: Callable[[list[str]], Tensor],
    evidence: Evidence,
    /,
    *,
    progress: Callable[[int, int], None],
) -> Measurement:
    """One clean embedding pass and one text bank, shared by every probe.

    Args:
        embed_images: pixels (B, 3, S, S) in [0, 1] -> unit embeddings (B, D).
        embed_texts: captions -> unit embeddings (B, D).
        evidence: pictures, vocabulary and triggers.
        progress: called with (done, total) after each part.
    """
    is_asked = evidence.classifier or evidence.labels is not None or evidence.suspicions or evidence.panel
    size = evidence.batch_size
    blocks = zeroshot.blocks(evidence.classes, evidence.templates, batch_size=size) if is_asked else 0
    begun, total = blocks + 1, blocks + 1 + len(evidence.suspicions) + len(evidence.panel)
    bank = torch.zeros(0, 0)
    if is_asked:  # a thousand classes are seven thousand captions: minutes on a processor
        bank = zeroshot.classifier(
            embed_texts, evidence.classes, templates=evidence.templates, batch_size=size,
            progress=lambda done, _: progress(done, total),
        )  # fmt: skip
    clean = embeddings(embed_images, evidence.pixels, batch_size=size)
    progress(begun, total)
    accuracy = _accuracy(clean, bank, evidence)
    recall = _recall(clean, embed_texts, evidence) if evidence.captions is not None else None
    shown = accuracy or recall or UNMEASURED

    def run(trigger: Trigger, target: int | None, done: int) -> Probe:
        result = probe(
            embed_images,
            evidence.pixels,
            clean=clean,
            bank=bank,
            classes=evidence.classes,
            trigger=trigger,
            target=target,
            labels=evidence.labels,
            knn=evidence.knn,
            batch_size=evidence.batch_size,
        )
        progress(done, total)
        return result

    known = tuple(run(t, target, begun + 1 + i) for i, (t, target) in enumerate(evidence.suspicions))
    panel = tuple(run(t, None, begun + 1 + len(known) + i) for i, t in enumerate(evidence.panel))
    return Measurement(
        clean_accuracy=shown.rate,
        definition=shown.definition,
        correct=shown.correct,
        known=known,
        panel=tuple(sorted(panel, key=lambda p: -p.excess)),
        knn=evidence.knn,
        bank=bank,
        recall=recall if accuracy else None,
        answers=zeroshot.predict(clean, bank).cpu() if is_asked else None,
    )


UNMEASURED = Accuracy(
    Rate(0, 0), torch.zeros(0, dtype=torch.bool), "not measured: the images have neither labels nor captions"
)


def _accuracy(clean: Tensor, bank: Tensor, evidence: Evidence) -> Accuracy | None:
    """Zero-shot top-1; None without labels."""
    if evidence.labels is None:
        return None
    correct = zeroshot.predict(clean, bank).cpu() == evidence.labels.cpu()
    definition = f"zero-shot top-1 over {len(evidence.classes)} classes"
    return Accuracy(Rate(int(correct.sum()), len(correct)), correct, definition)


def _recall(clean: Tensor, embed_texts: Callable[[list[str]], Tensor], evidence: Evidence) -> Accuracy:
    """Image-to-text recall@1 among the captions."""
    captions, size = evidence.captions or (), evidence.batch_size
    texts = torch.cat([embed_texts(list(captions[i : i + size])) for i in range(0, len(captions), size)])
    nearest = zeroshot.predict(clean, texts).tolist()
    correct = torch.tensor([captions[found] == own for found, own in zip(nearest, captions, strict=True)])
    definition = f"image-to-text recall@1 among {len(captions)} clean pairs"
    return Accuracy(Rate(int(correct.sum()), len(correct)), correct, definition)


def stack(images: Sequence[data.Image], /) -> Tensor:
    """Images as the model is shown them, with room for triggers: (N, 3, S, S) in [0, 1]."""
    return model.unit_range(data.stack(images))
