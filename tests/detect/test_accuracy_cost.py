"""What a cleaning cost, by labels, captions and answers; all figures are worked by hand."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipclean.config import policy, thresholds
from clipclean.detect import Measurement, Rate, accuracy_findings, accuracy_loss, agreement
from clipclean.detect.accuracy_cost import accuracy_losses, chances, estimated_loss, worst_loss
from clipclean.detect.measure import UNMEASURED, Accuracy

LIMITS = policy.resolved(policy.DEFAULT_POLICY, thresholds.Audit())  # max_accuracy_loss 0.02, min_images 50
RECALL = "image-to-text recall@1 among 4 clean pairs"


def measured(rows, *, shown=UNMEASURED):
    """A model with these confidences, a row an image."""
    return Measurement(shown, (), (), 10, torch.eye(2), confidence=torch.tensor(rows))


def by(definition, hits, n):
    return Accuracy(Rate(hits, n), torch.arange(n) < hits, definition)


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        # second image: (3 * 0.8 + 0.4) / 4 in the earlier answer, (3 * 0.2 + 0.6) / 4 in the later: +0.4; fourth: 1.9 / 4 - 2.1 / 4
        ([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]], 0.35 / 4),
        # one that answers as before has lost nothing, whatever it is sure of
        ([[0.9, 0.1]] * 60, [[0.51, 0.49]] * 60, 0),
        # all answers change, from a sure one to one that is hardly more likely than the rest: (3 + .33) / 4 - (0 + .34) / 4
        ([[1.0, 0.0, 0.0]] * 100, [[0.33, 0.34, 0.33]] * 100, 2.99 / 4),
    ],
)
def test_the_loss_in_changed_answers_is_weighed_three_to_one_for_the_original(before, after, lost):
    loss = estimated_loss(measured(before), measured(after))
    assert loss.value == pytest.approx(lost)
    assert lost or -0.03 < loss.interval[0] < 0 < loss.interval[1] < 0.03  # chance may hide the change of an image


rows = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=20)


@given(rows)
def test_no_more_is_lost_or_won_than_answers_that_changed(pairs):
    before, after = (measured([[p[k], 1 - p[k]] for p in pairs]) for k in (0, 1))
    assert abs(estimated_loss(before, after).value) <= 1 - agreement(before, after, classes=("cat", "dog")).value + 1e-6


def test_agreement_names_the_class_that_kept_the_fewest_answers():
    before = measured([[0.9, 0.1]] * 6 + [[0.2, 0.8]] * 6 + [[0.4, 0.6]])
    after = measured([[0.8, 0.2]] * 6 + [[0.1, 0.9]] * 3 + [[0.6, 0.4]] * 3 + [[0.4, 0.6]])
    whole = agreement(before, after, classes=("cat", "dog"))
    assert (whole.value, whole.n) == (10 / 13, 13)
    assert (whole.worst_class.class_, whole.worst_class.kept) == ("dog", Rate(4, 7).record())
    assert whole.margins[0] == pytest.approx((6 * 0.8 + 6 * 0.6 + 0.2) / 13)


def test_of_too_few_images_agreement_names_no_class():
    few = agreement(measured([[0.9, 0.1]] * 4), measured([[0.1, 0.9]] * 4), classes=("cat", "dog"))
    assert few.worst_class is None


def test_without_a_classifier_nothing_is_compared():
    with_one, without = measured([[0.9, 0.1]]), replace(measured([[0.9, 0.1]]), confidence=None)
    assert estimated_loss(with_one, without) is None
    assert agreement(without, with_one, classes=("cat", "dog")) is None
    assert math.isnan(accuracy_loss(without, without)[0])
    assert [finding.rule for finding in accuracy_findings(without, without, limits=LIMITS)] == ["CC020"]


def test_where_recall_gains_the_budget_holds_for_what_is_told_by_answers():
    """Finetuning on captions wins recall while it loses classes."""
    sure, other = [1.0, 0.0], [0.2, 0.8]  # a changed answer costs (3 + .2) / 4 - .8 / 4 = 0.6
    before = measured([sure] * 100, shown=by(RECALL, 60, 100))
    after = measured([sure] * 50 + [other] * 50, shown=by(RECALL, 64, 100))
    assert accuracy_loss(before, after)[0] == pytest.approx(0.3)
    (finding,) = accuracy_findings(before, after, limits=LIMITS)
    assert (finding.rule, finding.level) == ("CC010", "warning")
    losses = [(loss.by, round(loss.value, 6)) for loss in accuracy_losses(before, after)]
    assert losses == [("answers", 0.3), ("recall", -0.04)]


def test_where_labels_tell_an_accuracy_no_loss_is_estimated():
    before = measured([[1.0, 0.0]] * 100, shown=by("zero-shot top-1 over 2 classes", 90, 100))
    after = measured([[0.0, 1.0]] * 100, shown=by("zero-shot top-1 over 2 classes", 89, 100))
    assert [loss.value for loss in accuracy_losses(before, after)] == [0.01]


@pytest.mark.parametrize(
    ("lost_by_answers", "recalls", "worst"),
    [
        (50, (60, 64), 0.3),  # recall gains: the answers lose most
        (50, (90, 50), 0.4),  # recall loses most
        (0, (60, 64), 0.0),
    ],
)
def test_the_worst_loss_is_that_of_the_measure_that_lost_most(lost_by_answers, recalls, worst):
    sure, other = [1.0, 0.0], [0.2, 0.8]  # a changed answer costs 0.6, as above
    before = measured([sure] * 100, shown=by(RECALL, recalls[0], 100))
    after = measured([sure] * (100 - lost_by_answers) + [other] * lost_by_answers, shown=by(RECALL, recalls[1], 100))
    assert worst_loss(before, after) == pytest.approx(worst)


def test_the_worst_loss_is_no_less_than_that_of_the_counted_answers():
    """Where changed answers count by how likely they were right, less may be lost than the counts show."""
    labels = torch.arange(40) % 2
    sure, near = torch.eye(2)[labels], torch.tensor([[0.51, 0.49], [0.49, 0.51]])[labels]
    rows = torch.cat([sure[:30], near[30:]]), torch.cat([sure[:30], near[30:].flip(1)])
    before, after = (
        measured(row.tolist(), shown=replace(by("zero-shot top-1", hits, 40), labels=labels))
        for row, hits in zip(rows, (40, 30), strict=True)
    )
    assert accuracy_losses(before, after)[0].value < 0.25
    assert worst_loss(before, after) == pytest.approx(0.25)


def test_the_worst_loss_of_what_was_not_measured_is_no_number():
    without = replace(measured([[0.9, 0.1]]), confidence=None)
    assert math.isnan(worst_loss(without, without))


def test_the_cost_on_images_without_labels_or_captions_is_always_a_warning():
    before, after = ([measured([row] * count) for count in (90, 10)] for row in ([1.0, 0.0], [0.0, 1.0]))
    for old, new, rules in (
        (before[0], before[0], ["CC020"]),
        (before[0], after[0], ["CC020", "CC010"]),
        (before[1], after[1], ["CC020", "CC020"]),
    ):
        findings = accuracy_findings(old, new, limits=LIMITS)
        assert ([each.rule for each in findings], {each.level for each in findings}) == (rules, {"warning"})


# With labels.


def labelled(logits, labels):
    """A model with these logits (N, K), and the labels (N,) of its images."""
    correct = logits.argmax(1) == labels
    shown = Accuracy(Rate(int(correct.sum()), len(labels)), correct, "zero-shot top-1", labels)
    return measured(logits.softmax(1).tolist(), shown=shown)


def drawn(images, *, moved, seed, sharp=1.0, noise=0.5):
    """Logits of two models of ten classes, and labels that the first knows as well as it says, if it is not too ``sharp``.

    The second is the first with noise, and takes part of the images of class 3 for class 4.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, 10, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    later = logits + noise * torch.randn(images, 10, generator=generator)
    later[:, 4] += moved * (logits.argmax(1) == 3)
    return sharp * logits, sharp * later, labels


def right(logits, labels):
    return float((logits.argmax(1) == labels).float().mean())


@pytest.fixture(scope="module", params=[(0.0, 1.0), (3.0, 2.0)], ids=["nothing moves", "a class moves"])
def samples(request):
    """For 40 draws of 250 images, beside the loss on all others: how far off is the loss that labels tell, how far that which is
    counted, and whether the interval of the first holds it.
    """
    moved, sharp = request.param
    logits, later, labels = drawn(50_000, moved=moved, seed=0, sharp=sharp)
    real = right(logits, labels) - right(later, labels)
    off, off_by_count, holds = [], [], []
    for seed in range(1, 41):
        few = drawn(250, moved=moved, seed=seed, sharp=sharp)
        value, (low, high) = accuracy_loss(labelled(few[0], few[2]), labelled(few[1], few[2]))
        off.append(value - real)
        off_by_count.append(right(few[0], few[2]) - right(few[1], few[2]) - real)
        holds.append(low <= real <= high)
    return off, off_by_count, holds


def test_the_loss_that_labels_tell_is_nearer_to_that_on_other_images_than_a_count(samples):
    off, off_by_count, _ = samples
    error, other = (torch.tensor(each).square().mean().sqrt() for each in (off, off_by_count))
    assert error < 0.5 * other
    assert abs(sum(off) / 40) < 0.01


def test_the_interval_of_the_loss_that_labels_tell_holds_that_on_other_images(samples):
    _, _, holds = samples
    assert sum(holds) >= 35


def test_the_weights_of_both_models_make_the_labels_most_likely_beside_what_is_usual():
    """Against a general optimiser, on the objective as the page has it."""
    logits, later, labels = (
        each.double() if each.is_floating_point() else each for each in drawn(600, moved=1, seed=3)
    )
    old, new = logits.softmax(1), later.softmax(1)
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def objective():
        optimiser.zero_grad()
        (a, b), mixed = weights, weights[0] * old.log() + weights[1] * new.log()
        usual = ((b - 0.25 * (a + b)) / 0.18) ** 2 / 2 + (a + b - 0.9) ** 2 / 2
        value = torch.nn.functional.cross_entropy(mixed, labels, reduction="sum") + usual
        value.backward()
        return value

    optimiser.step(objective)
    expected = (weights[0] * old.log() + weights[1] * new.log()).softmax(1).detach()
    assert chances(old, new, labels=labels) == pytest.approx(expected, abs=1e-5)


def test_what_is_told_stays_within_chance_of_what_is_counted():
    """Both models are as sure of the later answers as of the earlier ones, and these are wrong without exception."""
    labels = torch.zeros(200, dtype=torch.long)
    logits = torch.tensor([[1.0, 0.9, 0.0]]).repeat(200, 1)
    later = logits.clone()
    later[:100] = torch.tensor([0.9, 1.0, 0.0])
    before, after = labelled(logits, labels), labelled(later, labels)
    value, (low, high) = accuracy_loss(before, after)
    assert 0.4 < value <= 0.5  # half of the answers, and chance of 200 images is 0.07
    assert low <= value <= high


def test_answers_that_all_stayed_have_lost_nothing():
    logits, _, labels = drawn(100, moved=0, seed=0)
    value, (low, high) = accuracy_loss(labelled(logits, labels), labelled(300 * logits, labels))
    assert (value, low < 0 < high) == (0, True)


def test_a_loss_is_a_number_where_classes_have_no_probability_at_all():
    logits, _, labels = drawn(100, moved=0, seed=0)
    sure = 300 * logits
    assert math.isfinite(accuracy_loss(labelled(sure, labels), labelled(sure.roll(1, 0), labels))[0])
