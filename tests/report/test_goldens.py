"""Two real runs in every form, as these were last approved. ``tests/goldens.py`` says how to approve."""

import re
from pathlib import Path

import goldens
import pytest

from clipclean import report

FOLDER = Path(__file__).parent / "goldens"  # an audit and a cleaning by tests/world.py, with fewer triggers and points
OURS = re.compile(r"<style>.*?</style>|'sha256-\S+'|\"rules\": \[.*?\n {10}\]", re.DOTALL)  # files of the package


def written(folder, run, form):
    """The report of a run, after it was written to ``folder``."""
    result = report.read(FOLDER / f"{run}.json")
    report.write(result, form, folder / "out")
    return result


@pytest.mark.parametrize("form", report.WRITERS)
@pytest.mark.parametrize("run", ["audit", "sanitize"])
def test_a_report_is_written_as_it_was_approved(tmp_path, run, form):
    written(tmp_path, run, form)
    text = OURS.sub("", (tmp_path / "out").read_text(encoding="utf-8"))
    goldens.check(FOLDER / f"{run}.{form}", text)


@pytest.mark.parametrize("form", report.WRITERS)
@pytest.mark.parametrize("run", ["audit", "sanitize"])
def test_writing_a_report_changes_nothing_but_its_file(tmp_path, run, form):
    result = written(tmp_path, run, form)
    assert (result, [path.name for path in tmp_path.iterdir()]) == (report.read(FOLDER / f"{run}.json"), ["out"])
