"""The transformers layout: weights, config, tokenizer and image processor for CLIPModel and CLIPProcessor."""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clipclean import checkpoint, model
from clipclean.checkpoint import layouts
from clipclean.errors import UnsupportedModel
from clipclean.export import bpe, parity
from clipclean.export.formats import ExportJob
from clipclean.export.parity import Parity, ParitySamples
from clipclean.export.read_back import Array, ReaderAnswer
from clipclean.model.architecture import Config, config_signature

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
PREPROCESSOR_NAME = "preprocessor_config.json"
OTHER_FORMATS = "Export it as open_clip or onnx instead."
RESAMPLING_CODES = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers

# Settings that CLIPConfig can hold, or that have no effect at inference. All others must be absent or off.
VISION_KEYS = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio", "norm_kwargs", "patch_dropout"}
TEXT_KEYS = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "norm_kwargs", "pad_id", "eos_id"}
NEUTRAL_VALUES = {  # values that equal CLIPModel's behaviour
    "pos_embed_type": ("learnable",),
    "pool_type": ("tok", "argmax"),
    "proj_type": ("linear",),
    "block_type": ("default",),
    "tokenizer_mode": ("clean",),
    "attn_pooler_queries": (256,),  # of a pooler that attentional_pool would switch on
    "attn_pooler_heads": (8,),
}


@dataclass(frozen=True)
class Reading(Parity):
    """Parity, and how many of the captions the folder's tokenizer turns into the ids of open_clip's."""

    captions: int
    captions_alike: int


def export(job: ExportJob, /) -> list[tuple[str, Parity]]:
    """Write the folder and compare it; raises what ``write`` and ``check`` raise."""
    tensors = layouts.from_open_clip(job.weights)
    write(job.folder, tensors, job.clip.architecture)
    return [(WEIGHTS_NAME, check(job.folder, job.samples) if can_check() else _parity_of_file(job))]


def _parity_of_file(job: ExportJob, /) -> Parity:
    """Parity where transformers is not installed: of the file's tensors under open_clip's names again."""
    tensors = checkpoint.read(job.folder / WEIGHTS_NAME).tensors
    clip, samples = model.build(job.clip.architecture, tensors, device="cpu"), job.samples
    with torch.no_grad():
        images = clip.net.encode_image(samples.pixels)  # type: ignore[operator] # nn.Module's __getattr__
    texts, reader = clip.embed_tokens(samples.tokens).numpy(), "clipclean, since transformers is not installed"
    answer = ReaderAnswer(images=images.numpy(), texts=texts, reader=reader)
    return parity.hold(parity.compare(samples, answer), parity.FP32_LIMITS)


def check_architecture(architecture: model.Architecture, /) -> None:
    """Refuse, before slow work, models that transformers' CLIPModel and CLIPProcessor cannot express.

    Raises:
        UnsupportedModel: the image tower is a ResNet, or a setting has no equivalent; all are named.
    """
    model_cfg = architecture.config
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    if isinstance(vision.get("layers", 12), list | tuple):
        raise UnsupportedModel(f"The image tower is a ResNet, and CLIPModel has ViT towers alone. {OTHER_FORMATS}")
    settings = {f"vision_cfg.{key}": value for key, value in vision.items() if key not in VISION_KEYS}
    settings |= {f"text_cfg.{key}": value for key, value in text.items() if key not in TEXT_KEYS}
    settings["nonscalar_logit_scale"] = model_cfg.get("nonscalar_logit_scale")
    neutral = {key: (None, False, *NEUTRAL_VALUES.get(key.rpartition(".")[2], ())) for key in settings}
    foreign = [f"{key} = {value}" for key, value in settings.items() if value not in neutral[key]]
    foreign += [
        f"{section_name}.norm_kwargs.{key} = {value}"
        for section_name, section in (("vision_cfg", vision), ("text_cfg", text))
        for key, value in (section.get("norm_kwargs") or {}).items()
        if key != "eps"
    ]
    if architecture.preprocess.resize_mode == "longest":
        foreign.append("resize_mode = longest")
    if foreign:
        raise UnsupportedModel(
            f"transformers' CLIPModel has no place for {', '.join(foreign)}, and would compute something else. {OTHER_FORMATS}"
        )


def write(folder: Path, tensors: Mapping[str, Tensor], architecture: model.Architecture, /) -> None:
    """Write config, weights, image processor and tokenizer into an existing folder; ``tensors`` have transformers' names."""
    # transformers wants the format in the header of the weights.
    checkpoint.write_safetensors(folder / WEIGHTS_NAME, tensors, metadata={"format": "pt"})
    write_json(folder / CONFIG_NAME, config(architecture.config))
    write_processor(folder, architecture)


def write_processor(folder: Path, architecture: model.Architecture, /) -> None:
    """Write what ``CLIPProcessor`` loads: the image processor's settings and the tokenizer."""
    write_json(folder / PREPROCESSOR_NAME, image_processor(architecture.preprocess))
    bpe.write(folder, context_length=architecture.context_length)


def config(model_cfg: Config, /) -> dict[str, object]:
    """``CLIPConfig`` for one of open_clip's configs that ``check_architecture`` passes; ``quick_gelu`` decides the activation."""
    sizes = config_signature(model_cfg)  # with the sizes that are left out
    vision, text = (sizes[tower] | model_cfg[tower] for tower in ("vision_cfg", "text_cfg"))
    activation, embedding = "quick_gelu" if model_cfg.get("quick_gelu") else "gelu", model_cfg["embed_dim"]
    return {
        "architectures": ["CLIPModel"],
        "logit_scale_init_value": 2.6592,  # before the weights are loaded; CLIPConfig's own default
        "model_type": "clip",
        "projection_dim": embedding,
        "text_config": {
            # From the third on transformers looks for the first eos_token_id; with the legacy 2 for the largest id.
            "bos_token_id": bpe.START_ID,
            "eos_token_id": bpe.END_ID,
            "pad_token_id": bpe.END_ID,
            "max_position_embeddings": text["context_length"],
            "vocab_size": text["vocab_size"],
            "num_attention_heads": text.get("heads", 8),
            **_tower("clip_text_model", text),
            "hidden_act": activation,
            "projection_dim": embedding,
        },
        "vision_config": {
            "image_size": sizes["vision_cfg"]["image_size"],
            "patch_size": vision["patch_size"],
            "num_channels": 3,
            "num_attention_heads": vision["width"] // vision.get("head_width", 64),
            **_tower("clip_vision_model", vision),
            "hidden_act": activation,
            "projection_dim": embedding,
        },
    }


def _tower(kind: str, section: Config, /) -> dict[str, object]:
    """The settings that both towers have."""
    return {
        "model_type": kind,
        "attention_dropout": 0.0,
        "hidden_size": section["width"],
        "intermediate_size": int(section["width"] * section.get("mlp_ratio", 4.0)),
        "layer_norm_eps": (section.get("norm_kwargs") or {}).get("eps", 1e-5),
        "num_hidden_layers": section["layers"],
    }


def image_processor(preprocess: model.Preprocess, /) -> dict[str, object]:
    """``CLIPImageProcessor`` for open_clip's preprocessing."""
    square = {"height": preprocess.size, "width": preprocess.size}
    is_squashed = preprocess.resize_mode == "squash"
    return {
        "crop_size": square,
        "do_center_crop": not is_squashed,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(preprocess.mean),
        "image_processor_type": "CLIPImageProcessor",
        "image_std": list(preprocess.std),
        "processor_class": "CLIPProcessor",
        "resample": RESAMPLING_CODES[preprocess.interpolation],
        "rescale_factor": 1 / 255,
        "size": square if is_squashed else {"shortest_edge": preprocess.size},
    }


def write_json(path: Path, value: object, /) -> None:
    """Write a value as these files have it."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def can_check() -> bool:
    """Whether transformers is installed, which reads the folder back."""
    return importlib.util.find_spec("transformers") is not None


def check(folder: Path, samples: ParitySamples, /) -> Reading:
    """Load the folder with transformers in a child process, and compare its unit embeddings with ours.

    The embeddings are of our own token ids; those that the folder's tokenizer gives for the captions are counted.

    Raises:
        ExportMismatch: transformers cannot load the folder, or its embeddings differ.
    """
    answer = parity.ask("transformers", folder, samples)
    agreement = parity.hold(parity.compare(samples, answer), parity.FP32_LIMITS)
    captions_alike = sum(
        _id_list(a) == _id_list(b) for a, b in zip(samples.tokens.numpy(), answer["tokens"], strict=True)
    )
    return Reading(**vars(agreement), captions=len(samples.tokens), captions_alike=captions_alike)


def _id_list(ids: Array, /) -> list[int]:
    """Token ids up to the first end-of-text; the padding behind it differs and has no effect."""
    numbers: list[int] = ids.tolist()
    return numbers[: numbers.index(bpe.END_ID) + 1]
