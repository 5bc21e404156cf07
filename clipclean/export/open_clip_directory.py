"""The open_clip layout: weights and config for its ``local-dir:`` schema, read back before they count."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from clipclean import checkpoint, model
from clipclean.export import parity
from clipclean.export.formats import ExportJob
from clipclean.export.parity import Parity, ParitySamples
from clipclean.model.architecture import Config

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"


def check_architecture(architecture: model.Architecture, /) -> None:
    """Every model that clipclean reads is one of open_clip's."""


def export(job: ExportJob, /) -> list[tuple[str, Parity]]:
    """Write the folder and compare it; raises what ``check`` raises."""
    write(job.folder, job.weights, model_cfg=job.model_cfg, preprocess_cfg=job.preprocess_cfg)
    return [(WEIGHTS_NAME, check(job.folder, job.samples))]


def write(folder: Path, tensors: Mapping[str, Tensor], /, *, model_cfg: Config, preprocess_cfg: Config) -> None:
    """Write ``open_clip_config.json`` and ``open_clip_model.safetensors`` into an existing folder."""
    checkpoint.write_safetensors(folder / WEIGHTS_NAME, tensors, metadata={"format": "pt"})
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def check(folder: Path, samples: ParitySamples, /) -> Parity:
    """Load the folder with open_clip in a child process, and compare its unit embeddings with ours.

    Raises:
        ExportMismatch: open_clip cannot load the folder, or its embeddings differ.
    """
    return parity.hold(parity.compare(samples, parity.ask("open_clip", folder, samples)), parity.FP32_LIMITS)
