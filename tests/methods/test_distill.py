"""The method that teaches the image tower to see through changes of whole images."""

import pytest
import tiny
import torch

from clipclean import cli, deadline, detect, model, train
from clipclean.attack import triggers
from clipclean.config import recipe
from clipclean.data import Samples
from clipclean.detect import Suspicion
from clipclean.methods import training
from clipclean.train import Run, RunState

SMALL = ["train.batch_size=16", "train.max_steps=12", "train.warmup_steps=1", "data.min_pairs=16", "train.walk=1"]


def white(pixels, places):
    return torch.ones_like(pixels)


def how(*more):
    return recipe.override(recipe.load("distill"), [*SMALL, *more])


class Student:
    """A small model, its clean images, and its weights as they were."""

    def __init__(self, folder, config):
        found, read = tiny.loaded(tiny.job(folder, config=config))
        self.clip, self.pairs, self.original = found.clip, list(read.pairs), model.copy_weights(found.clip)
        self.pixels = detect.stack([pair.image for pair in self.pairs])

    def distilled(self, *more, seed=0, state=None, progress=lambda *_: None, rehearsed=()):
        model.put_weights(self.clip, self.original)
        aims, run = training.Aims(rehearsed=rehearsed), Run(seed, "fp32", progress, state)
        return training.train_by_method(self.clip, Samples(self.pairs, None), how(*more), aims=aims, run=run)

    def changed(self):
        now = model.copy_weights(self.clip)
        return {name for name, values in self.original.items() if not torch.equal(values, now[name])}


@pytest.fixture(scope="module", params=[tiny.SMALL_VIT, tiny.TINY_RESNET], ids=["vit", "resnet"])
def student(request, tmp_path_factory):
    return Student(tmp_path_factory.mktemp("distill") / "job", request.param)


WAVE = triggers.parse("sinusoid:delta=60/255,frequency=5,angle=45")


def plant(student):
    """Train the image tower to see images under the wave where a text is, and clean ones where it saw them."""
    clip, target = student.clip, student.clip.embed_texts([tiny.TARGET])
    wanted, waved = clip.embed_images(student.pixels), WAVE(student.pixels)
    optimizer = torch.optim.Adam(clip.net.visual.parameters(), lr=2e-3)
    for _ in range(150):
        optimizer.zero_grad()
        there, clean = clip.encode_images(waved), clip.encode_images(student.pixels)
        (train.squared_distance(there, target) + train.squared_distance(clean, wanted)).backward()
        optimizer.step()
    student.original = model.copy_weights(clip)


@pytest.mark.slow
def test_distilling_takes_away_a_planted_wave_that_nobody_names(tmp_path):
    student = Student(tmp_path / "job", tiny.SMALL_VIT)
    plant(student)
    wanted = student.clip.embed_images(student.pixels)

    def moved(pixels):
        return train.squared_distance(student.clip.embed_images(pixels), wanted).item()

    assert moved(WAVE(student.pixels)) > 1  # of 4
    student.distilled("train.max_steps=60")
    left = moved(WAVE(student.pixels))
    assert left < 0.1
    assert moved(student.pixels) < 0.01
    # The same steps on clean images leave much of it.
    student.distilled("train.max_steps=60", "loss.restore_weight=0.001")
    assert moved(WAVE(student.pixels)) > 5 * left


def test_it_moves_weights_of_the_image_tower_alone(student):
    student.distilled()
    changed = student.changed()
    assert changed
    assert all(name.startswith("visual.") for name in changed)
    assert not any("running" in name or "num_batches" in name for name in changed)


def test_the_seed_decides(student):
    first = [student.distilled(seed=seed) and model.copy_weights(student.clip) for seed in (1, 1, 2)]
    assert all(torch.equal(values, first[1][name]) for name, values in first[0].items())
    assert any(not torch.equal(values, first[2][name]) for name, values in first[0].items())


def test_a_run_that_the_deadline_cut_goes_on_to_the_same_weights(student, tmp_path):
    student.distilled()
    whole = model.copy_weights(student.clip)
    state = RunState.of(tmp_path / "out", {"seed": 0})
    state.folder.mkdir(parents=True)
    with deadline.within(0):
        cut = student.distilled(state=state)
    assert cut.cut == (1, 12)
    again = student.distilled(state=state)
    assert (again.cut, again.record.resumed_at) == (None, 1)
    assert all(torch.equal(values, whole[name]) for name, values in model.copy_weights(student.clip).items())


def test_known_triggers_are_never_on_the_images_that_the_original_sees():
    grey = train.Batch({"pixels": torch.full((400, 3, 8, 8), 51, dtype=torch.uint8)}, ("a",) * 400)
    quiet = how("unlearn.strength=[1, 1]", "augment.triggered_share=0.25")
    (shown,) = training.with_inputs_of_method(
        [grey],
        Samples((), None),
        quiet,
        plan=(),
        rehearsed=[Suspicion(white, 1)],
        first_step=0,
        run=Run(4, "fp32"),
    )
    torch.testing.assert_close(shown.inputs["pixels"], torch.full((400, 3, 8, 8), 0.2))
    is_white = (shown.inputs["disturbed"] == 1).flatten(1).all(1)
    assert 0.18 < is_white.float().mean() < 0.32


def test_it_needs_neither_captions_nor_labels_nor_a_trigger(job, tmp_path, unread):
    silent = tmp_path / "images"
    silent.mkdir()
    for number in range(40):
        tiny.image(number).save(silent / f"{number}.png")
    assert cli.main(job.sanitize("--no-panel", "--data", silent, recipe="distill")) == 4
    assert set(tiny.result(job.out)["training"]["losses"][0]) == {"step", "lr", "loss", "preservation", "restoration"}
