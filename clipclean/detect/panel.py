"""The panel: the least strength at which each known trigger acts. A planted one acts at far less than the others."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from clipclean.detect.measure import TriggerLike
from clipclean.detect.zeroshot import Canonical
from clipclean.findings import finite
from clipclean.schema.report import StrengthRecord

SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625)  # of a trigger's change that are tried, one after the other while it acts
ACTS = 0.5  # excess share of images taken for one class: from there on a trigger acts
NEVER = 2.0  # the least strength of a trigger that does not act in full
MOST_IMAGES = 96


@dataclass(frozen=True)
class Strength:
    """The least share of a trigger's change at which half of the images become one class, convincingly; ``NEVER`` where none do.

    Attributes:
        trigger: its spec.
        target: place of the class; -1 where the trigger does not act.
        least: in (0, 1], or ``NEVER``.
        excess: share of images that become the class under the whole trigger, or that of the strongest class.
    """

    trigger: str
    target: int
    least: float
    excess: float

    def record(self, classes: Sequence[str], /) -> StrengthRecord:
        """For a report; ``classes`` are the names."""
        name = classes[self.target] if self.target >= 0 else None
        return StrengthRecord(trigger=self.trigger, class_=name, least=self.least, excess=finite(self.excess))

    @property
    def family(self) -> str:
        """Kind of the trigger: its spec up to the colon."""
        return self.trigger.partition(":")[0]


def strengths(
    embed: Callable[[Tensor], Tensor], pixels: Tensor, triggers: Sequence[TriggerLike], /, *, canonical: Canonical,
    progress: Callable[[int, int], None],
) -> tuple[Strength, ...]:  # fmt: skip
    """The least strength of every trigger, on the same images (N, 3, S, S) in [0, 1], of which a few are taken."""
    some = pixels[:: max(1, len(pixels) // MOST_IMAGES)][:MOST_IMAGES]
    before = _logits(embed, some, canonical).argmax(1)
    found = []
    for number, trigger in enumerate(triggers, start=1):
        found.append(_least(embed, some, trigger, before=before, canonical=canonical))
        progress(number, len(triggers))
    return tuple(found)


@torch.no_grad()
def _logits(embed: Callable[[Tensor], Tensor], pixels: Tensor, canonical: Canonical) -> Tensor:
    return canonical.logits(embed(pixels).float())


def _least(
    embed: Callable[[Tensor], Tensor], pixels: Tensor, trigger: TriggerLike, /, *, before: Tensor, canonical: Canonical
) -> Strength:
    changed = trigger(pixels, Generator().manual_seed(0)) - pixels
    classes = len(canonical.texts)
    target, strongest, curve = -1, 0.0, []
    for share in SHARES:
        logits = _logits(embed, (pixels + share * changed).clamp(0, 1), canonical)
        after = logits.argmax(1)
        turned = (after != before) & canonical.convinces(logits, after)
        gained = torch.bincount(after[turned], minlength=classes).double()
        others = (len(before) - torch.bincount(before, minlength=classes)).clamp(min=1)
        excess = gained / others  # of the images that were of other classes
        if share == SHARES[0]:
            target, strongest = int(excess.argmax()), excess.max().item()
        curve.append((share, excess[target].item()))
        if curve[-1][1] < ACTS:
            break
    return Strength(trigger.spec, target if strongest >= ACTS else -1, _crossing(curve), strongest)


def _crossing(curve: Sequence[tuple[float, float]]) -> float:
    """Where a falling curve of (share, excess) crosses ``ACTS``, between logarithms of shares; ``NEVER`` if it begins below."""
    if curve[0][1] < ACTS:
        return NEVER
    if curve[-1][1] >= ACTS:
        return curve[-1][0]
    (above, high), (below, low) = curve[-2:]
    part = (high - ACTS) / (high - low)
    return math.exp(math.log(above) + part * (math.log(below) - math.log(above)))
