import pytest
from cases import each

from clipclean.api import parameters
from clipclean.errors import UsageError


def test_labels_are_keys_with_values():
    given = ["commit=0a1b", "team/owner=vision, Zürich", "empty="]
    assert parameters.labels(parameters.completed("label", given)) == {
        "commit": "0a1b",
        "team/owner": "vision, Zürich",
        "empty": "",
    }


@each(
    "bad",
    [
        ["novalue"],
        ["=x"],
        ["1a=x"],
        ["a b=x"],
        ["a=\x1b[2J"],
        ["a=x\ny"],
        [f"a={'x' * 201}"],
        ["a=1", "a=2"],
        [f"{'a' * 64}=x"],
        [f"k{n}=x" for n in range(33)],
    ],
)
def test_what_is_no_label_is_refused(bad):
    with pytest.raises(UsageError):
        parameters.labels(parameters.completed("label", bad))
