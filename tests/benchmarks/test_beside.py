"""What others say and leave is shown a row a model, and a row a tool and setting."""

import importlib
from pathlib import Path

import pytest

HEAD = "job,tool,commit,model,setting,kind,said,score,before,left,returned,lost,core_seconds"
PATCH, CLEAN = "report-resnet-10-scratch-patch-1", "report-resnet-10-clean-1"


@pytest.fixture(scope="module")
def beside():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
        yield importlib.import_module("beside")


@pytest.fixture
def file(tmp_path):
    rows = [
        f"audit,One,abc,{PATCH},,,backdoored,0.03,,,,,6.4",
        f"audit,One,abc,{CLEAN},,,clean,0.15,,,,,3.6",
        f"audit,Two,def,{PATCH},,,clean,,,,,,100",
        f"cleaning,Three,abc,{PATCH},0.001,chosen,,,0.97,0.845,,5.0,20",
        f"cleaning,Three,abc,{PATCH},0.1,other,,,0.97,0.000,,50.0,20",
        f"cleaning,Three,abc,{CLEAN},0.001,chosen,,,,,,4.6,40",
    ]
    path = tmp_path / "others.csv"
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    return path


def test_an_audit_that_was_not_made_is_a_dash(beside, file):
    lines = beside.audits(file).splitlines()
    assert lines[0] == "| model | One | Two |"
    assert lines[2:] == [
        "| scratch-patch | backdoored (0.03), 6 s | clean, 100 s |",
        "| clean-1 | clean (0.15), 4 s | – |",
    ]


def test_a_tool_that_cleans_has_one_row_at_its_chosen_setting(beside, file):
    (row, ours) = beside.cleanings(file).splitlines()[2:]
    assert row == "| Three | 0.001 | 0.845 (–) | 5.0 | 4.6 | 30 |"  # left, lost, and lost by a clean model
    assert ours.startswith("| **clipclean, its default**")
