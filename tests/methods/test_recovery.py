import pytest
import tiny

from clipclean import detect, model, train
from clipclean.attack import triggers
from clipclean.config import recipe as recipes
from clipclean.data import Samples
from clipclean.methods import training
from clipclean.train.run import Run

PATCH = (triggers.parse(tiny.TRIGGER), 1)
SMALL = ["train.batch_size=16", "train.max_steps=6", "train.warmup_steps=1", "train.lr=0.005", "data.min_pairs=16"]
HOW = ["train.moves=image tower", *SMALL]


def how(steps):
    return recipes.override(recipes.load("mmcl@tiny"), [*HOW, f"train.recover_steps={steps}"])


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """(steps of recovery, triggers) -> the training, and how far clean images went from the original."""
    job = tiny.job(tmp_path_factory.mktemp("recovery") / "job")
    found, read = tiny.loaded(job)
    clip, pairs, original = found.clip, list(read.pairs), model.taken(found.clip)
    pixels = detect.stack([pair.image for pair in pairs])

    def done(steps, rehearsed=(PATCH,)):
        model.put(clip, original)
        wanted, run = clip.embed_images(pixels), Run(0, "fp32", lambda *_: None)
        made = training.clean(clip, Samples(pairs, None), how(steps), aims=training.Aims(rehearsed=rehearsed), run=run)
        return made, train.squared_distance(clip.embed_images(pixels), wanted).item()

    return done


def test_a_recovery_brings_clean_images_back_counts_its_steps_and_needs_a_trigger(moved):
    assert moved(40)[1] < moved(0)[1] / 2
    assert moved(3, ())[0].record.steps == 6
    made, _ = moved(3)
    assert made.record.steps == 9
    assert made.record.losses[-1].step == 8
    assert made.record.losses[-1].restoration is not None
