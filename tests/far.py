"""A GPU that is none: tensors that say ``cuda`` and compute on the CPU, and a count of what makes a host wait for them."""

import contextlib
import warnings
from collections import Counter
from operator import attrgetter
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

GPU = torch.device("cuda", 0)
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "bincount", "_unique2", "is_nonzero"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


class Far(Tensor):
    """A tensor on the GPU; ``near`` holds its numbers."""

    near: Tensor
    device, is_cuda = property(lambda _: GPU), property(lambda _: True)
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment] # as torch says to

    @staticmethod
    def __new__(cls, near, /):
        layout = {"strides": near.stride(), "storage_offset": near.storage_offset(), "dtype": near.dtype}
        made = Tensor._make_wrapper_subclass(cls, near.size(), **layout)
        made.near = near.detach()
        return made

    def __deepcopy__(self, _):
        made = Far(self.near.clone())
        return nn.Parameter(made, requires_grad=self.requires_grad) if isinstance(self, nn.Parameter) else made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):  # type: ignore[override] # of its own types
        raise AssertionError(f"{func} outside of the GPU")


class Moves(TorchFunctionMode):
    """Moves tensors to and from the GPU, and reads them."""

    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, is_far = dict(kwargs or {}), isinstance(args[0] if args else None, Far)
        if func in (Tensor.tolist, Tensor.numpy, Tensor.cpu) and is_far:
            self.waits[func.__name__] += 1
            return func(args[0].near)
        if func is not Tensor.to:
            return func(*args, **kwargs)
        to = [*args[1:], kwargs.get("device"), kwargs.get("dtype")]
        places = [torch.device(each.device if isinstance(each, Tensor) else each) for each in to if is_place(each)]
        kinds = [getattr(each, "dtype", each) for each in to if isinstance(each, Tensor | torch.dtype)]
        kind, goes_far = [*kinds, args[0].dtype][0], places[0].type == "cuda" if places else is_far
        if goes_far == is_far:
            return Tensor.to(args[0], dtype=kind, copy=kwargs.get("copy", False))
        self.waits["a copy"] += not kwargs.get("non_blocking", False)
        return Far(args[0].to(kind)) if goes_far else args[0].near.to(kind, copy=True)


def is_place(each):
    return isinstance(each, Tensor | torch.device | str)


def leaves(values):
    """What stands in lists and tuples within each other: torch's own walk takes longer than the operations do."""
    for each in values:
        if isinstance(each, list | tuple):
            yield from leaves(each)
        else:
            yield each


def changed(value, kind, change):
    """A value with every part of a kind changed."""
    if isinstance(value, list | tuple):
        return type(value)([changed(each, kind, change) for each in value])
    return change(value) if isinstance(value, kind) else value


near = attrgetter("near")


class Gpu(TorchDispatchMode):
    """Computes for tensors of the GPU; ``waits`` counts by operation."""

    def __init__(self):
        super().__init__()
        self.waits = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), func.overloadpacket.__name__
        tensors = [isinstance(each, Far) for each in leaves((*args, *kwargs.values())) if isinstance(each, Tensor)]
        place = kwargs.get("device")
        if not (any(tensors) or (place is not None and place.type == "cuda")):
            return func(*args, **kwargs)
        if place is not None:
            kwargs["device"] = torch.device("cpu")
        self.waits[name] += name in WAITS
        if name in INDEXING:
            indices = [each for each in args[1] if each is not None]
            self.waits[f"{name} by a mask"] += any(each.dtype in (torch.bool, torch.uint8) for each in indices)
            self.waits[f"{name} by places of the host"] += any(not isinstance(each, Far) for each in indices)
        if name in ("copy_", "_to_copy"):
            is_asynchronous = kwargs.get("non_blocking") or (name == "copy_" and args[2:3] == (True,))
            self.waits["a copy"] += not all(tensors) and not is_asynchronous
        found = func(*changed(args, Far, near), **{key: changed(value, Far, near) for key, value in kwargs.items()})
        return args[0] if name.endswith("_") and isinstance(args[0], Tensor) else changed(found, Tensor, Far)


@contextlib.contextmanager
def gpu():
    """The span in which there is one, and the count of what waits for it."""
    with pytest.MonkeyPatch.context() as patch, Gpu() as mode, Moves(mode.waits), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*CUDA is not available")  # of autocast
        patch.setattr(torch.cuda, "Event", Mock)  # nothing is under way here
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(clip_grad, "_group_tensors_by_device_and_dtype", lambda grads: {(GPU, None): (grads, None)})
        patch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
        torch._C._set_only_lift_cpu_tensors(True)
        try:
            yield mode.waits
        finally:
            torch._C._set_only_lift_cpu_tensors(False)


def put(net):
    """The network, moved to the GPU."""
    for part in net.modules():
        for name, weights in part._parameters.items():
            if weights is not None:
                part._parameters[name] = nn.Parameter(Far(weights.detach()), requires_grad=weights.requires_grad)
        part._buffers.update({name: Far(values) for name, values in part._buffers.items() if values is not None})
    return net
