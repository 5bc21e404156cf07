"""The order of training samples, and the cache of their decoded images."""

import hashlib
from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor, device

from clipclean.data.dataset import Pair
from clipclean.data.image import CPU, decode, reduced
from clipclean.data.source import ImageSource, Limits
from clipclean.errors import UsageError


def plan(n_pairs: int, /, *, batch_size: int, steps: int, seed: int) -> list[tuple[int, tuple[int, ...]]]:
    """For each step its epoch, from 0, and the numbers of its pairs.

    Each epoch is a permutation of its own, drawn from the seed and the epoch alone, without its incomplete last batch;
    so step s of a run names the same pairs however often the run was interrupted, and a longer plan begins like a
    shorter one.

    Raises:
        UsageError: the pairs do not fill one batch.

    Example:
        >>> [epoch for epoch, _ in plan(5, batch_size=2, steps=3, seed=0)]
        [0, 0, 1]
    """
    if batch_size < 1 or steps < 0:
        raise ValueError(f"A plan needs batch_size >= 1 and steps >= 0; these are {batch_size} and {steps}.")
    if n_pairs < batch_size:
        raise UsageError(
            f"{n_pairs:,} pairs do not fill a batch of {batch_size:,}. Lower the batch size, or bring more clean data."
        )
    per_epoch = n_pairs // batch_size
    planned: list[tuple[int, tuple[int, ...]]] = []
    for epoch in range(-(-steps // per_epoch)):
        order = torch.randperm(n_pairs, generator=_generator(seed, epoch)).tolist()
        planned += [(epoch, tuple(order[k * batch_size : (k + 1) * batch_size])) for k in range(per_epoch)]
    return planned[:steps]


def _generator(seed: int, epoch: int, /) -> torch.Generator:
    digest = hashlib.sha256(f"order:{seed}:{epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


DETAIL = 2  # short side of what second views are made from, in sides of the model's input
SPARE = 1.25  # times that: below it making a picture smaller takes longer than it is worth


class Picture(NamedTuple):
    """What a run needs of one picture; all of it uint8 in [0, 255], from one decode.

    Attributes:
        fitted: (3, S, S), what the model is shown.
        large: (3, H, W), what second views are made from: the whole picture, its short side at most ``SPARE * DETAIL *
            S``; None where there are none.
    """

    fitted: Tensor
    large: Tensor | None

    @property
    def nbytes(self) -> int:
        """Of the pixels."""
        return self.fitted.nbytes + (0 if self.large is None else self.large.nbytes)


class DecodeCache:
    """Pictures by the number of their pair; each is decoded once while there is room, and anew where there is none.

    A picture depends on its bytes alone, not on what else is kept: a run that goes on after a break sees what it would
    have seen. Nothing is thrown out for something newer: every epoch reads every picture once in a new order, and under
    that order the newest is no more likely to be wanted than any other. Pairs with the same picture share it. Threads
    may read side by side.

    Large pictures are kept at twice the model's side, so that more of them fit: of 12 megapixels, 36 MB of pixels, 1 MB
    is left for a model of 224 px. A JPEG of such a size is also scaled down while it is decoded, never below that. What is
    at most a quarter larger than that is kept as it is.

    Args:
        pairs: the pictures.
        limits: what is refused unread.
        max_bytes: room, in bytes of pixels.
        fit: picture -> (3, S, S), uint8.
        side: S.
        views: whether second views are made.
        on: where pictures are decoded and fitted; they are kept in the host's memory whichever it is.

    Example:
        >>> cache = DecodeCache(clean.pairs, limits=limits, max_bytes=10**9, fit=clip.fitted, side=224, views=True)
        >>> cache[0].large.shape
        torch.Size([3, 480, 640])
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        /,
        *,
        limits: Limits,
        max_bytes: int,
        fit: Callable[[Tensor], Tensor],
        side: int,
        views: bool,
        on: device = CPU,
    ) -> None:
        self._pairs = pairs
        self._limits = limits
        self._room = max_bytes
        self._fit = fit
        self._enough = DETAIL * side
        self._views = views
        self._on = on
        self._pictures: dict[ImageSource, Picture] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, number: int, /) -> Picture:
        """The picture; shared, so it is not to be written to.

        Raises:
            RefusedInput: the file has changed since it was read, or never was usable.
        """
        source = self._pairs[number].image
        kept = self._pictures.get(source)
        if kept is not None:
            return kept
        made = self._made(source)  # outside the lock: two threads may decode the same picture
        with self._lock:
            kept = self._pictures.get(source)
            if kept is None and made.nbytes <= self._room:
                self._pictures[source] = made
                self._room -= made.nbytes
        return made if kept is None else kept

    def _made(self, source: ImageSource, /) -> Picture:
        decoded = decode(source, limits=self._limits, enough=self._enough, device=self._on)
        return Picture(self._fit(decoded).cpu(), self._detailed(decoded).cpu() if self._views else None)

    def _detailed(self, decoded: Tensor) -> Tensor:
        """What second views are made from."""
        is_near = min(decoded.shape[-2:]) <= SPARE * self._enough
        return decoded if is_near else reduced(decoded, short_side=self._enough)
