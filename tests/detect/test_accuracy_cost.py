"""What a cleaning cost, by labels, captions and answers; all figures are worked by hand."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipclean.config import policy, thresholds
from clipclean.detect import Measurement, Rate, accuracy_loss, agreement, estimated_loss, of_accuracy
from clipclean.detect.accuracy_cost import accuracy_losses
from clipclean.detect.measure import UNMEASURED, Accuracy

LIMITS = policy.resolved(policy.DEFAULT, thresholds.Audit())  # max_accuracy_loss 0.02, min_images 50
RECALL = "image-to-text recall@1 among 4 clean pairs"


def measured(rows, *, shown=UNMEASURED):
    """A model with these confidences, a row an image."""
    return Measurement(shown, (), (), 10, torch.eye(2), confidence=torch.tensor(rows))


def by(definition, hits, n):
    return Accuracy(Rate(hits, n), torch.arange(n) < hits, definition)


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        # second image: (2 * 0.8 + 0.4) / 3 in the earlier answer, (2 * 0.2 + 0.6) / 3 in the later: +1/3; fourth: 1.3 / 3 - 1.7 / 3
        ([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]], 0.2 / 4),
        # one that answers as before has lost nothing, whatever it is sure of
        ([[0.9, 0.1]] * 60, [[0.51, 0.49]] * 60, 0),
        # all answers change, from a sure one to one that is hardly more likely than the rest: (2 + .33) / 3 - (0 + .34) / 3
        ([[1.0, 0.0, 0.0]] * 100, [[0.33, 0.34, 0.33]] * 100, 1.99 / 3),
    ],
)
def test_the_loss_is_told_by_both_models_in_the_answers_that_changed_and_the_original_counts_twice(before, after, lost):
    found = estimated_loss(measured(before), measured(after))
    assert found.value == pytest.approx(lost)
    assert lost or -0.03 < found.interval[0] < 0 < found.interval[1] < 0.03  # chance may hide the change of an image


rows = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=20)


@given(rows)
def test_no_more_is_lost_or_won_than_answers_that_changed(pairs):
    before, after = (measured([[p[k], 1 - p[k]] for p in pairs]) for k in (0, 1))
    assert abs(estimated_loss(before, after).value) <= 1 - agreement(before, after, classes=("cat", "dog")).value + 1e-6


def test_agreement_is_told_whole_and_by_class_and_without_a_classifier_nothing_is_compared():
    before = measured([[0.9, 0.1]] * 6 + [[0.2, 0.8]] * 6 + [[0.4, 0.6]])
    after = measured([[0.8, 0.2]] * 6 + [[0.1, 0.9]] * 3 + [[0.6, 0.4]] * 3 + [[0.4, 0.6]])
    found = agreement(before, after, classes=("cat", "dog"))
    assert (found.value, found.n) == (10 / 13, 13)
    assert (found.worst_class.class_, found.worst_class.kept) == ("dog", Rate(4, 7).record())
    assert found.margins[0] == pytest.approx((6 * 0.8 + 6 * 0.6 + 0.2) / 13)
    few = agreement(measured([[0.9, 0.1]] * 4), measured([[0.1, 0.9]] * 4), classes=("cat", "dog"))
    assert few.worst_class is None  # too few images
    with_one, without = measured([[0.9, 0.1]]), replace(measured([[0.9, 0.1]]), confidence=None)
    assert estimated_loss(with_one, without) is None
    assert agreement(without, with_one, classes=("cat", "dog")) is None
    assert math.isnan(accuracy_loss(without, without)[0])
    assert [found.rule for found in of_accuracy(without, without, limits=LIMITS)] == ["CC020"]


def test_without_labels_the_budget_holds_for_what_is_told_by_answers_where_recall_gains_and_with_them_nothing_is_estimated():
    """Finetuning on captions wins recall while it loses classes."""
    sure, other = [1.0, 0.0], [0.2, 0.8]  # a changed answer costs (2 + .2) / 3 - .8 / 3 = 1.4 / 3
    before = measured([sure] * 100, shown=by(RECALL, 60, 100))
    after = measured([sure] * 50 + [other] * 50, shown=by(RECALL, 64, 100))
    assert accuracy_loss(before, after)[0] == pytest.approx(0.7 / 3)
    (found,) = of_accuracy(before, after, limits=LIMITS)
    assert (found.rule, found.level) == ("CC010", "warning")
    told = [(loss.by, round(loss.value, 6)) for loss in accuracy_losses(before, after)]
    assert told == [("answers", 0.233333), ("recall", -0.04)]
    before = measured([[1.0, 0.0]] * 100, shown=by("zero-shot top-1 over 2 classes", 90, 100))
    after = measured([[0.0, 1.0]] * 100, shown=by("zero-shot top-1 over 2 classes", 89, 100))
    assert [loss.value for loss in accuracy_losses(before, after)] == [0.01]


def test_images_without_labels_and_captions_never_pass_and_answers_that_changed_warn_where_they_are_enough():
    before, after = ([measured([row] * count) for count in (90, 10)] for row in ([1.0, 0.0], [0.0, 1.0]))
    for old, new, rules in (
        (before[0], before[0], ["CC020"]),
        (before[0], after[0], ["CC020", "CC010"]),
        (before[1], after[1], ["CC020", "CC020"]),
    ):
        found = of_accuracy(old, new, limits=LIMITS)
        assert ([each.rule for each in found], {each.level for each in found}) == (rules, {"warning"})


def labelled(margins):
    """A model with these margins of the right class."""
    margins = torch.tensor(margins)
    right = Rate(int((margins > 0).sum()), len(margins))
    return measured([[0.5, 0.5]] * len(margins), shown=Accuracy(right, margins > 0, "zero-shot top-1", margins))


def test_an_image_on_the_border_is_half_right():
    # margins are told in halves of their deviation: 0.05 before, sqrt(.0275) / 4 after
    before, after = labelled([0.1, 0.1, -0.1, -0.1]), labelled([0.1, 0.0, -0.1, -0.1])
    up, down = 1 / (1 + math.exp(-0.4 / math.sqrt(0.0275 / 4) / 2)), 1 / (1 + math.exp(0.4 / math.sqrt(0.0275 / 4) / 2))
    assert accuracy_loss(before, after)[0] == pytest.approx((2 - (up + 0.5 + 2 * down)) / 4, abs=1e-3)


@given(st.lists(st.floats(-1, 1, width=16), min_size=3, max_size=30), st.sampled_from([0.25, 0.5, 2.0]))
def test_a_model_whose_margins_all_stretch_has_lost_nothing(margins, factor):
    value, (low, high) = accuracy_loss(labelled(margins), labelled([factor * margin for margin in margins]))
    assert value == pytest.approx(0, abs=1e-3)
    assert low < 0 < high
