import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from clipclean.data import prefetch
from clipclean.data.threads import AHEAD


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("clipclean-data")]


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_jobs(threads: int) -> None:
    def slow_first(n: int) -> int:
        time.sleep(0.002 * (10 - n))
        return n

    assert list(prefetch(range(10), slow_first, threads=threads)) == list(range(10))
    assert list(prefetch([], slow_first, threads=threads)) == []


def test_jobs_are_drawn_no_faster_than_they_are_needed() -> None:
    drawn = itertools.count()
    results = prefetch(drawn, lambda n: n, threads=3)  # endless
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    results.close()
    assert next(drawn) <= 5 + AHEAD * 3


def test_a_consumer_that_stops_leaves_no_thread_behind() -> None:
    results = prefetch(itertools.count(), lambda n: n, threads=4)
    next(results)
    assert names()
    del results
    assert not names()


def test_workers_run_ahead_of_the_consumer() -> None:
    begun = threading.Event()

    def note(n: int) -> int:
        if n == 1:
            begun.set()
        return n

    results = prefetch(range(5), note, threads=2)
    assert next(results) == 0
    assert begun.wait(5)
    results.close()


def test_an_error_in_a_worker_comes_in_its_turn_and_ends_the_stream() -> None:
    results = prefetch([1, 2, 0, 4], lambda n: 4 // n, threads=2)
    assert [next(results), next(results)] == [4, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not names()
    assert list(results) == []


def test_an_error_in_the_stream_of_jobs_is_passed_on() -> None:
    def jobs() -> Iterator[int]:
        yield 1
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        list(prefetch(jobs(), lambda n: n, threads=2))
    assert not names()
