import torch

from clipclean.jobs import inspect
from clipclean.schema.results import TallyRecord


def test_tensors_are_counted_by_dtype_with_the_largest_first():
    named = {"a": torch.zeros(3).half(), "b": torch.zeros(2, 2), "c": torch.zeros(()), "d": torch.zeros(1).half()}
    found = inspect.counted(named)
    # float32: 4 + 1 elements of 4 bytes; float16: 3 + 1 of 2
    counts = [
        ("float32", TallyRecord(tensors=2, elements=5, bytes=20)),
        ("float16", TallyRecord(tensors=2, elements=4, bytes=8)),
    ]
    assert list(found.dtypes.items()) == counts
    assert (found.tensors, found.elements, found.bytes) == (4, 9, 28)
