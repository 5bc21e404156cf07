"""From a file to a model on a device."""

import json

import pytest
import tiny
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file

from clipclean import model
from clipclean.config import recipe
from clipclean.errors import RefusedInput, UnsupportedModel, UsageError
from clipclean.jobs import measured_images, opening

RECIPE = recipe.load("cleanclip")


@pytest.fixture
def two_gpus(monkeypatch):
    """Says whether a driver is there; then two devices are."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    return lambda are_there: monkeypatch.setattr(torch.cuda, "is_available", lambda: are_there)


@pytest.mark.parametrize(("are_there", "device"), [(False, "cpu"), (True, "cuda:0")])
def test_auto_takes_the_first_gpu_that_is_there(two_gpus, are_there, device):
    two_gpus(are_there)
    assert opening.device_of("auto") == device


def test_a_device_that_was_named_is_taken_for_no_other(two_gpus):
    two_gpus(True)
    assert opening.device_of("cuda:1") == "cuda:1"


@pytest.mark.parametrize(
    ("are_there", "name"), [(False, "cuda"), (False, "cuda:1"), (True, "cuda:2"), (True, "cuda:999")]
)
def test_a_device_that_is_not_there_is_refused(two_gpus, are_there, name):
    two_gpus(are_there)
    with pytest.raises(UsageError, match=name):
        opening.device_of(name)


# From a file to a model.


def test_a_resnet_in_channels_last_answers_as_it_does_in_rows(tmp_path):
    job = tiny.job(tmp_path / "resnet", config=tiny.TINY_RESNET)
    clip = tiny.loaded(job)[0].clip
    kernels = [p for p in clip.net.visual.parameters() if p.ndim == 4 and p.shape[2] > 1]
    assert kernels  # laid out so from the start
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    pixels = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    shown = clip.embed_images(pixels)
    clip.net.to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(shown, clip.embed_images(pixels), atol=1e-5, rtol=0)


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_the_activation_is_measured_on_the_clean_pairs_unless_the_user_tells_it(job, quick_gelu):
    tiny.fit_to_pairs(job, quick_gelu=quick_gelu)
    assert tiny.loaded(job, arch=False)[0].clip.architecture.quick_gelu is quick_gelu
    assert opening.read(job.model, arch=None).architecture.quick_gelu is None  # the file alone does not tell
    tiny.written(job.arch, json.dumps(tiny.SMALL_VIT | {"quick_gelu": not quick_gelu}))
    assert tiny.loaded(job)[0].clip.architecture.quick_gelu is not quick_gelu


def test_a_loaded_model_has_the_weights_of_its_file(read):
    weights, stored = read[1].weights(), tiny.state_dict(tiny.SMALL_VIT)
    assert weights.keys() == stored.keys()
    assert all(torch.equal(weights[name], stored[name]) for name in stored)


def test_an_activation_that_the_pairs_do_not_tell_is_noted_as_a_guess(read):
    loaded = tiny.loaded(read[0], arch=False)[0]  # random weights
    assert loaded.clip.architecture.quick_gelu is False
    assert model.UNDECIDED_NOTE in loaded.file.notes
    assert model.choose_activation(
        loaded.clip, loaded.clip, torch.rand(2, 3, 16, 16), ["a", "b"]
    ).is_guess  # no difference at all


@pytest.mark.slow  # reads the demo's pairs
def test_late_pairs_are_read_only_where_the_activation_is_not_told(job):
    tiny.fit_to_pairs(job, quick_gelu=True)
    with_arch, without_arch = (opening.read(job.model, arch=arch) for arch in (str(job.arch), None))

    def missing():
        raise RefusedInput("asked")

    assert opening.build(with_arch, missing, device="cpu").clip.architecture.quick_gelu is True
    with pytest.raises(RefusedInput, match="asked"):
        opening.build(without_arch, missing, device="cpu")
    with measured_images.shown_images((job.data,), RECIPE, with_arch.architecture) as (images, pairs):
        assert len(images) == 48
        assert opening.build(without_arch, pairs, device="cpu").clip.architecture.quick_gelu is not None
        assert pairs() is pairs()  # once


def replaced(net):
    for part in net.visual.modules():
        if isinstance(part, torch.nn.GELU):
            part.forward = torch.nn.functional.silu


class Triggered(torch.nn.Identity):
    """Acts on numbers that no honest image reaches."""

    def forward(self, values):
        return values if values.abs().max() < 1e3 else -values


def subclassed(net):
    class Own(CLIP):
        def encode_image(self, pixels, normalize=False):
            features = super().encode_image(pixels, normalize)
            return features if pixels.abs().max() < 1e3 else -features

    net.__class__ = Own


def forwarded(net):
    own = net.visual.forward
    net.visual.forward = lambda pixels: own(pixels) if pixels.abs().max() < 1e3 else -own(pixels)


class Acting(torch.nn.Parameter):
    """A weight whose class decides what products with it are."""


def weighted(net):
    net.visual.proj = Acting(net.visual.proj.data)


EDITS = {
    "subclass under a trigger": subclassed,
    "method under a trigger": forwarded,
    "part under a trigger": lambda net: setattr(net.visual.transformer.resblocks[0], "ls_1", Triggered()),
    "class of a weight": weighted,
    "hook on its gradient": lambda net: net.visual.register_full_backward_hook(lambda *_: None),
    "another part of torch": lambda net: setattr(
        net.visual.transformer.resblocks[0], "ls_2", torch.nn.Hardtanh(-1e3, 1e3)
    ),
    "hook": lambda net: net.visual.register_forward_hook(lambda *_: None),
    "method": lambda net: setattr(net, "encode_image", lambda pixels, **_: pixels.flatten(1)[:, :64]),
    "activation": replaced,
    "mask": lambda net: net.attn_mask.zero_(),
    "epsilon": lambda net: setattr(net.visual.bn1, "eps", 0.5),  # of a batch norm
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_module_that_answers_unlike_its_weights_is_refused(edit):
    torch.manual_seed(0)
    net = CLIP(**(tiny.TINY_RESNET if edit == "epsilon" else tiny.SMALL_VIT))
    assert opening.read(net, arch=None).architecture.name
    EDITS[edit](net)
    with pytest.raises(UnsupportedModel):
        opening.read(net, arch=None)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("text_cfg", "heads", 2),
        ("text_cfg", "no_causal_mask", True),
        ("text_cfg", "norm_kwargs", {"eps": 0.1}),
        ("text_cfg", "pool_type", "last"),
        ("text_cfg", "tokenizer_kwargs", {"clean": "lower"}),
        ("text_cfg", "tokenizer_mode", "clips"),
        ("text_cfg", "hf_tokenizer_name", 0),
        ("vision_cfg", "head_width", 32),
        ("vision_cfg", "norm_kwargs", {"eps": 0.1}),
        ("vision_cfg", "act_kwargs", {"approximate": "tanh"}),
        ("vision_cfg", "pool_type", "avg"),
    ],
)
def test_a_setting_beside_the_weights_that_no_tensor_shows_is_taken_only_from_the_user(tmp_path, section, key, value):
    folder = written_folder(tmp_path, {section: tiny.SMALL_VIT[section] | {key: value}})
    with pytest.raises(UnsupportedModel, match=f"{section}.{key} = .*--arch .*open_clip_config.json|tokenizer"):
        opening.read(folder, arch=None)
    if key in ("hf_tokenizer_name", "tokenizer_kwargs"):
        with pytest.raises(UnsupportedModel, match="tokenizer"):
            opening.read(folder, arch=str(folder / "open_clip_config.json"))
    else:
        assert (
            opening.read(folder, arch=str(folder / "open_clip_config.json")).architecture.config[section][key] == value
        )


@pytest.mark.parametrize("more", [{}, {"norm_kwargs": {"eps": 1e-5}, "no_causal_mask": False, "hf_tokenizer_name": ""}])
def test_the_usual_settings_beside_the_weights_are_taken(tmp_path, more):
    folder = written_folder(tmp_path, {"text_cfg": tiny.SMALL_VIT["text_cfg"] | more})
    assert opening.read(folder, arch=None).architecture.came_beside


def written_folder(path, changes):
    config = tiny.SMALL_VIT | changes
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(tiny.state_dict(tiny.SMALL_VIT), path / "open_clip_model.safetensors")
    return path
