"""A probe: what one trigger does to a model."""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from clipclean.detect import distances, zeroshot
from clipclean.detect.metrics import Rate
from clipclean.errors import Inconclusive


class Trigger(Protocol):
    """What a probe needs of a trigger: its name, and images (B, 3, H, W) in [0, 1] to the same, triggered."""

    @property
    def spec(self) -> str:
        """Names the trigger in reports."""

    def __call__(self, images: Tensor, generator: Generator | None = None, /) -> Tensor:
        """Triggered copies; random places drawn from ``generator``."""


@dataclass(frozen=True)
class Probe:
    """One trigger, one target, and all that was measured; definitions in :mod:`zeroshot` and :mod:`distances`.

    Attributes:
        trigger: its spec.
        target: name of the class.
        asr: attack success rate, over the images that are not of the target class.
        base: base rate, over the same images without the trigger.
        excess: ASR minus base rate, nan without such images.
        excess_interval: 95 %; for the class that a probe chose itself it does not allow for the choice.
        accuracy_under_trigger: triggered images classified as their label; None without labels.
        knn_asr: attack success among image neighbours; None where it was not asked for.
        distance: embedding distance of triggered from clean images, in [0, 4].
        distance_interval: 95 %.
        direction_agreement: whether all images move the same way, in [0, 1].
        spread: of the triggered embeddings.
        clean_spread: of the clean ones.
        n: images probed.
    """

    trigger: str
    target: str
    asr: Rate
    base: Rate
    excess: float
    excess_interval: tuple[float, float]
    accuracy_under_trigger: Rate | None
    knn_asr: Rate | None
    distance: float
    distance_interval: tuple[float, float]
    direction_agreement: float
    spread: float
    clean_spread: float
    n: int

    def as_dict(self) -> dict[str, Any]:  # Any: JSON
        """The entry of ``measurements.probes`` in a report."""
        excess = None if math.isnan(self.excess) else self.excess
        return {
            "trigger": self.trigger,
            "target": self.target,
            "asr": self.asr.as_dict(),
            "base_rate": self.base.as_dict(),
            "excess_asr": {"value": excess, "interval": list(self.excess_interval), "n": self.asr.n},
            "accuracy_under_trigger": self.accuracy_under_trigger and self.accuracy_under_trigger.as_dict(),
            "knn_asr": self.knn_asr and self.knn_asr.as_dict(),
            "distance": self.distance,
            "spread": self.spread,
            "clean_spread": self.clean_spread,
            "n": self.n,
        }


def probe(
    embed: Callable[[Tensor], Tensor],
    pixels: Tensor,
    *,
    clean: Tensor,
    bank: Tensor,
    classes: Sequence[str],
    trigger: Trigger,
    target: int | None,
    labels: Tensor | None,
    knn: int,
    batch_size: int,
) -> Probe:
    """Measure what ``trigger`` does to a model.

    Random places depend on the trigger's spec and on the image's number, not on the batch size.

    Args:
        embed: images (B, 3, H, W) in [0, 1], before CLIP's normalisation, to unit embeddings (B, D).
        pixels: (N, 3, H, W) in [0, 1], clean.
        clean: (N, D), ``embed`` of them.
        bank: (K, D), the zero-shot classifier.
        classes: K names.
        trigger: what to apply.
        target: place of the target in ``classes``; None for the class on which triggered predictions concentrate most
            beyond the base rate.
        labels: (N,) places in ``classes``; or None: then clean predictions stand in, see
            :func:`zeroshot.attack_success`.
        knn: neighbours for the k-NN attack success rate; 0 leaves it out.
        batch_size: images embedded at a time.

    Raises:
        Inconclusive: no images, or embeddings that are not finite.
    """
    triggered = embeddings(embed, pixels, batch_size=batch_size, trigger=trigger)
    before, after = zeroshot.predict(clean, bank), zeroshot.predict(triggered, bank)
    truth = before if labels is None else labels.to(before.device)
    if target is None:
        target = int(zeroshot.excess_by_class(before, after, labels=truth, classes=len(bank)).argmax())
    attack = zeroshot.attack_success(before, after, labels=truth, target=target)
    return Probe(
        trigger=trigger.spec,
        target=classes[target],
        asr=attack.asr,
        base=attack.base,
        excess=attack.excess,
        excess_interval=attack.excess_interval,
        accuracy_under_trigger=None if labels is None else zeroshot.accuracy_under_trigger(after, truth),
        knn_asr=zeroshot.knn_attack_success(clean, truth, triggered, target=target, k=knn) if knn else None,
        distance=distances.shift(clean, triggered),
        distance_interval=distances.shift_interval(clean, triggered),
        direction_agreement=distances.direction_agreement(clean, triggered),
        spread=distances.spread(triggered),
        clean_spread=distances.spread(clean),
        n=len(pixels),
    )


@torch.no_grad()
def embeddings(
    embed: Callable[[Tensor], Tensor], pixels: Tensor, *, batch_size: int, trigger: Trigger | None = None
) -> Tensor:
    """``embed`` of all images (N, 3, H, W) in batches, triggered first where a trigger is given: (N, D).

    Raises:
        Inconclusive: no images.
    """
    if not len(pixels):
        raise Inconclusive("There are no images to probe the model with. Give it some with --eval-data.")
    batches = torch.split(pixels, batch_size)
    if trigger is None:
        return torch.cat([embed(batch) for batch in batches])
    places = Generator().manual_seed(zlib.crc32(trigger.spec.encode()))
    return torch.cat([embed(trigger(batch, places)) for batch in batches])
