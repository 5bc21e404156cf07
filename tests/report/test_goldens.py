"""Two real runs in every form, as these were last approved. ``tests/goldens.py`` says how to approve."""

import re
from pathlib import Path

import goldens
import pytest

from clipclean import report

FOLDER = Path(__file__).parent / "goldens"  # an audit and a cleaning by tests/world.py, with fewer triggers and points
OURS = re.compile(r"<style>.*?</style>|'sha256-\S+'|\"rules\": \[.*?\n {10}\]", re.DOTALL)  # files of the package


@pytest.mark.parametrize("form", report.WRITERS)
@pytest.mark.parametrize("run", ["audit", "sanitize"])
def test_a_report_is_written_as_it_was_approved_and_left_as_it_is(tmp_path, run, form):
    source = FOLDER / f"{run}.json"
    made = report.read(source)
    report.write(made, form, tmp_path / "out")
    text = OURS.sub("", (tmp_path / "out").read_text(encoding="utf-8"))
    goldens.check(FOLDER / f"{run}.{form}", text)
    assert (made, [path.name for path in tmp_path.iterdir()]) == (report.read(source), ["out"])
