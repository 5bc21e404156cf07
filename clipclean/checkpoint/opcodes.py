"""An interpreter for the few pickle opcodes that weights need; it refuses all others.

Python's unpickler is a stack machine that can import and call. This one has the same stack and neither ability: a name
is text, a call picks an inert value, and an opcode outside the table ends the reading.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from clipclean.checkpoint import names
from clipclean.checkpoint.values import DroppedObject, Module, Name, Pairs, Storage
from clipclean.errors import RefusedInput, UnsafeCheckpoint

MAX_OPCODES = 1_000_000  # a training checkpoint of the largest CLIP takes about 150,000
MAX_TEXT = 2**20  # bytes of one string
MAX_DEPTH = 100  # containers inside containers; a state dict has 2, a TorchScript CLIP about 10
MAX_NAMES_SHOWN = 10
TORCHSCRIPT_ROOT = "__torch__"
REFUSED_OPCODES = {
    ord("i"): "INST",
    ord("o"): "OBJ",
    0x92: "NEWOBJ_EX",
    0x82: "EXT1",
    0x83: "EXT2",
    0x84: "EXT4",
    ord("P"): "PERSID",
    0x96: "BYTEARRAY8",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
    0x8D: "BINUNICODE8",
    0x8E: "BINBYTES8",
    0x8B: "LONG4",
    ord("2"): "DUP",
}


@dataclass(frozen=True, slots=True)
class Pickled:
    """The content of one pickle: its value, its end, and the TorchScript classes, dropped kinds and storages that it names."""

    value: object
    end: int
    classes: tuple[str, ...]
    dropped: tuple[str, ...]
    storages: tuple[Storage, ...]


def interpret(data: bytes, /, *, start: int = 0, torchscript: bool = False) -> Pickled:
    """The inert value of the pickle at ``start``.

    With ``torchscript``, classes below ``__torch__`` become ``Module`` values; otherwise they are foreign names too.

    Raises:
        UnsafeCheckpoint: the pickle names something outside the closed set (all such names are listed), uses an
            opcode outside it, or is built to exhaust memory or the call stack.
        RefusedInput: it is truncated.
    """
    machine = _Machine(data, start, torchscript)
    try:
        value = machine.run()
    except RefusedInput as error:
        raise (_foreign(machine.foreign) if machine.foreign else error) from error
    if machine.foreign:
        raise _foreign(machine.foreign)
    _refuse_depth(value)
    return Pickled(value, machine.position, tuple(machine.classes), tuple(machine.dropped), tuple(machine.storages))


def _foreign(found: dict[str, None], /) -> UnsafeCheckpoint:
    """The refusal that names what a pickle wanted to import."""
    shown = [ascii(name)[1:-1] for name in list(found)[:MAX_NAMES_SHOWN]]
    more = f" and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
    whole_model = any(name.startswith(("torch.nn.", "open_clip.", "clip.model.", "transformers.")) for name in found)
    hint = " It looks like a whole pickled model instead of its state_dict()." if whole_model else ""
    return UnsafeCheckpoint(
        f"it asks Python to import {', '.join(shown)}{more} while loading.{hint} clipclean never runs code from a "
        "model file, so nothing happened; other loaders may run it."
    )


def _refuse_depth(value: object, /) -> None:
    """Refuse values nested deeper than in any checkpoint, level by level and each once: no recursion, no blow-up."""
    level: list[object] = [value]
    seen = {id(value)}
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for container in level:
            for child in _children(container):
                if isinstance(child, list | tuple | Pairs | Module) and id(child) not in seen:
                    seen.add(id(child))
                    below.append(child)
        if not below:
            return
        level = below
    raise UnsafeCheckpoint(f"its values are nested more than {MAX_DEPTH} deep, which no checkpoint needs.")


def _children(value: object, /) -> list[object]:
    """The direct items of a container."""
    if isinstance(value, Pairs):
        return [child for pair in value.items for child in pair]
    if isinstance(value, Module):
        return [value.state]
    return list(value) if isinstance(value, list | tuple) else []


class _Machine:
    """The stack, the marks on it, the memo, and the names met so far."""

    def __init__(self, data: bytes, position: int, torchscript: bool) -> None:
        self.data = data
        self.position = position
        self.torchscript = torchscript
        self.stack: list[object] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, object] = {}
        self.foreign: dict[str, None] = {}  # ordered sets of names
        self.classes: dict[str, None] = {}
        self.dropped: dict[str, None] = {}
        self.storages: list[Storage] = []

    def run(self) -> object:
        """Step until STOP; the value on top of the stack."""
        for _ in range(MAX_OPCODES):
            code = self.take(1)[0]
            if code == STOP:
                return self.pop()
            act = ACTS.get(code)
            if act is None:
                opcode = REFUSED_OPCODES.get(code, f"0x{code:02x}") + self.instance_name(code)
                raise UnsafeCheckpoint(f"its pickle uses the opcode {opcode}, which weights never need.")
            act(self)
        raise UnsafeCheckpoint(f"its pickle has more than {MAX_OPCODES:,} steps, which no checkpoint needs.")

    def take(self, count: int, /) -> bytes:
        """The next bytes of the pickle."""
        taken = self.data[self.position : self.position + count]
        if len(taken) < count:
            raise RefusedInput("its pickle ends in the middle: the file is truncated. Download or copy it again.")
        self.position += count
        return taken

    def number(self, form: str, /) -> int:
        """The next whole number, in a form of the struct module."""
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def line(self) -> str:
        """The next text up to a line feed."""
        end = self.data.find(b"\n", self.position, self.position + 1000)
        if end < 0:
            raise UnsafeCheckpoint("its pickle holds a name without an end.")
        text = self.take(end + 1 - self.position)[:-1]
        return text.decode("utf-8", "backslashreplace")

    def text(self, size: int, /) -> bytes:
        """The next string or byte string, within the limit."""
        if size > MAX_TEXT:
            raise UnsafeCheckpoint(f"its pickle holds a string of {size:,} bytes, which no checkpoint needs.")
        return self.take(size)

    def push(self, value: object, /) -> None:
        """Put a value on the stack."""
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
        taken = self.stack[height:]
        del self.stack[height:]
        return taken

    def top(self) -> object:
        """The top value, left in place."""
        value = self.pop()
        self.push(value)
        return value

    def remember(self, index: int, /) -> None:
        """Note the top value in the memo."""
        if index > MAX_OPCODES:
            raise UnsafeCheckpoint(f"its pickle numbers a value {index:,}, which no checkpoint needs: a memo bomb.")
        self.memo[index] = self.top()

    def recall(self, index: int, /) -> None:
        """Push a value from the memo."""
        if index not in self.memo:
            raise UnsafeCheckpoint("its pickle refers to a value that was never noted: it is malformed.")
        self.push(self.memo[index])

    def name(self, module: str, name: str, /) -> None:
        """Push an importable name, and note what kind it is."""
        # Python 2 called the module of built-in names differently, and pickles of protocol 2 still do.
        text = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if self.torchscript and module.split(".")[0] == TORCHSCRIPT_ROOT:
            self.classes[text] = None
        elif text in names.DROPPED:
            self.dropped[names.DROPPED[text]] = None
        elif not names.is_known(text) or (text.startswith("torch.jit.") and not self.torchscript):
            self.foreign[text] = None
        self.push(Name(text))

    def instance_name(self, code: int, /) -> str:
        """For INST alone, note the name that it carries, and say it."""
        if code != ord("i"):
            return ""
        text = f"{self.line()}.{self.line()}"
        self.foreign[text] = None
        return f" of {ascii(text)[1:-1]}"

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

    def call(self) -> None:
        """REDUCE and NEWOBJ: replace a name and its arguments by the inert value that they stand for."""
        arguments, called = self.pop(), self.pop()
        if not isinstance(called, Name) or not isinstance(arguments, tuple):
            raise UnsafeCheckpoint("its pickle calls something other than a plain name.")
        if called.text in self.classes:
            self.push(Module(called.text))
        else:
            self.push(names.call(called.text, arguments))

    def build(self) -> None:
        """BUILD: a module of TorchScript takes its attributes; what else is built needs none of its state."""
        state, target = self.pop(), self.top()
        if isinstance(target, Module) and isinstance(state, Pairs) and target.state is None:
            target.state = state
        elif not isinstance(target, Pairs | DroppedObject):  # an OrderedDict's state is its _metadata
            raise UnsafeCheckpoint("its pickle sets the state of something that has none.")

    def stack_name(self) -> None:
        """STACK_GLOBAL: a name from two strings on the stack."""
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str) or len(name) + len(module) > 1000:
            raise UnsafeCheckpoint("its pickle imports something other than a plain name.")
        self.name(module, name)

    def storage(self) -> None:
        """BINPERSID: the storage that a tuple describes."""
        storage = names.storage(self.pop())
        self.storages.append(storage)
        self.push(storage)

    def set_of(self, values: list[object], /) -> None:
        """FROZENSET: sets are dropped."""
        del values
        self.dropped["set"] = None
        self.push(DroppedObject("set"))

    def tuple_of(self, count: int, /) -> None:
        """TUPLE1, TUPLE2, TUPLE3."""
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def frame(self) -> None:
        """FRAME: a hint for buffering."""
        self.take(8)

    def protocol(self) -> None:
        """PROTO: the highest that Python has is 5."""
        number = self.number("<B")
        if number > 5:
            raise UnsafeCheckpoint(f"its pickle states protocol {number}, which does not exist.")


STOP = ord(".")


def _string(machine: _Machine, form: str, /) -> None:
    raw = machine.text(machine.number(form))
    try:
        # Lone surrogates are legal in pickles and in nothing that is printed later.
        machine.push(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UnsafeCheckpoint("its pickle holds a string that is not UTF-8.") from error


ACTS: dict[int, Callable[[_Machine], None]] = {
    0x80: _Machine.protocol,
    0x95: _Machine.frame,
    ord("("): lambda machine: machine.marks.append(len(machine.stack)),
    ord("N"): lambda machine: machine.push(None),
    0x88: lambda machine: machine.push(True),
    0x89: lambda machine: machine.push(False),
    ord("J"): lambda machine: machine.push(machine.number("<i")),
    ord("K"): lambda machine: machine.push(machine.number("<B")),
    ord("M"): lambda machine: machine.push(machine.number("<H")),
    0x8A: lambda machine: machine.push(int.from_bytes(machine.take(machine.number("<B")), "little", signed=True)),
    ord("G"): lambda machine: machine.push(struct.unpack(">d", machine.take(8))[0]),
    ord("X"): lambda machine: _string(machine, "<I"),
    0x8C: lambda machine: _string(machine, "<B"),
    ord("B"): lambda machine: machine.push(machine.text(machine.number("<I"))),
    ord("C"): lambda machine: machine.push(machine.text(machine.number("<B"))),
    ord("]"): lambda machine: machine.push([]),
    ord("}"): lambda machine: machine.push(Pairs()),
    ord(")"): lambda machine: machine.push(()),
    0x8F: lambda machine: machine.set_of([]),  # EMPTY_SET
    0x90: lambda machine: machine.extend(machine.pop_to_mark()),  # ADDITEMS, to a dropped set
    0x91: lambda machine: machine.set_of(machine.pop_to_mark()),
    ord("a"): lambda machine: machine.extend([machine.pop()]),
    ord("e"): lambda machine: machine.extend(machine.pop_to_mark()),
    ord("s"): lambda machine: machine.set_items([machine.pop(), machine.pop()][::-1]),
    ord("u"): lambda machine: machine.set_items(machine.pop_to_mark()),
    ord("t"): lambda machine: machine.push(tuple(machine.pop_to_mark())),
    0x85: lambda machine: machine.tuple_of(1),
    0x86: lambda machine: machine.tuple_of(2),
    0x87: lambda machine: machine.tuple_of(3),
    ord("c"): lambda machine: machine.name(machine.line(), machine.line()),
    0x93: _Machine.stack_name,
    ord("R"): _Machine.call,
    0x81: _Machine.call,
    ord("b"): _Machine.build,
    ord("Q"): _Machine.storage,
    ord("q"): lambda machine: machine.remember(machine.number("<B")),
    ord("r"): lambda machine: machine.remember(machine.number("<I")),
    0x94: lambda machine: machine.remember(len(machine.memo)),
    ord("h"): lambda machine: machine.recall(machine.number("<B")),
    ord("j"): lambda machine: machine.recall(machine.number("<I")),
}
