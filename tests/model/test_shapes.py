import copy

import open_clip
import pytest
import torch
from cases import each
from open_clip.model import CLIP
from tiny import SMALL_VIT, TINY_RESNET, TINY_VIT

from clipclean import model
from clipclean.errors import UnsupportedModel
from clipclean.model import shapes
from clipclean.model.architecture import config_signature, native_configs
from clipclean.model.clip import CLIP_ARGUMENTS


def built(config):
    """The names and shapes of open_clip's own module."""
    with torch.device("meta"):
        net = CLIP(**{key: value for key, value in copy.deepcopy(config).items() if key in CLIP_ARGUMENTS})
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def state(config):
    """Tensors without memory of every name and shape."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.of(config).items()}


VARIED = {
    "no pre-norm": TINY_VIT | {"vision_cfg": TINY_VIT["vision_cfg"] | {"no_ln_pre": True, "pool_type": "avg"}},
    "gains": TINY_VIT | {"vision_cfg": TINY_VIT["vision_cfg"] | {"ls_init_value": 0.1}},
    "a wide inside": TINY_VIT | {"vision_cfg": TINY_VIT["vision_cfg"] | {"mlp_ratio": 4.9231, "head_width": 32}},
    "two sides": TINY_VIT | {"vision_cfg": TINY_VIT["vision_cfg"] | {"image_size": [32, 32]}},
    "deep": TINY_RESNET | {"vision_cfg": TINY_RESNET["vision_cfg"] | {"layers": [1, 2, 3, 2], "image_size": 64}},
}


@each("config", [TINY_VIT, SMALL_VIT, TINY_RESNET, *VARIED.values()])
def test_shapes_are_those_of_open_clips_module(config):
    assert shapes.of(config) == built(config)


@pytest.mark.slow
def test_shapes_of_every_native_config_are_those_of_open_clips_module():
    for name, config in native_configs().items():
        assert shapes.of(config) == built(config), name


def test_native_configs_are_open_clips_own():
    assert len(native_configs()) == 55
    for name, config in native_configs().items():
        told = open_clip.get_model_config(name)
        assert {key: told[key] for key in config} == config, name


@pytest.mark.parametrize(
    "setting", [{"custom_text": True}, {"vision_cfg": TINY_VIT["vision_cfg"] | {"input_patchnorm": 0}}]
)
def test_a_setting_that_is_not_known_leaves_the_shapes_to_open_clip(setting):
    assert shapes.of(TINY_VIT | setting) is None


@each("name", native_configs())
def test_every_native_architecture_is_found_again_from_shapes_alone(name):
    """There: names and shapes of the config. Back: the config from them, but for the activation, which is not in them."""
    config = native_configs()[name]
    found = model.resolve(state(config), arch=None, config=None, script_quick_gelu=None)
    assert found.name == name.removesuffix("-quickgelu")
    assert config_signature(found.config) == config_signature(config)
    without = {key: value for key, value in config.items() if key != "quick_gelu"}
    assert found.config == {key: value for key, value in native_configs()[found.name].items() if key != "quick_gelu"}
    assert shapes.of(found.config) == shapes.of(without)
    assert found.quick_gelu is None  # X against X-quickgelu: never resolved silently
    with pytest.raises(UnsupportedModel, match="GELU or QuickGELU"):
        model.build(found, state(config), device="meta")
    model.check(found, state(config))


@each("name", [name for name in native_configs() if name.endswith("-quickgelu")])
def test_a_collision_is_named_with_both_candidates(name):
    plain = name.removesuffix("-quickgelu")
    found = model.resolve(state(native_configs()[name]), arch=None, config=None, script_quick_gelu=None)
    assert found.how == f"shapes equal to open_clip's {plain} and {name}"
    assert found.with_activation(True, "told").name == name
    assert found.with_activation(False, "told").name == plain


def test_another_tokenizer_is_refused_by_name_where_captions_are_needed():
    found = model.resolve({}, arch="ViT-L-14-CLIPA", config=None, script_quick_gelu=None)
    with pytest.raises(UnsupportedModel, match=r"knows 32,000 tokens.*'bert-base-uncased'.*can inspect"):
        model.refuse_tokenizer(found)
    model.refuse_tokenizer(model.resolve({}, arch="ViT-B-32", config=None, script_quick_gelu=None))


def test_a_tensor_too_many_is_named():
    tensors = state(TINY_VIT) | {"extra.weight": torch.zeros(1)}
    found = model.resolve(tensors, arch=None, config=None, script_quick_gelu=None)
    with pytest.raises(UnsupportedModel, match=r"1 unknown \(extra\.weight\)"):
        model.check(found, tensors)
