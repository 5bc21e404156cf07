import pytest
import torch
from tiny import TINY_RESNET, TINY_VIT, state_dict

from clipclean import checkpoint
from clipclean.checkpoint import layouts
from clipclean.errors import UnsupportedModel


@pytest.fixture(scope="module")
def ours():
    """A native ViT of open_clip, with numbers everywhere: a fresh model has zeros for biases."""
    rng = torch.Generator().manual_seed(1)
    return {name: torch.randn(tensor.shape, generator=rng) for name, tensor in state_dict(TINY_VIT).items()}


@pytest.fixture(scope="module")
def theirs(ours):
    return layouts.from_open_clip(ours)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_there_and_back_gives_the_same_bits(ours, dtype):
    cast = {name: tensor.to(dtype) for name, tensor in ours.items()}
    theirs = layouts.from_open_clip(cast)
    assert checkpoint.digest(layouts.to_open_clip(theirs)) == checkpoint.digest(cast)
    assert checkpoint.digest(layouts.from_open_clip(layouts.to_open_clip(theirs))) == checkpoint.digest(theirs)


def test_query_key_and_value_are_thirds_projections_are_transposed_and_every_tensor_contiguous(ours, theirs):
    joined = ours["transformer.resblocks.0.attn.in_proj_weight"]  # (3 W, W), W = 64
    layer, last = "text_model.encoder.layers.0.self_attn", "visual.transformer.resblocks.1.mlp.c_proj.weight"
    for name, expected in {
        f"{layer}.q_proj.weight": joined[:64],
        f"{layer}.k_proj.weight": joined[64:128],
        f"{layer}.v_proj.weight": joined[128:],
        "visual_projection.weight": ours["visual.proj"].T,
        "text_projection.weight": ours["text_projection"].T,
        "vision_model.pre_layrnorm.bias": ours["visual.ln_pre.bias"],
        "text_model.final_layer_norm.weight": ours["ln_final.weight"],
        "vision_model.encoder.layers.1.mlp.fc2.weight": ours[last],
    }.items():
        assert torch.equal(theirs[name], expected), name
    turned = {name: tensor.mT.contiguous().mT if tensor.ndim == 2 else tensor for name, tensor in theirs.items()}
    back = layouts.to_open_clip(turned)
    assert all(tensor.is_contiguous() for tensor in (*theirs.values(), *back.values()))
    assert checkpoint.digest(back) == checkpoint.digest(layouts.to_open_clip(theirs))
    shapes = layouts.to_open_clip(layouts.from_open_clip({name: tensor.to("meta") for name, tensor in ours.items()}))
    assert {name: tensor.shape for name, tensor in shapes.items()} == {name: t.shape for name, t in ours.items()}


LAYERS = "vision_model.encoder.layers"
LAYER = f"{LAYERS}.0"
W = f"{LAYER}.self_attn.q_proj"


@pytest.mark.parametrize(
    ("without", "more", "words"),
    [
        ("vision_model.", {}, r"missing \('vision_model"),
        ("text_model.", {}, r"missing \('text_model"),
        ("logit_scale", {}, "1 missing"),
        (f"{LAYER}.self_attn.k_proj.bias", {}, r"k_proj\.bias"),
        (f"{LAYER}.", {}, r"missing \('vision_model\.encoder\.layers\.0.*unknown"),
        (None, {"vision_model.head.probe": torch.zeros(1)}, r"1 unknown \('vision_model\.head\.probe'\)"),
        (None, {f"{W}.weight": torch.zeros(3, 3)}, "differ"),
        (None, {f"{W}.bias": torch.zeros(64).half()}, "differ"),
        (None, {f"{W}.bias": torch.zeros(())}, "differ"),
        (None, {"visual_projection.weight": torch.zeros(3)}, "two axes"),
        (None, {f"{LAYERS}.{n}.x": torch.zeros(1) for n in range(20_000)}, "missing"),  # no million names
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_taken_from_transformers_is_refused_and_missing_tensors_named(theirs, without, more, words):
    some = {name: tensor for name, tensor in theirs.items() if not (without and name.startswith(without))}
    with pytest.raises(UnsupportedModel, match=words):
        layouts.to_open_clip(some | more)


def test_what_transformers_cannot_hold_is_refused(ours):
    bias = "transformer.resblocks.0.attn.in_proj_bias"
    for weights, words in (
        (state_dict(TINY_RESNET), "ViT towers alone"),
        (ours | {"visual.transformer.resblocks.0.ls_1.gamma": torch.zeros(1)}, r"1 unknown .*ls_1\.gamma"),
        *((ours | {bias: odd}, "query, key and value") for odd in (torch.zeros(4), torch.zeros(()))),
    ):
        with pytest.raises(UnsupportedModel, match=words):
            layouts.from_open_clip(weights)


# Read from files.


def test_a_state_dict_of_transformers_is_read_under_open_clip_names_whatever_is_around_it(tmp_path, ours, theirs):
    buffers = {f"{tower}.embeddings.position_ids": torch.arange(8) for tower in ("text_model", "vision_model")}
    torch.save(theirs | buffers, tmp_path / "pytorch_model.bin")
    found = checkpoint.read(tmp_path / "pytorch_model.bin")
    assert checkpoint.digest(found.tensors) == checkpoint.digest(ours)
    assert (found.format, found.config, found.config_name) == ("torch-zip", None, None)
    assert any("position_ids" in note for note in found.notes)
    assert any(note.startswith("renamed from transformers' CLIPModel") for note in found.notes)
    torch.save({"model": {f"module.clip.{name}": tensor for name, tensor in theirs.items()}}, tmp_path / "m")
    assert checkpoint.digest(checkpoint.read(tmp_path / "m").tensors) == checkpoint.digest(ours)


def test_tensors_that_were_joined_keep_no_memory_of_the_file(tmp_path, theirs):
    torch.save(theirs, tmp_path / "m")
    found = checkpoint.read(tmp_path / "m").tensors
    joined = found["transformer.resblocks.0.attn.in_proj_weight"]
    assert joined.untyped_storage().nbytes() == joined.numel() * 4
    # What is still a view of the file must not have been given back with the rest.
    assert torch.equal(found["token_embedding.weight"], theirs["text_model.embeddings.token_embedding.weight"])
    assert torch.equal(found["visual.conv1.weight"], theirs["vision_model.embeddings.patch_embedding.weight"])
