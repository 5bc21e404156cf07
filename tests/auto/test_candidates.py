import re

import pytest
import tiny
import torch
from auto_values import are_equal, workbench
from detect.towers import eval_set

from clipclean import detect, model
from clipclean.attack import triggers
from clipclean.auto import candidates
from clipclean.auto.candidates import Candidate
from clipclean.config import recipe
from clipclean.data import Samples
from clipclean.detect import Suspicion
from clipclean.errors import UsageError
from clipclean.methods import training
from clipclean.methods.training import Aims
from clipclean.methods.unlearning import ShownTriggers
from clipclean.schema.report import TrainingRecord
from clipclean.train import Run


def candidates_of(*texts, pairs=20_000):
    auto = recipe.load("auto")
    asked = auto.model_copy(update={"auto": auto.auto.model_copy(update={"candidates": texts})})
    return tuple(each.fitted(asked, pairs=pairs) for each in candidates.candidates_of(asked))


def test_a_candidate_is_recipes_in_a_row_with_values_in_brackets():
    (found,) = candidates_of("unlearn + par")
    assert found.name == "unlearn + par"
    assert [each.method for each in found.recipes] == ["unlearn", "par"]
    (found,) = candidates_of("cleanclip(loss.preserve_weight=2, train.epochs=6) + par")
    first, second = found.recipes
    assert (first.loss.preserve_weight, first.train.epochs) == (2, 6)
    assert second == second.model_copy(update={"train": recipe.load("par").train})
    assert found.name == "cleanclip(loss.preserve_weight=2, train.epochs=6) + par"
    (found,) = candidates_of("unlearn + cleanclip + par")
    assert [each.name for each in found.beginnings] == ["unlearn", "unlearn + cleanclip", "unlearn + cleanclip + par"]
    assert found.beginnings[-1] == found


def test_a_warm_up_that_would_fill_the_run_on_few_pairs_is_a_quarter_of_it_unless_the_entry_sets_one():
    few = Samples([None] * 1280, None)
    short = candidates_of("mmcl(train.epochs=2)", pairs=1280)[0]  # 20 steps, and 20 of warm-up
    assert (short.recipes[0].train.warmup_steps, short.unfit(few)) == (5, "")
    assert short.name == "mmcl(train.epochs=2)"
    own = candidates_of("mmcl(train.epochs=2, train.warmup_steps=21)", pairs=1280)[0]
    assert "train.warmup_steps: 21" in own.unfit(few)
    assert candidates_of("mmcl", pairs=20_000)[0].recipes[0].train == recipe.load("mmcl").train


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("unlearn par", "'unlearn par'"),
        ("cleanclip(train.epochs=6", "train.epochs"),
        ("unlern", "'unlearn'"),
        ("auto", "auto"),
        ("mmcl(train.lr=1e-5, train.walk=3)", "both set the rate"),
        ("cleanclip(train.speed=6)", "train.speed"),
        ("", "''"),
    ],
)
def test_what_is_no_candidate_is_refused_by_name(text, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        candidates_of(text)


def test_every_recipe_of_a_shipped_candidate_can_be_run():
    auto = recipe.load("auto")
    for each in candidates.candidates_of(auto):
        for step in each.fitted(auto, pairs=20_000).recipes:
            recipe.check(step, pairs=20_000)


def test_a_candidate_says_what_the_data_lack_for_it():
    few = Samples([None] * 20, None)
    assert "128" in candidates_of("mmcl")[0].unfit(few)
    assert "labels" in candidates_of("supervised")[0].unfit(Samples([None] * 5000, None))
    assert candidates_of("mmcl + supervised")[0].unfit(Samples([None] * 5000, torch.zeros(5000))) == ""


def test_a_candidate_measures_as_its_run_does():
    auto = recipe.override(recipe.load("auto"), ["audit.max_accuracy_loss=0.07", "data.max_pairs=99"])
    step = candidates.candidates_of(auto)[0].fitted(auto, pairs=99).recipes[0]
    assert (step.audit.max_accuracy_loss, step.data.max_pairs) == (0.07, 99)


# Cleaning by a candidate.


PATCH = triggers.parse(tiny.TRIGGER)
SHORT = ["train.batch_size=8", "train.warmup_steps=1", "train.max_steps=2", "train.lr=0.001"]
FORGET = ["unlearn.max_rounds=1", "unlearn.steps=2", "unlearn.images=12", "unlearn.effort=quick"]


def short(name):
    more = FORGET if name == "unlearn" else []
    return recipe.override(recipe.load(name), [*SHORT, *more])


def chain(*names):
    return Candidate(names, tuple(short(name) for name in names))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A tiny model, and 24 pairs."""
    job = tiny.job(tmp_path_factory.mktemp("sequence") / "job", count=24)
    found, pairs = tiny.loaded(job)
    return found.clip, Samples(list(pairs.pairs), None), model.copy_weights(found.clip)


@pytest.fixture
def clean(loaded, tmp_path):
    """Clean the model as it was built; returns what that left, and the stages of the training that was done for it."""
    clip, samples, original = loaded

    def clean(candidate, *, origin=None, known=()):
        model.put_weights(clip, original)
        stages = []
        # Three classes are too few to search among, so that an unlearning forgets what is known, and that alone.
        evidence = eval_set(detect.stack([pair.image for pair in samples.pairs[:4]]), tiny.CLASSES[:3])

        def progress(what, _done, _total):
            stages.append(what.partition(": ")[2])

        bench = workbench(clip, original, samples, evidence, tmp_path, progress=progress)
        cleaned = candidates.clean_by_candidate(
            bench, candidate, ShownTriggers(known), where="copy", origin=origin or {}
        )
        return cleaned, [stage for stage in dict.fromkeys(stages) if stage in ("finetuning", "unlearning")]

    return clean


def test_what_was_cleaned_alike_is_not_cleaned_again_nor_is_a_shared_beginning(clean):
    first, trained = clean(chain("mmcl"), origin={"test_backdoors": 2})
    again, repeated = clean(chain("mmcl"), origin={"test_backdoors": 2})
    assert (trained, repeated) == (["finetuning"], [])
    assert are_equal(first.weights, again.weights)
    assert first.training == again.training
    assert clean(chain("mmcl"), origin={"test_backdoors": 6})[1] == ["finetuning"]
    assert clean(chain("mmcl"), origin={"test_backdoors": 6}, known=(Suspicion(PATCH, 1),))[1] == ["finetuning"]
    assert clean(chain("mmcl"), origin={"test_backdoors": 6}, known=(Suspicion(PATCH, 1),))[1] == []
    clean(chain("unlearn"), known=(Suspicion(PATCH, 1),))
    assert clean(chain("unlearn", "mmcl"), known=(Suspicion(PATCH, 1),))[1] == ["finetuning"]


@pytest.mark.parametrize("before", [(), ("unlearn",)])
def test_a_finetuning_rehearses_the_known_triggers_whatever_came_before(clean, loaded, tmp_path, before):
    clip, samples, original = loaded
    known = (Suspicion(PATCH, 1),)
    start = clean(chain(*before), known=known)[0].weights if before else original
    cleaned, _ = clean(chain(*before, "mmcl"), known=known)

    def followed(rehearsed):
        model.put_weights(clip, start)
        training.train_by_method(
            clip, samples, short("mmcl"), aims=Aims(rehearsed=rehearsed), run=Run(0, "fp32", lambda *_: None)
        )
        return model.copy_weights(clip)

    assert are_equal(cleaned.weights, followed(known))
    assert not are_equal(cleaned.weights, followed(()))
    next(path for path in tmp_path.rglob("*done*") if "mmcl" in str(path)).unlink()
    resumed, stages = clean(chain(*before, "mmcl"), known=known)
    assert stages == ["finetuning"]
    assert are_equal(resumed.weights, cleaned.weights)


def test_recipes_that_follow_each_other_count_their_steps_on():
    told = {"steps": 3, "pairs": 48, "seconds": 2.0, "resumed_at": 0, "pairs_per_second": 24.0}
    told |= {"peak_memory_bytes": 7, "peak_device_memory_bytes": None}
    parts = [{"step": 2, "loss": 1.0, "lr": 0.1}, {"step": 0, "loss": 0.5, "lr": 0.1}]
    whole = training.merged([TrainingRecord.model_validate(told | {"losses": [losses]}) for losses in parts])
    assert (whole.steps, whole.pairs, whole.seconds, whole.pairs_per_second) == (6, 96, 4.0, 24.0)
    assert [entry.step for entry in whole.losses] == [2, 3]
