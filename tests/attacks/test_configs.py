"""Configurations from outside: every setting with every kind of wrong value ends in a refusal, never in a bug."""

import copy
import itertools
import json

import pytest
import tiny

from clipclean import model
from clipclean.errors import ClipcleanError
from clipclean.model.architecture import native_configs

TENSORS = tiny.state_dict(tiny.SMALL_VIT)
HOSTILE = (None, True, 0, -1, 2**63, 2**200, 0.5, 1.0, 1e-300, 1e300, "64", "x" * 10_000)
HOSTILE += ([], [1, 2, 3, 4], [[]], ["a"], {"a": 1}, [0.1] * 4)
BOTH = "layers width mlp_ratio pool_type norm_kwargs act_kwargs unknown "
VISION = f"{BOTH}image_size patch_size head_width no_ln_pre ls_init_value final_ln_after_pool patch_dropout"
VISION += " attentional_pool timm_model_name"
TEXT = f"{BOTH}context_length vocab_size heads hf_tokenizer_name tokenizer_kwargs eos_id no_causal_mask pad_id"
TEXT += " hf_model_name"
WHOLE = "embed_dim vision_cfg text_cfg quick_gelu custom_text nonscalar_logit_scale multimodal_cfg"
PIXELS = "size mean std interpolation resize_mode unknown"
KEYS = {"vision_cfg": VISION.split(), "text_cfg": TEXT.split(), None: WHOLE.split(), "preprocess_cfg": PIXELS.split()}


def with_value(section, key, value):
    if section == "preprocess_cfg":
        return {"model_cfg": tiny.SMALL_VIT, "preprocess_cfg": {key: value}}
    config = copy.deepcopy(tiny.SMALL_VIT)
    (config if section is None else config[section])[key] = value
    return config


def judged(config):
    """What becomes of a config: taken, or refused in our own words."""
    try:
        found = model.resolve(TENSORS, arch=None, config=config, script_quick_gelu=None)
        model.refuse_tokenizer(found)
        model.check(found, TENSORS)
        model.build(found.with_activation(False, "told"), TENSORS, device="cpu")
    except ClipcleanError as error:
        return f"exit {error.exit_code}"
    return "taken"


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("section", KEYS)
def test_a_wrong_value_of_any_setting_is_refused_or_does_no_harm(section, every):
    tried = [*itertools.product(KEYS[section], HOSTILE)][::every]
    ends = {judged(with_value(section, key, value)) for key, value in tried}
    assert ends <= {"taken", "exit 2", "exit 3"}


def test_the_name_of_an_architecture_is_never_a_file_of_the_working_folder(tmp_path, monkeypatch):
    config = next(name for name in native_configs() if name == "ViT-B-32")
    (tmp_path / config).write_text(json.dumps(tiny.SMALL_VIT | {"quick_gelu": False}))
    monkeypatch.chdir(tmp_path)
    found = model.resolve(TENSORS, arch=config, config=None, script_quick_gelu=None)
    assert found.config == native_configs()[config]
    (tmp_path / "own").write_text(json.dumps(tiny.SMALL_VIT | {"quick_gelu": False}))
    assert model.resolve(TENSORS, arch="own", config=None, script_quick_gelu=None).config["embed_dim"] == 8
