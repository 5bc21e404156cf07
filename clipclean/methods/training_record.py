"""What a report says of a training: its losses, its time and its memory."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from clipclean import machine
from clipclean.findings import plain
from clipclean.schema.report import LossRecord, TrainingRecord


def recorded(losses: Iterable[Mapping[str, float]], /, *, pairs: int, seconds: float, **more: Any) -> TrainingRecord:
    """The report's ``training``, with rate and peak memory of the process, in bytes: on the host, and on a GPU if there is one.

    ``data_wait_share`` is the share of the time since the run was begun, or last resumed, in which the next batch was not ready.
    """
    return TrainingRecord(
        losses=tuple(LossRecord.model_validate(plain(dict(entry))) for entry in losses),
        pairs=pairs,
        seconds=seconds,
        pairs_per_second=pairs / seconds if seconds else 0.0,
        peak_memory_bytes=machine.peak_memory(),
        peak_device_memory_bytes=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        **more,
    )
