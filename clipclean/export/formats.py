"""``FORMATS``: the export formats, one entry each. Everything that names a format reads this table.

A new format is one module that offers what ``layout.Layout`` asks for, and one entry here. The table imports no torch: the
command line reads it for ``--help``.
"""

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipclean import files
from clipclean.errors import UsageError
from clipclean.export import bpe, onnx_metadata, onnx_presets
from clipclean.export.layout import ExportJob, Layout, Wanted
from clipclean.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from clipclean import model
    from clipclean.export.parity import Samples

SAMPLES = 63  # images and captions that each export is compared on: batches of 1, 2, 3 and 57


@dataclass(frozen=True)
class Format:
    """One export format.

    Attributes:
        summary: what it is, for ``--help``.
        library: the name of the library that loads it, as model hubs spell it.
        load: how to load it, in one line; ``{}`` stands for the folder.
        example: the lines of the model card that load it.
        packages: what must be installed to write it.
        files: every file that it may write, relative to the folder.
        layout: its module, which imports torch.
        recorded_digest: reads the digest of the tensors out of a file whose tensors are not those that were read.
            None where ``checkpoint.read`` reads the file, so that the digest can be computed anew.
    """

    summary: str
    library: str
    load: str
    example: tuple[str, ...]
    packages: tuple[str, ...]
    files: tuple[str, ...]
    layout: Callable[[], Layout]
    recorded_digest: Callable[[Path], str] | None = None


def _open_clip() -> Layout:
    from clipclean.export import open_clip_directory

    return open_clip_directory


def _hf() -> Layout:
    from clipclean.export import hf_directory

    return hf_directory


def _onnx() -> Layout:
    from clipclean.export import onnx_files

    return onnx_files


FORMATS: dict[str, Format] = {
    "open_clip": Format(
        summary="open_clip's local-dir",
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
        layout=_open_clip,
    ),
    "hf": Format(
        summary="transformers' CLIPModel with processor and tokenizer",
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
        files=("config.json", "model.safetensors", "preprocessor_config.json", *bpe.FILES),
        layout=_hf,
    ),
    "onnx": Format(
        summary="ONNX graphs",
        library="onnx",
        load="ONNX Runtime, the graphs in {}",
        example=("What the ONNX graphs expect and give is in their `metadata_props`.",),
        packages=("onnx", "onnxscript", "onnxruntime"),
        files=onnx_presets.FILES,
        layout=_onnx,
        recorded_digest=onnx_metadata.tensor_digest,
    ),
}
NAMES = tuple(dict.fromkeys(name for form in FORMATS.values() for name in form.files))  # of every file of any format
OPEN_CLIP = Wanted(("open_clip",), onnx_presets.DEFAULT, normalise=False, fp16=False)


def check(wanted: Wanted, /) -> None:
    """Refuse before slow work what could not be written after it.

    Raises:
        UsageError: a package is missing, or two formats need the same file.
    """
    for name in wanted.formats:
        missing = [package for package in FORMATS[name].packages if importlib.util.find_spec(package) is None]
        if missing:
            raise UsageError(
                f"--format {name} needs {', '.join(missing)}, which this installation lacks. They come with clipclean: "
                f"install it anew, or pip install {' '.join(missing)}."
            )
    if {"hf", "onnx"} <= set(wanted.formats) and wanted.preset == onnx_presets.IMMICH:
        raise UsageError(
            "Immich and transformers both look for config.json, and for another one. Export them into two folders."
        )


def check_architecture(architecture: "model.Architecture", wanted: Wanted, /) -> None:
    """Raise UnsupportedModel where a format has no place for the model."""
    for name in wanted.formats:
        FORMATS[name].layout().check_architecture(architecture)


def write(
    folder: Path,
    clip: "model.Clip",
    weights: "dict[str, Tensor]",
    /,
    *,
    wanted: Wanted,
    pixels: "Tensor",
    captions: Sequence[str],
    source_sha256: str,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Write every format into an existing folder, and compare each with ``clip`` on real images and captions.

    Args:
        folder: empty, or at least without the files of these formats.
        clip: the model, on any device; the comparison is made on the CPU.
        weights: its state dict in fp32, on the CPU.
        wanted: what ``check`` and ``check_architecture`` have passed.
        pixels: (N, 3, S, S) in [0, 1]; the first 63 count.
        captions: the first 63 count.
        source_sha256: of the file that the weights come from.
        progress: called at the start and at the end of each format.

    Returns:
        The report's ``exports``: for each file of weights its format, path, digests and parity.

    Raises:
        ExportMismatch: what a library reads back is not what was written.
        UnsupportedModel: a format has no place for the model.
    """
    from clipclean import checkpoint, model

    # A GPU's convolutions round to fewer digits.
    ours = clip if clip.device.type == "cpu" else model.build(clip.architecture, weights, device="cpu")
    digest = checkpoint.digest(weights)
    job = ExportJob(folder, ours, weights, wanted, samples(ours, pixels, captions), source_sha256, digest)
    entries: list[dict[str, Any]] = []
    for name in wanted.formats:
        progress(f"exporting {name}", 0, 1)
        for path, parity in FORMATS[name].layout().export(job):
            entries.append(
                {
                    "format": name,
                    "path": path,
                    "sha256": files.sha256(folder / path),
                    "tensor_sha256": digest,
                    "parity": asdict(parity),
                }
            )
        progress(f"exporting {name}", 1, 1)
    return entries


def samples(clip: "model.Clip", pixels: "Tensor", captions: Sequence[str], /) -> "Samples":
    """The first images and captions, with the unit embeddings of a model on the CPU."""
    from clipclean.export.parity import Samples

    pixels, captions = pixels[:SAMPLES], list(captions[:SAMPLES])
    tokens, started = clip.tokens(captions), time.monotonic()
    images, texts = clip.embed_images(pixels), clip.embed_tokens(tokens)
    return Samples(clip.normalise(pixels), tokens, images, texts, captions, time.monotonic() - started)
