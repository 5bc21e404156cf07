"""The layouts that weights leave in: each written, read back by the library that it is for, and described."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipclean import checkpoint, export, files, model
from clipclean.checkpoint import hugging_face
from clipclean.errors import UnsupportedModel, UsageError
from clipclean.progress import Progress

FORMATS = ("open_clip", "hf", "onnx")
SAMPLES = 63  # pictures and captions that each export is compared on: batches of 1, 2, 3 and 57
HF_WEIGHTS = "model.safetensors"
IMMICH = "immich"
TOKENIZER_FOLDER, PREPROCESS_CFG = "textual", "visual/preprocess_cfg.json"  # where Immich looks
NAMES = (  # of every file that a layout may have
    export.CONFIG_NAME,
    export.WEIGHTS_NAME,
    *export.HF_FILES,
    *export.ONNX_FILES,
    PREPROCESS_CFG,
    *(f"{TOKENIZER_FOLDER}/{name}" for name in export.TOKENIZER_FILES),
)


@dataclass(frozen=True)
class Wanted:
    """Which layouts; for ONNX whose names, whether embeddings have unit length, whether weights are halved.

    ``bom`` asks for a bill of materials beside them.
    """

    formats: tuple[str, ...]
    preset: str
    normalise: bool
    fp16: bool
    bom: bool = False


OPEN_CLIP = Wanted(("open_clip",), "transformers.js", normalise=False, fp16=False)


def check(wanted: Wanted, /) -> None:
    """Refuse before slow work what could not be written after it.

    Raises:
        UsageError: a package is missing, or two layouts need the same file.
    """
    if "onnx" in wanted.formats:
        export.check_onnx_packages()
    if {"hf", "onnx"} <= set(wanted.formats) and wanted.preset == IMMICH:
        raise UsageError(
            "Immich and transformers both look for config.json, and for another one. Export them into two folders."
        )


def check_architecture(architecture: model.Architecture, wanted: Wanted, /) -> None:
    """Raise UnsupportedModel where a layout has no place for the model."""
    if "hf" in wanted.formats:
        export.check_hf_config(architecture.config, asdict(architecture.preprocess))


def write(
    folder: Path,
    clip: model.Clip,
    weights: dict[str, Tensor],
    /,
    *,
    wanted: Wanted,
    pixels: Tensor,
    captions: Sequence[str],
    source_sha256: str,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Write every layout into an existing folder, and compare each with ``clip`` on real pictures and captions.

    Args:
        folder: empty, or at least without the files of these layouts.
        clip: the model, on any device; the comparison is made on the CPU.
        weights: its state dict in fp32, on the CPU.
        wanted: what ``check`` and ``check_architecture`` have passed.
        pixels: (N, 3, S, S) in [0, 1]; the first 63 count.
        captions: the first 63 count.
        source_sha256: of the file that the weights come from.
        progress: told once a layout.

    Returns:
        The report's ``exports``: for each file of weights its format, path, digests and parity.

    Raises:
        ExportMismatch: what a library reads back is not what was written.
        UnsupportedModel: a layout has no place for the model.
    """
    # A GPU's convolutions round to fewer digits.
    ours = clip if clip.device.type == "cpu" else model.build(clip.architecture, weights, device="cpu")
    job = Job(folder, ours, weights, wanted, samples(ours, pixels, captions), source_sha256)
    entries: list[dict[str, Any]] = []
    for name in wanted.formats:
        progress(f"exporting {name}", 0, 1)
        entries += WRITERS[name](job)
        progress(f"exporting {name}", 1, 1)
    return entries


@dataclass(frozen=True)
class Job:
    """What all writers take."""

    folder: Path
    clip: model.Clip
    weights: dict[str, Tensor]
    wanted: Wanted
    samples: export.Samples
    source_sha256: str

    @property
    def preprocess(self) -> dict[str, Any]:
        """open_clip's ``preprocess_cfg``."""
        return asdict(self.clip.architecture.preprocess)

    def entry(self, form: str, path: str, parity: export.Parity, /) -> dict[str, Any]:
        """One entry of the report's ``exports``."""
        return {
            "format": form,
            "path": path,
            "sha256": files.sha256(self.folder / path),
            "tensor_sha256": checkpoint.digest(self.weights),
            "parity": asdict(parity),
        }


def samples(clip: model.Clip, pixels: Tensor, captions: Sequence[str], /) -> export.Samples:
    """The first pictures and captions, with the unit embeddings of a model on the CPU."""
    pixels, captions = pixels[:SAMPLES], list(captions[:SAMPLES])
    tokens, started = clip.tokens(captions), time.monotonic()
    images, texts = clip.embed_images(pixels), clip.embed_tokens(tokens)
    return export.Samples(clip.normalise(pixels), tokens, images, texts, captions, time.monotonic() - started)


def _open_clip(job: Job, /) -> list[dict[str, Any]]:
    export.write_open_clip(
        job.folder, job.weights, model_cfg=job.clip.architecture.config, preprocess_cfg=job.preprocess,
        metadata={"format": "pt"},
    )  # fmt: skip
    asked = job.samples
    parity = export.check_open_clip(
        job.folder, pixels=asked.pixels, tokens=asked.tokens, images=asked.images, texts=asked.texts
    )
    return [job.entry("open_clip", export.WEIGHTS_NAME, parity)]


def _hf(job: Job, /) -> list[dict[str, Any]]:
    export.write_hf(
        job.folder, hugging_face.from_open_clip(job.weights), model_cfg=job.clip.architecture.config,
        preprocess_cfg=job.preprocess, metadata={"format": "pt"},
    )  # fmt: skip
    parity = export.check_hf(job.folder, job.samples) if export.can_check_hf() else _mapped_back(job)
    return [job.entry("hf", HF_WEIGHTS, parity)]


def _mapped_back(job: Job, /) -> export.Parity:
    """Parity where transformers is not installed: of the file's tensors under open_clip's names again."""
    read = checkpoint.read(job.folder / HF_WEIGHTS).tensors
    clip, asked = model.build(job.clip.architecture, read, device="cpu"), job.samples
    with torch.no_grad():
        images = clip.net.encode_image(asked.pixels)  # type: ignore[operator] # nn.Module's __getattr__
    features = {"images": images.numpy(), "texts": clip.embed_tokens(asked.tokens).numpy()}
    parity = export.compare(asked, features | {"reader": "clipclean, since transformers is not installed"})
    export.hold(parity, export.FP32)
    return parity


def _onnx(job: Job, /) -> list[dict[str, Any]]:
    wanted, architecture = job.wanted, job.clip.architecture
    preset = export.PRESETS[wanted.preset]
    context = architecture.config["text_cfg"].get("context_length", 77)
    export.write_onnx(
        job.folder, job.clip.net, preset=preset, image_size=architecture.preprocess.size, context_length=context,
        normalise=wanted.normalise, fp16=wanted.fp16, metadata=facts(job),
    )  # fmt: skip
    if wanted.preset in BESIDE:
        BESIDE[wanted.preset](job, context)
    parity = export.check_onnx(job.folder, job.samples, preset=preset, normalise=wanted.normalise, fp16=wanted.fp16)
    return [job.entry("onnx", name, parity) for name in export.onnx_names(preset, fp16=wanted.fp16)]


def facts(job: Job, /) -> dict[str, str]:
    """What an ONNX graph's ``metadata_props`` say of the model, since the graph alone cannot be used right."""
    architecture, preprocess = job.clip.architecture, job.preprocess
    text = architecture.config["text_cfg"]
    known = {
        "architecture": architecture.name.encode("ascii", "backslashreplace").decode(),
        "activation": "quick_gelu" if architecture.quick_gelu else "gelu",
        "embed_dim": architecture.config["embed_dim"],
        "context_length": text.get("context_length", 77),
        "vocab_size": text.get("vocab_size", 49408),
        "logit_scale": float(job.clip.logit_scale().detach()),
        "weights": "fp16" if job.wanted.fp16 else "fp32",
        "source_sha256": job.source_sha256,
        "tensor_sha256": checkpoint.digest(job.weights),
        **{f"image_{key}": value for key, value in preprocess.items()},
    }
    return {f"clip.{key}": value if isinstance(value, str) else json.dumps(value) for key, value in known.items()}


def _beside_transformers_js(job: Job, context: int, /) -> None:
    """What its processor and tokenizer read, and config.json where a CLIPConfig can describe the model."""
    architecture, preprocess = job.clip.architecture, job.preprocess
    if preprocess["resize_mode"] != "longest":
        export.write_hf_processor(job.folder, preprocess_cfg=preprocess, context_length=context)
    try:
        export.check_hf_config(architecture.config, preprocess)
    except UnsupportedModel:
        return
    export.write_hf_config(job.folder, model_cfg=architecture.config)


def _beside_immich(job: Job, context: int, /) -> None:
    """open_clip's configs under Immich's names, and the tokenizer with the text graph."""
    configs = {"config.json": job.clip.architecture.config, PREPROCESS_CFG: job.preprocess}
    for name, value in configs.items():
        (job.folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    export.write_tokenizer(job.folder / TOKENIZER_FOLDER, context_length=context)


# What a consumer reads beside the graphs; clip-as-service brings its own.
BESIDE: dict[str, Callable[[Job, int], None]] = {
    "transformers.js": _beside_transformers_js,
    IMMICH: _beside_immich,
}
WRITERS = {"open_clip": _open_clip, "hf": _hf, "onnx": _onnx}
