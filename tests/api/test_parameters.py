from pathlib import Path

import pytest
from cases import each

import clipclean
from clipclean import cli
from clipclean.api import parameters
from clipclean.errors import UsageError


def completed(**given):
    return {name: parameters.completed(name, value) for name, value in given.items()}


def test_places_become_paths_and_other_texts_stay():
    given = completed(model="a.pt", device="cpu", arch=Path("RN50"), classes="c.txt", policy=None)
    assert given == {"model": Path("a.pt"), "device": "cpu", "arch": "RN50", "classes": Path("c.txt"), "policy": None}


def test_one_of_several_stands_alone_and_lists_are_frozen():
    assert completed(reference="a.pt", models=None, references=["b.json"], classes=["cat", "dog"]) == {
        "reference": (Path("a.pt"),),
        "models": (),
        "references": (Path("b.json"),),
        "classes": ("cat", "dog"),
    }


@each(
    "given",
    [
        {"effort": "hard"}, {"effort": None}, {"seed": "0"}, {"seed": True}, {"seed": -1}, {"device": "mps"}, {"device": ["cpu"]},
        {"classes": [1]}, {"power": 1}, {"max_minutes": 0}, {"max_minutes": float("nan")}, {"policy": 3},
        {"label": {"a b": "c"}}, {"arch": 5}, {"data": 1}, {"reference": [None]}, {"search": False, "references": "x"},
        {"search": False, "power": True}, {"labels": {"a": "b"}},
    ],
)  # fmt: skip
def test_an_audit_refuses_what_its_command_refuses(given):
    with pytest.raises(UsageError, match=next(reversed(given)).removesuffix("s")):
        clipclean.audit("missing.pt", **given)


@each(
    "given",
    [
        {"format": ["safetensors"]}, {"format": "zip"}, {"screen": "2%"}, {"screen": 2}, {"screen": None}, {"recipe": 5},
        {"precision": "fp8"}, {"force": "yes"}, {"max_accuracy_loss": 0.7}, {"set": 1},
        {"overrides": {}}, {"triggers": []}, {"formats": []}, {"no_audit": True},
    ],
)  # fmt: skip
def test_a_cleaning_refuses_what_its_command_refuses_and_names_that_are_gone(given):
    with pytest.raises(UsageError, match=next(iter(given))):
        clipclean.sanitize("missing.pt", "missing", **given)


@each("option", ["--max-minutes", "--max-accuracy-loss"])
def test_a_command_takes_no_number_that_compares_with_nothing(option):
    assert cli.main(["sanitize", "missing.pt", "--data", "missing", option, "nan"]) == 2


def test_a_model_is_a_path_or_a_module():
    with pytest.raises(UsageError, match="model"):
        clipclean.inspect(b"weights")
