"""The closed set of importable names that a checkpoint may mention, each with its inert stand-in.

Nothing is ever looked up: a name is text, and "calling" it picks a row of these tables.
"""

from collections.abc import Callable
from typing import TypeGuard

from clipclean.checkpoint.values import UNUSUAL, DroppedObject, Name, OddTensor, Pairs, Storage, TensorRef
from clipclean.errors import UnsafeCheckpoint

STORAGES = {
    f"torch.{name}": dtype
    for dtype, name in (
        ("float32", "FloatStorage"), ("float16", "HalfStorage"), ("bfloat16", "BFloat16Storage"),
        ("float64", "DoubleStorage"), ("int64", "LongStorage"), ("int32", "IntStorage"), ("uint8", "ByteStorage"),
        ("bool", "BoolStorage"),
        # Known, but refused where a weight uses them; optimizers of 8-bit training do.
        ("int16", "ShortStorage"), ("int8", "CharStorage"), ("complex64", "ComplexFloatStorage"),
        ("complex128", "ComplexDoubleStorage"), ("qint8", "QInt8Storage"), ("quint8", "QUInt8Storage"),
        ("qint32", "QInt32Storage"), ("untyped", "storage.UntypedStorage"),
    )
}  # fmt: skip
_ODD = {
    "sparse": "_rebuild_sparse_tensor _rebuild_sparse_csr_tensor",
    "nested": "_rebuild_nested_tensor",
    "quantised": "_rebuild_qtensor",
    "meta (a shape without numbers)": "_rebuild_meta_tensor_no_storage",
    "wrapped": "_rebuild_wrapper_subclass",
    "device-specific": "_rebuild_device_tensor_from_numpy _rebuild_device_tensor_from_cpu_tensor",
    UNUSUAL: "_rebuild_tensor_v3",
}
ODD_TENSORS = {f"torch._utils.{name}": kind for kind, names in _ODD.items() for name in names.split()}
ODD_TENSORS["torch._tensor._rebuild_from_type_v2"] = "subclassed"
# Seen in honest training checkpoints, and dropped: what a run remembers about itself is no weight. Number formats, of which
# tensors are refused as of an unusual dtype, are no code.
_DTYPES = (
    "float32 float16 bfloat16 float64 int64 int32 int16 int8 uint8 bool float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz "
    "float8_e8m0fnu float4_e2m1fn_x2 uint16 uint32 uint64 complex32 complex64 complex128"
)
_LEFT_OUT = {
    "numpy scalar": "numpy.core.multiarray.scalar numpy._core.multiarray.scalar",
    "numpy array": "numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct numpy.ndarray",
    "numpy dtype": "numpy.dtype",
    "encoded bytes": "_codecs.encode",
    "argparse namespace": "argparse.Namespace",
    "counter": "collections.Counter",
    "defaultdict": "collections.defaultdict",
    "deque": "collections.deque",
    "set": "builtins.set builtins.frozenset",
    "complex number": "builtins.complex",
    "slice": "builtins.slice",
    "range": "builtins.range",
    "path": "pathlib.PosixPath pathlib.PurePosixPath pathlib.WindowsPath pathlib.PureWindowsPath pathlib._local.PosixPath",
    "torch device": "torch.device",
    "torch layout": "torch.serialization._get_layout",
    "torch quantisation scheme": "torch.per_tensor_affine torch.per_channel_affine",
}
DROPPED = {
    **{name: kind for kind, names in _LEFT_OUT.items() for name in names.split()},
    **{
        f"builtins.{kind}": f"the type {kind}"
        for kind in ("int", "float", "str", "bool", "list", "dict", "tuple", "bytes")
    },
    **{f"torch.{kind}": "torch dtype" for kind in _DTYPES.split()},
}


def is_known(name: str, /) -> bool:
    """Whether the name is in the closed set."""
    return name in CONSTRUCTORS or name in STORAGES or name in ODD_TENSORS or name in DROPPED


def call(name: str, arguments: tuple[object, ...], /) -> object:
    """The inert value that ``name(*arguments)`` stands for.

    Raises:
        UnsafeCheckpoint: a known name with arguments that torch.save never writes.
    """
    if name in CONSTRUCTORS:
        return CONSTRUCTORS[name](arguments)
    if name in ODD_TENSORS:
        return OddTensor(ODD_TENSORS[name])
    return DroppedObject(DROPPED.get(name, name))


def storage(description: object, /) -> Storage:
    """The storage that a persistent id names.

    Raises:
        UnsafeCheckpoint: the id has another form than torch.save gives it.
    """
    if isinstance(description, tuple) and len(description) in (5, 6) and description[0] == "storage":
        kind, key, place, elements = description[1:5]
        whole = len(description) == 5 or description[5] is None  # the sixth, in legacy files, is a view into another
        if (
            isinstance(kind, Name)
            and kind.text in STORAGES
            and isinstance(key, str)
            and isinstance(place, str)
            and place != "meta"
            and _is_count(elements)
            and whole
        ):
            return Storage(STORAGES[kind.text], key, elements)
    raise UnsafeCheckpoint("a tensor refers to its numbers in a way that torch.save never writes.")


def _ordered_dict(arguments: tuple[object, ...], /) -> object:
    if arguments:
        raise UnsafeCheckpoint("an OrderedDict is built from arguments, which torch.save never writes.")
    return Pairs()


def _tensor(arguments: tuple[object, ...], /) -> object:
    """``(storage, offset, size, stride, requires_grad, hooks[, metadata])``; what follows the stride is dropped."""
    if len(arguments) in (4, 6, 7):
        place, offset, size, stride = arguments[:4]
        if isinstance(place, Storage) and _is_count(offset) and _are_counts(size) and _are_counts(stride):
            return TensorRef(place, offset, size, stride)
    raise UnsafeCheckpoint("a tensor is described by something else than a storage and whole, non-negative numbers.")


def _parameter(arguments: tuple[object, ...], /) -> object:
    """``(tensor, requires_grad, hooks[, state])``; a parameter is its tensor."""
    if len(arguments) in (3, 4) and isinstance(arguments[0], TensorRef | OddTensor):
        return arguments[0]
    raise UnsafeCheckpoint("a parameter is built from something other than a tensor.")


def _size(arguments: tuple[object, ...], /) -> object:
    if len(arguments) == 1 and isinstance(arguments[0], list | tuple):
        return tuple(arguments[0])
    raise UnsafeCheckpoint("a torch.Size is built from something other than a sequence.")


def _first(arguments: tuple[object, ...], /) -> object:
    """TorchScript wraps lists and dicts to note their static type: ``(value[, type])``."""
    if len(arguments) in (1, 2):
        return arguments[0]
    raise UnsafeCheckpoint("a TorchScript value is wrapped in a way that torch.jit.save never writes.")


def _is_count(value: object, /) -> TypeGuard[int]:
    """Whether a value is a whole number from 0 to 2**63 - 1; True and False are not."""
    return type(value) is int and 0 <= value < 2**63


def _are_counts(value: object, /) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and len(value) <= 8 and all(map(_is_count, value))


CONSTRUCTORS: dict[str, Callable[[tuple[object, ...]], object]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _size,
    **{
        f"torch.jit._pickle.{verb}": _first
        for verb in ("restore_type_tag", "build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")
    },
}
