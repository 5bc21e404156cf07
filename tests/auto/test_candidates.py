import re

import pytest
import torch

from clipclean.auto import candidates
from clipclean.config import recipe
from clipclean.data import Samples
from clipclean.errors import UsageError

BIG, SMALL = 150_000_000, 400_000


def candidates_of(*texts, parameters=BIG, pairs=20_000, classes=10):
    auto = recipe.load("auto")
    asked = auto.model_copy(update={"auto": auto.auto.model_copy(update={"ladder": texts})})
    size = {"parameters": parameters, "pairs": pairs, "classes": classes}
    return tuple(each.fitted(asked, **size) for each in candidates.listed(asked))


def test_a_candidate_is_recipes_in_a_row_with_values_in_brackets_at_the_scale_of_the_job():
    (found,) = candidates_of("unlearn + par")
    assert found.name == "unlearn + par"
    assert [each.method for each in found.recipes] == ["unlearn", "par"]
    (found,) = candidates_of("cleanclip(loss.preserve_weight=2, train.epochs=6) + par")
    first, second = found.recipes
    assert (first.loss.preserve_weight, first.train.epochs) == (2, 6)
    assert second == second.model_copy(update={"train": recipe.load("par").train})
    assert found.name == "cleanclip(loss.preserve_weight=2, train.epochs=6) + par"
    few = candidates_of("cleanclip + par", parameters=SMALL, pairs=1_999)[0]
    assert [each.scale for each in few.recipes] == ["few", "tiny"]
    assert candidates_of("cleanclip", parameters=SMALL, pairs=1_999, classes=400)[0].recipes[0].scale == "tiny"
    assert candidates_of("cleanclip", pairs=100)[0].recipes[0].scale == "usual"
    (found,) = candidates_of("unlearn + cleanclip + par")
    assert [each.name for each in found.beginnings] == ["unlearn", "unlearn + cleanclip", "unlearn + cleanclip + par"]
    assert found.beginnings[-1] == found


def test_a_warm_up_that_would_fill_the_run_on_few_pairs_is_a_quarter_of_it_unless_the_entry_sets_one():
    few = Samples([None] * 960, None)
    short = candidates_of("mmcl(train.epochs=6)", parameters=SMALL, pairs=960)[0]  # 18 steps, and 20 of warm-up
    assert (short.recipes[0].train.warmup_steps, short.unfit(few)) == (4, "")
    assert short.name == "mmcl(train.epochs=6)"
    own = candidates_of("mmcl(train.epochs=6, train.warmup_steps=19)", parameters=SMALL, pairs=960)[0]
    assert "train.warmup_steps: 19" in own.unfit(few)
    assert candidates_of("mmcl", parameters=SMALL, pairs=20_000)[0].recipes[0].train == recipe.load("mmcl@tiny").train


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("unlearn par", "'unlearn par'"),
        ("cleanclip(train.epochs=6", "train.epochs"),
        ("unlern", "'unlearn'"),
        ("auto", "auto"),
        ("mmcl(train.lr=auto)", "mmcl has rates"),
        ("cleanclip(train.speed=6)", "train.speed"),
        ("", "''"),
    ],
)
def test_what_is_no_candidate_is_refused_by_name(text, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        candidates_of(text)


def test_shipped_candidates_run_at_both_sizes_measure_as_the_run_and_say_what_they_lack():
    auto = recipe.load("auto")
    for parameters in (BIG, SMALL):
        for each in candidates.listed(auto):
            for step in each.fitted(auto, parameters=parameters, pairs=20_000, classes=10).recipes:
                recipe.check(step, pairs=20_000)
    few = Samples([None] * 20, None)
    assert "64" in candidates_of("mmcl")[0].unfit(few)
    assert "labels" in candidates_of("supervised")[0].unfit(Samples([None] * 5000, None))
    assert candidates_of("mmcl + supervised")[0].unfit(Samples([None] * 5000, torch.zeros(5000))) == ""
    auto = recipe.override(recipe.load("auto"), ["audit.max_accuracy_loss=0.07", "data.max_pairs=99"])
    step = candidates.listed(auto)[0].fitted(auto, parameters=BIG, pairs=99, classes=10).recipes[0]
    assert (step.audit.max_accuracy_loss, step.data.max_pairs) == (0.07, 99)
