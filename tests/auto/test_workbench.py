import math
from dataclasses import replace

import pytest
import short
import tiny
import torch
from auto_values import UNMEASURED, attempt, measurement, probe, sight, workbench

from clipclean import model
from clipclean.auto import attempts, rates
from clipclean.auto.candidates import Candidate
from clipclean.config import recipe
from clipclean.data import Samples
from clipclean.findings import finding
from clipclean.jobs import inputs
from clipclean.jobs.judging import FirstAudit

BRIEF = ["train.batch_size=8", "train.warmup_steps=1", "train.max_steps=2", "data.min_pairs=16"]
SHORT = ["auto.canaries=2", "auto.plant_steps=2", "auto.batch_size=8", "auto.rebound_steps=2"]


@pytest.fixture(params=[False])
def bench(tmp_path, request):
    """A tiny model with 24 pairs to train on and to measure on, which it knows if so asked."""
    job = tiny.job(tmp_path / "job", count=24)
    if request.param:
        tiny.fit_to_pairs(job, quick_gelu=False)
    chosen = recipe.override(recipe.load("auto"), SHORT)
    loaded, clean = tiny.loaded(job)
    pairs = list(clean.pairs)
    words = inputs.words(job.classes, job.templates)
    evidence = inputs.eval_set(loaded.clip, chosen, Samples(pairs, None), vocabulary=words, named=(), panel=False)
    original = {name: tensor.clone() for name, tensor in loaded.weights().items()}
    return workbench(loaded.clip, original, Samples(pairs, None), evidence, tmp_path / "state", chosen=chosen)


def weights(bench):
    return {name: tensor.clone() for name, tensor in bench.clip.net.state_dict().items()}


def are_equal(some, others):
    return all(torch.equal(some[name], others[name]) for name in some)


def test_canaries_are_planted_once_and_read_the_next_time_where_a_class_is_free_and_planting_ends(bench):
    bench.state.folder.mkdir(mode=0o700)
    copy = bench.plant(avoid=[0, 1])
    assert len(copy.canaries) == len(copy.planted.known) == 2
    assert not {0, 1} & {canary.target for canary in copy.canaries}
    assert not are_equal(copy.weights, bench.original)
    bench.put(bench.original)
    again = bench.plant(avoid=[0, 1])
    assert are_equal(again.weights, copy.weights)
    assert again.seconds == copy.seconds
    assert are_equal(weights(bench), copy.weights)
    bench.put(bench.original)
    assert bench.plant(avoid=range(12)) is None
    assert are_equal(weights(bench), bench.original)
    with torch.no_grad():
        bench.clip.net.logit_scale.fill_(math.inf)
    assert bench.plant(avoid=()) is None  # planting diverges


def test_a_benign_finetuning_moves_the_weights_and_pixels_normalised_in_a_way_of_their_own_leave_a_doubt(bench):
    before = inputs.measure(bench.clip, bench.eval_set)
    test = bench.refinetune(before, bench.eval_set)
    assert (test.steps, test.before, test.after.known) == (2, before, ())
    assert test.seconds > 0
    assert not are_equal(weights(bench), bench.original)
    seen = sight(measurement())
    assert "CC007" not in {found.rule for found in bench.findings(seen)}
    architecture = bench.clip.architecture
    blind = replace(architecture, preprocess=replace(architecture.preprocess, std=(1.0, 1.0, 1.0)))
    other = replace(bench, clip=model.Clip(bench.clip.net, blind, bench.clip.device))
    assert [found.level for found in other.findings(seen) if found.rule == "CC007"] == ["warning"]


def test_weights_between_are_put_in_and_an_original_that_stays_has_its_own_audit(bench):
    doubled = {name: 2 * tensor for name, tensor in bench.original.items()}
    bench.put_between(bench.original, doubled, share=0.5)
    found, name = weights(bench), "visual.proj"
    assert torch.allclose(found[name], 1.5 * bench.original[name])
    tried = attempt("a", ("CC010", "error"), lost=0.1)
    seen = sight(measurement(known=[probe(0.3)]))
    kept = attempts.unchanged(bench, tried, FirstAudit(seen, (), ()))
    assert (kept.candidate.name, kept.cleaned.changed, kept.cleaned.training.seconds) == ("nothing", False, 0.0)
    assert (kept.point.excess, kept.point.accuracy_lost, kept.refinetuned) == (0.3, 0.0, None)
    assert list(kept.findings) == bench.findings(seen)
    late = replace(kept, seen=sight(UNMEASURED), returned=(finding("CC024", "words"),))
    assert late.returned[0] in attempts.findings_of(bench, late, FirstAudit(late.seen, (), ()))  # by other limits, too
    bench.put({name: tensor + 1 for name, tensor in bench.original.items()})
    bench.put_between(bench.original, kept.cleaned.weights, share=kept.point.share)
    assert are_equal(weights(bench), bench.original)


def test_a_candidate_is_tried_where_a_canary_took_and_at_the_share_that_the_model_takes(bench, monkeypatch):
    short.searches(monkeypatch)
    short.exact(monkeypatch)
    bench.state.folder.mkdir(mode=0o700)
    candidate = Candidate(("mmcl",), (recipe.override(recipe.load("mmcl"), BRIEF),))
    seen, copy = sight(inputs.measure(bench.clip, bench.eval_set)), bench.plant(avoid=())
    assert attempts.on_copy(bench, candidate, copy, ()).trials == ()  # so small a model learns no canary
    took = tuple(replace(each, excess=0.9) for each in copy.planted.known)
    copy = replace(copy, planted=replace(copy.planted, known=took))
    tried = attempts.on_copy(bench, candidate, copy, ())
    assert [each.took for each in tried.trials[0].outcomes] == [True, True]
    assert (tried.why_not, tried.trials[0].is_refinetuned) == ("", True)
    wanted = recipe.override(candidate.recipes[0], ["train.lr=1e-3", "train.lr=auto"])
    found = list(rates.tried(bench, wanted, copy))  # 0.016 is beyond the largest rate
    assert [each.lr for each in found] == [1e-3, 4e-3][: len(found)]
    assert found == list(rates.tried(bench, wanted, copy))  # its seconds too: the second time nothing is trained
    run = attempts.on_model(bench, tried, copy, FirstAudit(seen, (), ()))
    assert run.attempt.cleaned.training.steps == 2
    assert run.attempt.way.taken.share in {trial.share for trial in run.trials}
    assert are_equal(weights(bench), bench.original) == (not run.attempt.cleaned.changed)
