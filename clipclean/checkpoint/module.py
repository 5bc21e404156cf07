"""An open_clip module in memory, as a checkpoint: copies of its tensors, and nothing of its code."""

from pathlib import Path
from typing import Any

from torch import nn

from clipclean.checkpoint.reader import Checkpoint, digest
from clipclean.checkpoint.tensors import refuse_non_finite


def of_module(net: nn.Module, /) -> Checkpoint:
    """The weights of a module, copied to the CPU; ``sha256`` is the digest of its tensors, since there is no file.

    Raises:
        RefusedInput: a tensor holds NaN or an infinity.
    """
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in net.state_dict().items()}
    refuse_non_finite(tensors)
    name = type(net).__name__
    return Checkpoint(
        path=Path(name),
        weights=Path(name),
        format="module",
        producer=f"{type(net).__module__}.{name}, in memory",
        tensors=tensors,
        config=None,
        config_name=None,
        sha256=digest(tensors),
        size=sum(tensor.nbytes for tensor in tensors.values()),
        quick_gelu=any(type(part).__name__ == "QuickGELU" for part in net.modules()),
        notes=(),
    )


def preprocess_of(net: nn.Module, /) -> dict[str, Any]:  # Any: open_clip's preprocess_cfg
    """How the module takes its images, as open_clip notes it on the image tower; empty where it is not noted."""
    stated = getattr(getattr(net, "visual", None), "preprocess_cfg", None)
    return dict(stated) if isinstance(stated, dict) else {}
