import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipclean.data import plan
from clipclean.errors import UsageError


@given(n=st.integers(1, 50), size=st.integers(1, 50), steps=st.integers(0, 60), seed=st.integers(0, 2**63))
def test_each_epoch_is_a_permutation_without_its_incomplete_last_batch(
    n: int, size: int, steps: int, seed: int
) -> None:
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


def test_a_plan_is_its_seeds_and_a_longer_one_begins_like_a_shorter() -> None:
    long = plan(10, batch_size=3, steps=9, seed=7)
    assert plan(10, batch_size=3, steps=5, seed=7) == long[:5]
    assert plan(10, batch_size=3, steps=9, seed=8) != long


def test_epochs_differ() -> None:
    planned = plan(20, batch_size=20, steps=2, seed=0)
    assert planned[0][1] != planned[1][1]
    assert sorted(planned[0][1]) == sorted(planned[1][1]) == list(range(20))


def test_a_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(UsageError, match="3 pairs do not fill a batch of 4"):
        plan(3, batch_size=4, steps=1, seed=0)


@pytest.mark.parametrize(("size", "steps"), [(0, 1), (1, -1)])
def test_sizes_that_make_no_sense_are_errors(size: int, steps: int) -> None:
    with pytest.raises(ValueError, match="batch_size >= 1"):
        plan(3, batch_size=size, steps=steps, seed=0)
