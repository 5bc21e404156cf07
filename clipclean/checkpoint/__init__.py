"""Checkpoints: the bytes of a CLIP checkpoint become named tensors, and nothing in them is executed."""

from clipclean.checkpoint.module import of_module, preprocess_of
from clipclean.checkpoint.reader import Checkpoint, Format, digest, read
from clipclean.checkpoint.safetensors_file import write as write_safetensors
from clipclean.checkpoint.summary import Summary, Tally, summarise
from clipclean.checkpoint.tensor_file import TensorFile, read_tensors

__all__ = [
    "Checkpoint",
    "Format",
    "Summary",
    "Tally",
    "TensorFile",
    "digest",
    "of_module",
    "preprocess_of",
    "read",
    "read_tensors",
    "summarise",
    "write_safetensors",
]
