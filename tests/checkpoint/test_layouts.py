from collections import Counter

import pytest
import safetensors.torch
import torch
from tiny import TINY_RESNET, TINY_VIT, state_dict

from clipclean import checkpoint
from clipclean.checkpoint import layouts
from clipclean.errors import RefusedInput, UnsafeCheckpoint, UnsupportedModel, UsageError

ONE, NONE = torch.ones(1), torch.zeros(1)
TWO = {"epoch": 3, "model": {"module.w": NONE}, "state_dict_ema": {"module.w": ONE}}
BESIDE = {"state_dict": {"w": ONE}, "ema": {"w": NONE}, "model": {"layers": 12}, "optimizer": {"state": {}}}
DERIVED = ("attn_mask", "text.attn_mask", "a.position_ids", "vocab_size", "context_length")
STEPPED = {"state_dict": {"w": ONE}, "step": 3}
COUNTED = {"step": torch.tensor(3), "state_dict": {"w": ONE}}
LIGHTNING = {"pytorch-lightning_version": "2.0", "state_dict": {"model.w": ONE}}
NESTED = {"model": {"state_dict": {"w": NONE}, "ema": {"w": ONE}}}
OWN = {"mine": {"state_dict": {"w": ONE}}, "state_dict": {"w": NONE}}
UNDER, BARE = "state dict under ", "bare state dict"


WRAPPED = [  # content, choice, weights or None for all of it, producer, what a note says or None
    ({"text.transformer.resblocks.0.ln_1.weight": ONE}, None, None, BARE, None),  # a native tower
    ({"module.a": ONE, "b": NONE}, None, None, BARE, None),  # a prefix that one name lacks stays
    ({"model.": ONE}, None, None, BARE, None),  # and so does one that is all of a name
    ({"w": ONE, "version": "1"}, None, {"w": 1}, BARE, "'version'"),
    ({"w": ONE, "sizes": [1, 2]}, None, {"w": 1}, BARE, "'sizes'"),
    *(({name: ONE * -torch.inf, "w": ONE}, None, {"w": 1}, BARE, repr(name)) for name in DERIVED),
    ({"model": STEPPED}, None, {"w": 1}, f"{UNDER}model.state_dict", "'step'"),
    (COUNTED, None, {"w": 1}, f"{UNDER}state_dict", "'step'"),
    (LIGHTNING, None, {"w": 1}, "PyTorch Lightning checkpoint", None),
    (BESIDE, None, {"w": 1}, f"{UNDER}state_dict", "'model'"),
    (BESIDE, "ema", {"w": 0}, f"{UNDER}ema", None),
    (TWO, None, {"w": 0}, f"{UNDER}model", "--weights ema"),
    (TWO, "ema", {"w": 1}, f"{UNDER}state_dict_ema", "'model'"),
    (TWO, "state_dict_ema", {"w": 1}, f"{UNDER}state_dict_ema", "'epoch'"),
    (NESTED, "ema", {"w": 1}, f"{UNDER}model.ema", None),
    (OWN, "mine", {"w": 1}, f"{UNDER}mine.state_dict", None),
    ({"epoch": 3, "model_ema": {"w": ONE}}, "ema", {"w": 1}, f"{UNDER}model_ema", None),
]


@pytest.mark.parametrize(("content", "choice", "weights", "producer"), [row[:4] for row in WRAPPED])
def test_weights_are_found_below_wrappers(tmp_path, content, choice, weights, producer):
    torch.save(content, tmp_path / "m")
    file = checkpoint.read(tmp_path / "m", weights=choice)
    expected = {name: float(value) for name, value in content.items()} if weights is None else weights
    assert {name: tensor.item() for name, tensor in file.tensors.items()} == expected
    assert file.producer == producer


@pytest.mark.parametrize(("content", "choice", "note"), [(*row[:2], row[4]) for row in WRAPPED if row[4]])
def test_what_is_left_beside_the_weights_is_noted(tmp_path, content, choice, note):
    torch.save(content, tmp_path / "m")
    assert note in "".join(checkpoint.read(tmp_path / "m", weights=choice).notes)


of_another_kind = pytest.mark.parametrize(
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


@of_another_kind
def test_a_module_of_another_kind_of_model_is_refused_by_name(name, words):
    module = inner = torch.nn.Module()
    *path, leaf = name.split(".")
    for part in path:
        inner.add_module(part, torch.nn.Module())
        inner = getattr(inner, part)
    inner.register_buffer(leaf, ONE)
    with pytest.raises(UnsupportedModel, match=words):
        checkpoint.of_module(module)


@of_another_kind
def test_a_file_of_another_kind_of_model_is_refused_by_name(tmp_path, name, words):
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


TRAINED = {"model": {"w": NONE}, "optimizer": {"lr": 0.1}}
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
    with pytest.raises(UnsafeCheckpoint, match="--weights NAME"):
        checkpoint.read(tmp_path / "m")
    if choice:
        found = checkpoint.read(tmp_path / "m", weights=choice)
        assert (found.tensors["w"].item(), found.wrappers) == (1, (choice,))


@pytest.mark.parametrize(
    ("content", "choice", "named"),
    [*((TRAINED, choice, "'model'") for choice in ("ema", "modle", "")), ({"w": ONE}, "ema", "none of its keys")],
)
def test_a_choice_that_the_file_does_not_offer_is_refused(tmp_path, content, choice, named):
    torch.save(content, tmp_path / "m")
    with pytest.raises(UsageError, match=named):
        checkpoint.read(tmp_path / "m", weights=choice)


def test_averages_alone_are_not_taken_for_the_weights(tmp_path):
    torch.save({"epoch": 3, "model_ema": {"w": ONE}}, tmp_path / "m")
    with pytest.raises(RefusedInput, match="'model_ema'"):
        checkpoint.read(tmp_path / "m")


@pytest.fixture(scope="module")
def ours():
    """A native ViT of open_clip, with numbers everywhere: a fresh model has zeros for biases."""
    rng = torch.Generator().manual_seed(1)
    return {name: torch.randn(tensor.shape, generator=rng) for name, tensor in state_dict(TINY_VIT).items()}


@pytest.fixture(scope="module")
def theirs(ours):
    return layouts.from_open_clip(ours)


def test_each_tensor_of_transformers_is_its_part_of_open_clips(ours, theirs):
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


def test_every_tensor_is_contiguous_whatever_its_strides_were(theirs):
    turned = {name: tensor.mT.contiguous().mT if tensor.ndim == 2 else tensor for name, tensor in theirs.items()}
    back = layouts.transformers_to_open_clip(turned)
    assert all(tensor.is_contiguous() for tensor in (*theirs.values(), *back.values()))
    assert checkpoint.digest(back) == checkpoint.digest(layouts.transformers_to_open_clip(theirs))


def test_a_round_trip_changes_no_tensor_of_any_type(ours):
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        cast = {name: tensor.to(dtype) for name, tensor in ours.items()}
        assert checkpoint.digest(layouts.transformers_to_open_clip(layouts.from_open_clip(cast))) == checkpoint.digest(
            cast
        )
    shapes = layouts.transformers_to_open_clip(
        layouts.from_open_clip({name: tensor.to("meta") for name, tensor in ours.items()})
    )
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
def test_what_cannot_be_taken_from_transformers_is_refused_by_name(theirs, without, more, words):
    some = {name: tensor for name, tensor in theirs.items() if not (without and name.startswith(without))}
    with pytest.raises(UnsupportedModel, match=words):
        layouts.transformers_to_open_clip(some | more)


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
    assert any("CLIPModel" in note for note in found.notes)
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


PART = {"w": ONE, "v": NONE}
MANY = {f"layer{number}.weight": ONE for number in range(9)}


@pytest.mark.parametrize(
    ("content", "choice", "others"),
    [
        ({"state_dict": PART, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": ONE}}}}, None, ()),
        ({"state_dict": PART, "net": {"w": NONE}}, None, ("net",)),  # a part of the weights
        ({"state_dict": PART, "teacher": {"module.w": NONE}}, None, ("teacher",)),
        ({"state_dict": PART, "params_ema": {"weights": [{"model.w": NONE}]}}, None, ("params_ema.weights.0",)),
        ({"state_dict": PART, "discriminator": MANY}, None, ("discriminator",)),
        ({"state_dict": PART, "ema": PART | {"w": NONE}}, None, ("ema",)),
        ({"state_dict": PART, "ema": PART | {"w": NONE}}, "ema", ("state_dict",)),
        ({**PART, "weights": {"w": NONE}}, None, ("weights",)),
        ({"state_dict": {**PART, "net": {"w": NONE}}}, None, ("state_dict.net",)),
    ],
)
def test_further_sets_of_weights_are_told_by_their_keys(tmp_path, content, choice, others):
    torch.save(content, tmp_path / "m")
    assert checkpoint.read(tmp_path / "m", weights=choice).others == others


def test_a_wrapper_that_is_no_plain_mapping_is_refused(tmp_path):

    torch.save({"state_dict": Counter({"w": 2}), "model": {"w": ONE}}, tmp_path / "m")
    with pytest.raises(UnsafeCheckpoint, match=r"'state_dict'.*no plain mapping"):
        checkpoint.read(tmp_path / "m")
