from pathlib import Path

from clipclean.api import requests
from clipclean.config import policy


def test_places_become_paths_and_other_texts_stay():
    given = requests.normal({"model": "a.pt", "device": "cpu", "arch": "RN50", "classes": "c.txt", "policy": None})
    assert given == {"model": Path("a.pt"), "device": "cpu", "arch": "RN50", "classes": Path("c.txt"), "policy": None}


def test_one_of_several_stands_alone_and_lists_are_frozen():
    model = object()  # a module in memory stays what it is
    assert requests.normal({"reference": None, "references": ["b.json"]}) == {
        "reference": (),
        "references": (Path("b.json"),),
    }
    assert requests.normal({"reference": "a.pt"}) == {"reference": (Path("a.pt"),)}
    assert requests.normal({"classes": ["cat", "dog"], "model": model}) == {"classes": ("cat", "dog"), "model": model}


def test_a_recipe_is_changed_by_pairs_or_by_texts():
    def chosen(overrides):
        asked = {"recipe": "mmcl-tiny", "overrides": overrides, "max_accuracy_loss": 0.03, "max_minutes": None}
        return requests.recipe_of(asked)

    assert chosen({"train.epochs": 3}) == chosen(["train.epochs=3"])
    assert (chosen({"train.epochs": 3}).train.epochs, chosen([]).audit.max_accuracy_loss) == (3.0, 0.03)


def test_without_a_policy_the_default_one_holds():
    assert requests.policy_of({"policy": None}) is policy.DEFAULT
    own = policy.Policy(version=1, name="ours")
    assert requests.policy_of({"policy": own}) is own


def test_bundled_images_are_taken_where_no_data_are_given():
    settings = ("reference", "references", "effort", "arch", "classes", "templates", "seed", "device", "save_triggers")
    given = dict.fromkeys(settings) | {"model": Path("a.pt"), "search": True, "data": None}
    with requests.of_audit(given) as request:
        assert (request.own, request.data.exists(), request.pairs.exists()) == (False, True, True)
    with requests.of_audit(given | {"data": Path("mine")}) as request:
        assert (request.own, request.data) == (True, Path("mine"))
