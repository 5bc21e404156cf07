"""Weights out: layouts that other libraries load, read back before they count, with their provenance."""

from clipclean.export.open_clip_directory import CONFIG_NAME, WEIGHTS_NAME, ExportMismatch, Parity
from clipclean.export.open_clip_directory import check as check_open_clip
from clipclean.export.open_clip_directory import write as write_open_clip
from clipclean.export.provenance import checksums, hardware, model_card, record, versions
from clipclean.export.safetensors_file import write as write_safetensors

__all__ = [
    "CONFIG_NAME",
    "WEIGHTS_NAME",
    "ExportMismatch",
    "Parity",
    "check_open_clip",
    "checksums",
    "hardware",
    "model_card",
    "record",
    "versions",
    "write_open_clip",
    "write_safetensors",
]
