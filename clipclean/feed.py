"""The stream of training batches: pairs in a planned order, decoded, viewed twice and tokenised."""

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipclean import data
from clipclean.finetune import Batch


@dataclass(frozen=True)
class Views:
    """How a sample gets its second view; both draw from the number that they are given, and from nothing else."""

    image: Callable[[Tensor, int], Tensor]  # uint8 (3, H, W), seed -> uint8 (3, H', W')
    caption: Callable[[str, random.Random], str]


@dataclass(frozen=True)
class Sample:
    """One pair, ready for the model; the views are None where the method has no use for them."""

    key: str
    pixels: Tensor  # (3, S, S) in [0, 1]
    caption: str
    pixel_view: Tensor | None
    caption_view: str | None


def batches(
    plan: Sequence[tuple[int, Sequence[int]]],
    /,
    *,
    pairs: Sequence[data.Pair],
    picture: Callable[[int], Tensor],
    fit: Callable[[Tensor], Tensor],
    tokens: Callable[[Sequence[str]], Tensor],
    views: Views | None,
    seed: int,
    first_step: int,
    threads: int,
) -> Iterator[Batch]:
    """Batches in the order of the plan, from ``first_step`` on.

    Args:
        plan: for each step its epoch and the numbers of its pairs.
        pairs: the clean set.
        picture: the decoded picture of a pair's number, uint8 (3, H, W).
        fit: picture -> model input (3, S, S) in [0, 1].
        tokens: captions -> token ids (B, context).
        views: second views, or None for methods without them.
        seed: of the run; with the epoch and the pair's number it decides every draw, so a run that goes on from
            step k sees what an uninterrupted one sees.
        first_step: how many batches of the plan are done.
        threads: how many threads prepare batches ahead.
    """

    def prepare(job: tuple[int, Sequence[int]]) -> Batch:
        epoch, numbers = job
        samples = [_sample(n, epoch, pairs[n], picture=picture, fit=fit, views=views, seed=seed) for n in numbers]
        return collate(samples, tokens=tokens)

    return data.prefetch(list(plan[first_step:]), prepare, threads=threads)


def collate(samples: Sequence[Sample], /, *, tokens: Callable[[Sequence[str]], Tensor]) -> Batch:
    """Stack samples into the tensors that the objectives read."""
    inputs = {
        "pixels": torch.stack([sample.pixels for sample in samples]),
        "tokens": tokens([sample.caption for sample in samples]),
    }
    pixel_views = [sample.pixel_view for sample in samples if sample.pixel_view is not None]
    caption_views = [sample.caption_view for sample in samples if sample.caption_view is not None]
    if pixel_views:
        inputs |= {"pixel_views": torch.stack(pixel_views), "token_views": tokens(caption_views)}
    return Batch(inputs, tuple(sample.key for sample in samples))


def _sample(
    number: int,
    epoch: int,
    pair: data.Pair,
    /,
    *,
    picture: Callable[[int], Tensor],
    fit: Callable[[Tensor], Tensor],
    views: Views | None,
    seed: int,
) -> Sample:
    image = picture(number)
    if views is None:
        return Sample(pair.key, fit(image), pair.caption, None, None)
    draw = sample_seed(seed, epoch, number)
    view = fit(views.image(image, draw))
    return Sample(pair.key, fit(image), pair.caption, view, views.caption(pair.caption, random.Random(draw)))  # noqa: S311 # augmentation, not secrets


def sample_seed(seed: int, epoch: int, number: int, /) -> int:
    """A 63-bit seed for one sample in one epoch, the same on every machine."""
    text = f"{seed}:{epoch}:{number}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
