"""``EXPORT_FORMATS``: the export formats, one entry each. Every other place that names a format reads this table: ``--help`` too, so it loads fast."""

import importlib
import importlib.util
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from clipclean import files
from clipclean.errors import UnsupportedModel, UsageError
from clipclean.export import bpe
from clipclean.progress import stage

if TYPE_CHECKING:
    from torch import Tensor

    from clipclean import model
    from clipclean.export.parity import ParitySamples
    from clipclean.model.architecture import Config
    from clipclean.schema.report import ExportRecord


# ONNX consumers: the file and tensor names that each expects.

IMMICH = "immich"
DEFAULT_PRESET = "transformers.js"
DATA_SUFFIX = "_data"  # the file of weights beside a graph, by transformers.js's name
TOKENIZER_FOLDER, PREPROCESS_CFG = "textual", "visual/preprocess_cfg.json"  # where Immich looks


@dataclass(frozen=True)
class Preset:
    """The paths of the graphs for one consumer, and the names of their inputs and outputs."""

    vision: str
    text: str
    pixels: str
    tokens: str
    images: str
    texts: str
    integers: str
    is_normalised: bool  # whether it takes the outputs for unit embeddings


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


@dataclass(frozen=True)
class ExportOptions:
    """Which formats; for ONNX whose names, whether embeddings have unit length, whether weights are halved."""

    formats: tuple[str, ...]
    preset: str = DEFAULT_PRESET
    normalise: bool = False
    fp16: bool = False

    @property
    def graphs(self) -> tuple[str, str]:
        """The paths of the two graphs in the folder; ``_fp16`` is transformers.js's own mark."""
        preset = PRESETS[self.preset]
        if not self.fp16 or not preset.vision.startswith("onnx/"):
            return preset.vision, preset.text
        return preset.vision.replace(".onnx", "_fp16.onnx"), preset.text.replace(".onnx", "_fp16.onnx")

    @property
    def is_unit(self) -> bool:
        """Whether the graphs give unit embeddings: asked for, or expected by the consumer."""
        return self.normalise or PRESETS[self.preset].is_normalised


_ONNX = (ExportOptions(("onnx",), preset, fp16=fp16) for preset in PRESETS for fp16 in (False, True))
_GRAPHS = dict.fromkeys(name for options in _ONNX for name in options.graphs)
ONNX_FILES = (  # of all presets
    *(name + suffix for name in _GRAPHS for suffix in ("", DATA_SUFFIX)),
    *("config.json", "preprocessor_config.json", *bpe.TOKENIZER_FILES),
    PREPROCESS_CFG,
    *(f"{TOKENIZER_FOLDER}/{name}" for name in bpe.TOKENIZER_FILES),
)


def options_of(
    formats: Sequence[str], preset: str = DEFAULT_PRESET, /, *, normalize: bool = False, fp16: bool = False
) -> ExportOptions:
    """The requested formats; raises UsageError for a setting of a format that was not requested."""
    names = tuple(dict.fromkeys(formats))
    if "onnx" not in names and (normalize or fp16):
        raise UsageError("--normalize and --fp16 are of the ONNX layout. Add --format onnx, or leave them out.")
    return ExportOptions(names, preset, normalise=normalize, fp16=fp16)


@dataclass(frozen=True)
class ExportJob:
    """One model to write."""

    folder: Path
    clip: "model.Clip"  # on the CPU
    weights: "dict[str, Tensor]"  # its state dict in fp32
    options: ExportOptions
    samples: "ParitySamples"  # images and captions that the written files are compared on
    source_sha256: str  # of the file that the weights come from
    tensor_sha256: str  # of the weights

    @property
    def model_cfg(self) -> "Config":
        """open_clip's ``model_cfg``."""
        return self.clip.architecture.config

    @property
    def preprocess_cfg(self) -> "Config":
        """open_clip's ``preprocess_cfg``."""
        return asdict(self.clip.architecture.preprocess)


PARITY_SAMPLES = 63  # images and captions that each export is compared on: batches of 1, 2, 3 and 57


@dataclass(frozen=True)
class Format:
    """One export format.

    Its module has two functions. ``check_architecture(architecture)`` raises UnsupportedModel where the format has no place for the
    model. ``export(job)`` writes the files, lets the format's own library read them back, and compares: it returns the path of each
    file of weights, with its ``Parity``, and raises ExportMismatch where the library reads something else.
    """

    words: str  # what it is, for --help
    library: str  # the name of the library that loads it, as model hubs spell it
    load: str  # how to load it, in one line; {} stands for the folder
    example: tuple[str, ...]  # the lines of the model card that load it
    packages: tuple[str, ...]  # what must be installed to write it
    files: tuple[str, ...]  # every file that it may write, relative to the folder
    module: str  # in this package; it imports torch

    def layout(self) -> ModuleType:
        """The module, imported."""
        return importlib.import_module(f"clipclean.export.{self.module}")


EXPORT_FORMATS: dict[str, Format] = {
    "open_clip": Format(
        words="open_clip's local-dir",
        library="open_clip",
        load='open_clip.create_model_and_transforms("local-dir:{}")',
        example=(
            "```python",
            "import open_clip",
            'model, _, preprocess = open_clip.create_model_and_transforms("local-dir:THIS_FOLDER")',
            'tokenizer = open_clip.get_tokenizer("local-dir:THIS_FOLDER")',
            "```",
        ),
        packages=(),
        files=("open_clip_config.json", "open_clip_model.safetensors"),
        module="open_clip_directory",
    ),
    "hf": Format(
        words="transformers' CLIPModel with processor and tokenizer",
        library="transformers",
        load='transformers.CLIPModel.from_pretrained("{}")',
        example=(
            "```python",
            "from transformers import CLIPModel, CLIPProcessor",
            'model = CLIPModel.from_pretrained("THIS_FOLDER")',
            'processor = CLIPProcessor.from_pretrained("THIS_FOLDER")',
            "```",
        ),
        packages=(),
        files=("config.json", "model.safetensors", "preprocessor_config.json", *bpe.TOKENIZER_FILES),
        module="hf_directory",
    ),
    "onnx": Format(
        words="ONNX graphs",
        library="onnx",
        load="ONNX Runtime, the graphs in {}",
        example=("What the ONNX graphs expect and give is in their `metadata_props`.",),
        packages=("onnx", "onnxscript", "onnxruntime"),
        files=ONNX_FILES,
        module="onnx_files",
    ),
}
# Of every file of any format.
FILE_NAMES = tuple(dict.fromkeys(name for form in EXPORT_FORMATS.values() for name in form.files))
OPEN_CLIP = ExportOptions(("open_clip",))


def check(options: ExportOptions, /) -> None:
    """Refuse before slow work what could not be written after it.

    Raises:
        UsageError: a package is missing, or two formats need the same file.
    """
    for name in options.formats:
        missing = [package for package in EXPORT_FORMATS[name].packages if importlib.util.find_spec(package) is None]
        if missing:
            raise UsageError(
                f"--format {name} needs {', '.join(missing)}, which this installation lacks: pip install {' '.join(missing)}."
            )
    if {"hf", "onnx"} <= set(options.formats) and options.preset == IMMICH:
        raise UsageError(
            "Immich and transformers both look for config.json, and for another one. Export them into two folders."
        )


def check_architecture(architecture: "model.Architecture", options: ExportOptions, /) -> None:
    """Raise UsageError where a format has no place for the model."""
    for name in options.formats:
        try:
            EXPORT_FORMATS[name].layout().check_architecture(architecture)
        except UnsupportedModel as error:
            raise UsageError(f"--format {name}: {error}") from error


def write(
    folder: Path,
    clip: "model.Clip",
    weights: "dict[str, Tensor]",
    /,
    *,
    options: ExportOptions,
    pixels: "Tensor",
    captions: Sequence[str],
    source_sha256: str,
) -> "list[ExportRecord]":
    """Write every format into an existing folder, and compare each with ``clip`` on real images and captions.

    Args:
        folder: empty, or at least without the files of these formats.
        clip: the model, on any device; the comparison is made on the CPU.
        weights: its state dict in fp32, on the CPU.
        options: what ``check`` and ``check_architecture`` have passed.
        pixels: (N, 3, S, S) in [0, 1]; the first ``PARITY_SAMPLES`` count.
        captions: the first ``PARITY_SAMPLES`` count.
        source_sha256: of the file that the weights come from.

    Returns:
        The report's ``exports``: for each file of weights its format, path, digests and parity.

    Raises:
        ExportMismatch: what a library reads back is not what was written.
        UnsupportedModel: a format has no place for the model.
    """
    from clipclean import checkpoint, model
    from clipclean.export.parity import ParitySamples
    from clipclean.schema.report import ExportRecord

    # A GPU's convolutions round to fewer digits.
    ours = clip if clip.device.type == "cpu" else model.build(clip.architecture, weights, device="cpu")
    pixels, captions = pixels[:PARITY_SAMPLES], list(captions[:PARITY_SAMPLES])
    tokens, start = ours.tokens(captions), time.monotonic()
    images, texts = ours.embed_images(pixels), ours.embed_tokens(tokens)
    seconds = time.monotonic() - start
    samples = ParitySamples(ours.normalise(pixels), tokens, images, texts, captions, seconds)
    digest = checkpoint.digest(weights)
    job = ExportJob(folder, ours, weights, options, samples, source_sha256, digest)
    entries = []
    for name in options.formats:
        with stage(f"exporting {name}"):
            for path, parity in EXPORT_FORMATS[name].layout().export(job):
                file_digest = files.sha256(folder / path)
                entries.append(
                    ExportRecord(
                        format=name, path=path, sha256=file_digest, tensor_sha256=digest, parity=asdict(parity)
                    )
                )
    return entries
