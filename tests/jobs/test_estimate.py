from dataclasses import replace

import pytest
import tiny
import torch

from clipclean import model, progress
from clipclean.config import recipe
from clipclean.jobs import estimate
from clipclean.jobs.estimate import AuditSize, CleaningSize, Estimate, Pace
from clipclean.progress import Listener

SHORT = ["train.max_steps=10", "train.batch_size=16", "train.epochs=100", "train.warmup_steps=1"]
PACE = Pace(image=0.1, search=0.3, text=0.01, kept=1000, kept_search=10, held=0)


@pytest.fixture(scope="module")
def clip():
    weights = tiny.state_dict(tiny.SMALL_VIT)
    found = model.resolve(
        weights, arch=None, config={"model_cfg": tiny.SMALL_VIT | {"quick_gelu": False}}, script_quick_gelu=None
    )
    return model.build(found, weights, device="cpu")


def test_an_audit_is_counted_by_captions_images_and_passes(clip):
    given = {"images": 100, "classes": 10, "templates": 7, "panel": 9}
    found = estimate.of_audit(clip, PACE, AuditSize(effort=None, models=1, **given))
    # 70 captions of 10 ms, 100 images under no trigger and nine
    assert found.seconds == pytest.approx(0.7 + 100)
    searched = estimate.of_audit(clip, PACE, AuditSize(effort="quick", models=2, **given))
    # 22 steps of 6 images for ten classes in nine families; in five of them, 40 steps of 16 without a target and 26 of 12 for four
    passes = 9 * 10 * 22 * 6 + 5 * (40 * 16 + 4 * 26 * 12)
    looked = (
        96 * 10 + 96 * 12 + 5 * 60 + 4 * 1248 + 2 * 9 * 40
    )  # under the panel, under random changes, where searches without a target end, waves to start from, under what was found
    assert searched.seconds == pytest.approx(2 * (100.7 + 1.1 * 0.3 * passes + 0.1 * looked))
    assert searched.memory > found.memory


@pytest.mark.parametrize(("side", "most"), [(16, 192), (32, 192), (112, 111), (224, 27), (448, 16)])
def test_a_search_keeps_the_activations_of_the_images_that_fit_and_of_no_more_than_there_are(side, most):
    # standard: 24 classes of 8 images, fewer where CHUNK holds fewer, but no fewer than one row: a finalist's 16
    assert estimate.together(recipe.EFFORTS["standard"], side=side) == most


@pytest.mark.parametrize(("classes", "most"), [(10, 0), (1000, 1)])
def test_passes_are_those_that_the_help_states(classes, most):
    for how in recipe.EFFORTS.values():
        assert estimate.passes(how, classes=classes) == how.passes()[most]


def test_a_cleaning_is_counted_by_steps_and_views(clip):
    plain = recipe.override(recipe.load("mmcl-tiny"), SHORT)
    size = CleaningSize(pairs=64, images=10, captions=70, panel=0)
    found = estimate.of_sanitize(clip, plain, PACE, size)
    # twice 70 captions and 10 images; ten steps of 16 pairs, each 0.11 s forward and twice that back
    assert found.seconds == pytest.approx(2 * (0.7 + 1.0) + 10 * 16 * 0.11 * 3)
    # screening: three looks at each of 20 images, and their captions
    looked = estimate.of_sanitize(clip, plain, PACE, replace(size, screened=20))
    assert looked.seconds == pytest.approx(found.seconds + 20 * (3 * 0.1 + 0.01))
    twice = recipe.override(recipe.load("cleanclip-tiny"), SHORT)
    assert estimate.of_sanitize(clip, twice, PACE, size).seconds > found.seconds


def test_the_pace_is_positive_and_leaves_random_numbers_and_weights_alone(clip):
    before, weights = torch.get_rng_state(), clip.net.state_dict()["visual.proj"].clone()
    found = estimate.pace(clip)
    assert min(vars(found).values()) > 0
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(clip.net.state_dict()["visual.proj"], weights)
    assert all(parameter.grad is None for parameter in clip.net.parameters())


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (300, "5 min"), (3600, "60 min"), (12_000, "3 h 20 min")]
)
def test_a_time_is_told_in_words(seconds, words):
    assert estimate.in_words(seconds) == words


def test_what_would_be_faster_is_told_of_more_than_an_hour_only():
    assert estimate.faster(Estimate(3000, 1), effort="standard", device="cpu") == []
    told = estimate.faster(Estimate(4000, 1), effort="standard", device="cpu")
    assert told[:2] == ["--effort quick", "a GPU (--device cuda)"]
    assert "--effort quick" not in estimate.faster(Estimate(4000, 1), effort="quick", device="cuda")


def test_it_is_told_where_somebody_listens_and_not_computed_otherwise(clip):
    heard = []
    size = AuditSize(effort="quick", images=10, classes=5, templates=2, panel=2, models=1)
    estimate.tell_audit(clip, size)
    with progress.heard(Listener(words=heard.append)):
        estimate.tell_audit(clip, size)
    assert len(heard) == 1
    assert "0.5 M parameters; cpu, " in heard[0]
    assert "estimated: about " in heard[0]
