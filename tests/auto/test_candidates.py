import pytest

from clipclean.auto import candidates
from clipclean.config import recipe
from clipclean.errors import UsageError

BIG, SMALL = 150_000_000, 400_000


def rungs(*texts, parameters=BIG):
    auto = recipe.load("auto")
    return candidates.rungs(
        auto.model_copy(update={"auto": auto.auto.model_copy(update={"ladder": texts})}), parameters=parameters
    )


def test_a_rung_is_recipes_one_after_another():
    (found,) = rungs("unlearn + par")
    assert found.name == "unlearn + par"
    assert [each.method for each in found.recipes] == ["unlearn", "par"]


def test_values_in_brackets_hold_and_are_said():
    (found,) = rungs("cleanclip(loss.preserve_weight=2, train.epochs=6) + par")
    first, second = found.recipes
    assert (first.loss.preserve_weight, first.train.epochs) == (2, 6)
    assert second == second.model_copy(update={"train": recipe.load("par").train})
    assert found.name == "cleanclip(loss.preserve_weight=2, train.epochs=6) + par"


def test_tiny_models_get_the_twins_of_recipes_that_have_one():
    assert rungs("unlearn + par", parameters=SMALL)[0].names == ("unlearn-tiny", "par-tiny")
    assert rungs("cleanclip-strong", parameters=SMALL)[0].names == ("cleanclip-strong",)


def test_what_is_measured_is_that_of_the_run_and_not_of_the_rung():
    auto = recipe.override(recipe.load("auto"), ["audit.max_accuracy_loss=0.07", "data.max_pairs=99"])
    step = candidates.rungs(auto, parameters=BIG)[0].recipes[0]
    assert (step.audit.max_accuracy_loss, step.data.max_pairs) == (0.07, 99)


def test_the_beginnings_of_a_rung_end_with_the_whole_one():
    (found,) = rungs("unlearn + cleanclip + par")
    assert [each.name for each in found.beginnings] == ["unlearn", "unlearn + cleanclip", "unlearn + cleanclip + par"]
    assert found.beginnings[-1] == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("unlearn par", "'unlearn par' is no step"),
        ("cleanclip(train.epochs=6", "is no step"),
        ("unlern", "Did you mean 'unlearn'"),
        ("auto", "has a ladder of its own"),
        ("cleanclip(train.speed=6)", "unknown key"),
        ("", "is no step"),
    ],
)
def test_what_is_no_rung_is_refused(text, told):
    with pytest.raises(UsageError, match=told.replace("(", r"\(")):
        rungs(text)


def test_the_shipped_ladder_can_be_climbed_at_both_sizes():
    auto = recipe.load("auto")
    for parameters in (BIG, SMALL):
        for rung in candidates.rungs(auto, parameters=parameters):
            for step in rung.recipes:
                recipe.check(step, pairs=20_000)
