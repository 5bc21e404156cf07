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


def test_there_and_back_gives_the_same_digest(ours, theirs):
    back = layouts.to_open_clip(theirs)
    assert checkpoint.digest(back) == checkpoint.digest(ours)
    assert checkpoint.digest(layouts.from_open_clip(back)) == checkpoint.digest(theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_are_kept(ours, dtype):
    cast = {name: tensor.to(dtype) for name, tensor in ours.items()}
    back = layouts.to_open_clip(layouts.from_open_clip(cast))
    assert checkpoint.digest(back) == checkpoint.digest(cast)


def test_query_key_and_value_are_the_thirds_of_one_matrix(ours, theirs):
    joined = ours["transformer.resblocks.0.attn.in_proj_weight"]  # (3 W, W), W = 64
    layer = "text_model.encoder.layers.0.self_attn."
    assert torch.equal(theirs[f"{layer}q_proj.weight"], joined[:64])
    assert torch.equal(theirs[f"{layer}k_proj.weight"], joined[64:128])
    assert torch.equal(theirs[f"{layer}v_proj.weight"], joined[128:])


def test_projections_are_transposed_and_the_rest_keeps_its_shape(ours, theirs):
    assert torch.equal(theirs["visual_projection.weight"], ours["visual.proj"].T)
    assert torch.equal(theirs["text_projection.weight"], ours["text_projection"].T)
    assert torch.equal(theirs["vision_model.pre_layrnorm.bias"], ours["visual.ln_pre.bias"])
    assert torch.equal(theirs["text_model.final_layer_norm.weight"], ours["ln_final.weight"])
    assert torch.equal(
        theirs["vision_model.encoder.layers.1.mlp.fc2.weight"], ours["visual.transformer.resblocks.1.mlp.c_proj.weight"]
    )


def test_every_tensor_is_contiguous_in_both_directions(theirs):
    turned = {name: tensor.mT.contiguous().mT if tensor.ndim == 2 else tensor for name, tensor in theirs.items()}
    back = layouts.to_open_clip(turned)
    assert all(tensor.is_contiguous() for tensor in (*theirs.values(), *back.values()))
    assert checkpoint.digest(back) == checkpoint.digest(layouts.to_open_clip(theirs))


def test_shapes_alone_are_enough(ours):
    shapes = {name: tensor.to("meta") for name, tensor in ours.items()}
    back = layouts.to_open_clip(layouts.from_open_clip(shapes))
    assert {name: tensor.shape for name, tensor in back.items()} == {
        name: tensor.shape for name, tensor in ours.items()
    }


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("vision_model.", r"missing \('vision_model"),
        ("text_model.", r"missing \('text_model"),
        ("logit_scale", "1 missing"),
        ("vision_model.encoder.layers.0.self_attn.k_proj.bias", r"k_proj\.bias"),
        ("vision_model.encoder.layers.0.", r"missing \('vision_model\.encoder\.layers\.0.*unknown"),
    ],
)
def test_missing_tensors_are_named(theirs, prefix, words):
    some = {name: tensor for name, tensor in theirs.items() if not name.startswith(prefix)}
    with pytest.raises(UnsupportedModel, match=words):
        layouts.to_open_clip(some)


def test_unknown_tensors_are_named(theirs, ours):
    with pytest.raises(UnsupportedModel, match=r"1 unknown \('vision_model\.head\.probe'\)"):
        layouts.to_open_clip(theirs | {"vision_model.head.probe": torch.zeros(1)})
    with pytest.raises(UnsupportedModel, match=r"1 unknown \('visual\.transformer\.resblocks\.0\.ls_1\.gamma'\)"):
        layouts.from_open_clip(ours | {"visual.transformer.resblocks.0.ls_1.gamma": torch.zeros(1)})


def test_a_resnet_is_refused_by_name():
    with pytest.raises(UnsupportedModel, match="ViT towers alone"):
        layouts.from_open_clip(state_dict(TINY_RESNET))


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("vision_model.encoder.layers.0.self_attn.q_proj.weight", torch.zeros(3, 3), "differ"),
        ("vision_model.encoder.layers.0.self_attn.q_proj.bias", torch.zeros(64).half(), "differ"),
        ("vision_model.encoder.layers.0.self_attn.q_proj.bias", torch.zeros(()), "differ"),
        ("visual_projection.weight", torch.zeros(3), "two axes"),
    ],
)
def test_shapes_that_cannot_be_joined_or_transposed_are_refused(theirs, name, tensor, words):
    with pytest.raises(UnsupportedModel, match=words):
        layouts.to_open_clip(theirs | {name: tensor})


@pytest.mark.parametrize("tensor", [torch.zeros(4), torch.zeros(())])
def test_a_matrix_that_does_not_hold_three_is_refused(ours, tensor):
    with pytest.raises(UnsupportedModel, match="query, key and value"):
        layouts.from_open_clip(ours | {"transformer.resblocks.0.attn.in_proj_bias": tensor})


def test_a_million_numbered_blocks_make_no_million_names(theirs):
    many = {f"vision_model.encoder.layers.{n}.x": torch.zeros(1) for n in range(20_000)}
    with pytest.raises(UnsupportedModel, match="missing"):
        layouts.to_open_clip(theirs | many)


# Read from files.


def test_a_bare_state_dict_of_transformers_is_read_under_open_clip_names(tmp_path, ours, theirs):
    buffers = {f"{tower}.embeddings.position_ids": torch.arange(8) for tower in ("text_model", "vision_model")}
    torch.save(theirs | buffers, tmp_path / "pytorch_model.bin")
    found = checkpoint.read(tmp_path / "pytorch_model.bin")
    assert checkpoint.digest(found.tensors) == checkpoint.digest(ours)
    assert (found.format, found.config, found.config_name) == ("torch-zip", None, None)
    assert any("position_ids" in note for note in found.notes)
    assert any(note.startswith("renamed from transformers' CLIPModel") for note in found.notes)


def test_prefixes_and_wrappers_around_the_names_of_transformers_are_removed(tmp_path, ours, theirs):
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
