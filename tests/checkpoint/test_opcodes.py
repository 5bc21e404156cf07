import pickle  # noqa: TID251 # builds the pickles that are read here
from collections import OrderedDict

import pytest
from hostile import checkpoints as hostile
from hypothesis import given
from hypothesis import strategies as st

from clipclean.checkpoint import opcodes
from clipclean.checkpoint.values import DroppedObject, Pairs
from clipclean.errors import UnsafeCheckpoint


def plain(value):
    """Inert values as Python's own, to compare them."""
    if isinstance(value, Pairs):
        return {key: plain(child) for key, child in value.items}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    return value


LONG = (
    [list(range(2500)), dict.fromkeys(range(2500))],
    [0, 255, 256, 65536, 2**70, -(2**70)],
    OrderedDict(z=1, a="x" * 300),
)
SMALL = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


def around(inner):
    return st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner)


@given(st.sampled_from(LONG) | st.recursive(SMALL, around), st.sampled_from([2, 3, 4, 5]))
def test_plain_values_are_read_as_python_reads_them(value, protocol):
    found = opcodes.interpret(pickle.dumps(value, protocol))
    assert plain(found.value) == value
    assert found.end == len(pickle.dumps(value, protocol))


def test_shared_values_stay_shared_sets_are_inert_and_a_second_pickle_begins_where_the_first_ended():
    shared = [1]
    one, other = opcodes.interpret(pickle.dumps((shared, shared))).value
    assert one is other
    found = opcodes.interpret(pickle.dumps([b"bytes", {1, 2}, frozenset([3])], 4)).value
    assert found[0] == b"bytes"
    assert [value.kind for value in found[1:]] == ["set", "set"]
    assert all(isinstance(value, DroppedObject) for value in found[1:])
    data = pickle.dumps("one") + pickle.dumps("two")
    first = opcodes.interpret(data)
    assert opcodes.interpret(data, start=first.end).value == "two"


def test_foreign_names_are_listed_once_and_101_levels_are_too_many():
    body = b"".join(hostile.name("evil", f"f{n}") for n in range(12)) + hostile.name("evil", "f0")
    with pytest.raises(UnsafeCheckpoint, match=r"evil\.f0, .*evil\.f9 and 2 more"):
        opcodes.interpret(hostile.pickled(body))
    with pytest.raises(UnsafeCheckpoint, match="x44ict"):  # as Python's unpickler has it
        opcodes.interpret(hostile.pickled(hostile.name("collections", r"Ordered\x44ict") + b")R"))
    data = hostile.pickled(hostile.name("__torch__.clip", "QuickGELU") + hostile.EMPTY_TUPLE + b"\x81")
    assert opcodes.interpret(data, torchscript=True).classes == ("__torch__.clip.QuickGELU",)
    with pytest.raises(UnsafeCheckpoint, match="__torch__"):
        opcodes.interpret(data)
    assert opcodes.interpret(hostile.pickled(hostile.EMPTY_LIST * 100 + b"a" * 99)).value
    with pytest.raises(UnsafeCheckpoint, match="nested"):
        opcodes.interpret(hostile.pickled(hostile.EMPTY_LIST * 101 + b"a" * 100))
