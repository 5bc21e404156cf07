import json

import pytest
import torch
from open_clip.model import CLIP
from tiny import TINY_RESNET, TINY_VIT

from clipclean import model
from clipclean.errors import RefusedInput, UnsupportedModel, UsageError
from clipclean.model.architecture import config_signature, native_configs, signature


def shapes_of(config: dict) -> dict[str, torch.Tensor]:
    known = {k: v for k, v in config.items() if k in ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")}
    with torch.device("meta"):
        return CLIP(**known).state_dict()


SHAPES = shapes_of(TINY_VIT)


def resolve(tensors, *, arch=None, config=None, quick=None):
    return model.resolve(tensors, arch=arch, config=config, script_quick_gelu=quick)


@pytest.mark.parametrize("config", [TINY_RESNET, TINY_VIT])
def test_openai_rules_give_back_the_config_of_an_unknown_model(config):
    found = resolve(shapes_of(config))
    assert config_signature(found.config) == config_signature(config)
    assert found.config["text_cfg"]["heads"] == 1
    assert found.quick_gelu is None


@pytest.mark.slow
def test_every_native_config_of_open_clip_is_recognised_from_its_shapes():
    for name, config in native_configs().items():
        assert signature(shapes_of(config)) == config_signature(config), name


@pytest.mark.parametrize(
    ("name", "quick", "found"),
    [
        ("ViT-B-32", None, "ViT-B-32"),  # its activation stays open
        ("RN50", None, "RN50"),
        ("ViT-B-32", True, "ViT-B-32-quickgelu"),  # a TorchScript archive that names QuickGELU decides
    ],
)
def test_a_built_in_model_is_named_by_its_shapes(name, quick, found):
    resolved = resolve(shapes_of(native_configs()[name]), quick=quick)
    assert (resolved.name, resolved.quick_gelu) == (found, quick)


@pytest.mark.parametrize(("name", "quick"), [("ViT-B-32", False), ("ViT-B-32-quickgelu", True)])
def test_a_name_wins_over_the_shapes(name, quick):
    found = resolve(SHAPES, arch=name)
    assert (found.name, found.quick_gelu) == (name, quick)


@pytest.mark.parametrize(("name", "named"), [("ViT-B32", "ViT-B-32"), ("x" * 5000, None)])
def test_an_unknown_name_is_refused_with_near_ones(name, named):
    with pytest.raises(UsageError, match=named):
        resolve(SHAPES, arch=name)


def test_a_config_file_tells_architecture_activation_and_preprocessing(tmp_path):
    path, half, fifth = tmp_path / "config.json", [0.5] * 3, [0.2] * 3
    told = {"size": 32, "mean": half, "std": fifth, "interpolation": "bilinear", "resize_mode": "squash"}
    path.write_text(json.dumps({"model_cfg": TINY_VIT | {"quick_gelu": True}, "preprocess_cfg": told}))
    found = resolve(SHAPES, arch=str(path))
    assert found.quick_gelu is True
    assert found.preprocess == model.Preprocess(32, tuple(half), tuple(fifth), "bilinear", "squash")
    path.write_text(json.dumps(TINY_VIT))  # a bare model config means GELU, as open_clip reads it
    found = resolve(SHAPES, arch=str(path))
    assert (found.quick_gelu, found.preprocess.size) == (False, 32)


PREPROCESSING = (
    [1],
    *({"size": size} for size in ("abc", [], -1, 10**9, 16)),
    *({"mean": mean} for mean in (5, [0.5], ["a", "b", "c"])),
    {"std": [0, 0, 0]},
    {"interpolation": "lanczos"},
    {"resize_mode": ["shortest"]},
)


@pytest.mark.parametrize(
    ("config", "error"),
    [
        *(({"model_cfg": TINY_VIT, "preprocess_cfg": told}, RefusedInput) for told in PREPROCESSING),
        *(({"model_cfg": told}, UsageError) for told in (3, None, [1])),
        (TINY_VIT | {"quick_gelu": "no"}, RefusedInput),
        (TINY_VIT | {"vision_cfg": TINY_VIT["vision_cfg"] | {"image_size": None}}, RefusedInput),
    ],
)
def test_a_config_with_values_of_another_kind_is_refused(config, error):
    with pytest.raises(error):
        resolve(SHAPES, config=config)


def without(*prefixes):
    return {name: tensor for name, tensor in SHAPES.items() if not name.startswith(prefixes)}


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        (without("text", "transformer", "token", "positional", "ln_final", "logit"), "text_projection"),
        (without("visual.conv1.weight"), r"visual\.conv1\.weight"),
        (SHAPES | {"visual.positional_embedding": torch.zeros(0, 64)}, None),
    ],
)
def test_half_a_model_is_refused_with_what_is_missing(tensors, named):
    with pytest.raises(UnsupportedModel, match=named):
        resolve(tensors)
