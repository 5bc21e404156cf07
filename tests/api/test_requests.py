from pathlib import Path

from clipclean.api import parameters, requests
from clipclean.config import policy


def test_a_recipe_is_changed_by_pairs_or_by_texts():
    def chosen(changes):
        asked = {
            "recipe": "mmcl@tiny",
            "set": parameters.completed("set", changes),
            "max_accuracy_loss": 0.03,
            "max_minutes": None,
        }
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
