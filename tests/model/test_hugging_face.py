import functools
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.model import CLIP

from clipclean import model
from clipclean.errors import ClipcleanError, RefusedInput, UnsupportedModel
from clipclean.model.hugging_face import translate

SHARED = {"hidden_act": "gelu"}
TEXT = {"hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2, "num_attention_heads": 3}
VISION = {"hidden_size": 32, "intermediate_size": 72, "num_hidden_layers": 3, "num_attention_heads": 4}
TINY = {
    "model_type": "clip",
    "projection_dim": 20,
    "text_config": SHARED | TEXT | {"max_position_embeddings": 12},
    "vision_config": SHARED | VISION | {"image_size": 24, "patch_size": 8},
}


def changed(**sections):
    """TINY with other values; a section takes its dict's."""
    inner = {name for name, value in sections.items() if isinstance(value, dict) and name in TINY}
    return TINY | {name: TINY[name] | value if name in inner else value for name, value in sections.items()}


def both(**values):
    return changed(text_config=values, vision_config=values)


@functools.cache
def shapes():
    with torch.device("meta"):
        return CLIP(**translate(TINY, origin="x")["model_cfg"]).state_dict()


def resolve(config, *, arch=None):
    return model.resolve(shapes(), arch=arch, config=config, script_quick_gelu=None)


def configured(**sections):
    """The config of open_clip for TINY with other values."""
    return translate(changed(**sections), origin="x")["model_cfg"]


def test_every_size_is_in_open_clips_terms():
    # 32 channels in 4 heads; int(32 * 72.5 / 32) = 72
    vision = {"image_size": 24, "patch_size": 8, "width": 32, "layers": 3, "head_width": 8, "mlp_ratio": 72.5 / 32}
    text = {"context_length": 12, "vocab_size": 49408, "width": 48, "heads": 3, "layers": 2, "mlp_ratio": 100.5 / 48}
    assert configured() == {"embed_dim": 20, "quick_gelu": False, "vision_cfg": vision, "text_cfg": text}


@pytest.mark.parametrize("end", [2, 49407])
def test_the_legacy_end_of_captions_is_read_as_the_largest_id(end):
    assert configured(text_config={"eos_token_id": end}) == configured()


def test_an_old_spelling_is_read_as_transformers_reads_it():
    old = {"model_type": "clip", "text_config": {"hidden_size": 1024}}
    old |= {"text_config_dict": {"hidden_size": 768, "num_attention_heads": 12}}
    assert translate(old, origin="x")["model_cfg"]["text_cfg"]["width"] == 768


def test_the_epsilon_of_a_towers_norms_is_that_of_this_tower_alone():
    config = configured(vision_config={"layer_norm_eps": 1e-6})
    assert config["vision_cfg"]["norm_kwargs"] == {"eps": 1e-6}
    assert "norm_kwargs" not in config["text_cfg"]


@pytest.mark.parametrize("inner", [1, 47, 48, 49, 97, 143, 4304])
@pytest.mark.parametrize("width", [48, 1152, 8192])
def test_the_inner_width_survives_the_ratio(inner, width):
    config = changed(text_config={"hidden_size": width, "intermediate_size": inner, "num_attention_heads": 1})
    ratio = translate(config, origin="x")["model_cfg"]["text_cfg"]["mlp_ratio"]
    assert int(width * ratio) == inner


HUGE = {"num_attention_heads": 16}
HUGE_TEXT = HUGE | {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
HUGE_VISION = HUGE | {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "patch_size": 14}


NAMED = [
    # what transformers leaves out is openai/clip-vit-base-patch32
    ({}, "ViT-B-32-quickgelu"),
    ({"text_config": None, "vision_config": {"patch_size": 16}}, "ViT-B-16-quickgelu"),
    ({"text_config": SHARED, "vision_config": SHARED}, "ViT-B-32"),
    # laion/CLIP-ViT-H-14-laion2B-s32B-b79K: 16 heads of 80 channels
    (
        {"projection_dim": 1024, "text_config": HUGE_TEXT | SHARED, "vision_config": HUGE_VISION | SHARED},
        "ViT-H-14",
    ),
    (TINY, "ViT-3x32-8-24px"),
    # the heads are not in the shapes, but they are in the name
    ({"vision_config": {"num_attention_heads": 8}}, "ViT-12x768-32-224px"),
]


@pytest.mark.parametrize(("config", "name"), NAMED)
def test_a_model_that_open_clip_has_gets_its_name(config, name):
    architecture = resolve({"model_type": "clip"} | config)
    assert architecture.name == name
    assert "config.json" in architecture.origin
    assert "config.json" in architecture.activation_how


@pytest.mark.parametrize(("config", "name"), NAMED)
def test_the_file_may_be_named_as_the_architecture(tmp_path, config, name):
    config = {"model_type": "clip"} | config
    (tmp_path / "config.json").write_text(json.dumps(config))
    architecture = resolve(None, arch=str(tmp_path / "config.json"))
    assert (architecture.name, architecture.quick_gelu) == (name, resolve(config).quick_gelu)
    assert "--arch" in architecture.activation_how


OTHERWISE = (  # prepared images
    {"size": {"shortest_edge": 32}, "crop_size": 24},
    {"size": 32, "crop_size": 32},  # the tower takes 24
    {"size": 24, "do_center_crop": False},
    {"size": {"height": 24, "width": 32}, "do_center_crop": False},
    {"size": {"height": 24, "width": 24}, "crop_size": 16},
    {"resample": 0},
    {"resample": [3]},
    {"do_resize": False},
    {"do_rescale": False},
    {"rescale_factor": 1},
    {"rescale_factor": "1/255"},
)
BEYOND_THE_TOWERS = (
    *(both(hidden_act=value) for value in ("gelu_new", ["gelu"], None)),
    changed(text_config={"hidden_act": "quick_gelu"}),
    # captions end with the largest id or the legacy one
    *(changed(text_config={"eos_token_id": end}) for end in (0, 1, 49406, True, None, "2", [2], [49407])),
    *(changed(model_type=value) for value in ("siglip", ["clip"], None)),
    changed(vision_config={"num_channels": 1}),
    *(changed(preprocessor_config=told) for told in OTHERWISE),
)
OF_ANOTHER_KIND = (
    changed(text_config=[1], vision_config={}),
    changed(text_config="x"),
    *(changed(projection_dim=value) for value in ("20", -1, True, 1e3)),
    *(
        changed(vision_config={key: value})
        for key, values in {
            "hidden_size": (10**9, 16384),
            "num_hidden_layers": (10**5,),
            "num_attention_heads": (5, 0),
            "image_size": ([24, 32], [], 10**5),
        }.items()
        for value in values
    ),
    changed(text_config={"vocab_size": 10**12}),
    *(changed(text_config={"layer_norm_eps": value}) for value in (0, "1e-5")),
    *(changed(preprocessor_config=value) for value in ([1], {"image_mean": [1]}, {"image_std": [0, 0, 0]})),
)


@pytest.mark.parametrize("config", BEYOND_THE_TOWERS)
def test_what_the_native_towers_cannot_express_is_refused(config):
    with pytest.raises(UnsupportedModel):
        resolve(config)


@pytest.mark.parametrize("config", OF_ANOTHER_KIND)
def test_a_value_of_another_kind_is_refused(config):
    with pytest.raises(RefusedInput):
        resolve(config)


# Images.


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, model.Preprocess(24)),
        ({"size": 24, "crop_size": 24}, model.Preprocess(24)),  # as transformers wrote it before 4.21
        ({"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}, model.Preprocess(24)),
        ({"size": {"height": 24, "width": 24}}, model.Preprocess(24, resize_mode="squash")),
        ({"size": {"height": 24, "width": 24}, "do_center_crop": False}, model.Preprocess(24, resize_mode="squash")),
        ({"resample": 2}, model.Preprocess(24, interpolation="bilinear")),
        ({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}, model.Preprocess(24, (0.5,) * 3, (0.25,) * 3)),
        ({"do_normalize": False, "image_mean": [0.5] * 3}, model.Preprocess(24, (0.0,) * 3, (1.0,) * 3)),
        ({"rescale_factor": 0.00392156862745098}, model.Preprocess(24)),
    ],
)
def test_the_image_processor_tells_how_images_are_prepared(told, expected):
    assert resolve(changed(preprocessor_config=told)).preprocess == expected
    assert resolve(TINY).preprocess == model.Preprocess(24)  # without a word, as OpenAI prepares them


IMAGES = {"size": {"shortest_edge": 24}, "crop_size": 24, "image_mean": [0.5] * 3, "resample": 3}
SECTIONS = TINY | {"preprocessor_config": IMAGES, "text_config_dict": None, "vision_config_dict": None}
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
KEYS = ("hidden_size", "num_attention_heads", "image_size", "eos_token_id", "hidden_act", "layer_norm_eps")
KEYS += ("size", "crop_size", "resample", "image_mean", "do_center_crop", "rescale_factor", "shortest_edge", "height")


@settings(derandomize=True, database=None)
@given(st.sampled_from(list(SECTIONS)), st.sampled_from(KEYS), st.booleans(), ODD)
def test_any_value_anywhere_is_read_or_refused(section, key, is_whole, value):
    inside = SECTIONS[section] if isinstance(SECTIONS[section], dict) else {}
    config = SECTIONS | {section: value if is_whole else inside | {key: value}}
    try:
        found = resolve(config)
    except ClipcleanError as error:
        assert str(error).isprintable()  # noqa: PT017 # either way out is right
        return
    assert 0 < found.preprocess.size <= 1024
