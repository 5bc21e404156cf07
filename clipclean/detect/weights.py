"""Distance of a model's weights from those of its base model, layer by layer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from clipclean.errors import UsageError
from clipclean.findings import finite
from clipclean.schema.report import BaseRecord, ChangeRecord

SHOWN = 12  # layers, and tensors, that a report names


@dataclass(frozen=True)
class Change:
    """The change of one tensor, or of all tensors of one layer.

    Attributes:
        name: of the tensor or layer.
        moved: length of the difference.
        base: length of the original.
        tensors: how many there are.
        changed: how many of them differ at all.
    """

    name: str
    moved: float
    base: float
    tensors: int
    changed: int

    @property
    def relative(self) -> float:
        """The length of the difference over the length of the original; nan if only the original is zero."""
        if self.base:
            return self.moved / self.base
        return math.nan if self.moved else 0.0

    def record(self) -> ChangeRecord:
        """For a report."""
        relative = finite(self.relative)
        return ChangeRecord(name=self.name, relative=relative, tensors=self.tensors, changed=self.changed)


@dataclass(frozen=True)
class WeightChange:
    """All weights of a model compared with those of its base, the largest change first.

    Nothing here is judged: a benign finetuning moves weights as much as planting a backdoor does, and the layers that move most
    differ by method.
    """

    whole: Change
    layers: tuple[Change, ...]
    tensors: tuple[Change, ...]

    def record(self, *, name: str, sha256: str) -> BaseRecord:
        """For a report: name and digest of the base, the total change, and the layers and tensors that moved most."""
        return BaseRecord(
            name=name,
            sha256=sha256,
            relative=finite(self.whole.relative),
            tensors=self.whole.tensors,
            changed=self.whole.changed,
            layers=tuple(change.record() for change in self.layers[:SHOWN]),
            moved_most=tuple(change.record() for change in self.tensors[:SHOWN]),
        )


@torch.no_grad()
def compare(weights: Mapping[str, Tensor], base: Mapping[str, Tensor], /) -> WeightChange:
    """The change of every tensor and layer; counters and other integers are left out.

    Raises:
        UsageError: the two have other tensors, or tensors of other shapes.
    """
    check_shapes(weights, base)
    tensors = [
        Change(name, *_lengths(tensor, base[name]), 1, int(not torch.equal(tensor, base[name].to(tensor))))
        for name, tensor in weights.items()
        if tensor.is_floating_point()
    ]
    by_layer: dict[str, list[Change]] = {}
    for change in tensors:
        by_layer.setdefault(layer_of(change.name), []).append(change)
    layers = [_joined(name, changes) for name, changes in by_layer.items()]
    return WeightChange(_joined("", tensors), _most_first(layers), _most_first(tensors))


def check_shapes(weights: Mapping[str, Tensor], base: Mapping[str, Tensor], /) -> None:
    """Raise UsageError unless one of the two sets of weights can have been finetuned from the other."""
    other = sorted(weights.keys() ^ base.keys())
    other += [name for name in weights.keys() & base.keys() if weights[name].shape != base[name].shape]
    if other:
        raise UsageError(
            f"The base has other tensors than the tested model ({len(other)} differ, such as {other[0]}), so the one was not "
            "finetuned from the other. Name the checkpoint that the training began with."
        )


def layer_of(tensor: str, /) -> str:
    """The layer of a tensor: its numbered block if it has one, else its module."""
    parts = tensor.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdigit()]
    if numbers:
        return ".".join(parts[: numbers[0] + 1])
    return ".".join(parts[: 2 if parts[0] == "visual" else 1])


def _lengths(tensor: Tensor, base: Tensor) -> tuple[float, float]:
    # In double: over millions of weights, sums of squares in single precision would lose small changes.
    base = base.to(tensor.device, torch.float64)
    return (tensor.double() - base).norm().item(), base.norm().item()


def _joined(name: str, changes: list[Change]) -> Change:
    """Several tensors as one vector."""
    moved, base = (math.hypot(*(getattr(change, key) for change in changes)) for key in ("moved", "base"))
    return Change(name, moved, base, len(changes), sum(change.changed for change in changes))


def _most_first(changes: list[Change]) -> tuple[Change, ...]:
    """A sort key, by relative change; tensors that were zero come first."""
    return tuple(sorted(changes, key=lambda change: (not math.isnan(change.relative), -change.relative)))
