import torch

from clipclean import checkpoint
from clipclean.checkpoint import Tally


def test_tensors_are_counted_by_dtype_with_the_largest_first():
    named = {"a": torch.zeros(3).half(), "b": torch.zeros(2, 2), "c": torch.zeros(()), "d": torch.zeros(1).half()}
    found = checkpoint.summarise(named)
    # float32: 4 + 1 elements of 4 bytes; float16: 3 + 1 of 2
    assert list(found.dtypes.items()) == [("float32", Tally(2, 5, 20)), ("float16", Tally(2, 4, 8))]
    assert found.total == Tally(4, 9, 28)


def test_nothing_counts_as_nothing():
    assert checkpoint.summarise({}).total == Tally(0, 0, 0)
