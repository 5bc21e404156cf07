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

    with pytest.raises(pytest.fail.Exception, match="'2', '4'") as told:
        odd()
    assert tried == [1, 2, 3, 4]
    assert str(told.value).count("AssertionError: even") == 2
    with pytest.raises(AssertionError):  # an empty table shows nothing
        each("number", [])(lambda number: None)()


@pytest.mark.parametrize("more", ["a"])
@each(("number", "word"), [(0, "a"), (1, "b")])
def test_each_row_has_its_own_folder_and_patches_and_output(more, number, word, tmp_path, monkeypatch, capsys):
    assert (more, word) == ("a", "ab"[number])
    assert not list(tmp_path.iterdir())
    (tmp_path / "x").touch()
    assert "CASES" not in os.environ
    monkeypatch.setenv("CASES", str(number))
    assert capsys.readouterr().out == ""
    sys.stdout.write(str(number))
