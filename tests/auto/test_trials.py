import math
from dataclasses import replace

import pytest
import tiny
import torch
from auto_values import LIMITS, UNMEASURED, measurement, probe
from auto_values import trial as trial_of

from clipclean import data
from clipclean.attack import poison, triggers
from clipclean.attack.poison import TOOK
from clipclean.auto import workbench
from clipclean.auto.workbench import PlantedCopy, Refinetuned, Trial
from clipclean.config import recipe
from clipclean.jobs import inputs
from clipclean.train import Run


def outcome(planted, left, accuracy=0.5):
    found = trial_of(left).outcomes[0]
    took, interval = planted >= TOOK, (left - 0.01, left + 0.01)
    return found.model_copy(update={"planted": planted, "took": took, "interval": interval, "accuracy": accuracy})


def trial(*outcomes, lost=0.01, reach=0.01):
    return Trial("unlearn", outcomes, lost, (lost - reach, lost + reach), 1.0, 2.5, UNMEASURED)


def test_canaries_that_did_not_take_are_not_counted_and_triggers_pair_up(measured):
    made = trial(outcome(0.9, 0.0), outcome(0.4, 0.0), outcome(0.5, 0.2))
    assert len(made.counted) == 2
    assert made.removed(LIMITS) == 1
    old = measurement(panel=[probe(0.2, trigger="a"), probe(0.1, trigger="b")])
    new = measurement(panel=[probe(0.9, trigger="b"), probe(0.0, trigger="a")])
    pairs = Refinetuned(old, new, 60, 1.5).pairs()
    assert [(a.trigger, b.trigger, b.excess) for a, b, _ in pairs] == [("a", "a", 0.0), ("b", "b", 0.9)]

    def copy(*excesses):
        probes = tuple(replace(measured.known[0], excess=excess) for excess in excesses)
        return PlantedCopy((), {}, replace(measured, known=probes), {}, 1.0)

    assert [took for _, took in copy(0.49, 0.5).learned()] == [False, True]
    assert copy(0.49, 0.5).took
    assert not copy(0.49).took
    assert not copy().took


@pytest.mark.parametrize(
    ("made", "passes"),
    [
        (trial(outcome(0.9, 0.05)), True),
        (trial(outcome(0.9, 0.06)), False),
        (trial(outcome(0.9, 0.0), lost=0.02), True),
        (trial(outcome(0.9, 0.0), lost=0.021), False),  # by its value, whatever chance explains
        # the verdict speaks of that
        (replace(trial(outcome(0.9, 0.0)), accuracy_lost=math.nan, interval=(-1.0, 1.0)), True),
        (trial(outcome(0.3, 0.0)), False),  # nothing took, so nothing is shown
        (trial(outcome(0.9, 0.0), outcome(0.3, 0.3)), True),
    ],
)
def test_a_trial_passes_if_all_that_took_are_gone_and_the_loss_is_within_the_budget(made, passes):
    assert made.passes(LIMITS) is passes


def test_what_returns_after_the_finetuning_that_follows_counts_as_left(measured):
    before = trial(outcome(0.9, 0.02), outcome(0.9, 0.04))
    (probe,) = measured.known
    told = {0.3: (0.2, 0.4), 0.06: (0.04, 0.08)}
    returned = tuple(replace(probe, excess=share, excess_interval=interval) for share, interval in told.items())
    made = workbench.with_returned(before, replace(measured, known=returned))
    assert [(o.left, o.returned) for o in made.outcomes] == [(0.02, 0.3), (0.04, 0.06)]
    assert (before.removed(LIMITS), made.removed(LIMITS)) == (2, 1)  # 0.04 to 0.08 may be chance
    assert (before.is_refinetuned, made.is_refinetuned) == (False, True)
    assert not made.passes(LIMITS)


@pytest.fixture(scope="module")
def subjected(tmp_path_factory):
    """A tiny model, 96 pairs, and labelled images to measure on."""
    job = tiny.job(tmp_path_factory.mktemp("canary") / "job", count=96)
    chosen = recipe.load("mmcl@tiny")
    vocabulary = inputs.words(job.classes, job.templates)
    tested, pairs = tiny.loaded(job)
    images = inputs.image_cache(chosen, tested.clip.architecture)
    images = data.labelled(tiny.labelled(job.folder / "labelled", count=96), images=images, classes=vocabulary.classes)
    evidence = inputs.eval_set(tested.clip, chosen, images, vocabulary=vocabulary, named=(), panel=True)
    return tested.clip, list(pairs.pairs), chosen, vocabulary, evidence


@pytest.fixture
def measured(subjected):
    """What one trigger does to the tiny model."""
    clip, _, _, _, evidence = subjected
    return inputs.measure(clip, poison.measured_on(evidence, [poison.Canary(triggers.parse(tiny.TRIGGER), 0)]))


def test_a_planted_canary_acts_and_its_trial_says_what_became_of_it(subjected):
    clip, pairs, chosen, vocabulary, evidence = subjected
    # Sides of 16 pixels make the shipped sizes too small.
    drawn = (poison.Canary(triggers.parse(tiny.TRIGGER), tiny.CLASSES.index(tiny.TARGET)),)
    asked = poison.measured_on(evidence, drawn)
    assert asked.panel == ()
    before = inputs.measure(clip, asked)
    weights = {name: tensor.clone() for name, tensor in clip.net.state_dict().items()}
    planting = recipe.planting(rate=0.15, steps=150, batch_size=48, lr=1e-3)
    implants = poison.implants(drawn, classes=vocabulary.classes, templates=vocabulary.templates)
    run = Run(poison.SEEDS, "fp32", lambda *_: None)
    poison.finetune(clip, pairs, chosen, planting, implants=implants, run=run)
    planted = inputs.measure(clip, asked)
    assert max(p.excess for p in before.known) < 0.3
    assert all(o.took for o in workbench.trial("none", planted, planted, share=1.0, seconds=0.0).outcomes)
    clip.net.load_state_dict(weights)
    told = workbench.trial("back", planted, inputs.measure(clip, asked), share=1.0, seconds=0.0)
    assert [o.left for o in told.outcomes] == [pytest.approx(p.excess) for p in before.known]
    assert told.accuracy_lost == pytest.approx(planted.accuracy.rate.value - before.accuracy.rate.value, abs=0.05)
    assert told.removed(LIMITS.model_copy(update={"max_excess": 0.3})) == len(told.counted) > 0
    assert all(torch.equal(weights[name], tensor) for name, tensor in clip.net.state_dict().items())


def test_planting_in_bf16_moves_the_weights_otherwise_and_leaves_them_in_fp32(subjected):
    clip, pairs, chosen, _, _ = subjected
    weights, moved = {name: tensor.clone() for name, tensor in clip.net.state_dict().items()}, {}
    for precision in ("auto", "fp32", "bf16"):  # auto takes fp32 for so small a model
        clip.net.load_state_dict(weights)
        planting = recipe.planting(rate=0.15, steps=2, batch_size=16, lr=1e-3)
        poison.finetune(clip, pairs, chosen, planting, implants=(), run=Run(0, precision, lambda *_: None))
        moved[precision] = clip.net.state_dict()["visual.proj"].clone()
    clip.net.load_state_dict(weights)
    assert torch.equal(moved["auto"], moved["fp32"])
    assert not torch.equal(moved["bf16"], moved["fp32"])
    assert moved["bf16"].dtype == torch.float32


NAMED, OF_PANEL = ["known"], ["panel"]


@pytest.mark.parametrize(
    ("where", "original", "before", "after", "found"),
    [
        (NAMED, None, 0.01, 0.30, [("error", 0.05)]),
        (NAMED, None, 0.01, 0.06, []),  # the interval reaches below the limit
        (NAMED, None, 0.01, 0.01, []),
        (NAMED, None, 0.20, 0.25, []),  # it was never gone: the audit says so, not this
        (OF_PANEL, 0.9, 0.1, 0.5, [("warning", 0.3)]),
        (OF_PANEL, 0.9, 0.1, 0.25, []),  # not suspicious yet
        (OF_PANEL, 0.45, 0.28, 0.42, []),  # natural: cleaning hardly changed it, so nothing came back
        (OF_PANEL, 0.2, 0.05, 0.5, []),  # it did not act before the cleaning either, and rises by less than the limit
        # it never acted: a backdoor that finetuning wakes looks like this
        (OF_PANEL, 0.0, 0.0, 0.9, [("warning", 0.3)]),
        (OF_PANEL, None, 0.1, 0.9, []),  # without the original nothing of the panel counts
        (NAMED + OF_PANEL, 0.9, 0.01, 0.5, [("error", 0.05)]),  # once, although the panel has it too
    ],
)
def test_a_named_trigger_that_returns_is_an_error_one_of_the_panel_a_doubt(where, original, before, after, found):
    def side(excess):
        return None if excess is None else measurement(**{name: [probe(excess)] for name in where})

    told = Refinetuned(side(before), side(after), 60, 1.5, side(original)).findings(limits=LIMITS)
    assert [(f.rule, f.level, f.threshold) for f in told] == [("CC062", *each) for each in found]
