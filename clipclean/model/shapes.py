"""Names and shapes of the tensors of open_clip's CLIP, computed from its config without building it.

Building costs the import of open_clip and torchvision, two seconds that ``clipclean inspect`` does not need. Equal to
``open_clip.model.CLIP(**config).state_dict()`` on the meta device for every native config, as the tests see.
"""

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]  # JSON: open_clip's model_cfg
Shapes = dict[str, tuple[int, ...]]

# The settings whose shapes are known here; with any other the model has to be built.
TOP = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text"}
VISION = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio", "no_ln_pre", "pool_type"}
VISION |= {"final_ln_after_pool", "ls_init_value", "norm_kwargs", "act_kwargs"}
TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "norm_kwargs", "act_kwargs"}
TEXT |= {"hf_tokenizer_name", "tokenizer_kwargs", "pool_type", "eos_id", "no_causal_mask"}


def of(config: Config, /) -> Shapes | None:
    """Names and shapes of a model, or None where a setting is not known here.

    Raises:
        TypeError, ValueError, ArithmeticError: the values are of a kind that no model has.
    """
    vision, text = config["vision_cfg"], config["text_cfg"]
    if not (set(config) <= TOP and set(vision) <= VISION and set(text) <= TEXT) or config.get("custom_text"):
        return None
    image = _resnet if isinstance(vision.get("layers", 12), list | tuple) else _vit
    tower = {f"visual.{name}": shape for name, shape in image(vision, config["embed_dim"]).items()}
    return {**tower, **_text(text, config["embed_dim"]), "logit_scale": ()}


def _text(text: Config, embedding: int, /) -> Shapes:
    width = text.get("width", 512)
    return {
        "positional_embedding": (text.get("context_length", 77), width),
        "token_embedding.weight": (text.get("vocab_size", 49408), width),
        "text_projection": (width, embedding),
        **_blocks(text.get("layers", 12), width, text.get("mlp_ratio", 4.0), scaled=False),
        **_norm("ln_final", width),
    }


def _vit(vision: Config, embedding: int, /) -> Shapes:
    width, patch = vision.get("width", 768), vision.get("patch_size", 16)
    grid = _side(vision) // patch
    return {
        "class_embedding": (width,),
        "positional_embedding": (grid * grid + 1, width),
        "proj": (width, embedding),
        "conv1.weight": (width, 3, patch, patch),
        **({} if vision.get("no_ln_pre") else _norm("ln_pre", width)),
        **_norm("ln_post", width),
        **_blocks(
            vision.get("layers", 12),
            width,
            vision.get("mlp_ratio", 4.0),
            scaled=vision.get("ls_init_value") is not None,
        ),
    }


def _blocks(count: int, width: int, ratio: float, /, *, scaled: bool) -> Shapes:
    """Residual attention blocks; ``scaled`` ones have a gain for each of their two branches."""
    inner = int(width * ratio)
    block = {
        **_norm("ln_1", width),
        **_norm("ln_2", width),
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        **_linear("attn.out_proj", width, width),
        **_linear("mlp.c_fc", inner, width),
        **_linear("mlp.c_proj", width, inner),
        **({"ls_1.gamma": (width,), "ls_2.gamma": (width,)} if scaled else {}),
    }
    return {f"transformer.resblocks.{place}.{name}": shape for place in range(count) for name, shape in block.items()}


def _resnet(vision: Config, embedding: int, /) -> Shapes:
    """CLIP's ResNet: a stem of three convolutions, four stages of bottlenecks, attention in place of pooling."""
    width = vision.get("width", 64)
    shapes: Shapes = {
        **_convolution("1", width // 2, 3, 3),
        **_convolution("2", width // 2, width // 2, 3),
        **_convolution("3", width, width // 2, 3),
    }
    taken = width
    for stage, count in enumerate(vision["layers"]):
        planes = width * 2**stage
        for place in range(count):
            shapes |= {
                f"layer{stage + 1}.{place}.{name}": shape
                for name, shape in _bottleneck(taken, planes, is_first=place == 0).items()
            }
            taken = 4 * planes
    side, channels = _side(vision) // 32, 32 * width
    shapes["attnpool.positional_embedding"] = (side * side + 1, channels)
    for part, out in (("k", channels), ("q", channels), ("v", channels), ("c", embedding)):
        shapes |= _linear(f"attnpool.{part}_proj", out, channels)
    return shapes


def _bottleneck(taken: int, planes: int, /, *, is_first: bool) -> Shapes:
    """The first of a stage brings its input to the stage's size by a convolution of its own."""
    shapes = {
        **_convolution("1", planes, taken, 1),
        **_convolution("2", planes, planes, 3),
        **_convolution("3", 4 * planes, planes, 1),
    }
    if is_first:
        shapes |= {"downsample.0.weight": (4 * planes, taken, 1, 1), **_batch_norm("downsample.1", 4 * planes)}
    return shapes


def _convolution(number: str, out: int, taken: int, side: int, /) -> Shapes:
    return {f"conv{number}.weight": (out, taken, side, side), **_batch_norm(f"bn{number}", out)}


def _batch_norm(name: str, channels: int, /) -> Shapes:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{part}": (channels,) for part in parts}, f"{name}.num_batches_tracked": ()}


def _norm(name: str, width: int, /) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear(name: str, out: int, taken: int, /) -> Shapes:
    return {f"{name}.weight": (out, taken), f"{name}.bias": (out,)}


def _side(vision: Config, /) -> int:
    size = vision.get("image_size", 224)
    return int(size[0] if isinstance(size, list | tuple) else size)
