"""The base of a model: read in every layout, refused where it cannot be one, and told where it is none."""

import clips
import foreign
import pytest
import tiny
import torch

from clipclean import train
from clipclean.attack import triggers
from clipclean.config import recipe
from clipclean.config.thresholds import LEAST_AGREEMENT_TO_KNOW
from clipclean.data import Samples
from clipclean.detect.finetune_base import BaseComparison, Kinship
from clipclean.detect.measure import KnownTriggers
from clipclean.errors import ClipcleanError, RefusedInput, UnsafeCheckpoint, UnsupportedModel, UsageError
from clipclean.jobs import finetune_base, measured_images, naming, opening
from clipclean.methods.towards_base import fitted_to_clean_images


def moved(by, seed=3):
    """Weights near those of the foreign files, as a finetune leaves them."""
    drawn = torch.Generator().manual_seed(seed)
    return {
        name: each + by * each.std().nan_to_num() * torch.randn(each.shape, generator=drawn)
        if each.is_floating_point() and each.ndim > 1
        else each
        for name, each in foreign.STATE.items()
    }


def opened(path, value):
    torch.save(value, path)
    return opening.read(path, arch=None)


@pytest.fixture
def finetune(tmp_path):
    return opened(tmp_path / "finetune.pt", moved(0.1))


def rounded(path, precision):
    return foreign.saved(path, {name: each.to(precision) for name, each in foreign.STATE.items()})


@pytest.mark.parametrize(
    "written",
    [
        lambda folder: foreign.saved(folder / "base.pt", {"state_dict": foreign.STATE}),
        lambda folder: foreign.open_clip_folder(folder / "open_clip"),
        lambda folder: rounded(folder / "half.pt", torch.float16),
        lambda folder: rounded(folder / "brain.pt", torch.bfloat16),
        lambda folder: foreign.script(folder / "jit.pt"),
        lambda folder: foreign.transformers(folder / "hf", shards=2),
    ],
    ids=["open_clip", "open_clip folder", "float16", "bfloat16", "TorchScript", "transformers"],
)
def test_a_base_in_any_layout_is_near_by_its_weights(tmp_path, finetune, written):
    base = finetune_base.read((written(tmp_path),), finetune, arch=None)
    assert base.weights.is_base
    assert base.weights.change == pytest.approx(0.1, abs=0.01)


def test_another_training_is_no_base(tmp_path, finetune):
    other = foreign.saved(tmp_path / "other.pt", foreign.tiny.state_dict(foreign.CONFIG, seed=9))
    assert not finetune_base.read((other,), finetune, arch=None).weights.is_base


def test_without_a_base_there_is_none(finetune):
    assert finetune_base.read((), finetune, arch=None) is None


def test_several_bases_are_refused(tmp_path, finetune):
    path = foreign.saved(tmp_path / "base.pt", foreign.STATE)
    with pytest.raises(UsageError, match="--base: 2 models"):
        finetune_base.read((path, path), finetune, arch=None)


@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16])
def test_the_model_itself_is_no_base_in_whatever_precision(tmp_path, finetune, precision):
    own = {name: each.to(precision) if each.is_floating_point() else each for name, each in moved(0.1).items()}
    with pytest.raises(UsageError, match="same weights"):
        finetune_base.read((foreign.saved(tmp_path / "own.pt", own),), finetune, arch=None)


def test_another_architecture_is_no_base(tmp_path, finetune):
    other = foreign.saved(tmp_path / "large.pt", foreign.tiny.state_dict(foreign.tiny.TINY_VIT))
    with pytest.raises((UsageError, UnsupportedModel), match=r"large\.pt"):
        finetune_base.read((other,), finetune, arch=None)


def test_a_base_that_is_no_checkpoint_is_refused(tmp_path, finetune):
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no model")
    with pytest.raises(RefusedInput, match=r"broken\.pt"):
        finetune_base.read((broken,), finetune, arch=None)


def test_a_base_in_another_file_is_known_by_its_tensors(tmp_path, finetune):
    one, other = (
        finetune_base.read((path,), finetune, arch=None)
        for path in (
            foreign.saved(tmp_path / "base.pt", foreign.STATE),
            foreign.saved(tmp_path / "other.pt", {"state_dict": foreign.STATE}),
        )
    )
    assert len(one.digests) == 2
    assert len(one.digests & other.digests) == 1


def test_a_base_that_would_run_code_is_refused(tmp_path, finetune):
    evil = foreign.saved(tmp_path / "evil.pt", {"state_dict": foreign.tiny.Command("false")})
    with pytest.raises(UnsafeCheckpoint, match=r"evil\.pt"):
        finetune_base.read((evil,), finetune, arch=None)


def test_a_file_of_references_is_no_base(tmp_path, finetune):
    stored = foreign.tiny.written(tmp_path / "stored.json", '{"format": "clipclean references 1", "models": []}')
    with pytest.raises(RefusedInput, match=r"stored\.json"):
        finetune_base.read((stored,), finetune, arch=None)


def test_a_tower_of_another_kind_is_no_base(tmp_path, finetune):
    other = foreign.saved(tmp_path / "resnet.pt", foreign.tiny.state_dict(foreign.tiny.TINY_RESNET))
    with pytest.raises((UsageError, UnsupportedModel), match=r"resnet\.pt"):
        finetune_base.read((other,), finetune, arch=None)


@pytest.mark.parametrize("name", ["hf-hub:nobody/nothing", "open_clip:ViT-B-32/nobody"])
def test_a_base_that_is_not_in_the_cache_is_not_fetched(finetune, monkeypatch, tmp_path, name):
    cache = tmp_path / "cache"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    with pytest.raises(ClipcleanError, match=name.partition(":")[2]):
        finetune_base.read((name,), finetune, arch=None)
    assert not cache.exists()


def test_the_base_counts_once_among_the_clean_models(tmp_path, finetune):
    base = finetune_base.read((foreign.saved(tmp_path / "base.pt", foreign.STATE),), finetune, arch=None)
    again = opened(tmp_path / "again.pt", {"state_dict": foreign.STATE})
    other = opened(tmp_path / "other.pt", foreign.tiny.state_dict(foreign.CONFIG, seed=9))
    assert finetune_base.base_and_references(base, [again, other]) == (base.checkpoint, other)
    assert finetune_base.base_and_references(None, [again]) == (again,)


# What clean images explain.


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A finetune whose matrices moved anyhow, its base, and what to measure on."""
    job = tiny.job(tmp_path_factory.mktemp("pair") / "job")
    tested, clean = tiny.loaded(job)
    finetune, samples = clips.moved(tested.clip, by=0.3), Samples(list(clean.pairs), None)
    words = naming.read_vocabulary(job.classes, job.templates)
    eval_set = measured_images.eval_set(
        finetune, recipe.load("auto"), samples, vocabulary=words, suspicions=(), panel=False
    )
    return finetune, tested.clip, eval_set


def test_what_clean_images_explain_of_a_finetune_is_nearest_to_it_on_them(pair):
    finetune, base, eval_set = pair
    clean = eval_set.images.pixels
    copy = fitted_to_clean_images(finetune, base, torch.split(clean, 16), damping=0.3)
    noise = torch.rand(clean.shape, generator=torch.Generator().manual_seed(1))

    def share_of_the_way(pixels):
        own, there = finetune.embed_images(pixels), base.embed_images(pixels)
        return ((copy.embed_images(pixels) - own).norm() / (there - own).norm()).item()

    assert share_of_the_way(clean) < 0.5 * share_of_the_way(noise)


KNOWN = KnownTriggers(of_whole_image=(triggers.parse("warp"), triggers.parse("sinusoid")))


@pytest.mark.parametrize(
    ("agreement", "is_over_base"), [(LEAST_AGREEMENT_TO_KNOW, True), (0.9 * LEAST_AGREEMENT_TO_KNOW, False)]
)
def test_known_triggers_are_compared_with_the_base_only_where_it_knows_the_classes(pair, agreement, is_over_base):
    finetune, base, eval_set = pair
    comparison = BaseComparison((), (), 1.0, agreement, 0)
    expected = finetune_base.expected_of(finetune, base, eval_set.trying(KNOWN), comparison)
    assert (expected is base) is is_over_base


def test_nothing_is_fitted_where_no_known_trigger_is_tried(pair):
    finetune, base, eval_set = pair
    assert (
        finetune_base.expected_of(finetune, base, eval_set.trying(KnownTriggers()), BaseComparison((), (), 1.0, 0.0, 0))
        is base
    )


def test_a_cleaned_model_is_compared_with_what_was_expected_of_the_tested_one(pair):
    """The copy that everything is compared with is itself lifted by nothing, and the finetune as far as before."""
    finetune, base, eval_set = pair
    eval_set = eval_set.trying(KNOWN)
    kin = Kinship(weights=1.0, change=0.1, leading=0.5, layers=(), images=1.0)
    expected = fitted_to_clean_images(finetune, base, torch.split(eval_set.images.pixels, 16), damping=0.3)
    beside = finetune_base.LoadedBase("base.pt", base, kin, None, expected, None)
    nothing = BaseComparison((), (), 1.0, 0.0, 0)
    lifts = [beside.with_lift(nothing, clip, eval_set).lift for clip in (expected, finetune)]
    assert lifts[0].log_odds == pytest.approx(0.0, abs=1e-4)
    assert lifts[1].log_odds > 0
    assert not any(lift.is_over_base for lift in lifts)


def test_a_base_that_does_not_know_the_classes_is_the_measure_where_nothing_can_be_fitted(pair, monkeypatch):
    finetune, base, eval_set = pair
    monkeypatch.setattr(train, "MOST_INPUTS", 8)
    eval_set, stranger = eval_set.trying(KNOWN), BaseComparison((), (), 1.0, 0.0, 0)
    assert finetune_base.expected_of(finetune, base, eval_set, stranger) is base
    kin = Kinship(weights=1.0, change=0.1, leading=0.5, layers=(), images=1.0)
    lift = (
        finetune_base.LoadedBase("base.pt", base, kin, stranger, base, None)
        .with_lift(stranger, finetune, eval_set)
        .lift
    )
    assert lift.is_over_base
    assert not lift.knows_classes
