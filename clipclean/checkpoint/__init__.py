"""Checkpoints: the bytes of a CLIP checkpoint become named tensors, and nothing in them is executed."""

from clipclean.checkpoint.reader import Checkpoint, Format, digest, read
from clipclean.checkpoint.summary import Summary, Tally, summarise

__all__ = ["Checkpoint", "Format", "Summary", "Tally", "digest", "read", "summarise"]
