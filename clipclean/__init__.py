"""Audit and clean CLIP checkpoints from third parties, without ever executing them.

    import clipclean

    report = clipclean.audit("model.pt", classes="classes.txt")
    report = clipclean.sanitize("model.pt", "clean/", out="cleaned/")

Each function does what the command of its name does, with the same defaults, and raises a ``ClipcleanError`` with the same
words where the command ends with an error. A model is a path, or an open_clip module in memory. Nothing here imports torch
before one of them is called.
"""

from clipclean.api import audit, export, inspect, plant, references, sanitize, screen, verify
from clipclean.api.reports import compare, save
from clipclean.errors import (
    ClipcleanError,
    Inconclusive,
    Interrupted,
    RefusedInput,
    ResourceError,
    UnsafeCheckpoint,
    UnsupportedModel,
    UsageError,
)

__version__ = "0.3.0"

__all__ = [
    "ClipcleanError",
    "Inconclusive",
    "Interrupted",
    "RefusedInput",
    "ResourceError",
    "UnsafeCheckpoint",
    "UnsupportedModel",
    "UsageError",
    "audit",
    "compare",
    "export",
    "inspect",
    "plant",
    "references",
    "sanitize",
    "save",
    "screen",
    "verify",
]
