import pytest
import safetensors.torch
import torch

from clipclean import checkpoint
from clipclean.errors import RefusedInput, UnsafeCheckpoint, UnsupportedModel, UsageError


def save(path, *names, **extra):
    torch.save({name: torch.ones(2) for name in names} | extra, path)
    return path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("visual.trunk.patch_embed.proj.weight", "timm"),
        ("text_decoder.ln_final.weight", "CoCa"),
        ("vision_model.embeddings.class_embedding", "transformers"),
        ("logit_bias", "SigLIP"),
        ("text.transformer.encoder.layer.0.output.dense.weight", "Hugging Face text tower"),
    ],
)
def test_other_kinds_of_models_are_refused_by_name(tmp_path, name, words):
    with pytest.raises(UnsupportedModel, match=words):
        checkpoint.read(save(tmp_path / "m", name, "logit_scale"))
    safetensors.torch.save_file({f"module.{name}": torch.ones(2)}, tmp_path / "s")
    with pytest.raises(UnsupportedModel, match=words):
        checkpoint.read(tmp_path / "s")


def test_a_native_text_tower_below_its_own_prefix_is_no_other_kind(tmp_path):
    path = save(tmp_path / "m", "text.transformer.resblocks.0.ln_1.weight", "visual.proj")
    assert len(checkpoint.read(path).tensors) == 2


def test_a_key_that_python_would_not_take_names_no_weights(tmp_path):
    path = tmp_path / "m"
    torch.save({"state_dict": {(): 1, "w": torch.ones(1)}}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert content.count(b")K\x01") == 1
    path.write_bytes(content.replace(b")K\x01", b"]K\x01"))  # an empty list instead of the empty tuple
    assert list(checkpoint.read(path).tensors) == ["w"]


def test_a_prefix_that_one_name_lacks_stays(tmp_path):
    path = save(tmp_path / "m", "module.a", "b")
    assert list(checkpoint.read(path).tensors) == ["module.a", "b"]


def test_a_name_that_is_only_a_prefix_stays(tmp_path):
    assert list(checkpoint.read(save(tmp_path / "m", "model.")).tensors) == ["model."]


def test_wrappers_inside_each_other_are_opened(tmp_path):
    torch.save({"model": {"state_dict": {"w": torch.ones(1)}, "step": 3}}, tmp_path / "m")
    found = checkpoint.read(tmp_path / "m")
    assert list(found.tensors) == ["w"]
    assert found.producer == "state dict under model.state_dict"
    assert found.notes == ("skipped 'step': a plain value",)


CLEAN, OTHER = {"w": torch.ones(1), "v": torch.ones(1)}, {"w": torch.zeros(1), "v": torch.ones(1)}


@pytest.mark.parametrize(
    ("content", "choice"),
    [
        ({"state_dict": CLEAN, "model": OTHER}, "state_dict"),
        ({"model": OTHER, "state_dict": CLEAN}, "state_dict"),
        ({"state_dict": CLEAN, "model": {"state_dict": OTHER}}, "state_dict"),
        ({"model_state_dict": CLEAN, "model": OTHER, "epoch": 3}, "model_state_dict"),
        ({**OTHER, "model": CLEAN}, "model"),
        ({**OTHER, "state_dict": CLEAN}, "state_dict"),
        ({"state_dict": {**OTHER, "state_dict": CLEAN}}, None),
        ({"state_dict": CLEAN, **{f"other{number}": torch.zeros(1) for number in range(20)}}, "state_dict"),
    ],
    ids=str,
)
def test_several_sets_of_weights_are_refused_until_one_is_chosen(tmp_path, content, choice):
    torch.save(content, tmp_path / "m")
    with pytest.raises(UnsafeCheckpoint, match=r"several sets of weights.*--weights NAME"):
        checkpoint.read(tmp_path / "m")
    if choice:
        found = checkpoint.read(tmp_path / "m", weights=choice)
        assert (found.tensors["w"].item(), found.wrappers) == (1, (choice,))


def test_averages_and_settings_beside_the_weights_are_no_second_set(tmp_path):
    torch.save({"state_dict": CLEAN, "ema": OTHER, "model": {"layers": 12}, "optimizer": {"state": {}}}, tmp_path / "m")
    assert checkpoint.read(tmp_path / "m").tensors["w"].item() == 1
    assert checkpoint.read(tmp_path / "m", weights="ema").tensors["w"].item() == 0


def test_a_tensor_beside_the_wrapper_is_not_taken_for_the_weights(tmp_path):
    torch.save({"step": torch.tensor(3), "state_dict": {"w": torch.ones(1)}}, tmp_path / "m")
    found = checkpoint.read(tmp_path / "m")
    assert list(found.tensors) == ["w"]
    assert found.notes == ("skipped 'step': a tensor",)


def test_leaves_that_are_no_tensors_are_noted(tmp_path):
    path = save(tmp_path / "m", "w", version="1", sizes=[1, 2])
    assert checkpoint.read(path).notes == ("skipped 'version': a plain value", "skipped 'sizes': a list")


@pytest.mark.parametrize("name", ["attn_mask", "text.attn_mask", "a.position_ids", "vocab_size", "context_length"])
def test_values_that_follow_from_the_architecture_are_dropped_even_if_infinite(tmp_path, name):
    torch.save({name: torch.tensor(float("-inf")), "w": torch.ones(1)}, tmp_path / "m")
    found = checkpoint.read(tmp_path / "m")
    assert list(found.tensors) == ["w"]
    assert found.notes == (f"dropped values that follow from the architecture: {name!r}",)


def test_a_lightning_checkpoint_is_named(tmp_path):
    saved = {"pytorch-lightning_version": "2.0", "state_dict": {"model.w": torch.ones(1)}}
    torch.save(saved, tmp_path / "m")
    found = checkpoint.read(tmp_path / "m")
    assert (found.producer, list(found.tensors)) == ("PyTorch Lightning checkpoint", ["w"])


# Averaged weights, and other choices.

TWO = {"epoch": 3, "model": {"module.w": torch.zeros(1)}, "state_dict_ema": {"module.w": torch.ones(1)}}


def test_averaged_weights_are_read_by_choice_alone(tmp_path):
    torch.save(TWO, tmp_path / "m")
    usual = checkpoint.read(tmp_path / "m")
    assert usual.tensors["w"].item() == 0
    assert "skipped 'state_dict_ema': averaged weights, which --weights ema reads" in usual.notes
    for choice in ("ema", "state_dict_ema"):
        found = checkpoint.read(tmp_path / "m", weights=choice)
        assert found.tensors["w"].item() == 1
        assert found.producer == "state dict under state_dict_ema"
        assert "skipped 'model': a mapping" in found.notes


def test_a_choice_between_two_usual_wrappers_is_obeyed(tmp_path):
    torch.save({"model": {"w": torch.zeros(1)}, "state_dict": {"w": torch.ones(1)}}, tmp_path / "m")
    assert checkpoint.read(tmp_path / "m", weights="model").tensors["w"].item() == 0


def test_a_choice_may_lie_inside_a_wrapper(tmp_path):
    torch.save({"model": {"state_dict": {"w": torch.zeros(1)}, "ema": {"w": torch.ones(1)}}}, tmp_path / "m")
    found = checkpoint.read(tmp_path / "m", weights="ema")
    assert (found.tensors["w"].item(), found.producer) == (1, "state dict under model.ema")


def test_a_wrapper_inside_the_choice_is_opened(tmp_path):
    torch.save({"mine": {"state_dict": {"w": torch.ones(1)}}, "state_dict": {"w": torch.zeros(1)}}, tmp_path / "m")
    assert checkpoint.read(tmp_path / "m", weights="mine").tensors["w"].item() == 1


@pytest.mark.parametrize("choice", ["ema", "modle", ""])
def test_a_choice_that_the_file_does_not_offer_is_a_usage_error(tmp_path, choice):
    torch.save({"model": {"w": torch.zeros(1)}, "optimizer": {"lr": 0.1}, "epoch": 2}, tmp_path / "m")
    with pytest.raises(UsageError, match=r"m: --weights .*what holds tensors is 'model'"):
        checkpoint.read(tmp_path / "m", weights=choice)


def test_a_bare_state_dict_offers_no_choice(tmp_path):
    with pytest.raises(UsageError, match="none of its keys"):
        checkpoint.read(save(tmp_path / "m", "w"), weights="ema")


def test_averaged_weights_alone_are_not_taken_for_the_usual_ones(tmp_path):
    torch.save({"epoch": 3, "model_ema": {"w": torch.ones(1)}}, tmp_path / "m")
    with pytest.raises(RefusedInput, match=r"'model_ema'\. If you mean those: --weights ema"):
        checkpoint.read(tmp_path / "m")
    assert checkpoint.read(tmp_path / "m", weights="ema").tensors["w"].item() == 1
