"""The panel: the least strength at which each known trigger acts. A planted one acts at far less than the others."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from clipclean.detect.measure import TriggerLike
from clipclean.detect.references import NEVER
from clipclean.detect.zeroshot import Canonical, excess_by_class
from clipclean.findings import finite
from clipclean.schema.report import StrengthRecord

SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625)  # shares of a trigger's change, tried in this order as long as it acts
ACTS = 0.5  # least excess share of images in one class for a trigger that acts
MOST_IMAGES = 96
TOGETHER = 16  # triggers of a grid in one batch
GLANCED = 16  # images on which each trigger of a grid is first tried at full strength; those that act get more


@dataclass(frozen=True)
class Strength:
    """The least share of a trigger's change at which half of the images convincingly become one class; ``NEVER`` if it does not
    act.

    Attributes:
        trigger: its spec.
        target: place of the class; -1 where the trigger does not act.
        least: in (0, 1], or ``NEVER``.
        excess: share of images that become the class under the whole trigger, or the strongest class if it does not act.
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
    def size(self) -> float:
        """The least strength; for a trigger that does not act, a value from 1 to ``NEVER``, lower the more images it moves."""
        return self.least if self.target >= 0 else NEVER - (NEVER - 1) * min(self.excess, ACTS) / ACTS


def strengths(
    embed: Callable[[Tensor], Tensor], pixels: Tensor, triggers: Sequence[TriggerLike], /, *, canonical: Canonical
) -> tuple[Strength, ...]:
    """The least strength of every trigger, on the same sample of the images (N, 3, S, S) in [0, 1]."""
    some = pixels[:: max(1, len(pixels) // MOST_IMAGES)][:MOST_IMAGES]
    before = _logits(embed, some, canonical).argmax(1)
    return tuple(_least(embed, some, trigger, before=before, canonical=canonical) for trigger in triggers)


def glanced(
    embed: Callable[[Tensor], Tensor], pixels: Tensor, triggers: Sequence[TriggerLike], /, *, canonical: Canonical
) -> tuple[Strength, ...]:
    """The least strength of every trigger of a grid, as :func:`strengths`; for those that do not act on a few images, the
    excess there.
    """
    few = pixels[:: max(1, len(pixels) // GLANCED)][:GLANCED]
    before = _logits(embed, few, canonical).argmax(1)
    first = []
    # Hundreds of triggers, most of which do nothing: a look at few images leaves few for the costly measurement.
    for start in range(0, len(triggers), TOGETHER):
        some = triggers[start : start + TOGETHER]
        triggered = torch.cat([trigger(few, Generator().manual_seed(0)) for trigger in some])
        logits = _logits(embed, triggered, canonical).view(len(some), len(few), -1)
        for trigger, rows in zip(some, logits, strict=True):
            shares = excess(rows, before, canonical)
            target, strongest = int(shares.argmax()), shares.max().item()
            first.append(Strength(trigger.spec, target if strongest >= ACTS else -1, NEVER, strongest))
    acting = [trigger for trigger, found in zip(triggers, first, strict=True) if found.target >= 0]
    again = strengths(embed, pixels, acting, canonical=canonical)
    exact = {found.trigger: found for found in again}
    return tuple(exact.get(found.trigger, found) for found in first)


@torch.no_grad()
def _logits(embed: Callable[[Tensor], Tensor], pixels: Tensor, canonical: Canonical) -> Tensor:
    return canonical.logits(embed(pixels).float())


def _least(
    embed: Callable[[Tensor], Tensor], pixels: Tensor, trigger: TriggerLike, /, *, before: Tensor, canonical: Canonical
) -> Strength:
    changed = trigger(pixels, Generator().manual_seed(0)) - pixels
    target, strongest, curve = -1, 0.0, []
    for share in SHARES:
        logits = _logits(embed, (pixels + share * changed).clamp(0, 1), canonical)
        shares = excess(logits, before, canonical)
        # The class under the whole trigger: weaker ones are followed only as far as they lead there.
        if share == SHARES[0]:
            target, strongest = int(shares.argmax()), shares.max().item()
        curve.append((share, shares[target].item()))
        if curve[-1][1] < ACTS:
            break
    return Strength(trigger.spec, target if strongest >= ACTS else -1, _crossing(curve), strongest)


def excess(logits: Tensor, before: Tensor, canonical: Canonical, /) -> Tensor:
    """For each class the share (K,) of images of other classes that logits (N, K), unlike ``before`` (N,), convincingly assign
    to it.
    """
    after = logits.argmax(1)
    turned = torch.where(canonical.convinces(logits, after), after, before)
    return excess_by_class(before, turned, labels=None, classes=len(canonical.texts))


def _crossing(curve: Sequence[tuple[float, float]]) -> float:
    """Where a falling curve of (share, excess) crosses ``ACTS``, between logarithms of shares; ``NEVER`` if it begins below."""
    if curve[0][1] < ACTS:
        return NEVER
    if curve[-1][1] >= ACTS:
        return curve[-1][0]
    (above, high), (below, low) = curve[-2:]
    part = (high - ACTS) / (high - low)
    return math.exp(math.log(above) + part * (math.log(below) - math.log(above)))
