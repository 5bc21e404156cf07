"""A model beside open_clip's own, its activation, and its architecture from shapes, names and files."""

import copy
import json
import math

import clips
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from tiny import TINY_RESNET, TINY_VIT

from clipclean import model
from clipclean.errors import RefusedInput, UnsupportedModel, UsageError
from clipclean.model.architecture import Preprocess, config_signature, native_configs, signature
from clipclean.model.clip import ProductAttention


def built(config: dict, *, quick: bool = False) -> tuple[model.Clip, CLIP]:
    torch.manual_seed(0)
    reference = CLIP(**config, quick_gelu=quick).eval()
    for norm in (each for each in reference.modules() if isinstance(each, torch.nn.BatchNorm2d)):
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 1.5)
    found = model.resolve(reference.state_dict(), arch=None, config=None, script_quick_gelu=None)
    return model.build(found.with_activation(quick, "test"), reference.state_dict(), device="cpu"), reference


NARROW = TINY_VIT | {"vision_cfg": TINY_VIT["vision_cfg"] | {"image_size": 30}}  # a border of six pixels is in no patch


BESIDE = [(config, quick) for config in (TINY_RESNET, TINY_VIT, NARROW) for quick in (False, True)]
BESIDE_NAMES = ("ResNet", "ResNet-quick", "ViT", "ViT-quick", "narrow", "narrow-quick")


@pytest.fixture(scope="module", params=BESIDE, ids=BESIDE_NAMES)
def beside(request):
    """A model, open_clip's own with the same weights, images and tokens; a test that changes a model does so to a copy."""
    config, quick = request.param
    clip, reference = built(config, quick=quick)
    side = config["vision_cfg"]["image_size"]
    pixels = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    tokens = clip.tokens(["a cat", "two dogs and a very long caption that does not fit", ""])
    return clip, reference, pixels, tokens


def test_embeddings_are_those_of_open_clip(beside):
    clip, reference, pixels, tokens = beside
    images = reference.encode_image(clip.normalise(pixels), normalize=True)
    torch.testing.assert_close(clip.embed_images(pixels), images)
    texts = reference.encode_text(tokens, normalize=True)
    torch.testing.assert_close(clip.embed_tokens(tokens), texts, atol=1e-6, rtol=0)


def test_gradients_are_those_of_open_clip(beside):
    clip, reference, pixels, tokens = beside

    def gradients(net):
        shown = clip.normalise(pixels).double().requires_grad_()
        (net.encode_image(shown) * net.encode_text(tokens)).sum().backward()
        return {"pixels": shown.grad} | {name: p.grad for name, p in net.named_parameters() if p.grad is not None}

    ours, theirs = (copy.deepcopy(net).double().train() for net in (clip.net, reference))
    torch.testing.assert_close(gradients(ours), gradients(theirs))


def test_a_model_without_norms_embeds_as_open_clip_does(beside):
    clip, reference, pixels, _ = beside
    folded = model.fold_norms(clip, least=0)
    assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in folded.net.modules())
    images = reference.encode_image(clip.normalise(pixels), normalize=True)
    torch.testing.assert_close(folded.embed_images(pixels), images)


def test_folding_norms_leaves_the_model_as_it_was(beside):
    clip = beside[0]
    before = model.copy_weights(clip)
    model.fold_norms(clip, least=0)
    torch.testing.assert_close(model.copy_weights(clip), before, atol=0, rtol=0)


def test_norms_of_large_values_are_not_folded(beside):
    clip, weights = beside[0], model.copy_weights(beside[0])
    large = weights | {name: 1e6 * values for name, values in weights.items() if name.endswith("bn1.bias")}
    assert model.fold_norms(loud := model.build(clip.architecture, large, device="cpu"), least=0) is loud


def resnet():
    """A ResNet some of whose norms multiply by negative numbers, as in trained ones."""
    clip = clips.build(TINY_RESNET)
    for norm in model.batch_norms(clip):
        norm.weight.data[::3] *= -1
    return clip


@pytest.fixture
def unfolded():
    """A ResNet whose norms took in what was changed in a copy without norms, that copy, and images."""
    clip = resnet()
    pixels = torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    folded = model.fold_norms(clips.moved(clip, by=0.5), least=0)
    model.unfold_norms(clip, folded, [pixels[:8], pixels[8:]])
    return clip, folded, pixels


def test_a_model_answers_as_the_copy_without_norms_that_was_put_in(unfolded):
    clip, folded, pixels = unfolded
    other = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    for images in (pixels, other):
        torch.testing.assert_close(clip.embed_images(images), folded.embed_images(images), atol=1e-5, rtol=0)


def test_statistics_that_are_measured_again_on_the_same_images_change_nothing(unfolded):
    clip, folded, pixels = unfolded
    for norm in model.batch_norms(clip):
        norm.momentum = 1.0
    clip.net.train()
    with torch.no_grad():
        clip.encode_images(pixels)
    clip.net.eval()
    # PyTorch's running variance is that of a sample: larger by one part in the number of its places.
    torch.testing.assert_close(clip.embed_images(pixels), folded.embed_images(pixels), atol=2e-2, rtol=0)


def test_nothing_is_lost_on_the_line_to_a_model_whose_norms_were_unfolded():
    clip = resnet()
    pixels = torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    before, embedded = model.copy_weights(clip), clip.embed_images(pixels)
    model.unfold_norms(clip, model.fold_norms(model.frozen_copy(clip), least=0), [pixels])
    after = model.copy_weights(clip)
    model.put_weights(
        clip, {n: torch.lerp(t, after[n], 0.5) if t.is_floating_point() else t for n, t in before.items()}
    )
    assert F.cosine_similarity(clip.embed_images(pixels), embedded).min() > 0.999


def test_kernels_keep_their_size_when_norms_are_unfolded(unfolded):
    clip, _, _ = unfolded
    before = clips.build(TINY_RESNET).net.visual
    for name, kernel in clip.net.visual.named_parameters():
        if kernel.ndim == 4:
            sizes = (weight.flatten(1).norm(dim=1) for weight in (kernel, before.get_parameter(name)))
            torch.testing.assert_close(*sizes)


@pytest.mark.parametrize("mask", [None, torch.full((5, 5), -math.inf).triu(1)])
def test_attention_in_bfloat16_has_the_gradients_of_the_exact_one_up_to_rounding(mask):
    exact = [torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(n)) for n in range(4)]
    found = []
    for attend, kind in ((F.scaled_dot_product_attention, torch.float64), (ProductAttention.apply, torch.bfloat16)):
        *asked, along = (each.to(kind).requires_grad_() for each in exact)
        seen = attend(*(*asked, None if mask is None else mask.to(kind)))
        found.append([each.double() for each in (seen, *torch.autograd.grad(seen, asked, along))])
    for wanted, ours in zip(*found, strict=True):
        assert (ours - wanted).norm() <= 0.02 * wanted.norm()


def test_a_caption_keeps_its_end_of_text_token():
    clip, _ = built(TINY_VIT)
    tokens = clip.tokens(["one two three four five six seven eight nine ten", "one"])
    assert tokens.shape == (2, 8)
    assert tokens[0, -1] == 49407
    assert tokens[0, 0] == 49406


def test_embeddings_of_a_net_in_training_have_unit_length():
    clip, _ = built(TINY_RESNET)
    clip.net.train()
    norms = clip.embed_images(torch.rand(2, 3, 32, 32)).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(2))
    assert clip.net.training


def test_an_undecided_activation_is_refused():
    reference = CLIP(**TINY_VIT)
    found = model.resolve(reference.state_dict(), arch=None, config=None, script_quick_gelu=None)
    with pytest.raises(UnsupportedModel, match="QuickGELU"):
        model.build(found, reference.state_dict(), device="cpu")


def test_tensors_that_do_not_fit_the_model_are_refused_by_name():
    clip, reference = built(TINY_VIT)
    tensors = dict(reference.state_dict())
    del tensors["visual.ln_pre.weight"]
    tensors["surprise"] = torch.zeros(2)
    tensors["visual.ln_post.weight"] = torch.zeros(3)
    with pytest.raises(UnsupportedModel) as refused:
        model.build(clip.architecture, tensors, device="cpu")
    for name in ("visual.ln_pre.weight", "surprise", "visual.ln_post.weight is (3,), not (64,)"):
        assert name in str(refused.value)


def test_half_weights_are_computed_with_in_fp32():
    clip, reference = built(TINY_VIT)
    half = {k: v.half() if v.is_floating_point() else v for k, v in reference.state_dict().items()}
    assert all(p.dtype == torch.float32 for p in model.build(clip.architecture, half, device="cpu").net.parameters())


def test_statistics_count_as_no_parameters():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5), torch.nn.BatchNorm2d(4))  # statistics of the norm are buffers
    assert model.parameter_count(net) == 3 * 4 * 5 * 5 + 4 + 2 * 4


def test_evaluating_leaves_a_net_as_it_was():
    clip, _ = built(TINY_RESNET)
    clip.net.eval()
    clip.net.visual.train()
    kept = {name: buffer.clone() for name, buffer in clip.net.named_buffers()}
    with model.evaluating(clip.net):
        clip.encode_images(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    assert all(torch.equal(kept[name], buffer) for name, buffer in clip.net.named_buffers())
    assert clip.net.visual.training
    assert not clip.net.training
    assert not clip.net.transformer.training


@pytest.mark.parametrize("config", [TINY_VIT, TINY_RESNET])
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_a_tower_in_half_precision_answers_nearly_alike(config, precision):
    clip, _ = built(config)
    pixels = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    exact, half = clip.embed_images(pixels), clip.halved(precision)(pixels)
    assert not torch.equal(exact, half)
    torch.testing.assert_close(half, exact, atol=0.02, rtol=0)
    assert {parameter.dtype for parameter in clip.net.parameters()} == {torch.float32}


def test_the_kernels_are_the_weights_of_the_first_layer():
    for config in (TINY_VIT, TINY_RESNET):
        clip, reference = built(config)
        assert torch.equal(clip.kernels(), reference.state_dict()["visual.conv1.weight"])


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("shape", [(60, 90), (31, 20), (32, 32)])
def test_images_are_fitted_as_open_clips_transform_does(mode, shape):
    height, width = shape
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 200], -1).astype(np.uint8)
    config = PreprocessCfg(size=32, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bicubic", resize_mode=mode)
    theirs = image_transform_v2(config, is_train=False)(Image.fromarray(image))
    ours = model.fit(torch.from_numpy(image).permute(2, 0, 1), Preprocess(32, (0, 0, 0), (1, 1, 1), "bicubic", mode))
    assert ours.shape == theirs.shape
    assert (ours.float() / 255 - theirs).abs().max() <= 2 / 255


def shapes_of(config: dict) -> dict[str, torch.Tensor]:
    known = {k: v for k, v in config.items() if k in ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")}
    with torch.device("meta"):
        return CLIP(**known).state_dict()


SHAPES = shapes_of(TINY_VIT)


def resolve(tensors, *, arch=None, config=None, quick=None):
    return model.resolve(tensors, arch=arch, config=config, script_quick_gelu=quick)


@pytest.mark.slow
def test_every_native_config_of_open_clip_is_recognised_from_its_shapes():
    for name, config in native_configs().items():
        assert signature(shapes_of(config)) == config_signature(config), name


@pytest.mark.parametrize(
    ("name", "quick", "expected"),
    [
        ("ViT-B-32", None, "ViT-B-32"),  # its activation stays open
        ("RN50", None, "RN50"),
        ("ViT-B-32", True, "ViT-B-32-quickgelu"),  # a TorchScript archive that names QuickGELU decides
    ],
)
def test_a_built_in_model_is_named_by_its_shapes(name, quick, expected):
    architecture = resolve(shapes_of(native_configs()[name]), quick=quick)
    assert (architecture.name, architecture.quick_gelu) == (expected, quick)


@pytest.mark.parametrize(("name", "is_quick"), [("ViT-B-32", False), ("RN50", False), ("ViT-B-32-quickgelu", True)])
def test_a_name_wins_over_the_shapes(name, is_quick):
    architecture = resolve(SHAPES, arch=name)
    assert (architecture.name, architecture.quick_gelu) == (name, is_quick)


def test_a_config_file_tells_what_shapes_do_not(tmp_path):
    path, half, fifth = tmp_path / "config.json", [0.5] * 3, [0.2] * 3
    preprocessing = {"size": 32, "mean": half, "std": fifth, "interpolation": "bilinear", "resize_mode": "squash"}
    path.write_text(json.dumps({"model_cfg": TINY_VIT | {"quick_gelu": True}, "preprocess_cfg": preprocessing}))
    architecture = resolve(SHAPES, arch=str(path))
    assert architecture.quick_gelu is True
    assert architecture.preprocess == model.Preprocess(32, tuple(half), tuple(fifth), "bilinear", "squash")


def test_a_bare_model_config_means_gelu(tmp_path):
    """As open_clip reads it."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY_VIT))
    architecture = resolve(SHAPES, arch=str(path))
    assert (architecture.quick_gelu, architecture.preprocess.size) == (False, 32)


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


@pytest.mark.parametrize(("name", "near"), [("ViT-B32", "ViT-B-32"), ("x" * 5000, None)])
def test_an_unknown_name_is_refused(name, near):
    with pytest.raises(UsageError, match=near):
        resolve(SHAPES, arch=name)


@pytest.mark.parametrize(
    ("config", "error"),
    [
        *(({"model_cfg": TINY_VIT, "preprocess_cfg": preprocessing}, RefusedInput) for preprocessing in PREPROCESSING),
        *(({"model_cfg": value}, UsageError) for value in (3, None, [1])),
        (TINY_VIT | {"quick_gelu": "no"}, RefusedInput),
        (TINY_VIT | {"vision_cfg": TINY_VIT["vision_cfg"] | {"image_size": None}}, RefusedInput),
    ],
)
def test_a_config_value_of_another_kind_is_refused(config, error):
    with pytest.raises(error):
        resolve(SHAPES, config=config)


@pytest.mark.parametrize(
    ("tensors", "missing"),
    [
        (without("text", "transformer", "token", "positional", "ln_final", "logit"), "text_projection"),
        (without("visual.conv1.weight"), r"visual\.conv1\.weight"),
        (SHAPES | {"visual.positional_embedding": torch.zeros(0, 64)}, None),
    ],
)
def test_half_a_model_is_refused(tensors, missing):
    with pytest.raises(UnsupportedModel, match=missing):
        resolve(tensors)
