import pytest
import tiny
import torch
from auto_values import workbench
from detect.towers import eval_set

from clipclean import detect, model
from clipclean.attack import triggers
from clipclean.auto import candidates
from clipclean.auto.candidates import Candidate
from clipclean.config import recipe
from clipclean.data import Samples
from clipclean.methods import training
from clipclean.methods.training import Aims
from clipclean.schema.report import TrainingRecord
from clipclean.train import Run

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
    return found.clip, Samples(list(pairs.pairs), None), model.taken(found.clip)


@pytest.fixture
def clean(loaded, tmp_path):
    """Clean the model as it was built; returns what that left, and the stages of the training that was done for it."""
    clip, samples, original = loaded

    def clean(candidate, *, origin=None, known=()):
        model.put(clip, original)
        stages = []
        # Three classes are too few to search among, so that an unlearning forgets what is known, and that alone.
        evidence = eval_set(detect.stack([pair.image for pair in samples.pairs[:4]]), tiny.CLASSES[:3])

        def progress(what, _done, _total):
            stages.append(what.partition(": ")[2])

        bench = workbench(clip, original, samples, evidence, tmp_path, progress=progress)
        cleaned = candidates.clean(bench, candidate, known, where="canaries", origin=origin or {})
        return cleaned, [stage for stage in dict.fromkeys(stages) if stage in ("finetuning", "unlearning")]

    return clean


def test_what_was_cleaned_alike_is_not_cleaned_again_nor_is_a_shared_beginning(clean):
    first, trained = clean(chain("mmcl"), origin={"canaries": 2})
    again, repeated = clean(chain("mmcl"), origin={"canaries": 2})
    assert (trained, repeated) == (["finetuning"], [])
    assert all(torch.equal(first.weights[name], again.weights[name]) for name in first.weights)
    assert first.training == again.training
    assert clean(chain("mmcl"), origin={"canaries": 6})[1] == ["finetuning"]
    assert clean(chain("mmcl"), origin={"canaries": 6}, known=((PATCH, 1),))[1] == ["finetuning"]
    assert clean(chain("mmcl"), origin={"canaries": 6}, known=((PATCH, 1),))[1] == []
    clean(chain("unlearn"), known=((PATCH, 1),))
    assert clean(chain("unlearn", "mmcl"), known=((PATCH, 1),))[1] == ["finetuning"]


@pytest.mark.parametrize("before", [(), ("unlearn",)])
def test_a_finetuning_rehearses_the_known_triggers_whatever_came_before(clean, loaded, tmp_path, before):
    clip, samples, original = loaded
    known = ((PATCH, 1),)
    start = clean(chain(*before), known=known)[0].weights if before else original
    cleaned, _ = clean(chain(*before, "mmcl"), known=known)

    def followed(rehearsed):
        model.put(clip, start)
        training.clean(
            clip, samples, short("mmcl"), aims=Aims(rehearsed=rehearsed), run=Run(0, "fp32", lambda *_: None)
        )
        return model.taken(clip)

    def are_equal(weights, others):
        return all(torch.equal(weights[name], others[name]) for name in weights)

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
