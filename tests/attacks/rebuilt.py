"""Pickles of weights built part by part, with some parts changed: arguments of what rebuilds tensors, storages, states, memos.

Changed bytes seldom get past the first check. These are well-formed, and each part is honest or one that means something to some
reader: another type, an odd container, a name, a tensor or storage in place of a number.
"""

import itertools
import pickletools
import random
import struct
from collections.abc import Callable

from hostile import checkpoints
from hostile.checkpoints import EMPTY_DICT, EMPTY_LIST, EMPTY_TUPLE, MARK, NONE, group, name, text, whole

TRUE, FALSE = b"\x88", b"\x89"
WIDTHS = {"FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "DoubleStorage": 8, "LongStorage": 8}
WIDTHS |= {"IntStorage": 4, "ByteStorage": 1, "BoolStorage": 1, "ShortStorage": 2, "CharStorage": 1}
WIDTHS |= {"ComplexFloatStorage": 8, "QInt8Storage": 1}
USUAL = ("FloatStorage", "HalfStorage", "BFloat16Storage", "DoubleStorage", "LongStorage", "ByteStorage", "BoolStorage")
SIZE = 32  # bytes of an honest storage
KEYS = ("0", "1", "2")
DTYPES = ("float32", "float16", "bfloat16", "int64", "uint8", "bool", "complex64", "uint16")
WORDS = (
    "data",
    "real",
    "imag",
    "grad",
    "neg",
    "conj",
    "requires_grad",
    "_metadata",
    "weight",
    "state_dict",
    "version",
    "cpu",
)
WORDS += ("items", "keys", "_backward_hooks", "a", "names", "T", "__class__", "__dict__", "dtype", "")
TOPS = ("state_dict", "model", "optimizer", "epoch", "model_state_dict", "ema", "net")
NUMBERS = (0, 1, 2, 3, 4, 8, 16, -1, 2**31, 2**62)


class Pickle:
    """One draw: the storages that it has named, and the places of its memo."""

    def __init__(self, draw: random.Random, *, storages: float, parts: float) -> None:
        self.draw = draw
        self.storages, self.parts = storages, parts  # how likely a storage or an argument is changed
        self.kinds = {key: draw.choice(USUAL) for key in KEYS}
        self.records = dict.fromkeys(KEYS, SIZE)
        self.noted = 0
        self.is_legacy = False

    def is_changed(self, likely: float) -> bool:
        return self.draw.random() < likely

    def one(self, honest: bytes, *others: Callable[[], bytes]) -> bytes:
        """The honest argument, or another."""
        return self.draw.choice([*others, self.odd])() if self.is_changed(self.parts) else honest

    # Values of any kind.

    def odd(self, depth: int = 0) -> bytes:
        makers: list[Callable[[], bytes]] = [
            lambda: NONE,
            lambda: TRUE,
            lambda: FALSE,
            lambda: whole(self.draw.choice(NUMBERS)),
            lambda: b"G" + struct.pack(">d", self.draw.choice((0.0, -0.0, 1.0, 4.0))),
            lambda: text(self.draw.choice(WORDS)),
            lambda: EMPTY_TUPLE,
            lambda: EMPTY_LIST,
            lambda: EMPTY_DICT,
            lambda: checkpoints.call("collections", "OrderedDict"),
            lambda: name("torch", self.draw.choice(DTYPES)),
            lambda: name("torch", self.draw.choice([*WIDTHS])),
            lambda: name("collections", "OrderedDict"),
            lambda: self.storage(),
            lambda: self.memo(),
        ]
        if depth < 2:
            makers += [
                lambda: group(*(self.odd(depth + 1) for _ in range(self.draw.randint(1, 3)))),
                lambda: EMPTY_LIST + MARK + b"".join(self.odd(depth + 1) for _ in range(2)) + b"e",
                lambda: self.mapping({self.draw.choice(WORDS): self.odd(depth + 1)}),
                lambda: self.tensor(depth + 1),
                lambda: checkpoints.call("collections", "Counter", self.mapping({self.draw.choice(WORDS): TRUE})),
                lambda: checkpoints.call("torch", "Size", group(whole(self.draw.choice((1, 2, 4))))),
                lambda: checkpoints.call("torch", "device", text("cpu")),
            ]
        return self.draw.choice(makers)()

    def memo(self) -> bytes:
        return b"h" + bytes([self.draw.randrange(self.noted)]) if self.noted else NONE

    def kept(self, value: bytes) -> bytes:
        """The value, now and then noted in the memo."""
        if self.noted < 200 and self.is_changed(0.1):
            self.noted += 1
            return value + b"q" + bytes([self.noted - 1])
        return value

    def mapping(self, pairs: dict[str, bytes]) -> bytes:
        begin = self.draw.choice((EMPTY_DICT, checkpoints.call("collections", "OrderedDict")))
        if self.draw.random() < 0.2:
            return begin + b"".join(text(key) + value + b"s" for key, value in pairs.items())
        return begin + MARK + b"".join(text(key) + value for key, value in pairs.items()) + b"u"

    # Storages and tensors.

    def storage(self) -> bytes:
        key = self.draw.choice(KEYS)
        kind, size = self.kinds[key], self.records[key]
        parts = {
            "mark": text("storage"),
            "kind": name("torch", kind),
            "key": text(key),
            "place": text("cpu"),
            "count": whole(size // WIDTHS[kind]),
        }
        if self.is_changed(self.storages):
            part = self.draw.choice([*parts])
            others: dict[str, list[Callable[[], bytes]]] = {
                "mark": [lambda: text("module")],
                "kind": [lambda: name("torch", self.draw.choice([*WIDTHS]))] * 4
                + [lambda: name("torch.storage", "UntypedStorage")]
                + [lambda: name("torch", self.draw.choice([each for each in WIDTHS if WIDTHS[each] == WIDTHS[kind]]))]
                * 4,
                "key": [lambda: text(self.draw.choice(("00", "٠", "1", "3", "", "0/", "../0")))] * 2
                + [lambda: checkpoints.call("_codecs", "encode", text("0"), text("latin1"))],
                "place": [lambda: text(self.draw.choice(("cuda:0", "CPU", "meta", "mps", "cpu:0")))],
                "count": [lambda: whole(self.draw.choice((0, 1, 2, 4, 8, 16, 32, 64, -1)))],
            }
            parts[part] = self.draw.choice(others[part])() if self.draw.random() < 0.9 else self.odd(1)
        behind = [NONE] if self.is_legacy else []
        if self.is_changed(self.storages / 4):
            behind = self.draw.choice(([], [NONE], [group(text("0"), whole(1), whole(2))], [TRUE]))
        return group(*parts.values(), *behind) + b"Q"

    def shape(self) -> tuple[bytes, bytes, bytes]:
        """Offset, sizes and strides that mostly fit a storage of two or more numbers."""
        size = self.draw.choice(((1,), (2,), (4,), (2, 2), (1, 2), (), (0,), (8,), (2, 1, 2)))
        steps = [*itertools.accumulate(reversed(size[1:]), lambda a, b: a * b, initial=1)][::-1] if size else []
        if len(size) > 1 and self.draw.random() < 0.3:
            steps.reverse()
        numbers = [self.draw.choice((0, 0, 0, 1, 2)), size, tuple(steps)]
        if self.is_changed(self.parts):
            chosen = [list(numbers[1]), list(numbers[2])]
            values = self.draw.choice(chosen)
            if values:
                values[self.draw.randrange(len(values))] = self.draw.choice((0, 1, 2, 3, 4, 16))
            numbers[1:] = [tuple(each) for each in chosen]
        offset = whole(numbers[0])  # type: ignore[arg-type] # the first is a number
        sizes, strides = (checkpoints.counts(each) for each in numbers[1:])  # type: ignore[arg-type] # the others are not
        if self.draw.random() < 0.1:
            sizes = checkpoints.call("torch", "Size", sizes)
        return offset, sizes, strides

    def plain(self, how: str = "tensor_v2") -> list[bytes]:
        """The arguments of a tensor."""
        offset, size, stride = self.shape()
        parts = [self.one(self.storage()), self.one(offset), self.one(size), self.one(stride)]
        if how == "tensor":
            return parts
        hooks = checkpoints.call("collections", "OrderedDict")
        parts += [self.one(self.draw.choice((TRUE, *(FALSE,) * 7))), self.one(hooks, lambda: EMPTY_DICT, lambda: NONE)]
        if how == "tensor_v3":
            parts.append(name("torch", self.draw.choice(DTYPES)))
        if self.is_changed(self.parts):
            marks = {self.draw.choice(("neg", "conj", "a")): self.draw.choice((TRUE, FALSE, whole(1)))}
            parts.append(self.draw.choice((lambda: EMPTY_DICT, lambda: self.mapping(marks), self.odd, lambda: NONE))())
        return parts

    def state(self, depth: int) -> bytes:
        if self.draw.random() < 0.4:
            return EMPTY_DICT
        inner = self.mapping({self.draw.choice(WORDS): self.tensor(depth + 1) if depth < 2 else NONE})
        return self.draw.choice((inner, group(inner, NONE), group(NONE, inner), group(EMPTY_DICT, inner), inner))

    def tensor(self, depth: int = 0) -> bytes:
        """A tensor, mostly of the usual kind."""
        how = self.draw.choice(
            ("tensor_v2",) * 6 + ("parameter", "tensor") + (RARE if self.is_changed(self.parts) else ())
        )
        arguments = self._arguments(how, depth)
        if self.is_changed(self.parts / 3):
            self.draw.choice((lambda: arguments.append(self.odd(1)), lambda: arguments.pop()))()
        module = "torch._tensor" if how == "from_type_v2" else "torch._utils"
        end = b"\x81" if self.is_changed(self.parts / 20) else b"R"
        made = name(module, f"_rebuild_{how}") + group(*arguments) + end
        if self.is_changed(self.parts / 20):
            made += self.draw.choice((self.state(depth), group(*self.plain()))) + b"b"
        return self.kept(made)

    def _arguments(self, how: str, depth: int) -> list[bytes]:
        hooks, inner = EMPTY_DICT, self.plain if depth > 2 else None
        value = (lambda: checkpoints.rebuilt(*self.plain())) if inner else (lambda: self.tensor(depth + 1))
        match how:
            case "tensor" | "tensor_v2" | "tensor_v3":
                return self.plain(how)
            case "parameter":
                return [value(), self.one(self.draw.choice((TRUE, *(FALSE,) * 3))), self.one(hooks, lambda: NONE)]
            case "parameter_with_state":
                return [value(), FALSE, hooks, self.state(depth)]
            case "from_type_v2":
                which = self.draw.choice(
                    ("tensor_v2", "parameter_with_state", "parameter", "device_tensor_from_cpu_tensor")
                )
                kind = self.draw.choice(
                    (name("torch", "Tensor"), name("torch.nn.parameter", "Parameter"), name("torch", "Size"))
                )
                return [
                    name("torch._utils", f"_rebuild_{which}"),
                    kind,
                    group(*self._arguments(which, depth + 1)),
                    self.state(depth),
                ]
            case "device_tensor_from_cpu_tensor":
                return [value(), name("torch", self.draw.choice(DTYPES)), text("cpu"), FALSE]
            case "meta_tensor_no_storage":
                _, size, stride = self.shape()
                return [name("torch", "float32"), size, stride, FALSE]
            case "sparse_tensor":
                layout = checkpoints.call("torch.serialization", "_get_layout", text("torch.sparse_coo"))
                return [layout, group(value(), value(), group(whole(2)))]
            case "nested_tensor":
                return [value(), value(), value(), value()]
        return [
            *self.plain()[:4],
            group(name("torch", "per_tensor_affine"), b"G" + struct.pack(">d", 1.0), whole(0)),
            FALSE,
            hooks,
        ]

    # The whole.

    def weights(self) -> bytes:
        """A state dict, now and then with a name twice, versions, or a state of its own."""
        prefix = self.draw.choice(("", "", "", "module.", "model.module."))
        names = [
            f"{prefix}{each}" for each in self.draw.sample(("a", "b", "c.weight", "c.bias"), self.draw.randint(1, 3))
        ]
        if self.is_changed(self.parts / 10):
            names.append(self.draw.choice(names))
        has_versions = self.is_changed(0.1)
        body = checkpoints.call("collections", "OrderedDict") if has_versions or self.is_changed(0.5) else EMPTY_DICT
        body += MARK + b"".join(text(each) + self.tensor() for each in names) + b"u"
        if has_versions:
            body += self.mapping({"_metadata": self.mapping({"": self.mapping({"version": whole(1)})})}) + b"b"
        if self.is_changed(self.parts / 10):
            body += self.mapping({self.draw.choice(WORDS): self.odd()}) + b"b"
        return self.kept(body)

    def body(self) -> bytes:
        """What a checkpoint holds."""
        if self.draw.random() < 0.5:
            return self.weights()
        tops = {"state_dict": self.weights()}
        for top in self.draw.sample(TOPS, self.draw.choice((0, 1, 1, 2))):
            tops[top] = self.draw.choice(
                (self.weights, self.odd, lambda: self.mapping({"x": self.tensor()}), lambda: whole(3))
            )()
        listed = [*tops.items()]
        self.draw.shuffle(listed)
        return self.mapping(dict(listed))

    def numbers(self, size: int) -> bytes:
        """Bytes that are finite numbers of any type."""
        top = self.draw.choice((2, 0x40))
        return bytes(self.draw.randrange(top) for _ in range(size))


RARE = ("parameter_with_state", "from_type_v2", "tensor_v3", "device_tensor_from_cpu_tensor", "meta_tensor_no_storage")
RARE = (*RARE, "sparse_tensor", "nested_tensor", "qtensor", "parameter_with_state", "from_type_v2") * 2


def arguments(draw: random.Random, /) -> bytes:
    """A checkpoint with changed arguments, mostly of the usual container."""
    return _file(Pickle(draw, storages=0.02, parts=draw.choice((0.005, 0.02, 0.05, 0.1))))


def storages(draw: random.Random, /) -> bytes:
    """A checkpoint with changed storages and records."""
    pickle = Pickle(draw, storages=draw.choice((0.05, 0.2, 0.4)), parts=0.01)
    for key in KEYS:
        if draw.random() < 0.15:
            pickle.records[key] = draw.choice((0, 8, 16, 24, 64, 33))
    return _file(pickle, is_edited=draw.random() < 0.5)


def _file(pickle: Pickle, *, is_edited: bool = False) -> bytes:
    pickle.is_legacy = pickle.draw.random() < 0.3
    end = pickle.draw.choice((b".", b"..", b"N.")) if pickle.is_changed(pickle.parts / 20) else b"."
    data = b"\x80\x02" + pickle.body() + end
    return _legacy(pickle, data, is_edited=is_edited) if pickle.is_legacy else _zip(pickle, data, is_edited=is_edited)


def _zip(pickle: Pickle, data: bytes, *, is_edited: bool) -> bytes:
    draw, members = pickle.draw, {"m/data.pkl": data, "m/version": b"3\n"}
    members |= {f"m/data/{key}": pickle.numbers(size) for key, size in pickle.records.items()}
    if draw.random() < 0.5:
        members["m/byteorder"] = b"little"
    if is_edited:
        order = (b"big", b"little\n", b"LITTLE", b"", b"little")
        key = draw.choice(KEYS)
        edit = draw.randrange(7)
        if edit == 0:
            members["m/byteorder"] = draw.choice(order)
        elif edit == 1:
            members[f"m/data/{draw.choice(('00', '٠', '3', '0 ', '1'))}"] = pickle.numbers(SIZE)
        elif edit == 2:
            members.pop(f"m/data/{key}")
        elif edit == 3:
            members[f"m/data/{key}"] += pickle.numbers(draw.choice((1, 4, 32)))
        elif edit == 4:
            members[
                draw.choice(("m/.format_version", "m/.storage_alignment", "m/version", "m/.data/serialization_id"))
            ] = draw.choice((b"1", b"2", b"64", b"3\n", b"x", b"-1", b"1000"))
        elif edit == 5:
            members[
                draw.choice(("m/constants.pkl", "m/code/x.py", "m/extra/x", "M/data/0", "m/DATA.PKL", "m/Data/0"))
            ] = b"x"
        else:
            items = [*members.items()]
            draw.shuffle(items)
            members = dict(items)
    return checkpoints.zipped(members, method=draw.choice((0, 0, 0, 8)) if is_edited else 0)


def _legacy(pickle: Pickle, data: bytes, *, is_edited: bool) -> bytes:
    draw = pickle.draw
    # Only what tensors name may be listed.
    keys = [key for key in KEYS if text(key) + text("cpu") in data]
    draw.shuffle(keys)
    if is_edited:
        edit = draw.randrange(4)
        if edit == 0 and keys:
            keys.pop()
        elif edit == 1:
            keys.append(draw.choice(("0", "1", "3")))
    listed = EMPTY_LIST + MARK + b"".join(map(text, keys)) + b"e"
    order = draw.choice((TRUE, TRUE, FALSE)) if is_edited else TRUE
    machine = checkpoints.pickled(EMPTY_DICT + text("little_endian") + order + b"s")
    start = checkpoints.MAGIC + checkpoints.pickled(whole(1001)) + machine + data + checkpoints.pickled(listed)
    for key in keys:
        size = pickle.records.get(key, SIZE)
        count = size // WIDTHS[pickle.kinds.get(key, "FloatStorage")]
        if is_edited and draw.random() < 0.1:
            count = draw.choice((0, 1, 4, 8, -1))
        start += struct.pack("<q", count) + pickle.numbers(size)
    return start + (b"x" if is_edited and draw.random() < 0.05 else b"")


CODE = b"""class M(Module):
  __parameters__ = ["a", ]
  __buffers__ = ["b", ]
  a : Tensor
  b : Tensor
  training : bool
  def forward(self: __torch__.M, x: Tensor) -> Tensor:
    return x
"""


def torchscript(draw: random.Random, /) -> bytes:
    """A TorchScript archive of one module with two tensors, with changed arguments."""
    pickle = Pickle(draw, storages=0.02, parts=draw.choice((0.01, 0.05, 0.1)))
    values = {"a": pickle.tensor(), "b": pickle.tensor(), "training": pickle.one(FALSE)}
    if pickle.is_changed(pickle.parts):
        values[draw.choice(("a", "c", "training", "b.c"))] = pickle.odd()
    listed = [*values.items()]
    draw.shuffle(listed)
    state = EMPTY_DICT + MARK + b"".join(text(key) + value for key, value in listed) + b"u"
    body = name("__torch__", "M") + EMPTY_TUPLE + b"\x81" + state + b"b"
    members = {"m/data.pkl": _eight_bytes(checkpoints.pickled(body)), "m/version": b"3\n", "m/code/__torch__.py": CODE}
    members["m/constants.pkl"] = checkpoints.pickled(EMPTY_TUPLE)
    members |= {f"m/data/{key}": pickle.numbers(size) for key, size in pickle.records.items()}
    return checkpoints.zipped(members)


def _eight_bytes(data: bytes) -> bytes:
    """The pickle with whole numbers as TorchScript reads them: of eight bytes."""
    made = bytearray(data)
    for opcode, value, place in reversed([*pickletools.genops(data)]):
        if opcode.name == "LONG1" and value is not None and place is not None and -(2**63) <= value < 2**63:
            end = place + 2 + data[place + 1]
            made[place:end] = b"\x8a\x08" + value.to_bytes(8, "little", signed=True)
    return bytes(made)
