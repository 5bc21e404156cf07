import itertools
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from clipclean.data import prefetch, workers
from clipclean.data.loading import AHEAD


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


def test_more_jobs_are_under_way_where_that_is_asked_for() -> None:
    drawn = itertools.count()
    results = prefetch(drawn, lambda n: n, threads=1, ahead=9)
    assert next(results) == 0
    assert next(drawn) == 9
    results.close()


def test_workers_compute_with_one_thread_each_and_leave_the_callers_number_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert set(prefetch(range(6), lambda _: torch.get_num_threads(), threads=2)) == {1}
        assert torch.get_num_threads() == 3
        seen: list[int] = []
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert seen == [3]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_a_worker_that_is_killed_ends_the_stream_instead_of_hanging_it(error: BaseException) -> None:
    def die(n: int) -> int:
        if n == 3:
            raise error
        return n

    results = prefetch(range(50), die, threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(type(error)):
        next(results)
    assert not names()


@pytest.mark.parametrize(("jobs", "threads"), [(0, 4), (1, 4), (3, 16), (5, 2), (7, 3)])
def test_odd_numbers_of_jobs_and_threads_never_hang(jobs: int, threads: int) -> None:
    assert list(prefetch(range(jobs), lambda n: n, threads=threads)) == list(range(jobs))


def test_there_is_a_worker_at_least() -> None:
    assert 1 <= workers() <= 16
