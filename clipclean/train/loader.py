"""The stream of training batches: pairs in a planned order, decoded, augmented and tokenised."""

import hashlib
import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from clipclean import data, model
from clipclean.train.loop import Batch
from clipclean.train.resume import Run

PART_PAIRS = 16  # pairs that one thread prepares at a time, so that all of them share a large batch
BATCHES_AHEAD = 2  # batches that are prepared while the model computes


@dataclass(frozen=True)
class Views:
    """How a sample gets its second view; both draw from the number that they are given, and from nothing else."""

    image: Callable[[Tensor, int], Tensor]  # uint8 (3, H, W), seed -> uint8 (3, H', W')
    caption: Callable[[str, random.Random], str]


class Batches:
    """An iterator over batches that keeps the time for which its caller waited."""

    def __init__(self, source: Generator[Batch | None, None, None], /) -> None:
        self.seconds_waited = 0.0  # seconds so far; of the time that all steps took, this is the loader's share
        self._source = source  # a batch after its last part

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Batch:
        began = time.monotonic()
        try:
            return next(batch for batch in self._source if batch is not None)
        finally:
            self.seconds_waited += time.monotonic() - began

    def close(self) -> None:
        """End the threads that prepare batches, after the batches in progress."""
        self._source.close()


def batches(
    plan: Sequence[tuple[int, Sequence[int]]],
    /,
    *,
    pairs: Sequence[data.Pair],
    clip: model.Clip,
    run: Run,
    threads: int | None = None,
    views: Views | None = None,
    first_step: int = 0,
) -> Batches:
    """Batches in the order of the plan, from ``first_step`` on; their pixels are uint8 (B, 3, S, S) in [0, 255].

    Of several processes each gets its own rows of a batch.

    Args:
        plan: for each step its epoch and the numbers of its pairs, those of all processes.
        pairs: the clean set; each image is decoded once for both views.
        clip: the model, which says how it takes images and captions.
        views: second views, or None for methods without them.
        run: its seed, with the epoch and the pair's number, decides every draw, so a run that goes on from step k sees
            what an uninterrupted one sees.
        first_step: how many batches of the plan are done.
        threads: how many threads prepare batches ahead; None takes as many as decode.
    """
    steps, names = run.group.share(plan[first_step:]), ("pixels",) if views is None else ("pixels", "pixel_views")
    blank, side = clip.tokens([""])[0], clip.architecture.preprocess.size  # for length and dtype
    # Each caption is tokenised once, at its first use: that takes a tenth of a millisecond, and the ids four bytes per token.
    ids, is_known = torch.empty(len(pairs), len(blank), dtype=torch.int32), torch.zeros(len(pairs), dtype=torch.bool)

    def token_ids(numbers: Sequence[int]) -> Tensor:
        """The ids (B, context) of some captions; two threads that meet write the same."""
        new = [number for number in numbers if not is_known[number]]
        if new:
            ids[new] = clip.tokens([pairs[number].caption for number in new]).int()
            is_known[new] = True
        return ids[list(numbers)]

    def parts() -> Iterator[_Part]:
        for epoch, numbers in steps:
            # Threads write into it: putting a large batch together costs the step nothing.
            inputs = {name: torch.empty(len(numbers), 3, side, side, dtype=torch.uint8) for name in names}
            inputs |= {name.replace("pixel", "token"): blank.new_empty(len(numbers), len(blank)) for name in names}
            batch = Batch(inputs, tuple(pairs[number].key for number in numbers))
            for start in range(0, len(numbers), PART_PAIRS):
                stretch = slice(start, start + PART_PAIRS)
                rows = {name: values[stretch] for name, values in batch.inputs.items()}
                yield _Part(epoch, numbers[stretch], rows, batch if stretch.stop >= len(numbers) else None)

    largest = max((len(numbers) for _, numbers in steps), default=0)
    fill = partial(_fill, pairs=pairs, token_ids=token_ids, clip=clip, views=views, seed=run.seed)
    return Batches(data.prefetch(parts(), fill, threads=threads, ahead=BATCHES_AHEAD * -(-largest // PART_PAIRS)))


def sample_seed(seed: int, epoch: int, number: int, /) -> int:
    """A 63-bit seed for one sample in one epoch, the same on every machine."""
    text = f"{seed}:{epoch}:{number}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


class _Part(NamedTuple):
    """Some pairs of a batch, and where they go; a thread fills it."""

    epoch: int
    numbers: Sequence[int]
    rows: dict[str, Tensor]  # stretches of the batch's inputs
    batch: Batch | None  # comes with its last part: parts are handed out in order, so it is whole then


def _fill(
    part: _Part,
    /,
    *,
    pairs: Sequence[data.Pair],
    token_ids: Callable[[Sequence[int]], Tensor],
    clip: model.Clip,
    views: Views | None,
    seed: int,
) -> Batch | None:
    part.rows["tokens"].copy_(token_ids(part.numbers))
    images = [pairs[number].image.decoded(views=views is not None) for number in part.numbers]
    for row, image in zip(part.rows["pixels"], images, strict=True):
        row.copy_(image.fitted)
    if views is None:
        return part.batch
    # A seed for each sample, not a generator for the thread: views do not depend on how many threads there are.
    draws = [sample_seed(seed, part.epoch, number) for number in part.numbers]
    for row, image, draw in zip(part.rows["pixel_views"], images, draws, strict=True):
        assert image.large is not None  # noqa: S101 # it was asked for
        row.copy_(clip.fit_image(views.image(image.large, draw)))
    words = [
        views.caption(pairs[number].caption, random.Random(draw))  # noqa: S311 # augmentation, not secrets
        for number, draw in zip(part.numbers, draws, strict=True)
    ]
    part.rows["token_views"].copy_(clip.tokens(words))
    return part.batch
