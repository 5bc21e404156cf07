"""Parity: how far another library's embeddings of the written files are from ours."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from clipclean.errors import ClipcleanError
from clipclean.export.read_back import ReaderAnswer

TIMEOUT_SECONDS, TIMEOUT_FACTOR = 600, 20  # seconds that a library has, and how many times ours it has beside them
Rows = np.ndarray[Any, np.dtype[np.floating[Any]]]


class ExportMismatch(ClipcleanError):
    """Another library reads back other weights than were written; exit 5."""

    exit_code = 5


@dataclass(frozen=True)
class ParityLimits:
    """The limits for a format: ``max_difference`` of any coordinate of unit embeddings, cosine, and top-1 agreement."""

    max_difference: float
    min_cosine: float
    min_agreement: float


FP32_LIMITS = ParityLimits(1e-5, 0.99999, 1.0)
# Rounding weights to 11 bits moves an embedding by about 1e-3 of its length, and may swap two captions that nearly tie.
FP16_LIMITS = ParityLimits(1e-2, 0.9999, 0.95)


@dataclass(frozen=True)
class ParitySamples:
    """Inputs, and our unit embeddings of them. All on the CPU: a GPU's convolutions round to fewer digits."""

    pixels: Tensor  # (N, 3, S, S), normalised
    tokens: Tensor  # (M, context), ids of ``captions``
    images: Tensor  # (N, D)
    texts: Tensor  # (M, D)
    captions: Sequence[str]
    # That embedding them took us: a large model on a busy machine takes another library long as well, and has not hung.
    seconds: float = 0.0


@dataclass(frozen=True)
class Parity:
    """How far another library's unit embeddings of ``n`` images and captions are from ours."""

    max_difference: float
    min_cosine: float
    top1_agreement: float  # the share of images for which both find the same caption most alike
    n: int
    reader: str  # the library, with its version


def ask(library: str, folder: Path, samples: ParitySamples, /, *arguments: str) -> ReaderAnswer:
    """Embed the samples with a library in a child process, which may crash without taking us along.

    Args:
        library: a key of ``read_back.READERS``.
        folder: what was written.
        samples: what to embed, in batches of 1, 2, 3 and the rest.
        arguments: more for the reader.

    Returns:
        The arrays ``images`` (N, D) and ``texts`` (M, D) as they came, and the str ``reader``; perhaps ``tokens``.

    Raises:
        ExportMismatch: the library cannot load the folder.
    """
    with tempfile.TemporaryDirectory(prefix="clipclean-") as scratch:
        inputs, outputs = Path(scratch) / "asked.npz", Path(scratch) / "answered.npz"
        captions = np.frombuffer(json.dumps(list(samples.captions)).encode(), dtype=np.uint8)
        np.savez(inputs, pixels=samples.pixels.cpu().numpy(), tokens=samples.tokens.cpu().numpy(), captions=captions)
        # -P: the folder that the user works in, perhaps a hostile model's, is no place to import from.
        python = [sys.executable, "-P", "-m", "clipclean.export.read_back"]
        command = [*python, library, str(folder), str(inputs), str(outputs)]
        limit = TIMEOUT_SECONDS + TIMEOUT_FACTOR * samples.seconds
        try:
            process = subprocess.run(  # noqa: S603 # own module, no shell
                [*command, *arguments], capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ExportMismatch(
                f"{library} took more than {limit:.0f} s to read back the files written to {folder}. Nothing was exported. "
                "Give the same command again when the machine is less busy."
            ) from error
        if process.returncode != 0:
            words = (process.stderr.strip().splitlines() or ["no message"])[-1]
            why = f"it was ended by signal {-process.returncode}" if process.returncode < 0 else words
            raise ExportMismatch(f"{library} cannot load the files written to {folder}: {why}. Nothing was exported.")
        with np.load(outputs, allow_pickle=False) as theirs:
            answer = ReaderAnswer(images=theirs["images"], texts=theirs["texts"], reader=str(theirs["reader"]))
            return answer | {"tokens": theirs["tokens"]} if "tokens" in theirs else answer


def compare(samples: ParitySamples, answer: ReaderAnswer, /) -> Parity:
    """Our embeddings beside those of another library; theirs need not have unit length."""
    ours = _unit(samples.images.cpu().numpy()), _unit(samples.texts.cpu().numpy())
    theirs = _unit(answer["images"]), _unit(answer["texts"])
    difference, cosine = distance(np.concatenate(ours), np.concatenate(theirs))
    return Parity(difference, cosine, agreement(ours, theirs), len(ours[0]) + len(ours[1]), answer["reader"])


def _unit(rows: Rows, /) -> Rows:
    """Rows (N, D) at unit length."""
    unit_rows: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit_rows


def distance(ours: Rows, theirs: Rows, /) -> tuple[float, float]:
    """Largest absolute difference and smallest cosine of rows (N, D), in double precision: single ends at 0.9999999."""
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    cosine = (ours * theirs).sum(1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))
    return float(np.abs(ours - theirs).max()), float(cosine.min())


COSINE_TIE = 1e-4  # of cosines: two captions this close are equally good, as equal captions are


def agreement(ours: tuple[Rows, Rows], theirs: tuple[Rows, Rows], /) -> float:
    """Share of images whose best caption in their embeddings is the best, or ties with it, in ours."""
    similarity = ours[0] @ ours[1].T  # (N, D) @ (D, M)
    best = (theirs[0] @ theirs[1].T).argmax(1)
    return float((similarity[np.arange(len(best)), best] >= similarity.max(1) - COSINE_TIE).mean())


def hold(parity: Parity, limits: ParityLimits, /) -> Parity:
    """The parity; raises ExportMismatch unless it is within the limits."""
    # Asked so that nan, which compares as false, is refused as well.
    if not (
        parity.max_difference <= limits.max_difference
        and parity.min_cosine >= limits.min_cosine
        and parity.top1_agreement >= limits.min_agreement
    ):
        raise ExportMismatch(
            f"The embeddings of {parity.reader} differ from ours by up to {parity.max_difference:.2g} (limit "
            f"{limits.max_difference:g}), minimum cosine {parity.min_cosine:.6f} (limit {limits.min_cosine:g}), same best "
            f"caption for {parity.top1_agreement:.1%} of the images (limit {limits.min_agreement:.0%}). "
            "Nothing was exported."
        )
    return parity
