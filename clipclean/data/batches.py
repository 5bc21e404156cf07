"""The order in which a run sees its pairs, decided before it starts."""

import hashlib

import torch

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
