"""The list of measurements has every table of the pages, and commands that exist."""

import importlib
import re
import shlex
from collections import Counter
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script():
    """Name -> a script of ``benchmarks``, which are no package, as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module


def test_every_measured_table_of_a_page_is_of_one_measurement(script):
    # Nothing measures what repeats the code, nor the count of the models that are measured.
    unmeasured = {*script("read_off").PARTS, "scope"}
    shown = {block for _, block in script("tables").blocks()} - unmeasured
    measured = Counter(block for each in script("evidence").MEASUREMENTS.values() for block in each.blocks)
    assert shown - set(measured) == set()
    assert [block for block, times in measured.items() if times > 1] == []


def test_each_part_that_is_read_off_the_code_stands_in_one_page(script):
    parts = script("read_off").PARTS
    times = Counter(block for _, block in script("tables").blocks() if block in parts)
    assert times == dict.fromkeys(parts, 1)


def test_commands_name_only_what_exists(script):
    evidence, common = script("evidence"), script("common")
    for name in evidence.MEASUREMENTS:
        for words in evidence.commands(name, Path("build"), Path("images")):
            _, path, *arguments = shlex.split(words)
            text = (BENCHMARKS.parent / path).read_text(encoding="utf-8")
            flags = {word.removeprefix("--") for word in arguments if word.startswith("--")}
            assert {flag for flag in flags - set(common.SHARED) if f'"--{flag}"' not in text} == set(), name


def test_what_is_left_of_a_measurement_is_told_by_the_time_of_what_is_there(script):
    evidence = script("evidence")
    state = evidence.stored("sealed", planned=1_000_000)
    assert state.missing == 1_000_000 - state.rows
    (row,) = evidence.listed(["sealed"], {"sealed": 7200.0})[1:]
    assert "2.0 h" in row
    assert any(re.fullmatch(r"\d+ of \d+", cell) for cell in row)
