"""Plans of batches, and workers that run ahead of them."""

import itertools
import threading
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipclean.data import plan, prefetch, workers
from clipclean.data.loading import JOBS_AHEAD
from clipclean.errors import UsageError


@given(n=st.integers(1, 50), size=st.integers(1, 50), steps=st.integers(0, 60), seed=st.integers(0, 2**63))
def test_each_epoch_is_a_permutation_without_its_incomplete_last_batch(n, size, steps, seed):
    if size > n:
        with pytest.raises(UsageError):
            plan(n, batch_size=size, steps=steps, seed=seed)
        return
    planned = plan(n, batch_size=size, steps=steps, seed=seed)
    assert [epoch for epoch, _ in planned] == [step // (n // size) for step in range(steps)]
    for epoch in {epoch for epoch, _ in planned}:
        numbers = [number for e, batch in planned if e == epoch for number in batch]
        assert len(set(numbers)) == len(numbers)
        assert set(numbers) <= set(range(n))
    assert all(len(batch) == size for _, batch in planned)


def test_a_longer_plan_begins_like_a_shorter_one():
    assert plan(10, batch_size=3, steps=5, seed=7) == plan(10, batch_size=3, steps=9, seed=7)[:5]


def test_seeds_give_plans_that_differ():
    assert plan(10, batch_size=3, steps=9, seed=8) != plan(10, batch_size=3, steps=9, seed=7)


def test_epochs_of_a_plan_differ():
    first, second = plan(20, batch_size=20, steps=2, seed=0)
    assert first[1] != second[1]


def names():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("clipclean-data")]


def same(n):
    return n


@pytest.mark.parametrize(("jobs", "threads"), [(0, 4), (1, 4), (3, 16), (5, 2), (7, 3), (10, 1), (10, 3)])
def test_results_come_in_the_order_of_the_jobs(jobs, threads):
    def slow_first(n):
        time.sleep(0.002 * (10 - n))
        return n

    assert list(prefetch(range(jobs), slow_first, threads=threads)) == list(range(jobs))


@pytest.mark.parametrize(("threads", "ahead"), [(3, None), (1, 9)])
def test_jobs_are_drawn_no_faster_than_they_are_needed_or_asked_for(threads, ahead):
    drawn = itertools.count()  # endless
    results = prefetch(drawn, same, threads=threads, **({"ahead": ahead} if ahead else {}))
    assert next(results) == 0
    results.close()
    assert next(drawn) == max(ahead or 0, JOBS_AHEAD * threads)


def test_workers_run_ahead_of_their_consumer():
    begun = threading.Event()

    def note(n):
        if n == 1:
            begun.set()
        return n

    results = prefetch(range(5), note, threads=2)
    assert next(results) == 0
    assert begun.wait(5)
    results.close()


def test_a_consumer_that_stops_leaves_no_thread_behind():
    results = prefetch(range(5), same, threads=2)
    assert next(results) == 0
    results.close()
    assert not names()
    results = prefetch(itertools.count(), same, threads=4)
    next(results)
    assert names()
    del results
    assert not names()


def test_a_stream_that_fails_leaves_no_thread_behind():
    def jobs():
        yield 1
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        list(prefetch(jobs(), same, threads=2))
    assert not names()


@pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_an_error_in_a_worker_ends_the_stream_in_its_turn(error):
    def die(n):
        if n == 3:
            raise error
        return n

    results = prefetch(range(50), die, threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(type(error)):
        next(results)
    assert not names()
    assert list(results) == []


@pytest.fixture
def three_threads():
    """Torch computes with three threads, until the test is over."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_a_worker_computes_with_one_thread():
    assert set(prefetch(range(6), lambda _: torch.get_num_threads(), threads=2)) == {1}


@pytest.mark.usefixtures("three_threads")
def test_workers_leave_the_callers_number_of_threads_alone():
    list(prefetch(range(6), same, threads=2))
    assert torch.get_num_threads() == 3
    numbers = []
    later = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert numbers == [3]


def test_the_number_of_workers_is_bounded():
    assert 1 <= workers() <= 16
