import click
import pytest
from cases import each

from clipclean.cli import options


def test_labels_are_keys_with_values():
    assert options.labels(["commit=0a1b", "team/owner=vision, Zürich", "empty="]) == {
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
    with pytest.raises(click.BadParameter):
        options.labels(bad)
