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
        "def bare(a: Any, b, c, d, e, f, g, h, i): # why\n    return _small(_twice(_twice(a)))\n"
        "def _small(a): ...\ndef _twice(a): ...\n"
    )
    return root


def test_every_figure_is_counted_on_a_small_package_and_one_above_its_line_is_named(package, script):
    house = script("house")
    # one comment in nine lines: three imports, two classes, three def, one return
    assert house.comments(house.read(package)) == (1, 9)
    shape = house.shape(package)
    assert {*shape["modules_in_an_import_cycle"]} == {"small.hall", "small.room.one"}  # hall imports one, one hall
    assert [*shape["functions_of_more_than_8_parameters"]] == ["small.room.one.bare"]
    assert [*shape["small_private_functions_used_once"]] == ["small.room.one._small"]  # _twice has two callers
    (function,) = ast.parse('def f():\n    """Two\n    lines."""\n    return 1\n').body
    assert house.lines_of(function) == 2  # without its docstring
    assert house.cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert set(house.cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
    now = {"lines": 11, "words": 5, "make_test_seconds": 12}
    told = house.risen(now, {"lines": 10, "words": 5, "make_test_seconds": 10, "unmeasured_seconds": 3})
    assert [sentence.split()[0] for sentence in told] == ["lines"]
