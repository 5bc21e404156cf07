"""Checkpoints: turns the bytes of a CLIP checkpoint into named tensors, and executes nothing in them."""

from clipclean.checkpoint.reader import Checkpoint, Tally, digest, of_module, preprocess_of, read, summarise
from clipclean.checkpoint.safetensors_file import (
    from_bytes,
    parse_tensors,
    read_tensors,
    split_record,
    to_bytes,
    with_record,
)
from clipclean.checkpoint.safetensors_file import write as write_safetensors

__all__ = [
    "Checkpoint",
    "Tally",
    "digest",
    "from_bytes",
    "of_module",
    "parse_tensors",
    "preprocess_of",
    "read",
    "read_tensors",
    "split_record",
    "summarise",
    "to_bytes",
    "with_record",
    "write_safetensors",
]
