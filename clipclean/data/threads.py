"""Work done ahead by a few threads, handed out in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

AHEAD = 2  # jobs begun or done for each thread, and not yet asked for


def prefetch(jobs: Iterable[Job], worker: Callable[[Job], Result], /, *, threads: int) -> Generator[Result, None, None]:
    """The results of ``worker`` for each job, in the order of the jobs.

    At most ``AHEAD * threads`` jobs are under way, and jobs are drawn no faster than that, so an endless stream is
    fine. When the consumer stops, or a worker or the stream of jobs raises, what has not begun is dropped and what has
    is waited for: no thread outlives the generator.

    Raises:
        Exception: whatever a worker raised, when its turn comes; the results before it were handed out.

    Example:
        >>> list(prefetch([3, 1, 2], lambda n: n * n, threads=2))
        [9, 1, 4]
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="clipclean-data")
    under_way: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            under_way.append(pool.submit(worker, job))
            if len(under_way) >= AHEAD * threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
