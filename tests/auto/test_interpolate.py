import pytest
import torch
from auto_values import BUDGET, returning, trial

from clipclean.auto import interpolate
from clipclean.auto.interpolate import SHARES
from clipclean.auto.trials import Point

OLD = {"a": torch.tensor([0.0, 4.0]), "count": torch.tensor(3)}
NEW = {"a": torch.tensor([2.0, 0.0]), "count": torch.tensor(9)}


def test_numbers_lie_between_and_whole_ones_are_those_of_the_cleaned_model():
    quarter = interpolate.between(OLD, NEW, share=0.25)
    assert quarter["a"].tolist() == [0.5, 3.0]
    assert int(quarter["count"]) == 9


def test_the_ends_are_the_models_themselves():
    assert interpolate.between(OLD, NEW, share=0.0)["a"] is OLD["a"]
    assert interpolate.between(OLD, NEW, share=1.0)["a"] is NEW["a"]


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_equal_models_have_nothing_between_them(share):
    assert torch.equal(interpolate.between(NEW, NEW, share=share)["a"], NEW["a"])


# To the budget: accuracy falls by ``lost`` points from the original to the cleaned model, and the budget is 2.

GONE = (trial(0.0), trial(0.01, kept=0.8), trial(0.01, kept=0.6))  # the canary, at each share


def went_back(trials, *, lost, excess=lambda share: 0.0, refinetuned=lambda trial: trial):
    """Shares that were measured, and the one to take."""

    def measure(share):
        return Point(share, excess(share), lost / 100 * share, (-1.0, 1.0))

    points, point = interpolate.to_budget(trials, measure, refinetuned, BUDGET)
    return [p.share for p in points], point.share


def test_cleaned_weights_within_the_budget_are_taken_whatever_accuracy_others_have():
    assert went_back(GONE, lost=1.9) == ([1.0], 1.0)
    assert went_back(GONE, lost=2.0) == ([1.0], 1.0)


def test_the_way_back_ends_where_the_budget_is_met():
    assert went_back(GONE, lost=2.4) == ([1.0, 0.8], 0.8)
    assert went_back(GONE[::-1], lost=2.9) == ([1.0, 0.8, 0.6], 0.6)


def test_where_no_share_meets_the_budget_the_cleaned_weights_are_taken():
    assert went_back(GONE, lost=9.0) == ([1.0, 0.8, 0.6], 1.0)


def test_a_share_at_which_what_was_found_acts_is_not_taken():
    assert went_back(GONE, lost=2.4, excess=lambda share: 0.3 * (share < 0.9)) == ([1.0, 0.8], 1.0)


def test_a_share_at_which_a_canary_acts_is_not_measured_nor_those_behind_it():
    assert went_back((GONE[0], trial(0.4, kept=0.8), GONE[2]), lost=2.9) == ([1.0], 1.0)


def test_where_the_cleaned_copy_has_a_canary_no_other_share_is_measured():
    assert went_back((returning(GONE[0]), *GONE[1:]), lost=2.4) == ([1.0], 1.0)


def test_a_share_at_which_a_canary_returns_is_not_taken():
    asked = []

    def refinetuned(made):
        asked.append(made.kept)
        return returning(made)

    assert went_back(GONE, lost=2.9, refinetuned=refinetuned) == ([1.0, 0.8, 0.6], 1.0)
    assert asked == [0.6]  # the one that meets the budget


def test_a_copy_that_needed_the_way_back_says_nothing_of_the_model():
    over = (trial(0.0, kept=0.8), trial(0.0, lost=0.3), trial(0.0, kept=0.6))
    assert went_back(over, lost=1.0) == ([1.0], 1.0)
    assert went_back(over, lost=2.4) == ([1.0, 0.8], 0.8)


def test_without_canaries_there_is_no_way_back():
    assert went_back((), lost=2.4) == ([1.0], 1.0)


# The trials of a candidate on the copy.


def counted(*, left, returned=0.0, changed=True, lost=0.0, reach=0.0, near=0.0):
    """Whether the trial that counts passes, what returns in it, how often was finetuned, and its share.

    ``near`` is what is left, and what returns, in addition between the copy and its cleaned weights.
    """
    finetuned = []

    def measure(share):
        return trial(left + near * (share < 1), lost / 100 * share, share, reach)

    def refinetuned(made):
        finetuned.append(made)
        return returning(made, share=returned)

    first, *others = interpolate.trials_of(measure, refinetuned, BUDGET, changed=changed)
    assert not any(other.is_refinetuned for other in others)
    return BUDGET.passes(first), first.outcomes[0].returned, len(finetuned), first.kept


def test_a_canary_that_returns_after_a_benign_finetuning_was_not_removed():
    assert counted(left=0.0, returned=0.2) == (False, 0.2, 1, 1.0)
    assert counted(left=0.0, returned=0.04) == (True, 0.04, 1, 1.0)


def test_a_trial_that_fails_already_or_changed_nothing_is_not_finetuned():
    assert counted(left=0.3) == (False, None, 0, 1.0)
    assert counted(left=0.0, returned=0.3, changed=False) == (True, None, 0, 1.0)


def test_a_trial_counts_as_near_to_the_cleaned_copy_as_the_budget_allows():
    near, far = SHARES
    assert counted(left=0.0, lost=2.01) == (True, 0.0, 1, near)
    assert counted(left=0.0, lost=1.99 / far) == (True, 0.0, 1, far)
    assert counted(left=0.0, lost=9.0) == (False, None, 0, 1.0)
    assert counted(left=0.06, lost=2.01) == (False, None, 0, 1.0)  # it acts


def test_a_loss_within_chance_of_the_budget_is_brought_down_where_no_canary_comes_back():
    assert counted(left=0.0, lost=2.01, reach=0.05) == (True, 0.0, 1, SHARES[0])
    # No share meets the budget, and chance explains it.
    assert counted(left=0.0, lost=4.6, reach=0.06) == (True, 0.0, 1, 1.0)
    assert counted(left=0.0, lost=8.1, reach=0.06) == (False, None, 0, 1.0)


def test_a_nearer_point_that_leaves_a_canary_does_not_stand_for_the_cleaned_copy():
    assert counted(left=0.0, near=0.06, lost=2.01, reach=0.05) == (True, 0.0, 1, 1.0)


def test_where_a_canary_returns_at_a_nearer_point_the_cleaned_copy_counts():
    def refinetuned(made):
        return returning(made, share=0.3 if made.kept < 1 else 0.0)

    made = interpolate.trials_of(
        lambda share: trial(0.0, 0.0201 * share, share, 0.05), refinetuned, BUDGET, changed=True
    )
    assert [(each.kept, each.is_refinetuned) for each in made] == [(1.0, True), (SHARES[0], True), (SHARES[1], False)]
    assert BUDGET.passes(made[0])


def test_every_share_has_a_trial_and_the_one_that_counts_comes_first():
    trials = interpolate.trials_of(
        lambda share: trial(0.0, 0.0201 * share, share), lambda made: made, BUDGET, changed=True
    )
    assert [each.kept for each in trials] == [SHARES[0], 1.0, SHARES[1]]
