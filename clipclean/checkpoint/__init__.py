"""Checkpoints: turns the bytes of a CLIP checkpoint into named tensors, and executes nothing in them."""

from clipclean.checkpoint.folders import transformers_weights
from clipclean.checkpoint.reader import Checkpoint, digest, of_module, preprocess_of, read
from clipclean.checkpoint.safetensors_file import read_tensors
from clipclean.checkpoint.safetensors_file import write as write_safetensors
