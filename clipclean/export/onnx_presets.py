"""Presets of ONNX consumers: the file and tensor names that each expects. Imports no torch."""

from dataclasses import dataclass

from clipclean.export import bpe

IMMICH = "immich"
DEFAULT = "transformers.js"
DATA = "_data"  # the file of weights beside a graph, by transformers.js's name
TOKENIZER_FOLDER, PREPROCESS_CFG = "textual", "visual/preprocess_cfg.json"  # where Immich looks


@dataclass(frozen=True)
class Preset:
    """The paths of the graphs for one consumer, and the names of their inputs and outputs.

    ``is_normalised``: it takes the outputs for unit embeddings.
    """

    vision: str
    text: str
    pixels: str
    tokens: str
    images: str
    texts: str
    integers: str
    is_normalised: bool


PRESETS: dict[str, Preset] = {
    # github.com/huggingface/transformers.js: models.js and the files of Xenova/clip-vit-base-patch32
    "transformers.js": Preset(
        vision="onnx/vision_model.onnx",
        text="onnx/text_model.onnx",
        pixels="pixel_values",
        tokens="input_ids",
        images="image_embeds",
        texts="text_embeds",
        integers="int64",
        is_normalised=False,
    ),
    # github.com/immich-app/immich: machine-learning/immich_ml/models/clip
    "immich": Preset(
        vision="visual/model.onnx",
        text="textual/model.onnx",
        pixels="image",
        tokens="text",
        images="embedding",
        texts="embedding",
        integers="int32",
        is_normalised=True,
    ),
}


def names(preset: Preset, /, *, fp16: bool) -> tuple[str, str]:
    """The paths of the two graphs in the folder; ``_fp16`` is transformers.js's own mark."""
    if not fp16 or not preset.vision.startswith("onnx/"):
        return preset.vision, preset.text
    return preset.vision.replace(".onnx", "_fp16.onnx"), preset.text.replace(".onnx", "_fp16.onnx")


_GRAPHS = dict.fromkeys(name for each in PRESETS.values() for fp16 in (False, True) for name in names(each, fp16=fp16))
FILES = (  # of all presets
    *(name + suffix for name in _GRAPHS for suffix in ("", DATA)),
    *("config.json", "preprocessor_config.json", *bpe.FILES),
    PREPROCESS_CFG,
    *(f"{TOKENIZER_FOLDER}/{name}" for name in bpe.FILES),
)
