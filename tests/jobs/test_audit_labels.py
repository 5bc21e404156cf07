"""Captions that name a class are labels in an audit, too."""

import json

import pytest
import tiny

from clipclean import cli


@pytest.mark.parametrize(
    ("unnamed", "by", "n"), [(0, "zero-shot top-1", 48), (2, "zero-shot top-1", 46), (8, "recall@1", 48)]
)
def test_nearly_all_captions_have_to_name_a_class(tmp_path, unnamed, by, n):
    job = tiny.job(tmp_path)
    for number in range(unnamed):
        (job.data / f"{number:03}.txt").write_text("a drawing")
    report = tmp_path / "report.json"
    cli.main(job.audit("--data", job.data, "--no-search", "--report", f"json={report}"))
    found = json.loads(report.read_text())["measurements"]["clean_accuracy"]
    assert by in found["definition"]
    assert found["n"] == n
