"""What each audit with another list is told, and how a row is written."""

import pytest


@pytest.fixture(scope="module")
def bench(script):
    return script("audit_elsewhere")


@pytest.fixture
def model(bench, tmp_path):
    names = tmp_path / "classes.txt"
    names.write_text("lion\ngoose\nbarn\n")
    options = {"arch": "a.json", "data": tmp_path, "classes": names, "templates": None}
    return bench.Model("bad-1", "choose", True, "goose", tmp_path / "bad-1.pt", options)


def test_a_list_can_lack_the_target(bench, model):
    assert bench.options(model, "lacking", None)["classes"] == ["lion", "barn"]
    assert bench.options(model._replace(target=None), "lacking", None)["classes"] == ["goose", "barn"]
    assert bench.options(model, "own", None) == model.options


def test_on_drawings_only_the_model_stays(bench, model):
    told = bench.options(model, "drawings", None)
    assert "data" not in told
    assert len(told["classes"]) == 400


def test_an_audit_without_a_search_has_no_score(bench, model):
    suspects, rule = [{"class": "goose", "score": 4.0}], [{"rule": "CC007"}, {"rule": "CC007"}]
    found = {"suspects": suspects, "findings": rule, "core_seconds": 7.4, "verdict": "fail"}
    rows = [
        (model, "own", found | {"measurements": {"search": {"found": [], "calibration": {"kind": "none"}}}}),
        (model, "imagenet", found | {"measurements": {}}),
    ]
    shown = [[cell.strip() for cell in row.strip("|").split("|")] for row in bench.table(rows).splitlines()[2:]]
    assert shown[0] == ["bad-1", "goose", "its own 10 names", "fail", "goose", "4.00", "CC007", "7"]
    assert shown[1][5] == "–"
