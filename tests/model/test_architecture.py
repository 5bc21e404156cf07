import json

import pytest
import torch
from cases import each
from open_clip.model import CLIP
from tiny import TINY_RESNET, TINY_VIT

from clipclean import model
from clipclean.errors import RefusedInput, UnsupportedModel, UsageError
from clipclean.model.architecture import config_signature, native_configs, signature


def shapes_of(config: dict) -> dict[str, torch.Tensor]:
    known = {k: v for k, v in config.items() if k in ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")}
    with torch.device("meta"):
        return CLIP(**known).state_dict()


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


@pytest.mark.parametrize("name", ["ViT-B-32", "RN50"])
def test_a_built_in_model_is_named_and_its_activation_stays_open(name):
    found = resolve(shapes_of(native_configs()[name]))
    assert (found.name, found.quick_gelu) == (name, None)


def test_a_torchscript_archive_that_names_quickgelu_decides():
    found = resolve(shapes_of(native_configs()["ViT-B-32"]), quick=True)
    assert (found.name, found.quick_gelu) == ("ViT-B-32-quickgelu", True)
    assert "TorchScript" in found.activation_how


@pytest.mark.parametrize(("name", "quick"), [("ViT-B-32", False), ("ViT-B-32-quickgelu", True)])
def test_a_name_wins_over_the_shapes(name, quick):
    found = resolve(shapes_of(TINY_VIT) | {}, arch=name)
    assert (found.name, found.quick_gelu) == (name, quick)


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(UsageError, match=r"Did you mean.*ViT-B-32"):
        resolve(shapes_of(TINY_VIT), arch="ViT-B32")


def test_a_config_file_tells_architecture_activation_and_preprocessing(tmp_path):
    path = tmp_path / "config.json"
    preprocess = {
        "size": 32,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2],
        "interpolation": "bilinear",
        "resize_mode": "squash",
    }
    path.write_text(json.dumps({"model_cfg": TINY_VIT | {"quick_gelu": True}, "preprocess_cfg": preprocess}))
    found = resolve(shapes_of(TINY_VIT), arch=str(path))
    assert found.quick_gelu is True
    assert found.preprocess == model.Preprocess(32, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "bilinear", "squash")


def test_a_bare_model_config_means_gelu_as_open_clip_reads_it(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY_VIT))
    found = resolve(shapes_of(TINY_VIT), arch=str(path))
    assert (found.quick_gelu, found.preprocess.size) == (False, 32)


@pytest.mark.parametrize("content", ["{", "[1]", '{"embed_dim": 3}', "[" * 100_000])
def test_a_broken_config_file_is_a_usage_error(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(UsageError):
        resolve(shapes_of(TINY_VIT), arch=str(path))


def test_a_config_beyond_the_caps_is_refused(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps(TINY_VIT | {"vision_cfg": {"layers": 10**6, "width": 64, "image_size": 32, "patch_size": 8}})
    )
    with pytest.raises(RefusedInput, match="layers = 1000000"):
        resolve(shapes_of(TINY_VIT), arch=str(path))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("visual.trunk.blocks.0.norm1.weight", "timm"),
        ("text.transformer.embeddings.word_embeddings.weight", "Hugging Face text tower"),
        ("text_decoder.ln_final.weight", "CoCa"),
        ("vision_model.post_layernorm.weight", "Hugging Face CLIPModel"),
        ("logit_bias", "SigLIP"),
    ],
)
def test_other_kinds_of_model_are_refused_by_name(name, kind):
    with pytest.raises(UnsupportedModel, match=kind):
        resolve(shapes_of(TINY_VIT) | {name: torch.zeros(1)})


def test_half_a_model_is_refused_with_what_is_missing():
    tensors = {k: v for k, v in shapes_of(TINY_VIT).items() if k.startswith("visual.")}
    with pytest.raises(UnsupportedModel, match="text_projection"):
        resolve(tensors)


@each(
    "told",
    [
        [1],
        {"size": "abc"},
        {"size": []},
        {"size": -1},
        {"size": 10**9},
        {"size": 16},
        {"mean": 5},
        {"mean": [0.5]},
        {"mean": ["a", "b", "c"]},
        {"std": [0, 0, 0]},
        {"interpolation": "lanczos"},
        {"resize_mode": ["shortest"]},
    ],
)
def test_preprocessing_that_no_transform_takes_is_refused(told):
    with pytest.raises(RefusedInput):
        resolve(shapes_of(TINY_VIT), config={"model_cfg": TINY_VIT, "preprocess_cfg": told})


@pytest.mark.parametrize("told", [3, None, [1]])
def test_a_model_config_that_is_no_object_is_a_usage_error(told):
    with pytest.raises(UsageError, match="missing embed_dim"):
        resolve(shapes_of(TINY_VIT), config={"model_cfg": told})


@pytest.mark.parametrize(
    "change", [{"quick_gelu": "no"}, {"vision_cfg": TINY_VIT["vision_cfg"] | {"image_size": None}}]
)
def test_a_model_config_with_values_of_another_kind_is_refused(change):
    with pytest.raises(RefusedInput):
        resolve(shapes_of(TINY_VIT), config=TINY_VIT | change)


def test_an_image_tower_without_its_first_convolution_is_refused():
    tensors = {k: v for k, v in shapes_of(TINY_VIT).items() if k != "visual.conv1.weight"}
    with pytest.raises(UnsupportedModel, match=r"visual\.conv1\.weight not found"):
        resolve(tensors)


def test_an_image_tower_without_places_is_refused():
    with pytest.raises(UnsupportedModel, match="shapes that no CLIP model has"):
        resolve(shapes_of(TINY_VIT) | {"visual.positional_embedding": torch.zeros(0, 64)})


def test_a_name_that_no_file_can_have_is_a_usage_error():
    with pytest.raises(UsageError, match="no open_clip architecture"):
        resolve(shapes_of(TINY_VIT), arch="x" * 5000)
