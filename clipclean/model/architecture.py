"""The architecture of a set of tensors: inferred from shapes, or stated by a name or config file."""

import copy
import difflib
import functools
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from clipclean import untrusted
from clipclean.errors import RefusedInput, UnsupportedModel, UsageError
from clipclean.model import hugging_face
from clipclean.model.hugging_face import brief

Config = dict[str, Any]  # JSON: open_clip's model_cfg

MAX_CONFIG_BYTES = 1_000_000
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)  # open_clip/constants.py, from Radford et al. 2021
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
# Upper bounds before anything is built: no published CLIP comes near them.
SIZE_CAPS = {
    "width": 8192,
    "layers": 100,
    "vocab_size": 2_000_000,
    "context_length": 1024,
    "image_size": 1024,
    "patch_size": 1024,
    "heads": 512,
    "head_width": 8192,
    "embed_dim": 8192,
}
# May be lists so long: a ResNet's stages, height and width.
LIST_LENGTHS = {"layers": 4, "image_size": 2, "patch_size": 2}
MAX_WIDTH_RATIO = 64.0  # of a block's inner width to its outer one; 4 is usual
INTERPOLATIONS = ("bicubic", "bilinear")  # those of open_clip's inference transform
RESIZE_MODES = ("shortest", "longest", "squash")


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes the model's input, in open_clip's terms."""

    size: int
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"


@dataclass(frozen=True)
class Architecture:
    """A model's open_clip config, the preprocessing that goes with it, and how both were decided.

    ``quick_gelu`` is None while the tensors alone cannot tell the activation: it is not in the weights.
    """

    name: str
    config: Config
    preprocess: Preprocess
    origin: str
    quick_gelu: bool | None
    activation_how: str
    came_beside: bool = False  # the config stood beside the weights, and so may be of whoever made them

    @property
    def context_length(self) -> int:
        """Tokens of a caption."""
        length: int = config_signature(self.config)["text_cfg"]["context_length"]
        return length

    def with_activation(self, quick_gelu: bool, activation_how: str, /) -> "Architecture":
        """The same architecture with the activation decided."""
        plain = self.name.removesuffix("-quickgelu")
        name = f"{plain}-quickgelu" if quick_gelu and f"{plain}-quickgelu" in native_configs() else plain
        config = {**self.config, "quick_gelu": quick_gelu}
        return replace(self, name=name, config=config, quick_gelu=quick_gelu, activation_how=activation_how)


def resolve(
    tensors: Mapping[str, Tensor], /, *, arch: str | None, config: Config | None, script_quick_gelu: bool | None
) -> Architecture:
    """The architecture of ``tensors``: what the user says, else a config beside the weights, else the shapes.

    Args:
        tensors: the state dict, names as open_clip writes them.
        arch: an open_clip model name, or the path of a JSON file (a model config, ``open_clip_config.json``, or the
            ``config.json`` of a CLIPModel).
        config: what stands beside the weights, ``open_clip_config.json`` or transformers' ``config.json``; or None.
        script_quick_gelu: True where a TorchScript archive names the QuickGELU class.

    Raises:
        UsageError: ``arch`` is no known name and no readable config.
        UnsupportedModel: the tensors belong to another kind of model.
    """
    if arch is not None:
        return _from_name_or_file(arch)
    if config is not None:
        name = "config.json" if hugging_face.is_config(config) else "open_clip_config.json"
        return replace(_from_config(config, name=name, origin=f"the {name} beside the weights"), came_beside=True)
    architecture = _infer(tensors)
    if script_quick_gelu:
        return architecture.with_activation(True, "the TorchScript archive names the QuickGELU class")
    return architecture


@functools.cache
def native_configs() -> dict[str, Config]:
    """open_clip's built-in configs with native towers, by model name.

    Read from its files, without importing it: that takes a second, and ``clipclean inspect`` needs no more of it.
    """
    package = importlib.util.find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("open_clip", name="open_clip")
    folder = Path(package.submodule_search_locations[0]) / "model_configs"
    configs = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    return {name: config for name, config in configs.items() if _is_native(config)}


def _is_native(config: Config) -> bool:
    """Whether both towers are open_clip's own; the tokenizer may be another, and then the model cannot be run."""
    vision, text = config.get("vision_cfg", {}), config.get("text_cfg", {})
    foreign = ("timm_model_name", "hf_model_name", "attentional_pool", "output_tokens")
    return "multimodal_cfg" not in config and not any(vision.get(key) or text.get(key) for key in foreign)


def _from_name_or_file(arch: str) -> Architecture:
    # A known name is never a file: one of that name in the working folder may have come with the model.
    if arch not in native_configs():
        path = Path(arch)
        if path.suffix == ".json" or untrusted.answers_yes(path.is_file):
            return _from_config(_read_config(path), name=path.stem, origin=f"--arch {path.name}")
        near = difflib.get_close_matches(arch, native_configs(), n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"--arch {arch}: no open_clip architecture with native towers, and no JSON file.{hint}")
    config = copy.deepcopy(native_configs()[arch])
    quick = bool(config.get("quick_gelu", False))
    return Architecture(arch, config, _preprocess(config), f"--arch {arch}", quick, f"--arch {arch}")


def _read_config(path: Path) -> Config:
    """A JSON object from a small, regular file; raises UsageError."""
    try:
        return untrusted.loads(untrusted.read(path, limit=MAX_CONFIG_BYTES), "it", limit=MAX_CONFIG_BYTES)
    except RefusedInput as error:
        raise UsageError(
            f"--arch {path}: {error} Give a JSON object with 'embed_dim', 'vision_cfg' and 'text_cfg'."
        ) from error
    except OSError as error:
        is_odd = isinstance(error, untrusted.NoRegularFile)
        why = "it is a folder, a pipe or a device" if is_odd else f"cannot read it ({error.strerror})"
        raise UsageError(f"--arch {path}: {why}. Give an open_clip model name or a JSON file.") from error


def _from_config(raw: Config, *, name: str, origin: str) -> Architecture:
    if hugging_face.is_config(raw):
        architecture = _from_config(hugging_face.translate(raw, origin=origin), name=name, origin=origin)
        # open_clip's name of a model with exactly this config, or one made of its sizes.
        config_in_full = _in_full(architecture.config)
        names = (name for name, native in native_configs().items() if _in_full(native) == config_in_full)
        best_name = min(
            names, key=lambda name: (len(name), name), default=_describe(config_signature(architecture.config))
        )
        return replace(architecture, name=best_name, activation_how=f"hidden_act in {origin}")
    config = raw.get("model_cfg", raw)
    if not isinstance(config, dict):
        config = {}
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]
    if missing or not isinstance(config["vision_cfg"], dict) or not isinstance(config["text_cfg"], dict):
        raise UsageError(
            f"{origin}: no open_clip model config; missing {', '.join(missing) or 'a vision or text section'}."
        )
    if not _is_native(config):
        raise UnsupportedModel(
            f"{origin} describes a model with a timm, Hugging Face or CoCa tower; only native towers are handled."
        )
    config = copy.deepcopy(config)
    _check_caps(config, origin)
    quick = config.get("quick_gelu") or False
    if not isinstance(quick, bool):
        raise RefusedInput(f"{origin}: quick_gelu is {brief(quick)}. Write true or false.")
    stated = (
        f"quick_gelu is {str(quick).lower()} in {origin}" if "quick_gelu" in config else f"{origin} has no quick_gelu"
    )
    return Architecture(
        name, config, _preprocess(config, raw.get("preprocess_cfg"), origin=origin), origin, quick, stated
    )


def _in_full(config: Config) -> Config:
    """A config with the defaults of a ViT written down, so that equal models compare equal."""
    sizes = config_signature(config)
    full: Config = {"embed_dim": config["embed_dim"], "quick_gelu": bool(config.get("quick_gelu"))}
    for tower, defaults in (("vision_cfg", {"head_width": 64, "mlp_ratio": 4}), ("text_cfg", {"mlp_ratio": 4})):
        full[tower] = defaults | config[tower] | sizes[tower]
    return full


def _check_caps(config: Config, origin: str) -> None:
    """Raise RefusedInput unless every size is a whole number within its bounds; open_clip would compute with whatever stands there."""
    for section in (config["vision_cfg"], config["text_cfg"], {"embed_dim": config["embed_dim"]}):
        for key, cap in SIZE_CAPS.items():
            value = section.get(key)
            numbers = value if isinstance(value, list | tuple) and key in LIST_LENGTHS else [value]
            if key not in section or (value is None and key == "patch_size"):  # a ResNet has none
                continue
            if not all(type(n) is int and 0 < n <= cap for n in numbers):
                raise RefusedInput(
                    f"{origin}: {key} = {brief(value)} is not a whole number from 1 to {cap}. No CLIP model has that."
                )
            if isinstance(value, list | tuple) and len(value) != LIST_LENGTHS[key]:
                raise RefusedInput(f"{origin}: {key} = {brief(value)} has not {LIST_LENGTHS[key]} numbers.")
        ratio = section.get("mlp_ratio", 4.0)
        if type(ratio) not in (int, float) or not 0 < ratio <= MAX_WIDTH_RATIO:
            raise RefusedInput(
                f"{origin}: mlp_ratio = {brief(ratio)} is not a number up to {MAX_WIDTH_RATIO:g}. No CLIP model has that."
            )


# Settings that leave no trace in the tensors, with what they are in every published CLIP that has CLIP's own tokenizer. Others make
# another function of the same weights, which may hide what the usual one shows.
TRACELESS_SETTINGS: dict[str, Config] = {
    "vision_cfg": {
        "pool_type": "tok",
        "pos_embed_type": "learnable",
        "final_ln_after_pool": False,
        "output_tokens": False,
        "block_type": None,
        "norm_kwargs": None,
        "act_kwargs": None,
    },
    "text_cfg": {
        "pool_type": "argmax",
        "no_causal_mask": False,
        "final_ln_after_pool": False,
        "embed_cls": False,
        "output_tokens": False,
        "block_type": None,
        "norm_kwargs": None,
        "act_kwargs": None,
        "tokenizer_kwargs": None,
        "tokenizer_mode": None,
        "hf_tokenizer_name": None,
    },
}
# What says no more than leaving a setting out does.
EMPTY_VALUES: tuple[object, ...] = (None, "", {}, {"eps": hugging_face.EPSILON})
HEAD_CHANNELS = 64  # channels of an attention head, where no published config of the same sizes has others


def unseen_settings(config: Config, /) -> list[str]:
    """The settings, in words, that no tensor shows and that differ from those of every published CLIP of these sizes."""
    words = []
    for tower, usual in TRACELESS_SETTINGS.items():
        section = config[tower]
        words += [
            f"{tower}.{key} = {brief(section[key])} (usually {brief(value)})"
            for key, value in usual.items()
            if key in section and section[key] != value and section[key] not in EMPTY_VALUES
        ]
    sizes, text, vision = config_signature(config), config["text_cfg"], config["vision_cfg"]
    similar_configs = [native for native in native_configs().values() if config_signature(native) == sizes]
    width = sizes["text_cfg"]["width"]
    heads = {similar["text_cfg"].get("heads", 8) for similar in similar_configs} or {max(1, width // HEAD_CHANNELS)}
    widths = {similar["vision_cfg"].get("head_width", HEAD_CHANNELS) for similar in similar_configs} or {HEAD_CHANNELS}
    if text.get("heads", 8) not in heads:
        words.append(f"text_cfg.heads = {brief(text.get('heads', 8))} (usually {min(heads)})")
    if vision.get("head_width", HEAD_CHANNELS) not in widths:
        words.append(f"vision_cfg.head_width = {brief(vision['head_width'])} (usually {min(widths)})")
    return words


def _preprocess(config: Config, settings: object = None, *, origin: str = "the architecture") -> Preprocess:
    """The preprocessing of a config; raises RefusedInput for values that no such transform takes."""
    settings = {} if settings is None else settings
    if not isinstance(settings, dict):
        raise RefusedInput(
            f"{origin}: preprocess_cfg is {brief(settings)}. Write an object with 'size', 'mean' and 'std'."
        )
    side = _side(config["vision_cfg"].get("image_size", 224), origin)
    size = side if settings.get("size") is None else _side(settings["size"], origin)
    if size != side:
        raise UnsupportedModel(f"{origin}: images are resized to {size}, and the image tower takes {side}.")
    return Preprocess(
        size,
        _channels(settings.get("mean"), OPENAI_MEAN, f"{origin}: mean", low=-100),
        _channels(settings.get("std"), OPENAI_STD, f"{origin}: std", low=0),
        _word(settings.get("interpolation"), INTERPOLATIONS, f"{origin}: interpolation"),
        _word(settings.get("resize_mode"), RESIZE_MODES, f"{origin}: resize_mode"),
    )


def _side(value: object, origin: str) -> int:
    """The side of a square image, told as a number or as two equal ones."""
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    sides = [side for side in numbers if isinstance(side, int) and side > 0]
    if not sides or len(sides) < len(numbers):
        raise RefusedInput(f"{origin}: an image size of {brief(value)} is not a number of pixels.")
    if any(side != sides[0] for side in sides):
        raise UnsupportedModel(f"The model takes images of {brief(value)}: only square inputs are handled.")
    return sides[0]


def _channels(
    value: object, default: tuple[float, float, float], setting: str, *, low: float
) -> tuple[float, float, float]:
    """Three numbers above ``low``, one a colour channel."""
    if value is None:
        return default
    numbers = value if isinstance(value, list | tuple) else ()
    if len(numbers) != 3 or not all(isinstance(n, int | float) and low < n <= 100 for n in numbers):
        raise RefusedInput(f"{setting} is {brief(value)}. Write three numbers from {low} to 100, one a colour channel.")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])


def _word(value: object, words: tuple[str, ...], setting: str) -> str:
    """One of the known words; the first if the value is absent."""
    if value is None:
        return words[0]
    if value not in words:
        raise RefusedInput(f"{setting} is {brief(value)}. Write one of {', '.join(words)}.")
    return str(value)


def signature(tensors: Mapping[str, Tensor], /) -> Config:
    """The sizes that shapes tell, as a config; raises UnsupportedModel where the landmarks of both towers are missing.

    Equal for X and X-quickgelu, and to what :func:`config_signature` makes of their configs.
    Source: the shape rules of OpenAI's ``build_model`` (github.com/openai/CLIP, model.py), re-derived.
    """
    tower = next((mark for mark in IMAGE_TOWERS if mark in tensors), None)
    missing = [key for key in (*LANDMARKS, *IMAGE_TOWERS.get(tower or "", ())) if key not in tensors]
    if missing or tower is None:
        landmarks = ", ".join(missing) or " or ".join(IMAGE_TOWERS)
        raise UnsupportedModel(
            f"This is not a CLIP checkpoint with native towers: {landmarks} not found among {len(tensors)} tensors. "
            f"Check that the file is the whole model, not one tower, an adapter or an optimizer state."
        )
    try:
        return _read_signature(tensors)
    except (IndexError, ValueError, TypeError, ZeroDivisionError) as error:  # TypeError: the root of -1 is complex
        raise UnsupportedModel(
            f"The tensors have shapes that no CLIP model has ({error}). Name the architecture by --arch."
        ) from error


LANDMARKS = ("text_projection", "positional_embedding", "token_embedding.weight", "ln_final.weight", "logit_scale")
IMAGE_TOWERS = {  # marks of an image tower, with further keys to read
    "visual.proj": ("visual.conv1.weight", "visual.positional_embedding"),
    "visual.attnpool.positional_embedding": ("visual.layer1.0.conv1.weight", "visual.attnpool.c_proj.weight"),
}


def _read_signature(tensors: Mapping[str, Tensor]) -> Config:
    shape = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if "visual.proj" in shape:
        width, *_, patch = shape["visual.conv1.weight"]
        grid = round((shape["visual.positional_embedding"][0] - 1) ** 0.5)
        embed_dim, layers = shape["visual.proj"][1], _blocks(shape, "visual.transformer.resblocks.")
        vision = {"image_size": grid * patch, "layers": layers, "width": width, "patch_size": patch}
    else:
        side = round((shape["visual.attnpool.positional_embedding"][0] - 1) ** 0.5)
        embed_dim, width = shape["visual.attnpool.c_proj.weight"][0], shape["visual.layer1.0.conv1.weight"][0]
        stages = [_blocks(shape, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)]
        vision = {"image_size": side * 32, "layers": stages, "width": width, "patch_size": None}
    text = {
        "context_length": shape["positional_embedding"][0],
        "vocab_size": shape["token_embedding.weight"][0],
        "width": shape["ln_final.weight"][0],
        "layers": _blocks(shape, "transformer.resblocks."),
    }
    return {"embed_dim": embed_dim, "vision_cfg": vision, "text_cfg": text}


def _blocks(shape: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    """How many numbered blocks stand behind a prefix."""
    numbers = {name.removeprefix(prefix).split(".")[0] for name in shape if name.startswith(prefix)}
    return len({n for n in numbers if n.isdecimal()})


def config_signature(config: Config, /) -> Config:
    """The signature that a checkpoint of this config has."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    layers, size = vision.get("layers", 12), vision.get("image_size", 224)
    is_resnet = isinstance(layers, list | tuple)
    return {
        "embed_dim": config["embed_dim"],
        "vision_cfg": {
            "image_size": size[0] if isinstance(size, list | tuple) else size,
            "layers": list(layers) if is_resnet else layers,
            "width": vision.get("width", 64 if is_resnet else 768),
            "patch_size": None if is_resnet else vision.get("patch_size", 16),
        },
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "layers": 12}
        | {key: text[key] for key in ("context_length", "vocab_size", "width", "layers") if key in text},
    }


def _infer(tensors: Mapping[str, Tensor]) -> Architecture:
    """Built-in open_clip configs first, OpenAI's rules second; the activation stays open."""
    tensor_sizes = signature(tensors)
    names = sorted(
        (n for n, c in native_configs().items() if config_signature(c) == tensor_sizes), key=lambda n: (len(n), n)
    )
    plain = {name.removesuffix("-quickgelu") for name in names}
    if len(plain) > 1:
        raise UsageError(f"The shapes fit {', '.join(names)} equally well. Say which by --arch NAME.")
    if names:
        config = copy.deepcopy(native_configs()[names[0]])
        config.pop("quick_gelu", None)
        origin = f"shapes equal to open_clip's {' and '.join(names)}"
        return Architecture(plain.pop(), config, _preprocess(config), origin, None, "undecided")
    # Heads of 64 channels, as in OpenAI's models; other models may differ.
    sizes = tensor_sizes["text_cfg"] | {"heads": max(1, tensor_sizes["text_cfg"]["width"] // 64)}
    order = ("context_length", "vocab_size", "width", "heads", "layers")
    config = tensor_sizes | {"text_cfg": {key: sizes[key] for key in order}}
    _check_caps(config, "The shapes")
    origin = "OpenAI's shape rules (no built-in config fits)"
    return Architecture(_describe(tensor_sizes), config, _preprocess(config), origin, None, "undecided")


def _describe(sizes: Config) -> str:
    """A name made of the sizes of a signature."""
    vision = sizes["vision_cfg"]
    layers, width, patch = vision["layers"], vision["width"], vision["patch_size"]
    stages = "-".join(map(str, layers if isinstance(layers, list) else [layers]))
    return f"{f'ViT-{layers}x{width}-{patch}' if patch else f'RN{stages}x{width}'}-{vision['image_size']}px"


def shape_of(architecture: Architecture, /) -> str:
    """What models have in common whose triggers are compared: the image tower's kind, layers, width, patch and side."""
    return _describe(config_signature(architecture.config))


def kind_of(architecture: Architecture, /) -> str:
    """The family of architectures that a recipe was measured on: the image tower's kind, and its side."""
    tower = "resnet" if isinstance(architecture.config["vision_cfg"].get("layers"), list | tuple) else "vit"
    return f"{tower}-{architecture.preprocess.size}px"
