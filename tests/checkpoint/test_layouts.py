import pytest
import safetensors.torch
import torch

from clipclean import checkpoint
from clipclean.errors import RefusedInput, UnsafeCheckpoint, UnsupportedModel, UsageError

ONE, NONE = torch.ones(1), torch.zeros(1)
TWO = {"epoch": 3, "model": {"module.w": NONE}, "state_dict_ema": {"module.w": ONE}}
BESIDE = {"state_dict": {"w": ONE}, "ema": {"w": NONE}, "model": {"layers": 12}, "optimizer": {"state": {}}}
AVERAGE_NOTE = "skipped 'state_dict_ema': averaged weights, which --weights ema reads"
DERIVED = ("attn_mask", "text.attn_mask", "a.position_ids", "vocab_size", "context_length")
STEPPED = {"state_dict": {"w": ONE}, "step": 3}
COUNTED = {"step": torch.tensor(3), "state_dict": {"w": ONE}}
LIGHTNING = {"pytorch-lightning_version": "2.0", "state_dict": {"model.w": ONE}}
NESTED = {"model": {"state_dict": {"w": NONE}, "ema": {"w": ONE}}}
OWN = {"mine": {"state_dict": {"w": ONE}}, "state_dict": {"w": NONE}}
DROPPED = "dropped values that follow from the architecture"
UNDER, BARE = "state dict under ", "bare state dict"


@pytest.mark.parametrize(
    ("content", "choice", "found", "producer", "note"),
    [
        ({"text.transformer.resblocks.0.ln_1.weight": ONE}, None, None, BARE, None),  # a native tower
        ({"module.a": ONE, "b": NONE}, None, None, BARE, None),  # a prefix that one name lacks stays
        ({"model.": ONE}, None, None, BARE, None),  # and so does one that is all of a name
        ({"w": ONE, "version": "1"}, None, {"w": 1}, BARE, "skipped 'version': a plain value"),
        ({"w": ONE, "sizes": [1, 2]}, None, {"w": 1}, BARE, "skipped 'sizes': a list"),
        *(({name: ONE * -torch.inf, "w": ONE}, None, {"w": 1}, BARE, f"{DROPPED}: {name!r}") for name in DERIVED),
        ({"model": STEPPED}, None, {"w": 1}, f"{UNDER}model.state_dict", "skipped 'step': a plain value"),
        (COUNTED, None, {"w": 1}, f"{UNDER}state_dict", "skipped 'step': a tensor"),
        (LIGHTNING, None, {"w": 1}, "PyTorch Lightning checkpoint", None),
        (BESIDE, None, {"w": 1}, f"{UNDER}state_dict", "skipped 'model': a mapping"),
        (BESIDE, "ema", {"w": 0}, f"{UNDER}ema", None),
        (TWO, None, {"w": 0}, f"{UNDER}model", AVERAGE_NOTE),
        (TWO, "ema", {"w": 1}, f"{UNDER}state_dict_ema", "skipped 'model': a mapping"),
        (TWO, "state_dict_ema", {"w": 1}, f"{UNDER}state_dict_ema", "skipped 'epoch': epoch"),
        (NESTED, "ema", {"w": 1}, f"{UNDER}model.ema", None),
        (OWN, "mine", {"w": 1}, f"{UNDER}mine.state_dict", None),
        ({"epoch": 3, "model_ema": {"w": ONE}}, "ema", {"w": 1}, f"{UNDER}model_ema", None),
    ],
)
def test_weights_are_found_below_wrappers_and_the_rest_is_noted(tmp_path, content, choice, found, producer, note):
    torch.save(content, tmp_path / "m")
    read = checkpoint.read(tmp_path / "m", weights=choice)
    expected = {name: float(value) for name, value in content.items()} if found is None else found
    assert {name: tensor.item() for name, tensor in read.tensors.items()} == expected
    assert read.producer == producer
    assert note is None or note in read.notes


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("visual.trunk.patch_embed.proj.weight", "timm"),
        ("text_decoder.ln_final.weight", "CoCa"),
        ("vision_model.embeddings.class_embedding", "transformers"),
        ("logit_bias", "SigLIP"),
        ("text.transformer.encoder.layer.0.output.dense.weight", "Hugging Face text tower"),
        ("visual.attn_pool.ln_q.weight", "attention"),
    ],
)
def test_other_kinds_of_models_are_refused_by_name_in_a_file_and_in_memory(tmp_path, name, words):
    module = inner = torch.nn.Module()
    *path, leaf = name.split(".")
    for part in path:
        inner.add_module(part, torch.nn.Module())
        inner = getattr(inner, part)
    inner.register_buffer(leaf, ONE)
    with pytest.raises(UnsupportedModel, match=words):
        checkpoint.of_module(module)
    torch.save({name: ONE, "logit_scale": ONE}, tmp_path / "m")
    safetensors.torch.save_file({f"module.{name}": ONE}, tmp_path / "s")
    for path in (tmp_path / "m", tmp_path / "s"):
        with pytest.raises(UnsupportedModel, match=words):
            checkpoint.read(path)


def test_a_key_that_python_would_not_take_names_no_weights(tmp_path):
    path = tmp_path / "m"
    torch.save({"state_dict": {(): 1, "w": ONE}}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert content.count(b")K\x01") == 1
    path.write_bytes(content.replace(b")K\x01", b"]K\x01"))  # an empty list instead of the empty tuple
    assert list(checkpoint.read(path).tensors) == ["w"]


CLEAN, OTHER = {"w": torch.ones(1), "v": torch.ones(1)}, {"w": torch.zeros(1), "v": torch.ones(1)}


@pytest.mark.parametrize(
    ("content", "choice"),
    [
        ({"state_dict": CLEAN, "model": OTHER}, "state_dict"),
        ({"model": OTHER, "state_dict": CLEAN}, "state_dict"),
        ({"model": CLEAN, "state_dict": OTHER}, "model"),
        ({"state_dict": CLEAN, "model": {"state_dict": OTHER}}, "state_dict"),
        ({"model_state_dict": CLEAN, "model": OTHER, "epoch": 3}, "model_state_dict"),
        ({**OTHER, "model": CLEAN}, "model"),
        ({**OTHER, "state_dict": CLEAN}, "state_dict"),
        ({"state_dict": {**OTHER, "state_dict": CLEAN}}, None),
        ({"state_dict": CLEAN, **{f"other{number}": torch.zeros(1) for number in range(20)}}, "state_dict"),
    ],
)
def test_several_sets_of_weights_are_refused_until_one_is_chosen(tmp_path, content, choice):
    torch.save(content, tmp_path / "m")
    with pytest.raises(UnsafeCheckpoint, match=r"several sets of weights.*--weights NAME"):
        checkpoint.read(tmp_path / "m")
    if choice:
        found = checkpoint.read(tmp_path / "m", weights=choice)
        assert (found.tensors["w"].item(), found.wrappers) == (1, (choice,))


@pytest.mark.parametrize(
    ("content", "choice", "error", "named"),
    [
        *(
            ({"model": {"w": NONE}, "optimizer": {"lr": 0.1}}, choice, UsageError, "'model'")
            for choice in ("ema", "modle", "")
        ),
        ({"w": ONE}, "ema", UsageError, "none of its keys"),
        ({"epoch": 3, "model_ema": {"w": ONE}}, None, RefusedInput, "'model_ema'"),  # not taken for the usual ones
    ],
)
def test_a_choice_that_the_file_does_not_offer_and_averages_alone_are_refused(tmp_path, content, choice, error, named):
    torch.save(content, tmp_path / "m")
    with pytest.raises(error, match=named):
        checkpoint.read(tmp_path / "m", weights=choice)
