"""Models that transformers itself has saved, and what it makes of the same weights."""

import foreign
import pytest
import torch

from clipclean import checkpoint, model
from clipclean.checkpoint.layouts import from_open_clip, transformers_to_open_clip

transformers = pytest.importorskip("transformers")


def tower(width, layers, heads, *, inner=None, **more):
    """A tower in the words of transformers; its inner width is four times the width unless said."""
    shape = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return shape | {"intermediate_size": inner or 4 * width} | more


def clip_model(activation="quick_gelu", *, seed=0, **text):
    """A tiny CLIPModel whose towers differ in every size."""
    words = tower(48, 2, 3, inner=96, max_position_embeddings=12, hidden_act=activation, **text)
    pixels = tower(32, 3, 4, inner=72, image_size=24, patch_size=8, hidden_act=activation)
    config = transformers.CLIPConfig(text_config=words, vision_config=pixels, projection_dim=20)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = transformers.CLIPModel(config).eval()
        for parameter in made.parameters():  # biases and norms too: a fresh model has zeros and ones there
            torch.nn.init.normal_(parameter, std=0.3)
    return made


def save(made, folder, layout):
    """The model as transformers writes it; ``.bin`` files as it wrote them before version 5."""
    if layout == "one":
        made.save_pretrained(folder)
    elif layout == "sharded":
        made.save_pretrained(folder, max_shard_size="20KB")
        assert len(list(folder.glob("model-*.safetensors"))) > 3
    else:
        folder.mkdir()
        made.config.save_pretrained(folder)
        tensors = made.state_dict()
        if layout == "bin":
            torch.save(tensors, folder / "pytorch_model.bin")
        else:
            foreign.sharded(folder, tensors, **foreign.BIN)
    return folder


def built(folder):
    file = checkpoint.read(folder)
    found = model.resolve(file.tensors, arch=None, config=file.config, script_quick_gelu=file.quick_gelu)
    return model.build(found, file.tensors, device="cpu")


def unit(features):
    pooled = getattr(features, "pooler_output", features)  # a tensor until transformers 5
    return torch.nn.functional.normalize(pooled, dim=-1)


@torch.no_grad()
def assert_same_embeddings(ours, theirs):
    rng = torch.Generator().manual_seed(3)
    pixels = torch.rand(5, 3, 24, 24, generator=rng)
    images = unit(theirs.get_image_features(pixel_values=ours.normalise(pixels)))
    torch.testing.assert_close(ours.embed_images(pixels), images, rtol=0, atol=1e-5)
    tokens = ours.tokens(["a dog", "two cups of tea", "", "a word " * 20])
    texts = unit(theirs.get_text_features(input_ids=tokens))
    torch.testing.assert_close(ours.embed_tokens(tokens), texts, rtol=0, atol=1e-5)
    assert ours.logit_scale().item() == pytest.approx(theirs.logit_scale.exp().item())


OTHERWISE = {"eos_token_id": 2, "layer_norm_eps": 0.05}  # the legacy end of text, and another epsilon of the norms


@pytest.mark.parametrize(
    ("layout", "weights", "activation", "text"),
    [
        ("one", "model.safetensors", "quick_gelu", {}),
        ("one", "model.safetensors", "gelu", OTHERWISE),
        ("sharded", "model.safetensors.index.json", "gelu", {}),
        ("bin", "pytorch_model.bin", "quick_gelu", {}),
        ("sharded bin", "pytorch_model.bin.index.json", "quick_gelu", {}),
    ],
)
def test_a_model_of_transformers_is_the_same_model_here(tmp_path, layout, weights, activation, text):
    theirs = clip_model(activation, **text)
    assert theirs.config.text_config.to_dict().items() >= text.items()
    file = checkpoint.read(save(theirs, tmp_path / "m", layout))
    assert (file.format, file.weights.name) == ("transformers-directory", weights)
    back = from_open_clip(file.tensors)
    assert checkpoint.digest(back) == checkpoint.digest(theirs.state_dict())
    clip_model(seed=1).load_state_dict(back, strict=True)
    ours = built(tmp_path / "m")
    assert ours.architecture.quick_gelu is (activation == "quick_gelu")
    assert "hidden_act" in ours.architecture.activation_how
    assert_same_embeddings(ours, theirs)
    if layout == "one":  # named alone, the weights find their description
        named = checkpoint.read(tmp_path / "m" / weights)
        assert (named.format, named.config_name) == ("safetensors", "config.json")
        assert_same_embeddings(built(tmp_path / "m" / weights), theirs)


@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu", "ViT-H-14"])
def test_transformers_takes_exactly_the_tensors_of_open_clips_models(name):
    import open_clip
    from open_clip.model import CLIP

    native = open_clip.get_model_config(name)
    vision, text = native["vision_cfg"], native["text_cfg"]
    sizes = {key: vision[key] for key in ("image_size", "patch_size")}
    words = tower(text["width"], text["layers"], text["heads"])
    pixels = tower(vision["width"], vision["layers"], 16, **sizes)
    config = transformers.CLIPConfig(text_config=words, vision_config=pixels, projection_dim=native["embed_dim"])
    with torch.device("meta"):
        expected = transformers.CLIPModel(config).state_dict()
        ours = CLIP(**{key: native[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}).state_dict()
    ours.pop("attn_mask", None)
    theirs = from_open_clip(ours)
    assert {key: tensor.shape for key, tensor in theirs.items()} == {key: t.shape for key, t in expected.items()}
    back = transformers_to_open_clip(theirs)
    assert {key: tensor.shape for key, tensor in back.items()} == {key: tensor.shape for key, tensor in ours.items()}


def test_what_the_image_processor_says_is_read(tmp_path):
    save(clip_model(), tmp_path / "m", "one")
    sizes = {key: {"height": 24, "width": 24} for key in ("size", "crop_size")}
    values = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}
    transformers.CLIPImageProcessor(**sizes, **values, resample=2).save_pretrained(tmp_path / "m")
    found = built(tmp_path / "m").architecture.preprocess
    assert found == model.Preprocess(24, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1), "bilinear", "squash")
