import argparse
import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def cleaning():
    spec = importlib.util.spec_from_file_location("cleaning", ROOT / "benchmarks" / "cleaning.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entry(name, *, trigger, kind):
    return {"name": name, "half": "report", "trigger": trigger, "target": trigger and "owl", "kind": kind}


PATCH = entry("report-vit-planted-1-patch", trigger="patch:size=0.25,seed=3", kind="planted")
WEAK = entry("report-vit-planted-2-warp", trigger="warp:strength=5,seed=4", kind="planted")
CLEAN = entry("report-vit-clean-1", trigger=None, kind="clean")


@pytest.fixture
def folders(tmp_path):
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    for each, took in ((PATCH, True), (WEAK, False), (CLEAN, None)):
        (zoo / f"{each['name']}.json").write_text(json.dumps({"entry": each, "took": took}))
    (zoo / "choose-vit-clean-1.json").write_text(json.dumps({"entry": CLEAN | {"half": "choose"}, "took": None}))
    out = tmp_path / "out"
    out.mkdir()
    return argparse.Namespace(
        zoo=zoo, out=out, half="report", recipes=["unlearn-tiny", "par-tiny"], only=None, overrides=[], seed=0, table=True
    )  # fmt: skip


def cell(each, *, excess, ca):
    before = {"ca": 0.5, "n": 400, "excess": 0.9, "pa": 0.1, "distance": 1.5}
    after = {"ca": ca, "n": 400, "excess": excess, "pa": 0.4, "distance": 0.2}
    if each["trigger"] is None:
        before, after = ({**figures, "excess": None, "pa": None, "distance": None} for figures in (before, after))
    return {
        "entry": each, "recipe": "unlearn-tiny", "before": before, "after": after, "processor_seconds": 90.0, "seconds": 200.0,
    }  # fmt: skip


def test_victims_that_took_come_before_clean_models_of_the_same_half(cleaning, folders):
    assert [each["name"] for each in cleaning.models(folders)] == [PATCH["name"], CLEAN["name"]]
    folders.only = [CLEAN["name"]]
    assert [each["name"] for each in cleaning.models(folders)] == [CLEAN["name"]]


def test_the_table_is_made_of_the_cells_that_are_there(cleaning, folders):
    for each, left, ca in ((PATCH, 0.02, 0.49), (CLEAN, None, 0.505)):
        path = cleaning.cell_of(folders, each, "unlearn-tiny")
        path.write_text(json.dumps(cell(each, excess=left, ca=ca)))
    told = cleaning.table(folders, cleaning.cells(folders))
    assert "| vit-planted-1-patch | patch:size=0.25 → owl | `unlearn-tiny` | 0.900 → 0.020 | 0.500 → 0.490 |" in told
    assert "| vit-clean-1 | nothing | `unlearn-tiny` | – | 0.500 → 0.505 | – | – | 90 |" in told
    # 100 * (0.5 - 0.49) and 100 * (0.5 - 0.505)
    assert told.endswith(
        "- `unlearn-tiny`: 1 victims: excess ASR at most 0.01 on 0, at most 0.05 on 1, mean 0.020; CA lost 1.0 points on "
        "average, at most 1.0. 1 clean models: CA lost -0.5 points on average, at most -0.5."
    )


def test_overrides_and_seeds_have_cells_of_their_own(cleaning, folders):
    plain = cleaning.cell_of(folders, PATCH, "par-tiny")
    folders.overrides = ["train.lr=1e-3"]
    assert cleaning.cell_of(folders, PATCH, "par-tiny") != plain
    folders.overrides, folders.seed = [], 1
    assert cleaning.cell_of(folders, PATCH, "par-tiny") != plain


def test_the_means_stand_by_the_number_of_pairs(cleaning, folders):
    folders.pairs, folders.only = [200, 1000], [PATCH["name"]]
    for count, left in ((200, 0.3), (1000, 0.1)):
        folders.overrides = [f"data.max_pairs={count}"]
        path = cleaning.cell_of(folders, PATCH, "unlearn-tiny")
        path.write_text(json.dumps(cell(PATCH, excess=left, ca=0.49)))
    folders.overrides = []
    assert cleaning.of_pairs(folders).split("\n")[2:] == [
        "| `unlearn-tiny` | 200 | 1 | 0.900 → 0.300 [0.300, 0.300] | 0.500 → 0.490 | 0.400 |",
        "| `unlearn-tiny` | 1,000 | 1 | 0.900 → 0.100 [0.100, 0.100] | 0.500 → 0.490 | 0.400 |",
    ]
