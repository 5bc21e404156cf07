"""Weights out: layouts that other libraries load, read back before they count, with their provenance."""

from clipclean.export.bom import NAME as BOM_NAME
from clipclean.export.bpe import FILES as TOKENIZER_FILES
from clipclean.export.bpe import write as write_tokenizer
from clipclean.export.checksums import NAME as SUMS
from clipclean.export.checksums import digests
from clipclean.export.checksums import parse as parse_checksums
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
from clipclean.export.onnx_metadata import read as onnx_metadata
from clipclean.export.open_clip_directory import CONFIG_NAME, WEIGHTS_NAME
from clipclean.export.open_clip_directory import check as check_open_clip
from clipclean.export.open_clip_directory import write as write_open_clip
from clipclean.export.parity import FP32, ExportMismatch, Parity, Samples, compare, hold
from clipclean.export.provenance import NAME as PROVENANCE_NAME
from clipclean.export.provenance import Provenance, hardware, versions
from clipclean.export.provenance import parse as parse_provenance
from clipclean.export.records import FILES as RECORDS
from clipclean.export.records import write as write_records
from clipclean.export.records import write_checksums
from clipclean.export.statement import NAME as STATEMENT_NAME
from clipclean.export.statement import PREDICATE, STATEMENT

__all__ = [
    "BOM_NAME",
    "CONFIG_NAME",
    "FP32",
    "HF_FILES",
    "ONNX_FILES",
    "PREDICATE",
    "PRESETS",
    "PROVENANCE_NAME",
    "RECORDS",
    "STATEMENT",
    "STATEMENT_NAME",
    "SUMS",
    "TOKENIZER_FILES",
    "WEIGHTS_NAME",
    "ExportMismatch",
    "Parity",
    "Preset",
    "Provenance",
    "Reading",
    "Samples",
    "can_check_hf",
    "check_hf",
    "check_hf_config",
    "check_onnx",
    "check_onnx_packages",
    "check_open_clip",
    "compare",
    "digests",
    "hardware",
    "hold",
    "onnx_metadata",
    "onnx_names",
    "parse_checksums",
    "parse_provenance",
    "versions",
    "write_checksums",
    "write_hf",
    "write_hf_config",
    "write_hf_processor",
    "write_onnx",
    "write_open_clip",
    "write_records",
    "write_tokenizer",
]
