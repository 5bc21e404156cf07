"""How many numbers of which dtype a checkpoint holds."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Tally:
    """Counts of tensors, of their elements, and of their bytes."""

    tensors: int
    elements: int
    bytes: int


@dataclass(frozen=True)
class Summary:
    """The tally of all tensors, and one for each dtype (``float32``, ...), the one with most bytes first."""

    total: Tally
    dtypes: dict[str, Tally]


def summarise(named: Mapping[str, Tensor], /) -> Summary:
    """Count the tensors of a checkpoint.

    Example:
        >>> import torch
        >>> from clipclean import checkpoint
        >>> checkpoint.summarise({"scale": torch.zeros(()), "bias": torch.zeros(3)}).total
        Tally(tensors=2, elements=4, bytes=16)
    """
    groups: dict[str, list[Tensor]] = {}
    for tensor in named.values():
        groups.setdefault(str(tensor.dtype).removeprefix("torch."), []).append(tensor)
    tallies = {dtype: _tally(group) for dtype, group in groups.items()}
    ordered = sorted(tallies.items(), key=lambda item: (-item[1].bytes, item[0]))
    return Summary(_tally(list(named.values())), dict(ordered))


def _tally(group: list[Tensor], /) -> Tally:
    return Tally(
        tensors=len(group),
        elements=sum(tensor.numel() for tensor in group),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in group),
    )
