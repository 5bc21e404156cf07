"""What a checkpoint file is: read as data, and never loaded into a model."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from clipclean import checkpoint, model, subject
from clipclean.errors import UsageError

UNDECIDED = "undecided: pass --arch NAME, or let 'clipclean sanitize' measure it on clean pairs"


def inspect(path: Path, /, *, arch: str | None, weights: str | None = None) -> dict[str, Any]:
    """Format, architecture, numbers and digests of a checkpoint, as a JSON-able dict.

    ``architecture.name`` and ``activation.name`` are None where the file alone does not tell; ``how`` says what to do.
    ``sha256`` is that of the file, ``tensor_sha256`` that of the weights whatever the container.

    Raises:
        RefusedInput: the file is unreadable, unsafe or no CLIP with native towers.
        UsageError: ``arch`` is no known name and no readable config.
    """
    file = checkpoint.read(path, weights=weights)
    summary = checkpoint.summarise(file.tensors)
    return {
        "name": path.name,
        "format": file.format,
        "producer": file.producer,
        **_architecture(file, arch),
        "tensors": asdict(summary.total) | {"dtypes": {name: asdict(tally) for name, tally in summary.dtypes.items()}},
        "size": file.size,
        "sha256": file.sha256,
        "tensor_sha256": checkpoint.digest(file.tensors),
        "config": file.config_name,
        "notes": list(file.notes),
    }


def _architecture(file: checkpoint.Checkpoint, arch: str | None, /) -> dict[str, Any]:
    """What the tensors belong to. Shapes that fit several architectures are no reason to say nothing of the file."""
    try:
        found = subject.architecture(file, arch=arch)
    except UsageError as error:
        if arch is not None or file.config is not None:
            raise
        undecided = {"name": None, "how": str(error)}
        return {"architecture": undecided, "activation": {"name": None, "how": UNDECIDED}, "preprocess": None}
    return {
        "architecture": {"name": found.name, "how": found.how},
        "activation": _activation(found),
        "preprocess": asdict(found.preprocess),
    }


def _activation(found: model.Architecture, /) -> dict[str, str | None]:
    if found.quick_gelu is None:
        return {"name": None, "how": UNDECIDED}
    return {"name": "quick_gelu" if found.quick_gelu else "gelu", "how": found.activation_how}
