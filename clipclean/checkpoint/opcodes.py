"""An interpreter for the few pickle opcodes that weights need; it refuses all others.

Python's unpickler is a stack machine that can import and call. This one has the same stack and neither ability: a name
is text, a call picks an inert value, and an opcode that it does not know ends the reading. The bytes are cut into opcodes and
arguments by pickletools, which executes nothing.
"""

import io
import itertools
import pickletools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard

from clipclean.checkpoint.values import UNUSUAL_DTYPE, DroppedObject, Module, Name, OddTensor, Pairs, Storage, TensorRef
from clipclean.errors import RefusedInput, UnsafeCheckpoint, damaged
from clipclean.untrusted import first_few, is_deeper, printable

MAX_PICKLE = 64 * 2**20  # bytes; the largest CLIP with its optimizer needs 2 MB
MAX_OPCODES = 1_000_000  # a training checkpoint of the largest CLIP takes about 150,000
MAX_STRING = 2**20  # characters or bytes of one string
MAX_NESTING = 100  # containers inside containers; a state dict has 2, a TorchScript CLIP about 10
MAX_NAMES_SHOWN = 10
TORCHSCRIPT_ROOT = "__torch__"


@dataclass(frozen=True, slots=True)
class PickleContent:
    """The content of one pickle: its value, its end, and the TorchScript classes, dropped kinds and storages that it names."""

    value: object
    end: int
    classes: tuple[str, ...]
    dropped_kinds: tuple[str, ...]
    storages: tuple[Storage, ...]


def interpret(data: bytes, /, *, torchscript: bool = False) -> PickleContent:
    """The inert value of the pickle that the bytes begin with.

    With ``torchscript``, classes below ``__torch__`` become ``Module`` values; otherwise they are foreign names too.

    Raises:
        UnsafeCheckpoint: the pickle names something outside the closed set (all such names are listed), uses an
            opcode outside it, or is built to exhaust memory or the call stack.
        RefusedInput: it is truncated, or no pickle.
    """
    machine, stream = _Machine(torchscript), io.BytesIO(data)
    try:
        value = machine.run(data, stream)
    except RefusedInput as error:
        raise (_foreign_refusal(machine.foreign) if machine.foreign else error) from error
    if machine.foreign:
        raise _foreign_refusal(machine.foreign)
    if is_deeper(value, MAX_NESTING, _inside):
        raise UnsafeCheckpoint(f"its values are nested more than {MAX_NESTING} deep, which no checkpoint needs.")
    return PickleContent(
        value, stream.tell(), tuple(machine.classes), tuple(machine.dropped_kinds), tuple(machine.storages.values())
    )


def _foreign_refusal(names: dict[str, None], /) -> UnsafeCheckpoint:
    """The refusal that names what a pickle wanted to import."""
    words = first_few(names, most=MAX_NAMES_SHOWN, show=lambda name: ascii(name)[1:-1])
    whole_model = any(name.startswith(("torch.nn.", "open_clip.", "clip.model.", "transformers.")) for name in names)
    hint = " It looks like a whole pickled model instead of its state_dict()." if whole_model else ""
    return UnsafeCheckpoint(
        f"it asks Python to import {words} while loading.{hint} clipclean never runs code from a "
        "model file, so nothing happened; other loaders may run it."
    )


def _inside(value: object, /) -> list[object]:
    """The containers in a container."""
    inner: Iterable[object] = value if isinstance(value, list | tuple) else ()
    if isinstance(value, Pairs):
        inner = itertools.chain.from_iterable(value.items)
    elif isinstance(value, Module):
        inner = (value.state,)
    return [child for child in inner if isinstance(child, list | tuple | Pairs | Module)]


class _Machine:
    """The stack, the marks on it, the memo, and the names met so far."""

    def __init__(self, torchscript: bool) -> None:
        self.torchscript = torchscript
        self.stack: list[object] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, object] = {}
        self.foreign: dict[str, None] = {}  # ordered sets of names
        self.classes: dict[str, None] = {}
        self.dropped_kinds: dict[str, None] = {}
        self.storages: dict[str, Storage] = {}  # by key

    def run(self, data: bytes, stream: io.BytesIO, /) -> object:
        """Step until STOP; the value on top of the stack."""
        try:
            for opcode, argument, offset in itertools.islice(pickletools.genops(stream), MAX_OPCODES):
                if opcode.name == "STOP":
                    return self.pop()
                if opcode.name == "GLOBAL":  # pickletools undoes escapes in the two lines, and no unpickler does
                    argument = (
                        data[(offset or 0) + 1 : stream.tell() - 1].decode("utf-8", "backslashreplace").split("\n")
                    )
                self.step(opcode.name, argument)
        except ValueError as error:
            reason = printable(str(error))[:200]
            raise damaged(f"its pickle is truncated or damaged: {reason}") from error
        raise UnsafeCheckpoint(f"its pickle has more than {MAX_OPCODES:,} steps, which no checkpoint needs.")

    def step(self, opcode: str, argument: Any, /) -> None:  # Any: by the opcode
        """Act on one opcode."""
        match opcode:
            case "PROTO" if argument > 5:
                raise UnsafeCheckpoint(f"its pickle states protocol {argument}, which does not exist.")
            case "PROTO" | "FRAME":  # a hint for buffering
                pass
            case "MARK":
                self.marks.append(len(self.stack))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self.stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_TUPLE":
                self.stack.append({"EMPTY_LIST": [], "EMPTY_DICT": Pairs(), "EMPTY_TUPLE": ()}[opcode])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                self.stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINBYTES" | "SHORT_BINBYTES":
                self.text(argument)
            case "TUPLE":
                self.stack.append(tuple(self.pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(tuple([self.pop() for _ in range(int(opcode[-1]))][::-1]))
            case "EMPTY_SET" | "FROZENSET":  # sets are dropped, with what is in them
                self.drop_set(self.pop_to_mark() if opcode == "FROZENSET" else [])
            case "APPEND":
                self.extend([self.pop()])
            case "APPENDS" | "ADDITEMS":  # the second to a set, which is dropped
                self.extend(self.pop_to_mark())
            case "SETITEM":
                self.set_items([self.pop(), self.pop()][::-1])
            case "SETITEMS":
                self.set_items(self.pop_to_mark())
            case "GLOBAL":
                self.name(*argument)
            case "STACK_GLOBAL":
                self.name_of(self.pop(), self.pop())
            case "REDUCE" | "NEWOBJ":
                self.call(is_new=opcode == "NEWOBJ")
            case "BUILD":
                self.build()
            case "BINPERSID":
                self.stack.append(self.note_storage(storage_of(self.pop())))
            case "BINPUT" | "LONG_BINPUT":
                self.remember(argument)
            case "MEMOIZE":
                self.remember(len(self.memo))
            case "BINGET" | "LONG_BINGET":
                self.recall(argument)
            case _:
                if opcode == "INST":  # the one of them that carries a name
                    self.foreign[argument.replace(" ", ".")] = None
                raise UnsafeCheckpoint(f"its pickle uses the opcode {opcode}, which weights never need.")

    def text(self, value: str | bytes, /) -> None:
        """Push a string or byte string, within the limit."""
        if len(value) > MAX_STRING:
            raise UnsafeCheckpoint(f"its pickle holds a string of {len(value):,} bytes, which no checkpoint needs.")
        # Lone surrogates are legal in pickles and in nothing that is printed later.
        if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
            raise UnsafeCheckpoint("its pickle holds a string that is not UTF-8.")
        self.stack.append(value)

    def pop(self) -> object:
        """Take the top value off, never below the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise UnsafeCheckpoint("its pickle takes more values than it has put down: it is malformed.")
        return self.stack.pop()

    def pop_to_mark(self) -> list[object]:
        """Take everything above the last mark off."""
        if not self.marks:
            raise UnsafeCheckpoint("its pickle refers to a mark that is not there: it is malformed.")
        height = self.marks.pop()
        values = self.stack[height:]
        del self.stack[height:]
        return values

    def top(self) -> object:
        """The top value, left in place."""
        value = self.pop()
        self.stack.append(value)
        return value

    def remember(self, index: int, /) -> None:
        """Note the top value in the memo."""
        if index > MAX_OPCODES:
            raise UnsafeCheckpoint(f"its pickle numbers a value {index:,}, which no checkpoint needs: a memo bomb.")
        self.memo[index] = self.top()

    def recall(self, index: int, /) -> None:
        """Push a value that the memo notes."""
        if index not in self.memo:
            raise UnsafeCheckpoint("its pickle refers to a value that was never noted: it is malformed.")
        self.stack.append(self.memo[index])

    def drop_set(self, _values: list[object], /) -> None:
        """Push what stands for a set, whatever is in it."""
        self.dropped_kinds["set"] = None
        self.stack.append(DroppedObject("set"))

    def name_of(self, name: object, module: object, /) -> None:
        """Push the importable name that two values are."""
        if not isinstance(name, str) or not isinstance(module, str) or len(name) + len(module) > 1000:
            raise UnsafeCheckpoint("its pickle imports something other than a plain name.")
        self.name(module, name)

    def name(self, module: str, name: str, /) -> None:
        """Push an importable name, and note what kind it is."""
        # Python 2 called the module of built-in names differently, and pickles of protocol 2 still do.
        text = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if self.torchscript and module.split(".")[0] == TORCHSCRIPT_ROOT:
            self.classes[text] = None
        elif text in DROPPED_KINDS:
            self.dropped_kinds[DROPPED_KINDS[text]] = None
        elif text not in KNOWN_NAMES or (text.startswith("torch.jit.") and not self.torchscript):
            self.foreign[text] = None
        self.stack.append(Name(text))

    def extend(self, values: list[object], /) -> None:
        """Append values to the list on top of the stack."""
        target = self.top()
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, DroppedObject):
            raise UnsafeCheckpoint("its pickle appends to something other than a list.")

    def set_items(self, values: list[object], /) -> None:
        """Add ``key, value, key, value, ...`` to the mapping on top of the stack."""
        target = self.top()
        if len(values) % 2:
            raise UnsafeCheckpoint("its pickle sets a key without a value: it is malformed.")
        if isinstance(target, Pairs):
            target.items.extend(zip(values[::2], values[1::2], strict=True))
        elif not isinstance(target, DroppedObject):
            raise UnsafeCheckpoint("its pickle sets keys of something other than a mapping.")

    def note_storage(self, storage: Storage, /) -> Storage:
        """Note a storage; torch keeps the first description of a key, and readers that do not would see other numbers."""
        first = self.storages.setdefault(storage.key, storage)
        if not first.is_same(storage):
            raise UnsafeCheckpoint(
                f"the storage {printable(storage.key)[:40]!a} is described in two ways that contradict each other "
                f"({first.elements:,} of {first.dtype}, {storage.elements:,} of {storage.dtype}); readers differ in which they use."
            )
        return first

    def call(self, *, is_new: bool) -> None:
        """REDUCE and NEWOBJ: replace a name and its arguments by the inert value that they stand for."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise UnsafeCheckpoint("its pickle calls something other than a plain name.")
        text = function.text
        if is_new and text.rpartition(".")[0] in FUNCTION_MODULES:
            raise UnsafeCheckpoint(f"its pickle takes the function {text} for a class, which torch.save never does.")
        if text in self.classes:
            self.stack.append(Module(text))
        elif text in CONSTRUCTORS:
            self.stack.append(construct(text, arguments))
        else:
            is_odd = text in ODD_TENSORS
            self.stack.append(odd_tensor(text, arguments) if is_odd else DroppedObject(DROPPED_KINDS.get(text, text)))

    def build(self) -> None:
        """BUILD: a module of TorchScript takes its attributes, a state dict its versions; nothing else has a state that counts."""
        state, target = self.pop(), self.top()
        if isinstance(target, Module) and isinstance(state, Pairs) and target.state is None:
            target.state = state
        elif isinstance(target, Pairs):
            if not _is_versions(state):
                raise UnsafeCheckpoint(
                    "its pickle gives a mapping other attributes than the versions of a state dict, which could hide what it holds."
                )
        elif not isinstance(target, DroppedObject):
            raise UnsafeCheckpoint("its pickle sets the state of something that has none.")


def _is_versions(state: object, /) -> bool:
    """Whether a state is what a state dict has: ``{"_metadata": {module: {"version": number}}}``."""
    if not isinstance(state, Pairs):
        return False
    modules = [value for key, value in state.items if isinstance(key, str) and key == "_metadata"]
    if len(modules) != len(state.items) or not all(isinstance(value, Pairs) for value in modules):
        return False
    versions = [value for mapping in modules if isinstance(mapping, Pairs) for _, value in mapping.items]
    return all(
        isinstance(value, Pairs)
        and all(key == "version" and isinstance(number, int | None) for key, number in value.items)
        for value in versions
    )


# The closed set of importable names that a checkpoint may mention, each with its inert stand-in. Nothing is ever looked up: a name is
# text, and "calling" it picks a row of these tables.

STORAGE_DTYPES = {
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
_ODD_BUILDERS = {
    "sparse": "_rebuild_sparse_tensor _rebuild_sparse_csr_tensor",
    "nested": "_rebuild_nested_tensor",
    "quantised": "_rebuild_qtensor",
    "meta (a shape without numbers)": "_rebuild_meta_tensor_no_storage",
    "wrapped": "_rebuild_wrapper_subclass",
    "device-specific": "_rebuild_device_tensor_from_numpy _rebuild_device_tensor_from_cpu_tensor",
    UNUSUAL_DTYPE: "_rebuild_tensor_v3",
}
ODD_TENSORS = {f"torch._utils.{name}": kind for kind, names in _ODD_BUILDERS.items() for name in names.split()}
SUBCLASS_BUILDER = "torch._tensor._rebuild_from_type_v2"
ODD_TENSORS[SUBCLASS_BUILDER] = "subclassed"
# What a subclassed tensor may be built by and is checked for; and what may give back a tensor that it was given.
CHECKED_BUILDERS = {f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "parameter")}
RETURNING_BUILDERS = {f"torch._utils._rebuild_device_tensor_from_{name}" for name in ("numpy", "cpu_tensor")}
FUNCTION_MODULES = ("torch._utils", "torch._tensor", "torch.jit._pickle")  # modules of which only functions are known
STATE_OBJECTION = "has a state, by which torch.load replaces its numbers"
# Seen in honest training checkpoints, and dropped: what a run remembers about itself is no weight. Number formats, of which
# tensors are refused as of an unusual dtype, are no code.
_DTYPE_NAMES = (
    "float32 float16 bfloat16 float64 int64 int32 int16 int8 uint8 bool float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz "
    "float8_e8m0fnu float4_e2m1fn_x2 uint16 uint32 uint64 complex32 complex64 complex128"
)
_DROPPED_NAMES = {
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
DROPPED_KINDS = {
    **{name: kind for kind, names in _DROPPED_NAMES.items() for name in names.split()},
    **{
        f"builtins.{kind}": f"the type {kind}"
        for kind in ("int", "float", "str", "bool", "list", "dict", "tuple", "bytes")
    },
    **{f"torch.{kind}": "torch dtype" for kind in _DTYPE_NAMES.split()},
}


def storage_of(description: object, /) -> Storage:
    """The storage that a persistent id names.

    Raises:
        UnsafeCheckpoint: the id has another form than torch.save gives it.
    """
    match description:  # the sixth, in legacy files, is a view into another storage
        case tuple(("storage", Name(kind), str(key), str(device), elements, *view)) if (
            kind in STORAGE_DTYPES and device != "meta" and _is_count(elements) and view in ([], [None])
        ):
            return Storage(STORAGE_DTYPES[kind], key, elements, device)
    raise UnsafeCheckpoint("a tensor refers to its numbers in a way that torch.save never writes.")


def construct(name: str, arguments: tuple[object, ...], /) -> object:
    """The inert value that one of ``CONSTRUCTORS`` makes of its arguments.

    Raises:
        UnsafeCheckpoint: the arguments are others than torch.save or torch.jit.save writes, or change the numbers of a tensor.
    """
    match name.rpartition("_rebuild_")[2], arguments:
        case "collections.OrderedDict", ():
            return Pairs()
        case "tensor", (Storage() as storage, offset, size, stride) if tensor := _tensor_ref(
            storage, offset, size, stride
        ):
            return tensor
        case "tensor_v2", (Storage() as storage, offset, size, stride, bool(), hooks, *rest) if len(rest) < 2 and (
            tensor := _tensor_ref(storage, offset, size, stride)
        ):
            _refuse_unless_empty(hooks, "has hooks on its gradient")
            for metadata in rest:
                _refuse_unless_empty(metadata, "has metadata, by which torch.load negates or conjugates its numbers")
            return tensor
        # a parameter is its tensor
        case "parameter", (TensorRef() | OddTensor() as tensor, bool(), hooks):
            _refuse_unless_empty(hooks, "has hooks on its gradient")
            return tensor
        case "parameter_with_state", (TensorRef() | OddTensor() as tensor, bool(), hooks, state):
            _refuse_unless_empty(hooks, "has hooks on its gradient")
            _refuse_unless_empty(state, STATE_OBJECTION)
            return tensor
        case "torch.Size", (list() | tuple() as lengths,):
            return tuple(lengths)
        # TorchScript wraps lists and dicts to note their static type: ``(value[, type])``
        case str(wrap), ((value,) | (value, _)) if wrap.startswith("torch.jit."):
            return value
    raise UnsafeCheckpoint(CONSTRUCTORS[name])


def odd_tensor(name: str, arguments: tuple[object, ...], /) -> OddTensor:
    """A tensor of a kind that is not read, and that changes no other one while it is built.

    Raises:
        UnsafeCheckpoint: it is built by something else than a storage, or gets a state: ``real`` of a state, for one, writes into
            numbers that a weight may share.
    """
    if name != SUBCLASS_BUILDER:
        return OddTensor(ODD_TENSORS[name])
    match arguments:
        case Name(function), Name(), tuple() as inner, state if function != SUBCLASS_BUILDER:
            _refuse_unless_empty(state, STATE_OBJECTION)
            if function in CHECKED_BUILDERS:
                construct(function, inner)
                return OddTensor(ODD_TENSORS[name])
            if function in ODD_TENSORS and function not in RETURNING_BUILDERS:
                return OddTensor(ODD_TENSORS[name])
    raise UnsafeCheckpoint("a subclassed tensor is built in a way that torch.save never writes.")


def _refuse_unless_empty(value: object, objection: str, /) -> None:
    """Refuse a tensor with more beside its numbers than the empty mapping (or nothing) that torch.save writes there."""
    if value is not None and not (isinstance(value, Pairs) and not value.items):
        raise UnsafeCheckpoint(f"a tensor {objection}. Save model.state_dict(): its tensors have none.")


def _tensor_ref(storage: Storage, offset: object, size: object, stride: object, /) -> TensorRef | None:
    """The tensor of these numbers of a storage; None where they are none."""
    if _is_count(offset) and _are_counts(size) and _are_counts(stride):
        return TensorRef(storage, offset, size, stride)
    return None


def _is_count(value: object, /) -> TypeGuard[int]:
    """Whether a value is a whole number from 0 to 2**63 - 1; True and False are not."""
    return type(value) is int and 0 <= value < 2**63


def _are_counts(value: object, /) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and len(value) <= 8 and all(map(_is_count, value))


_CONSTRUCTOR_REFUSALS = {  # what is said of other arguments
    "an OrderedDict is built from arguments, which torch.save never writes.": "collections.OrderedDict",
    "a tensor is described by something else than a storage and whole, non-negative numbers.": (
        "torch._utils._rebuild_tensor torch._utils._rebuild_tensor_v2"
    ),
    "a parameter is built from something other than a tensor.": (
        "torch._utils._rebuild_parameter torch._utils._rebuild_parameter_with_state"
    ),
    "a torch.Size is built from something other than a sequence.": "torch.Size",
    "a TorchScript value is wrapped in a way that torch.jit.save never writes.": (
        "torch.jit._pickle.restore_type_tag torch.jit._pickle.build_intlist torch.jit._pickle.build_tensorlist "
        "torch.jit._pickle.build_doublelist torch.jit._pickle.build_boollist"
    ),
}
CONSTRUCTORS = {name: words for words, names in _CONSTRUCTOR_REFUSALS.items() for name in names.split()}
KNOWN_NAMES = {*CONSTRUCTORS, *STORAGE_DTYPES, *ODD_TENSORS, *DROPPED_KINDS}
