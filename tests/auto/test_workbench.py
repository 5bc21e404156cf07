import contextlib
import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import short
import tiny
import torch
from auto_values import LIMITS, UNMEASURED, are_equal, attempt, measurement, probe, sight
from auto_values import trial as trial_of
from auto_values import workbench as workbench_of

from clipclean import checkpoint, data, detect, model
from clipclean.attack import poison, triggers
from clipclean.attack.poison import PLANTED_EXCESS
from clipclean.auto import candidates, one_candidate, trials
from clipclean.auto.candidates import Candidate
from clipclean.auto.trials import PlantedCopy, Refinetuned, Trial
from clipclean.config import recipe
from clipclean.data import Samples
from clipclean.detect import Rate, Suspicion
from clipclean.detect.finetune_base import BaseComparison, Difference
from clipclean.errors import Inconclusive
from clipclean.findings import finding
from clipclean.jobs import measured_images, naming, searching
from clipclean.jobs.first_audit import FirstAudit
from clipclean.jobs.searching import SearchSettings
from clipclean.methods.unlearning import ShownTriggers
from clipclean.train import Run

SHORT_RECIPE = [
    "train.walk=0.05",
    "train.batch_size=8",
    "train.warmup_steps=1",
    "train.max_steps=2",
    "data.min_pairs=16",
]
SHORT = [
    "auto.test_backdoors=2",
    "auto.plant_steps=2",
    "auto.plant_walk=0.05",
    "auto.refinetune_walk=0.05",
    "auto.batch_size=8",
    "auto.refinetune_steps=2",
]


@pytest.fixture
def bench(tmp_path):
    """A tiny model with 24 pairs to train on and to measure on."""
    job = tiny.job(tmp_path / "job", count=24)
    chosen = recipe.override(recipe.load("auto"), SHORT)
    loaded, clean = tiny.loaded(job)
    pairs = list(clean.pairs)
    words = naming.read_vocabulary(job.classes, job.templates)
    evidence = measured_images.eval_set(
        loaded.clip, chosen, Samples(pairs, None), vocabulary=words, suspicions=(), panel=False
    )
    original = {name: tensor.clone() for name, tensor in loaded.weights().items()}
    return workbench_of(loaded.clip, original, Samples(pairs, None), evidence, tmp_path / "state", chosen=chosen)


def weights(bench):
    return {name: tensor.clone() for name, tensor in bench.clip.net.state_dict().items()}


def test_what_was_planted_is_read_the_next_time(bench):
    bench.state.folder.mkdir(mode=0o700)
    copy = trials.plant(bench, avoid=[0, 1])
    assert len(copy.test_backdoors) == len(copy.planted.suspected) == 2
    assert not are_equal(copy.weights, bench.original)
    bench.put(bench.original)
    again = trials.plant(bench, avoid=[0, 1])
    assert are_equal(again.weights, copy.weights)
    assert again.seconds == copy.seconds
    assert are_equal(weights(bench), copy.weights)


def test_no_test_backdoor_leads_to_a_class_to_avoid(bench):
    bench.state.folder.mkdir(mode=0o700)
    assert trials.plant(bench, avoid=range(12)) is None
    assert are_equal(weights(bench), bench.original)
    copy = trials.plant(bench, avoid=[0, 1])
    assert not {0, 1} & {backdoor.target for backdoor in copy.test_backdoors}


def test_a_planting_that_diverges_gives_no_copy(bench):
    bench.state.folder.mkdir(mode=0o700)
    with torch.no_grad():
        bench.clip.net.logit_scale.fill_(math.inf)
    assert trials.plant(bench, avoid=()) is None


def test_a_benign_finetuning_moves_the_weights(bench):
    before = searching.measure(bench.clip, bench.eval_set)
    test = trials.refinetune(bench, before, bench.eval_set)
    assert (test.steps, test.before, test.after.suspected) == (2, before, ())
    assert test.seconds > 0
    assert not are_equal(weights(bench), bench.original)


def test_a_model_with_a_normalisation_of_its_own_is_audited_under_the_usual_one_as_well(bench):
    clip, unsearched = bench.clip, SearchSettings("quick", 0, search=False)
    other = replace(clip.architecture, preprocess=replace(clip.architecture.preprocess, std=(1.0, 1.0, 1.0)))
    shown = replace(bench.eval_set, plan=replace(bench.eval_set.plan, classifier=True))

    def audited(architecture):
        return searching.audit_both(unsearched, model.Clip(clip.net, architecture, clip.device), shown, None)

    usual, both = audited(clip.architecture), audited(other)
    assert usual.clip_normalised is None
    assert torch.equal(both.clip_normalised.measurement.confidence, usual.measurement.confidence)
    assert not torch.allclose(both.measurement.confidence, usual.measurement.confidence)


@pytest.mark.parametrize(
    ("name", "change", "is_told"),
    [
        ("undo", "unlearn.base_share=1", True),
        ("undo", "unlearn.base_share=0", False),
        ("undo", "unlearn.base_share=0, unlearn.base_damping=1000", False),  # its steps win back what the fit lost
        ("surgery", "", False),
    ],
)
def test_a_candidate_that_begins_where_too_much_accuracy_is_lost_already_is_not_run(bench, name, change, is_told):
    """The model answers all images right, and its base gives them all one answer."""
    eval_set = replace(bench.eval_set, plan=replace(bench.eval_set.plan, classifier=True))
    labels = searching.measure(bench.clip, eval_set).confidence.argmax(1)
    base = model.frozen_copy(bench.clip)
    base.net.visual.proj.data.copy_(torch.randn(base.net.visual.proj.shape, generator=torch.Generator().manual_seed(1)))
    labelled = replace(eval_set, images=replace(eval_set.images, labels=labels))
    bench = replace(bench, eval_set=labelled, base=SimpleNamespace(clip=base))
    changes = ["train.batch_size=4", *(each for each in change.split(", ") if each)]
    how, original = recipe.override(recipe.load(name), changes), searching.measure(bench.clip, labelled)
    run, shown = replace(bench.run, state=bench.state), ShownTriggers((Suspicion(triggers.parse("sinusoid"), 0),))
    check = partial(candidates.check_beginning, bench, original)
    with pytest.raises(Inconclusive) if is_told else contextlib.nullcontext():
        bench.aims_where_it_begins(how, shown, base=base, run=run, check=check)


def test_half_of_the_way_is_the_mean_of_the_weights(bench):
    doubled = {name: 2 * tensor for name, tensor in bench.original.items()}
    bench.put_between(bench.original, doubled, share=0.5)
    assert torch.allclose(weights(bench)["visual.proj"], 1.5 * bench.original["visual.proj"])


def original_as_attempt(bench, audit):
    """The original, audited so, in the place of an attempt that costs too much."""
    return one_candidate.original_as_attempt(
        bench, FirstAudit(audit, (), ()), attempt("a", ("CC010", "error"), lost=0.1).way
    )


def test_an_original_that_stays_has_its_own_audit(bench):
    audit = sight(measurement(suspected=[probe(0.3)]))
    original = original_as_attempt(bench, audit)
    assert (original.point.excess, original.point.accuracy_lost, original.refinetuned) == (0.3, 0.0, None)
    assert list(original.findings) == bench.findings(audit)
    late = replace(original, audit=sight(UNMEASURED), returned=(finding("CC024", "words"),))
    assert late.returned[0] in one_candidate.findings_of(
        bench, late, FirstAudit(late.audit, (), ())
    )  # by other limits, too


def test_an_original_that_stays_keeps_its_weights(bench):
    original = original_as_attempt(bench, sight(measurement(suspected=[probe(0.3)])))
    cleaned = original.cleaning
    assert (original.candidate.name, cleaned.is_changed, cleaned.training.seconds) == ("nothing", False, 0.0)
    bench.put({name: tensor + 1 for name, tensor in bench.original.items()})
    bench.put_between(bench.original, cleaned.weights, share=original.point.share)
    assert are_equal(weights(bench), bench.original)


@pytest.fixture
def copied(bench, monkeypatch):
    """A candidate, a copy with test backdoors to try it on, and the audit of the original."""
    short.searches(monkeypatch)
    short.exact(monkeypatch)
    bench.state.folder.mkdir(mode=0o700)
    candidate = Candidate(("mmcl",), (recipe.override(recipe.load("mmcl"), SHORT_RECIPE),))
    audit = sight(searching.measure(bench.clip, bench.eval_set))
    return candidate, trials.plant(bench, avoid=()), FirstAudit(audit, (), ())


def test_where_no_test_backdoor_took_a_candidate_has_no_trial(bench, copied):
    assert one_candidate.try_on_copy(bench, *copied).trials == ()  # so small a model learns no test backdoor


def test_a_candidate_is_tried_at_the_share_that_the_model_takes(bench, copied):
    candidate, copy, first_audit = copied
    took = tuple(replace(each, excess=0.9) for each in copy.planted.suspected)
    copy = replace(copy, planted=replace(copy.planted, suspected=took))
    result = one_candidate.try_on_copy(bench, candidate, copy, first_audit)
    assert [each.took for each in result.trials[0].outcomes] == [True, True]
    assert (result.why_not, result.trials[0].is_refinetuned) == ("", True)
    run = one_candidate.run_on_model(bench, result, copy, first_audit)
    assert run.attempt.cleaning.training.steps == 2
    assert run.attempt.way.point.share in {trial.share for trial in run.trials}
    assert are_equal(weights(bench), bench.original) == (not run.attempt.cleaning.is_changed)


# Trials, and what comes back.


def outcome(planted, left, accuracy=0.5):
    found = trial_of(left).outcomes[0]
    took, interval = planted >= PLANTED_EXCESS, (left - 0.01, left + 0.01)
    return found.model_copy(update={"planted": planted, "took": took, "interval": interval, "accuracy": accuracy})


def trial(*outcomes, lost=0.01, reach=0.01):
    return Trial("unlearn", outcomes, lost, (lost - reach, lost + reach), 1.0, 2.5, UNMEASURED)


def test_test_backdoors_that_did_not_take_are_not_counted():
    result = trial(outcome(0.9, 0.0), outcome(0.4, 0.0), outcome(0.5, 0.2))
    assert len(result.learned_outcomes) == 2
    assert result.removed(LIMITS) == 1
    nothing = replace(UNMEASURED, suspected=(replace(probe(0.0), excess=math.nan),))  # all images are of its class
    assert trials.trial_of("a", nothing, nothing, share=1.0, seconds=0.0).learned_outcomes == ()


def test_probes_before_the_refinetune_test_pair_with_those_of_the_same_trigger():
    old = measurement(panel=[probe(0.2, trigger="a"), probe(0.1, trigger="b")])
    new = measurement(panel=[probe(0.9, trigger="b"), probe(0.0, trigger="a")])
    pairs = Refinetuned(old, new, 60, 1.5).pairs()
    assert [(a.trigger, b.trigger, b.excess) for a, b, _ in pairs] == [("a", "a", 0.0), ("b", "b", 0.9)]


def test_a_test_backdoor_took_if_it_acts_on_half_of_the_images():
    def copy(*excesses):
        return PlantedCopy((), {}, measurement(suspected=map(probe, excesses)), {}, 1.0)

    assert [took for _, took in copy(0.49, 0.5).with_success()] == [False, True]
    assert [copy(*excesses).took for excesses in ((0.49, 0.5), (0.49,), ())] == [True, False, False]


@pytest.mark.parametrize(
    ("result", "passes"),
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
def test_a_trial_passes_if_all_that_took_are_gone_within_the_budget(result, passes):
    assert result.passes(LIMITS) is passes


def test_what_returns_after_the_finetuning_that_follows_counts_as_left():
    before = trial(outcome(0.9, 0.02), outcome(0.9, 0.04))
    made = trials.with_returned(before, measurement(suspected=[probe(0.3), probe(0.06)]))
    assert [(o.left, o.returned) for o in made.outcomes] == [(0.02, 0.3), (0.04, 0.06)]
    assert (before.removed(LIMITS), made.removed(LIMITS)) == (2, 1)  # 0.04 to 0.08 may be chance
    assert (before.is_refinetuned, made.is_refinetuned) == (False, True)
    assert not made.passes(LIMITS)


@pytest.fixture(scope="module")
def subjected(victim):
    """The tiny model that a patch was planted in a copy of, its pairs, and labelled images to measure on."""
    job, chosen = victim.job, recipe.load("mmcl")
    vocabulary = naming.read_vocabulary(job.classes, job.templates)
    tested, pairs = tiny.loaded(job)
    images = measured_images.image_cache(chosen, tested.clip.architecture)
    images = data.read_labelled(job.folder / "labelled", images=images, classes=vocabulary.classes)
    evidence = measured_images.eval_set(tested.clip, chosen, images, vocabulary=vocabulary, suspicions=(), panel=True)
    return tested.clip, list(pairs.pairs), chosen, evidence


def test_a_trial_says_what_became_of_a_trigger_that_was_planted(subjected, victim):
    clip, _, _, evidence = subjected
    drawn = (poison.TestBackdoor(triggers.parse(tiny.TRIGGER), tiny.CLASSES.index(tiny.TARGET)),)
    asked, original = poison.measured_on(evidence, drawn), model.copy_weights(clip)
    assert asked.plan.triggers.panel == ()
    before = searching.measure(clip, asked)
    model.put_weights(clip, checkpoint.read(victim.job.folder / "planted.pt").tensors)
    planted = searching.measure(clip, asked)
    model.put_weights(clip, original)
    assert max(p.excess for p in before.suspected) < 0.3
    assert all(o.took for o in trials.trial_of("none", planted, planted, share=1.0, seconds=0.0).outcomes)
    told = trials.trial_of("back", planted, before, share=1.0, seconds=0.0)
    assert [o.left for o in told.outcomes] == [pytest.approx(p.excess) for p in before.suspected]
    assert told.accuracy_lost == detect.accuracy_loss(planted, before)[0]  # from the copy, not from the model
    assert told.removed(LIMITS.model_copy(update={"max_excess": 0.3})) == len(told.learned_outcomes) > 0


def planted_in(precision, subjected):
    """A matrix of the model after two steps of planting in this precision; the model itself is as before."""
    clip, pairs, chosen, _ = subjected
    weights = {name: tensor.clone() for name, tensor in clip.net.state_dict().items()}
    planting = recipe.planting(rate=0.15, steps=2, batch_size=16, walk=0.1)
    poison.finetune(clip, pairs, chosen, planting, implants=(), run=Run(0, precision, lambda *_: None))
    moved = clip.net.state_dict()["visual.proj"].clone()
    clip.net.load_state_dict(weights)
    return moved


def test_planting_in_bf16_moves_the_weights_otherwise(subjected):
    assert not torch.equal(planted_in("bf16", subjected), planted_in("fp32", subjected))


def test_planting_in_bf16_leaves_the_weights_in_fp32(subjected):
    assert planted_in("bf16", subjected).dtype == torch.float32


def test_a_small_model_is_planted_in_fp32_by_default(subjected):
    assert torch.equal(planted_in("auto", subjected), planted_in("fp32", subjected))


NAMED, OF_PANEL = ["suspected"], ["panel"]


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


@pytest.mark.parametrize(
    ("suspects", "before", "after", "is_told"),
    [
        ((), 0.1, 0.5, True),
        (("cat",), 0.1, 0.5, True),
        (("dog",), 0.1, 0.5, False),  # it leads elsewhere, and did before the cleaning: natural
        (("dog",), 0.1, 0.95, True),  # it acts far more than it ever did
    ],
)
def test_a_known_trigger_that_returns_counts_where_it_leads_to_a_suspected_class(suspects, before, after, is_told):
    original, old, new = (measurement(panel=[probe(excess)]) for excess in (0.5, before, after))
    test = Refinetuned(old, new, 60, 1.5, original, suspects=frozenset(suspects))
    assert bool(test.findings(limits=LIMITS)) is is_told


@pytest.mark.parametrize(("where", "excess"), [(NAMED, 0.3), (OF_PANEL, 0.9)])
@pytest.mark.parametrize(("on_base", "is_told"), [(0.0, True), (0.85, False)])
def test_a_trigger_that_returns_to_what_it_does_on_the_base_is_natural(where, excess, on_base, is_told):
    original, old, new = (measurement(**{name: [probe(share)] for name in where}) for share in (0.0, 0.0, excess))
    rates = Rate(round(1000 * excess), 1000), Rate(round(1000 * on_base), 1000)
    natural = Difference(triggers.parse("patch"), "cat", *rates, (0.0, 0.0))
    beside = BaseComparison((), (), 1.0, 1.0, 1, {("patch", "cat"): natural})
    test = Refinetuned(old, new, 60, 1.5, original, beside_base=beside)
    assert bool(test.findings(limits=LIMITS)) is is_told


@pytest.mark.parametrize(("suspect", "is_told"), [("cat", True), ("dog", False)])
def test_beside_a_base_a_trigger_of_the_panel_returns_for_suspected_classes_alone(suspect, is_told):
    original, old, new = (measurement(panel=[probe(share)]) for share in (0.0, 0.0, 0.9))
    beside = BaseComparison((), (), 1.0, 1.0, 1)
    test = Refinetuned(old, new, 60, 1.5, original, suspects=frozenset({suspect}), beside_base=beside)
    assert bool(test.findings(limits=LIMITS)) is is_told
