from dataclasses import replace

import pytest
import torch
from auto_values import LIMITS, answering, measurement, probe

from clipclean import deadline
from clipclean.detect import Rate
from clipclean.methods import walk_back
from clipclean.methods.walk_back import UNWITNESSED_SHARE, WatchedTrigger

OLD = {"a": torch.tensor([0.0, 4.0]), "count": torch.tensor(3)}
NEW = {"a": torch.tensor([2.0, 0.0]), "count": torch.tensor(9)}


def test_weights_lie_between_those_of_both_models():
    assert walk_back.between(OLD, NEW, share=0.25)["a"].tolist() == [0.5, 3.0]


def test_whole_numbers_are_those_of_the_cleaned_model():
    assert int(walk_back.between(OLD, NEW, share=0.25)["count"]) == 9


def test_the_ends_of_the_way_are_the_models_themselves():
    assert walk_back.between(OLD, NEW, share=0.0)["a"] is OLD["a"]
    assert walk_back.between(OLD, NEW, share=1.0)["a"] is NEW["a"]


def test_weights_that_both_models_share_stay_bit_by_bit():
    assert torch.equal(walk_back.between(NEW, NEW, share=0.9)["a"], NEW["a"])


# The walk. Of 1,000 images the original has 500 right; ``lost`` points fewer at the cleaned end, evenly between. The budget is 2
# points, so that one is aimed at; ``acts`` tells what the one trigger does, which acted on 0.9 in the original.

IMAGES = 1000
PATCH = WatchedTrigger(0.9)


def walked(*, lost, acts=lambda share: 0.0, watched=(PATCH,), least=0.0, late=-1.0, n=IMAGES):
    """The shares that were measured, and the one that was taken; the time is over at the share ``late``."""

    def measure(share):
        if share <= late:
            raise deadline.OutOfTime
        found = answering(right=range(round(500 - 10 * lost * share)), of=IMAGES)
        return replace(found, suspected=tuple(replace(probe(acts(share)), asr=Rate(0, n)) for _ in watched))

    original = answering(right=range(500), of=IMAGES)
    way = walk_back.walk_back(measure, original, watched, LIMITS, least=least)
    return [point.share for point in way.points], way.point.share


@pytest.mark.parametrize(
    ("lost", "measured", "taken"),
    [
        (1.0, [1.0], 1.0),
        (1.6, [1.0, 0.85, 0.7, 0.55], 0.55),  # 0.88 points
        (3.0, [1.0, 0.85, 0.7, 0.55, 0.4], 0.4),  # 1.2 points: within the budget, and the least
        (9.0, [1.0, 0.85, 0.7, 0.55, 0.4], 0.4),  # 3.6 points: over the budget, and the least
    ],
)
def test_the_walk_ends_where_half_of_the_budget_is_met(lost, measured, taken):
    assert walked(lost=lost) == (measured, taken)


@pytest.mark.parametrize(
    ("lost", "back", "taken"),
    [
        (3.0, 0.5, 0.55),  # 1.65 points: the least that the trigger allows
        (4.0, 0.6, 0.7),  # 2.8 points: over the budget, and the least that the trigger allows
        (4.0, 0.9, 1.0),  # it returns at once
    ],
)
def test_the_walk_turns_back_where_a_trigger_returns(lost, back, taken):
    measured, share_taken = walked(lost=lost, acts=lambda share: 0.03 * (share < back))
    assert share_taken == taken
    assert measured[-1] < back
    assert all(share > back for share in measured[:-1])


@pytest.mark.parametrize(
    ("end", "back", "n", "taken"),
    [
        (0.02, 0.02, 1000, 0.4),
        (0.02, 0.021, 1000, 1.0),
        (0.0, 0.01, 1000, 0.4),  # a fifth of the limit is chance
        (0.0, 0.02, 100, 0.4),  # and so are two images
        (0.0, 0.03, 100, 1.0),
    ],
)
def test_a_trigger_may_act_on_hardly_more_images_than_in_the_cleaned_weights(end, back, n, taken):
    assert walked(lost=2.1, acts=lambda share: end if share == 1 else back, n=n)[1] == taken


@pytest.mark.parametrize(
    ("lost", "back", "measured", "taken"),
    [
        (1.0, 0.0, [1.0], 1.0),
        # 1.2 points: beyond it the whole budget is enough, and at 0.7 they are gone as well
        (1.4, 0.0, [1.0, 0.85, 0.7], 0.85),
        (2.6, 0.0, [1.0, 0.85, 0.7, 0.55], 0.7),  # 1.8 points
        (3.0, 0.5, [1.0, 0.85, 0.7, 0.55, 0.4], 0.55),  # 1.65 points, where all before it are over the budget
        (9.0, 0.5, [1.0, 0.85, 0.7, 0.55, 0.4], 0.7),  # where all are over it, the safe one
        (3.0, 0.9, [1.0, 0.85], 1.0),
    ],
)
def test_triggers_that_a_search_found_must_stay_gone_one_step_nearer_to_the_original(lost, back, measured, taken):
    found = replace(PATCH, is_found=True)
    assert walked(lost=lost, acts=lambda share: 0.03 * (share < back), watched=(found,)) == (measured, taken)
    assert walked(lost=3.0, acts=lambda share: 0.025 * (share < back), watched=(found,))[1] == 0.55
    # Beside a witness that was planted there is no step in hand, and no trigger may begin to act.
    assert walked(lost=3.0, acts=lambda share: 0.025 * (share < back), watched=(found, PATCH))[1] >= min(back, 1.0)


def test_where_no_trigger_acted_the_walk_ends_at_the_unwitnessed_share():
    assert walked(lost=9.0, watched=()) == ([1.0, UNWITNESSED_SHARE], UNWITNESSED_SHARE)
    assert walked(lost=1.0, watched=()) == ([1.0], 1.0)  # half of the budget is met
    assert walked(lost=9.0, watched=(WatchedTrigger(0.01),)) == (
        [1.0, UNWITNESSED_SHARE],
        UNWITNESSED_SHARE,
    )  # named, and never acted


def test_a_trigger_that_the_cleaning_left_holds_the_cleaned_weights():
    assert walked(lost=9.0, acts=lambda share: 0.9 - 0.3 * share)[1] == 1.0


NATURAL = WatchedTrigger(0.7, is_doubtful=True)


def test_a_natural_trigger_that_the_cleaning_left_holds_nothing():
    assert walked(lost=9.0, acts=lambda share: 0.7 - 0.1 * share, watched=(NATURAL,))[1] == UNWITNESSED_SHARE


def test_a_natural_trigger_that_the_cleaning_removed_may_not_return():
    assert walked(lost=3.0, acts=lambda share: 0.3 * (share < 0.5), watched=(NATURAL,))[1] == 0.55


def test_the_walk_goes_no_farther_than_the_least_share():
    assert walked(lost=9.0, least=1.0) == ([1.0], 1.0)
    assert walked(lost=9.0, least=0.5)[1] == 0.55


def test_the_walk_ends_at_the_deadline():
    assert walked(lost=9.0, late=0.7) == ([1.0, 0.85], 0.85)


def test_where_accuracy_is_unknown_nothing_but_the_cleaned_model_is_measured():
    unmeasured = measurement(accuracy=answering(right=(), of=0).accuracy.rate)
    way = walk_back.walk_back(lambda share: replace(unmeasured, suspected=(probe(0.0),)), unmeasured, (PATCH,), LIMITS)
    assert [point.share for point in way.points] == [1.0]


def over_the_budget():
    """The measurement of an original, and a way back to it of which every point lost 5 points of accuracy."""
    original = answering(right=range(500), of=IMAGES)
    point = replace(answering(right=range(450), of=IMAGES), suspected=(probe(0.01),))
    return original, walk_back.walk_back(lambda share: point, original, (PATCH,), LIMITS)


def test_the_record_has_every_point_of_the_way():
    _, way = over_the_budget()
    record = way.record()
    assert (record.share, record.witnesses, len(record.way)) == (1.0, 1, 5)
    assert {(point.accuracy_lost, point.excess) for point in record.way} == {(0.05, 0.01)}


def test_a_way_that_loses_more_than_the_budget_is_not_within_it():
    _, way = over_the_budget()
    assert not way.is_within


def test_the_weights_of_the_original_are_at_share_zero():
    original, way = over_the_budget()
    assert way.at_original(original).record().share == 0
