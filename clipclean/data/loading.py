"""The order of training samples, and prefetching by a few threads."""

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from clipclean import machine
from clipclean.errors import UsageError

Job = TypeVar("Job")
Result = TypeVar("Result")

JOBS_AHEAD = 2  # jobs per thread that are begun or done, and not yet consumed
_MAX_THREADS = 16  # threads; more wait for Python's lock
_worker_count: list[int] = []  # the number that somebody asked for; empty for our own


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
    if n_pairs < batch_size:
        raise UsageError(
            f"{n_pairs:,} pairs do not fill a batch of {batch_size:,}. Lower the batch size, or bring more clean data."
        )
    per_epoch = n_pairs // batch_size
    batches: list[tuple[int, tuple[int, ...]]] = []
    for epoch in range(-(-steps // per_epoch)):
        digest = hashlib.sha256(f"order:{seed}:{epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        order = torch.randperm(n_pairs, generator=generator).tolist()
        batches += [(epoch, tuple(order[k * batch_size : (k + 1) * batch_size])) for k in range(per_epoch)]
    return batches[:steps]


def use_workers(count: int | None, /) -> None:
    """Let so many threads decode side by side in this process, as ``torch.set_num_threads`` does for its own; None for ours."""
    _worker_count[:] = [] if count is None else [count]


def workers() -> int:
    """The number of threads that decode: the requested one, else one per processor that this process may use, at most 16."""
    if _worker_count:
        return _worker_count[0]
    return min(machine.usable(), _MAX_THREADS)


def prefetch(
    jobs: Iterable[Job], worker: Callable[[Job], Result], /, *, threads: int | None = None, ahead: int = 0
) -> Generator[Result, None, None]:
    """The results of ``worker`` for each job, in the order of the jobs, by so many threads; None takes :func:`workers`.

    At most ``ahead`` jobs are under way (or ``JOBS_AHEAD * threads``, if that is more), and jobs are drawn no faster than that,
    so an endless stream is fine. When the consumer stops, or a worker or the stream of jobs raises, what has not begun
    is dropped and what has is waited for: no thread outlives the generator. Within a thread torch computes without
    further threads of its own: they would compete with the model's.

    Raises:
        Exception: whatever a worker raised, when its turn comes; the results before it were handed out.

    Example:
        >>> list(prefetch([3, 1, 2], lambda n: n * n, threads=2))
        [9, 1, 4]
    """
    threads = threads or workers()
    torch.get_num_threads()  # settles the caller's own number, which a thread's number would else become
    pool = ThreadPoolExecutor(
        threads, thread_name_prefix="clipclean-data", initializer=torch.set_num_threads, initargs=(1,)
    )
    under_way: deque[Future[Result]] = deque()
    limit = max(ahead, JOBS_AHEAD * threads)
    try:
        for job in jobs:
            under_way.append(pool.submit(worker, job))
            if len(under_way) >= limit:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(torch.get_num_threads())  # the workers' number is no one else's
