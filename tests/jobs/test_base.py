"""The base of a model: read in every layout, refused where it cannot be one, and told where it is none."""

import foreign
import pytest
import torch

from clipclean.errors import ClipcleanError, RefusedInput, UnsafeCheckpoint, UnsupportedModel, UsageError
from clipclean.jobs import base as bases
from clipclean.jobs import inputs


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
    return inputs.read(path, arch=None)


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
def test_a_base_is_read_in_any_layout_and_is_near_by_its_weights(tmp_path, finetune, written):
    found = bases.read((written(tmp_path),), finetune, arch=None)
    assert found.weights.is_base
    assert found.weights.change == pytest.approx(0.1, abs=0.01)


def test_another_training_is_read_and_is_no_base(tmp_path, finetune):
    other = foreign.saved(tmp_path / "other.pt", foreign.tiny.state_dict(foreign.CONFIG, seed=9))
    assert not bases.read((other,), finetune, arch=None).weights.is_base


def test_without_a_base_there_is_none(finetune):
    assert bases.read((), finetune, arch=None) is None


def test_several_bases_are_refused(tmp_path, finetune):
    path = foreign.saved(tmp_path / "base.pt", foreign.STATE)
    with pytest.raises(UsageError, match="--base: 2 models"):
        bases.read((path, path), finetune, arch=None)


@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16])
def test_the_model_itself_is_no_base_in_whatever_precision(tmp_path, finetune, precision):
    own = {name: each.to(precision) if each.is_floating_point() else each for name, each in moved(0.1).items()}
    with pytest.raises(UsageError, match="same weights"):
        bases.read((foreign.saved(tmp_path / "own.pt", own),), finetune, arch=None)


def test_another_architecture_is_no_base(tmp_path, finetune):
    other = foreign.saved(tmp_path / "large.pt", foreign.tiny.state_dict(foreign.tiny.TINY_VIT))
    with pytest.raises((UsageError, UnsupportedModel), match=r"large\.pt"):
        bases.read((other,), finetune, arch=None)


def test_a_base_that_is_no_checkpoint_is_refused(tmp_path, finetune):
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no model")
    with pytest.raises(RefusedInput, match=r"broken\.pt"):
        bases.read((broken,), finetune, arch=None)


def test_a_base_is_known_by_its_file_and_by_its_tensors(tmp_path, finetune):
    one, other = (
        bases.read((path,), finetune, arch=None)
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
        bases.read((evil,), finetune, arch=None)


def test_a_file_of_references_is_no_base(tmp_path, finetune):
    stored = foreign.tiny.written(tmp_path / "stored.json", '{"format": "clipclean references 1", "models": []}')
    with pytest.raises(RefusedInput, match=r"stored\.json"):
        bases.read((stored,), finetune, arch=None)


def test_a_tower_of_another_kind_is_no_base(tmp_path, finetune):
    other = foreign.saved(tmp_path / "resnet.pt", foreign.tiny.state_dict(foreign.tiny.TINY_RESNET))
    with pytest.raises((UsageError, UnsupportedModel), match=r"resnet\.pt"):
        bases.read((other,), finetune, arch=None)


@pytest.mark.parametrize("name", ["hf-hub:nobody/nothing", "open_clip:ViT-B-32/nobody"])
def test_a_base_that_is_not_in_the_cache_is_not_fetched(finetune, monkeypatch, tmp_path, name):
    cache = tmp_path / "cache"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    with pytest.raises(ClipcleanError, match=name.partition(":")[2]):
        bases.read((name,), finetune, arch=None)
    assert not cache.exists()


def test_the_base_counts_once_among_the_clean_models(tmp_path, finetune):
    base = bases.read((foreign.saved(tmp_path / "base.pt", foreign.STATE),), finetune, arch=None)
    again = opened(tmp_path / "again.pt", {"state_dict": foreign.STATE})
    other = opened(tmp_path / "other.pt", foreign.tiny.state_dict(foreign.CONFIG, seed=9))
    assert bases.with_base(base, [again, other]) == (base.opened, other)
    assert bases.with_base(None, [again]) == (again,)
