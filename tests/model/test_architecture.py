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
def test_a_built_in_model_is_named_by_its_shapes_and_a_name_wins_over_them(name, quick, found):
    resolved = resolve(shapes_of(native_configs()[name]), quick=quick)
    assert (resolved.name, resolved.quick_gelu) == (found, quick)
    resolved = resolve(SHAPES, arch=found)
    assert (resolved.name, resolved.quick_gelu) == (found, "quickgelu" in found or found == "RN50-quickgelu")


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


def without(*prefixes):
    return {name: tensor for name, tensor in SHAPES.items() if not name.startswith(prefixes)}


@pytest.mark.parametrize(
    ("given", "error", "named"),
    [
        # an unknown name, with near ones
        ({"arch": "ViT-B32"}, UsageError, "ViT-B-32"),
        ({"arch": "x" * 5000}, UsageError, None),
        # values of another kind
        *(({"config": {"model_cfg": TINY_VIT, "preprocess_cfg": told}}, RefusedInput, None) for told in PREPROCESSING),
        *(({"config": {"model_cfg": told}}, UsageError, None) for told in (3, None, [1])),
        ({"config": TINY_VIT | {"quick_gelu": "no"}}, RefusedInput, None),
        ({"config": TINY_VIT | {"vision_cfg": TINY_VIT["vision_cfg"] | {"image_size": None}}}, RefusedInput, None),
        # half a model, with what is missing
        (
            {"tensors": without("text", "transformer", "token", "positional", "ln_final", "logit")},
            UnsupportedModel,
            "text_projection",
        ),
        ({"tensors": without("visual.conv1.weight")}, UnsupportedModel, r"visual\.conv1\.weight"),
        ({"tensors": SHAPES | {"visual.positional_embedding": torch.zeros(0, 64)}}, UnsupportedModel, None),
    ],
)
def test_an_unknown_name_values_of_another_kind_and_half_a_model_are_refused(given, error, named):
    with pytest.raises(error, match=named):
        resolve(**{"tensors": SHAPES} | given)
