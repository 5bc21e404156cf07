"""Weights out: layouts that other libraries load, read back before they count, with their provenance."""

from clipclean.export.bpe import FILES as TOKENIZER_FILES
from clipclean.export.bpe import write as write_tokenizer
from clipclean.export.hf_directory import FILES as HF_FILES
from clipclean.export.hf_directory import Reading
from clipclean.export.hf_directory import can_check as can_check_hf
from clipclean.export.hf_directory import check as check_hf
from clipclean.export.hf_directory import check_config as check_hf_config
from clipclean.export.hf_directory import write as write_hf
from clipclean.export.hf_directory import write_config as write_hf_config
from clipclean.export.hf_directory import write_processor as write_hf_processor
from clipclean.export.onnx_files import FILES as ONNX_FILES
from clipclean.export.onnx_files import PRESETS, Preset
from clipclean.export.onnx_files import check as check_onnx
from clipclean.export.onnx_files import check_packages as check_onnx_packages
from clipclean.export.onnx_files import names as onnx_names
from clipclean.export.onnx_files import write as write_onnx
from clipclean.export.open_clip_directory import CONFIG_NAME, WEIGHTS_NAME
from clipclean.export.open_clip_directory import check as check_open_clip
from clipclean.export.open_clip_directory import write as write_open_clip
from clipclean.export.parity import FP32, ExportMismatch, Parity, Samples, compare, hold
from clipclean.export.provenance import RECORDS, SUMS, checksums, digests, hardware, model_card, record, versions
from clipclean.export.safetensors_file import write as write_safetensors

__all__ = [
    "CONFIG_NAME",
    "FP32",
    "HF_FILES",
    "ONNX_FILES",
    "PRESETS",
    "RECORDS",
    "SUMS",
    "TOKENIZER_FILES",
    "WEIGHTS_NAME",
    "ExportMismatch",
    "Parity",
    "Preset",
    "Reading",
    "Samples",
    "can_check_hf",
    "check_hf",
    "check_hf_config",
    "check_onnx",
    "check_onnx_packages",
    "check_open_clip",
    "checksums",
    "compare",
    "digests",
    "hardware",
    "hold",
    "model_card",
    "onnx_names",
    "record",
    "versions",
    "write_hf",
    "write_hf_config",
    "write_hf_processor",
    "write_onnx",
    "write_open_clip",
    "write_safetensors",
    "write_tokenizer",
]
