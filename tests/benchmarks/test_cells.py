import json
from pathlib import Path

import pytest

RECIPE = "cleanclip@few"
CHANGED = f"{RECIPE}:train.lr=1e-3"


@pytest.fixture(scope="module")
def cells(script):
    return script("cells")


@pytest.fixture
def place(tmp_path):
    return tmp_path / "cell.json"


def test_a_cell_of_other_values_of_its_recipe_is_measured_anew(cells, place):
    assert cells.digest_of(RECIPE) != cells.digest_of(CHANGED)
    place.write_text(json.dumps({"recipe_sha256": cells.digest_of(CHANGED)}))
    assert cells.is_current(place, CHANGED)
    assert not cells.is_current(place, RECIPE)


def test_a_cell_that_does_not_name_its_values_counts(cells, place):
    place.write_text("{}")
    assert cells.is_current(place, RECIPE)


def test_a_method_without_values_of_its_own_is_measured_once(cells, place):
    assert not cells.is_current(place, "auto")
    place.write_text(json.dumps({"recipe_sha256": None}))
    assert cells.is_current(place, "auto")
    assert cells.is_current(place, "released")


def test_a_recipe_in_a_file_has_its_values_too(cells, tmp_path):
    recipe = tmp_path / "own.yaml"
    recipe.write_text((Path(__file__).parents[2] / "recipes" / "cleanclip.yaml").read_text())
    assert cells.digest_of(f"{recipe}@few") == cells.digest_of(RECIPE)


def test_changes_may_stand_beside_the_name(cells):
    assert cells.digest_of(RECIPE, ["train.lr=1e-3"]) == cells.digest_of(CHANGED)
    assert cells.digest_of(RECIPE, ["train.betas=[0.9,0.95]"]) != cells.digest_of(RECIPE)
