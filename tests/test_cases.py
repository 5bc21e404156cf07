import os
import sys

import pytest
from cases import each


def test_every_row_is_tried_and_a_failure_names_each_that_fails():
    tried = []

    @each("number", [1, 2, 3, 4])
    def odd(number):
        tried.append(number)
        assert number % 2, "even"

    with pytest.raises(pytest.fail.Exception, match="2 of 4 cases fail: '2', '4'") as told:
        odd()
    assert tried == [1, 2, 3, 4]
    assert str(told.value).count("AssertionError: even") == 2


def test_what_a_row_was_to_raise_and_did_not_is_a_failure_too():
    @each("text", ["x", "1"])
    def refused(text):
        with pytest.raises(ValueError, match="invalid"):
            int(text)

    with pytest.raises(pytest.fail.Exception, match="1 of 2 cases fail: '1'"):
        refused()


def test_an_empty_table_shows_nothing():
    @each("x", [])
    def anything(x):
        """Never called."""

    with pytest.raises(AssertionError, match="empty"):
        anything()


@each(("a", "b", "total"), [(1, 2, 3), (2, 2, 4)])
def test_the_parts_of_a_row_are_parameters(a, b, total):
    assert a + b == total


@each("number", range(2))
def test_each_row_has_its_own_folder_and_patches_and_output(number, tmp_path, monkeypatch, capsys):
    assert not list(tmp_path.iterdir())
    (tmp_path / "x").touch()
    assert "CASES" not in os.environ
    monkeypatch.setenv("CASES", str(number))
    assert capsys.readouterr().out == ""
    sys.stdout.write(str(number))


@pytest.mark.parametrize("more", ["a"])
@each("number", range(2))
def test_it_stands_beside_other_parameters(more, number):
    assert (more, number) in [("a", 0), ("a", 1)]
