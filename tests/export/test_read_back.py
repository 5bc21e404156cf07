import numpy as np
import pytest

from clipclean.export import read_back


@pytest.mark.parametrize(
    ("n", "sizes"), [(1, [1]), (2, [1, 1]), (3, [1, 2]), (5, [1, 2, 2]), (6, [1, 2, 3]), (63, [1, 2, 3, 57])]
)
def test_batches_are_one_two_three_and_the_rest(n, sizes):
    rows = np.arange(2 * n).reshape(n, 2)
    assert [len(part) for part in read_back.parts(rows)] == sizes
    assert np.array_equal(read_back.batched(lambda part: part, rows), rows)


class Input:
    def __init__(self, name, kind):
        self.name, self.type = name, kind


class Session:
    """Gives back what it was fed."""

    def __init__(self, *inputs):
        self.inputs = inputs

    def get_inputs(self):
        return self.inputs

    def run(self, _, feed):
        return [feed]


def test_inputs_get_the_type_that_the_graph_declares():
    fed = read_back.run(Session(Input("input_ids", "tensor(int32)")), np.array([[49406, 49407, 0]]))
    assert fed["input_ids"].dtype == np.int32
    assert fed["input_ids"].tolist() == [[49406, 49407, 0]]
