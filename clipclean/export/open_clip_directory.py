"""Weights and config in the layout that open_clip's ``local-dir:`` schema loads, read back before they count."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from clipclean.errors import ClipcleanError
from clipclean.export import safetensors_file

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
MAX_DIFFERENCE = 1e-5  # of unit embeddings, fp32
MIN_COSINE = 0.99999
TIMEOUT = 600  # seconds


class ExportMismatch(ClipcleanError):
    """What another library reads back is not what was written; exit 5."""

    exit_code = 5


@dataclass(frozen=True)
class Parity:
    """How far open_clip's embeddings of the written files are from ours, over ``n`` pictures and captions."""

    max_difference: float
    min_cosine: float
    n: int


def write(
    folder: Path,
    tensors: Mapping[str, Tensor],
    /,
    *,
    model_cfg: dict[str, Any],
    preprocess_cfg: dict[str, Any],
    metadata: Mapping[str, str],
) -> None:
    """Write ``open_clip_config.json`` and ``open_clip_model.safetensors`` into an existing folder."""
    safetensors_file.write(folder / WEIGHTS_NAME, tensors, metadata=metadata)
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def check(folder: Path, /, *, pixels: Tensor, tokens: Tensor, images: Tensor, texts: Tensor) -> Parity:
    """Load the folder with open_clip in a child process, and compare its unit embeddings with ours.

    Args:
        folder: what ``write`` filled.
        pixels: normalised model input (N, 3, S, S).
        tokens: token ids (M, context).
        images: our unit embeddings of ``pixels`` (N, D).
        texts: our unit embeddings of ``tokens`` (M, D).

    Raises:
        ExportMismatch: open_clip cannot load the folder, or its embeddings differ.
    """
    with tempfile.TemporaryDirectory(prefix="clipclean-") as scratch:
        asked, answered = Path(scratch) / "asked.npz", Path(scratch) / "answered.npz"
        np.savez(asked, pixels=pixels.cpu().numpy(), tokens=tokens.cpu().numpy())
        command = [sys.executable, "-m", "clipclean.export.read_back", str(folder), str(asked), str(answered)]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)  # noqa: S603 # own module, no shell
        except subprocess.TimeoutExpired as error:
            raise ExportMismatch(
                f"open_clip took more than {TIMEOUT} s to read back what was written to {folder}. Nothing was exported. "
                "Give the same command again when the machine is less busy."
            ) from error
        if run.returncode != 0:
            last = (run.stderr.strip().splitlines() or ["no message"])[-1]
            raise ExportMismatch(f"open_clip cannot load what was written to {folder}: {last}. Nothing was exported.")
        with np.load(answered, allow_pickle=False) as theirs:
            parity = compare(
                np.concatenate([images.cpu().numpy(), texts.cpu().numpy()]),
                np.concatenate([theirs["images"], theirs["texts"]]),
            )
    # Asked so that nan, which compares as false, is refused as well.
    if not (parity.max_difference <= MAX_DIFFERENCE and parity.min_cosine >= MIN_COSINE):
        raise ExportMismatch(
            f"open_clip's embeddings of the export differ from ours by up to {parity.max_difference:.2g} (limit {MAX_DIFFERENCE:g}), "
            f"minimum cosine {parity.min_cosine:.6f}. Nothing was exported."
        )
    return parity


def compare(ours: "np.ndarray[Any, Any]", theirs: "np.ndarray[Any, Any]", /) -> Parity:
    """Largest absolute difference and smallest cosine of rows (N, D)."""
    cosine = (ours * theirs).sum(1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))
    return Parity(float(np.abs(ours - theirs).max()), float(cosine.min()), len(ours))
