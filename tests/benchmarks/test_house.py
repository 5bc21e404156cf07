"""The figures of the source's layout, worked by hand on a small package."""

import ast

import pytest


@pytest.fixture
def package(tmp_path):
    root = tmp_path / "small"
    (root / "room").mkdir(parents=True)
    (root / "__init__.py").write_text('"""Small."""\n')
    (root / "hall.py").write_text('"""Hall."""\nfrom small.room import one\n\nclass Twice:\n    """One."""\n')
    (root / "room" / "__init__.py").write_text('"""Room."""\n')
    (root / "room" / "one.py").write_text(
        '"""One."""\nfrom small import hall\nfrom typing import Any\n\n\nclass Twice:\n    """Two."""\n\n\n'
        "def bare(a: Any, b, c, d, e, f, g, h, i): # why\n    return a\n"
    )
    return root


def test_every_figure_is_counted_on_a_small_package(package, script):
    found = script("house").measure(package)
    assert found["modules in the hall"] == 1
    assert found["class names used twice"] == "Twice"
    assert found["import cycles"] == 1  # hall imports one, and one imports hall
    assert found["functions with more than 8 parameters"] == 1
    assert found["signatures with Any"] == "100.0%"
    assert found["public names without a docstring"] == 1  # small.room.one.bare
    assert found["longest function"] == "2 lines (small.room.one.bare)"
    assert found["comment lines a code line"] == "0.14"  # one of seven: three imports, two classes, def and return


def test_a_docstring_does_not_make_a_function_longer(script):
    (function,) = ast.parse('def f():\n    """Two\n    lines."""\n    return 1\n').body
    assert script("house").lines_of(function) == 2


def test_modules_in_a_line_are_no_cycle(script):
    house = script("house")
    assert house.cycles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert house.cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_a_figure_above_its_line_is_named_and_seconds_may_be_a_quarter_above(script):
    now = {"lines": 11, "words": 5, "make_test_seconds": 12}
    told = script("house").risen(now, {"lines": 10, "words": 5, "make_test_seconds": 10, "unmeasured_seconds": 3})
    assert [sentence.split()[0] for sentence in told] == ["lines"]
