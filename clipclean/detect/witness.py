"""Witnesses: other models, of any architecture, on which the found triggers are tried.

A trigger that moves both models to one class looks like that class: it is semantic, a natural trigger. One that moves the tested
model alone proves nothing: found triggers are often made for one model, and so are planted ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor

from clipclean.detect import zeroshot
from clipclean.detect.measure import CleanImages, EvalSet, Probe, TriggerLike, embeddings, probe
from clipclean.detect.metrics import Rate
from clipclean.detect.references import PANEL
from clipclean.detect.score import Suspect
from clipclean.findings import Finding
from clipclean.schema.report import TestifiedRecord, WitnessRecord

SEMANTIC = 0.5  # share of a trigger's excess on the tested model that a witness must show to make the trigger semantic


@dataclass(frozen=True)
class Testimony:
    """The effect of the found triggers on one witness.

    Attributes:
        name: of its file.
        architecture: its name.
        accuracy: on the clean images; a rate of 0 images without labels.
        probes: by the trigger's spec.
        moved: specs of the triggers that act on it as well.
    """

    name: str
    architecture: str
    accuracy: Rate
    probes: Mapping[str, Probe]
    moved: frozenset[str]

    def record(self) -> WitnessRecord:
        """For a report."""
        triggers = (
            TestifiedRecord(
                trigger=spec,
                class_=found.target,
                asr=found.asr.record(),
                base_rate=found.base.record(),
                moved=spec in self.moved,
            )
            for spec, found in self.probes.items()
        )
        return WitnessRecord(
            name=self.name,
            architecture=self.architecture,
            clean_accuracy=self.accuracy.record(),
            triggers=tuple(triggers),
        )


def testify(
    embed: Callable[[Tensor], Tensor],
    text_classifier: Tensor,
    eval_set: EvalSet,
    /,
    *,
    side: int,
    name: str,
    architecture: str,
    triggers: Sequence[tuple[TriggerLike, str, float]],
) -> Testimony:
    """Run triggers on a witness, by forward passes only.

    Args:
        embed: its image tower: images (B, 3, side, side) in [0, 1] -> unit embeddings.
        text_classifier: (K, D), its own, of the classes of ``eval_set``.
        eval_set: images of the tested model's size, to which triggers are applied before they are resized.
        side: px of the images that the witness takes.
        name: of its file.
        architecture: its name.
        triggers: each with the class that it leads to, and its excess attack success on the tested model.
    """
    classes, size = eval_set.classes, eval_set.batch_size

    def seen(images: Tensor) -> Tensor:
        return embed(resized(images, side))

    clean = embeddings(seen, eval_set.pixels, batch_size=size)
    correct = zeroshot.predict(clean, text_classifier).cpu()
    known = Rate(0, 0)
    if eval_set.labels is not None:
        known = Rate(int((correct == eval_set.labels.cpu()).sum()), len(correct))
    images = CleanImages.of(replace(eval_set, knn=0), clean, text_classifier)
    probes = {
        trigger.spec: probe(seen, images, trigger=trigger, target=classes.index(target))
        for trigger, target, _ in triggers
    }
    moved = frozenset(trigger.spec for trigger, _, own in triggers if _is_moved(probes[trigger.spec], own))
    return Testimony(name, architecture, known, probes, moved)


def resized(images: Tensor, side: int, /) -> Tensor:
    """Images (B, 3, S, S) in [0, 1] at another side, as their preprocessing would resize them."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def _is_moved(found: Probe, own: float) -> bool:
    """Whether the witness shows at least half of the excess, and more than chance by the whole interval."""
    # Relative to the tested model: a weak trigger that moves both alike is as natural as a strong one.
    return found.excess >= SEMANTIC * own and found.excess_interval[0] > 0


def triggers_of(suspect: Suspect, panel: Sequence[TriggerLike], /) -> dict[str, tuple[TriggerLike, str, float]]:
    """The triggers that count against a class, by kind of evidence: each with the class and its excess."""
    found: dict[str, tuple[TriggerLike, str, float]] = {
        hit.candidate.family: (hit.found, suspect.name, hit.probe.excess)
        for hit in suspect.targeted
        if hit.candidate.family in suspect.pieces
    }
    if PANEL in suspect.pieces and suspect.strength is not None:
        for trigger in panel:
            if trigger.spec == suspect.strength.trigger:
                found[PANEL] = (trigger, suspect.name, suspect.strength.excess)
    return found


def left(suspect: Suspect, panel: Sequence[TriggerLike], testimonies: Sequence[Testimony], /) -> float:
    """The score of a class from the triggers that act on no witness."""
    moved = frozenset().union(*(each.moved for each in testimonies))
    semantic = {kind for kind, (trigger, _, _) in triggers_of(suspect, panel).items() if trigger.spec in moved}
    return suspect.without(semantic)


def heard(
    found: Finding,
    suspect: Suspect,
    panel: Sequence[TriggerLike],
    testimonies: Sequence[Testimony],
    /,
    *,
    limit: float,
) -> Finding:
    """A finding of the search after the witnesses: a warning if the rest of the score, without semantic triggers, is too low."""
    specs = {trigger.spec for trigger, _, _ in triggers_of(suspect, panel).values()}
    words, is_semantic = [], False
    for each in testimonies:
        moved = sorted(specs & each.moved)
        is_semantic = is_semantic or bool(moved)
        if moved:
            rate = each.probes[moved[0]].asr.value
            words.append(
                f"{moved[0]} turns {100 * rate:.1f} % of images into '{suspect.name}' for the witness {each.name} too: it looks like "
                "that class."
            )
        elif specs:
            words.append(
                f"The witness {each.name} is not moved to it, which proves nothing: triggers are made for one model."
            )
    level = found.level
    if level == "error" and is_semantic and left(suspect, panel, testimonies) < limit:
        level = "warning"
        words.append("Without the triggers that move a witness, too little evidence is left to fail the model.")
    return found.model_copy(update={"level": level, "message": " ".join([found.message, *words])})
