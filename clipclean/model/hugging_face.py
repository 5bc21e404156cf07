"""Translating the config.json of transformers' CLIPModel to open_clip's format."""

from typing import Any

from clipclean.errors import RefusedInput, UnsupportedModel

Config = dict[str, Any]  # JSON

# The defaults of CLIPTextConfig, CLIPVisionConfig and CLIPConfig (transformers 4.45 to 5.24): newer files leave out
# what equals them.
TEXT_DEFAULTS = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
}
VISION_DEFAULTS = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
}
PROJECTION, ACTIVATION, EPSILON, END_OF_TEXT = 512, "quick_gelu", 1e-5, 49407
# A mistake of old files (huggingface/transformers#24773), which the library honours: pool at the largest id.
LEGACY_END = 2
LARGEST_NUMBER = 2_000_000  # of any of these numbers; closer bounds follow once they are in open_clip's terms
INTERPOLATION_BY_NUMBER = {2: "bilinear", 3: "bicubic"}  # PIL's numbers
PREPROCESSOR = "preprocessor_config"  # where checkpoint.read puts the file of this name


def is_config(raw: Config, /) -> bool:
    """Whether this is a config of transformers; open_clip's have no such keys at their top."""
    return "model_type" in raw or ("text_config" in raw and "vision_config" in raw)


def translate(raw: Config, /, *, origin: str) -> Config:
    """``model_cfg`` and ``preprocess_cfg`` of a CLIPModel.

    Args:
        raw: config.json; under ``preprocessor_config`` that of the image processor, or None.
        origin: the place of the file, for messages.

    Raises:
        UnsupportedModel: it is no CLIPModel, or one that open_clip's native towers cannot express.
        RefusedInput: a value has the wrong kind or is out of bounds.
    """
    if raw.get("model_type", "clip") != "clip":
        raise UnsupportedModel(
            f"{origin} describes a model of type {brief(raw['model_type'])}. Of transformers' models, CLIPModel alone is "
            "handled."
        )
    text, vision = _section(raw, "text_config", origin), _section(raw, "vision_config", origin)
    sizes, sides = (
        _numbers(text, TEXT_DEFAULTS, f"{origin}: text_config"),
        _numbers(vision, VISION_DEFAULTS, f"{origin}: vision_config"),
    )
    if sides["num_channels"] != 3:
        raise UnsupportedModel(f"{origin}: images have {sides['num_channels']} channels; three are handled.")
    _check_end_of_text(text, sizes["vocab_size"], origin)
    model = {
        "embed_dim": _numbers(raw, {"projection_dim": PROJECTION}, origin)["projection_dim"],
        "quick_gelu": _is_quick(text, vision, origin),
        "vision_cfg": {
            "image_size": sides["image_size"],
            "patch_size": sides["patch_size"],
            "width": sides["hidden_size"],
            "layers": sides["num_hidden_layers"],
            "head_width": _head_width(sides, f"{origin}: vision_config"),
            "mlp_ratio": _ratio(sides),
            **_norm(vision, f"{origin}: vision_config"),
        },
        "text_cfg": {
            "context_length": sizes["max_position_embeddings"],
            "vocab_size": sizes["vocab_size"],
            "width": sizes["hidden_size"],
            "heads": sizes["hidden_size"] // _head_width(sizes, f"{origin}: text_config"),
            "layers": sizes["num_hidden_layers"],
            "mlp_ratio": _ratio(sizes),
            **_norm(text, f"{origin}: text_config"),
        },
    }
    return {"model_cfg": model, "preprocess_cfg": _preprocessing(raw.get(PREPROCESSOR), sides["image_size"])}


def _section(raw: Config, name: str, origin: str, /) -> Config:
    """The settings of one tower. Where an old file has ``text_config_dict``, transformers takes that alone."""
    section = raw.get(f"{name}_dict")
    section = raw.get(name) if section is None else section
    if not isinstance(section, dict | None):
        raise RefusedInput(f"{origin}: {name} is {brief(section)}. Write an object with the settings of that tower.")
    return section or {}


def _numbers(section: Config, defaults: dict[str, int], origin: str, /) -> dict[str, int]:
    """Whole, positive numbers by name, defaults where they are left out."""
    numbers = {}
    for name, default in defaults.items():
        value = section.get(name, default)
        if isinstance(value, list) and value and all(side == value[0] for side in value):
            value = value[0]  # newer files may give both sides of a square
        if type(value) is not int or not 0 < value <= LARGEST_NUMBER:
            raise RefusedInput(
                f"{origin}: {name} is {brief(value)}. Write a whole number from 1 to {LARGEST_NUMBER:,}."
            )
        numbers[name] = value
    return numbers


def _check_end_of_text(text: Config, vocabulary: int, origin: str, /) -> None:
    """Refuse another token to pool at than open_clip's, the one with the largest id."""
    end = text.get("eos_token_id", END_OF_TEXT)
    if end not in (LEGACY_END, vocabulary - 1) or isinstance(end, bool):
        raise UnsupportedModel(
            f"{origin}: captions end with token {brief(end)} of {vocabulary:,}. open_clip's text tower takes the token with "
            "the largest id for the end. A model with another tokenizer is not handled."
        )


def _is_quick(text: Config, vision: Config, origin: str, /) -> bool:
    activations = [section.get("hidden_act", ACTIVATION) for section in (text, vision)]
    if activations not in (["quick_gelu"] * 2, ["gelu"] * 2):
        raise UnsupportedModel(
            f"{origin}: hidden_act is {brief(activations[0])} for captions and {brief(activations[1])} for images. open_clip has gelu "
            "or quick_gelu, the same for both."
        )
    return activations == ["quick_gelu"] * 2


def _head_width(sizes: dict[str, int], origin: str, /) -> int:
    width, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    if width % heads:
        raise RefusedInput(f"{origin}: {width} channels cannot be shared out among {heads} attention heads.")
    return width // heads


def _ratio(sizes: dict[str, int], /) -> float:
    """The factor from which open_clip's ``int(width * mlp_ratio)`` gives the inner width back."""
    width, inner = sizes["hidden_size"], sizes["intermediate_size"]
    # Half a channel more where it does not divide: the product must not fall short by rounding.
    return (inner + 0.5) / width if inner % width else inner // width


def _norm(section: Config, origin: str, /) -> Config:
    """``norm_kwargs`` where the layer norms have another epsilon than open_clip's."""
    epsilon = section.get("layer_norm_eps", EPSILON)
    if not isinstance(epsilon, int | float) or not 0 < epsilon <= 0.1:
        raise RefusedInput(f"{origin}: layer_norm_eps is {brief(epsilon)}. Write a number above 0, as 1e-5.")
    return {} if epsilon == EPSILON else {"norm_kwargs": {"eps": epsilon}}


def _preprocessing(settings: object, side: int, /) -> Config:
    """``preprocess_cfg`` from the config of a CLIPImageProcessor; empty where there is none."""
    if settings is None:
        return {}
    where = "preprocessor_config.json"
    if not isinstance(settings, dict):
        raise RefusedInput(f"{where} is {brief(settings)}. Write an object with 'size', 'image_mean' and 'image_std'.")
    factor = settings.get("rescale_factor", 1 / 255)
    is_usual = isinstance(factor, int | float) and abs(factor - 1 / 255) < 1e-6
    if not settings.get("do_resize", True) or not settings.get("do_rescale", True) or not is_usual:
        raise UnsupportedModel(f"{where}: images are not resized, or not scaled by 1/255. Such models are not handled.")
    resample = settings.get("resample", 3)
    if not isinstance(resample, int) or resample not in INTERPOLATION_BY_NUMBER:
        raise UnsupportedModel(f"{where}: resample is {brief(resample)}; 2 (bilinear) and 3 (bicubic) are handled.")
    is_normalised = settings.get("do_normalize", True)
    return {
        **_size(settings, side, where),
        "mean": settings.get("image_mean") if is_normalised else [0, 0, 0],
        "std": settings.get("image_std") if is_normalised else [1, 1, 1],
        "interpolation": INTERPOLATION_BY_NUMBER[resample],
    }


def _size(settings: Config, side: int, where: str, /) -> Config:
    """The side to which images are resized, and how; cutting must then leave that square."""
    size, crop = settings.get("size", side), settings.get("crop_size", side)
    is_squashed = isinstance(size, dict) and "shortest_edge" not in size  # both sides are told
    if isinstance(size, dict):
        size = size.get("shortest_edge", [size.get("height"), size.get("width")])
    if isinstance(crop, dict):
        crop = [crop.get("height"), crop.get("width")]
    is_cut = bool(settings.get("do_center_crop", True))
    if (is_cut and _sides(crop) != _sides(size)) or not (is_cut or is_squashed):
        raise UnsupportedModel(
            f"{where}: images are resized to {brief(size)} and cut to {brief(crop if is_cut else None)}. Resizing and "
            "cutting to one square are handled."
        )
    return {"size": size, "resize_mode": "squash" if is_squashed else "shortest"}


def _sides(size: object, /) -> list[object]:
    return size if isinstance(size, list) else [size, size]


def brief(value: object, /) -> str:
    """A value from a file, short enough for a message."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
