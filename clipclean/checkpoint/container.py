"""The containers of torch.save: zip archives, those of torch.jit.save with their module tree, and files from before PyTorch 1.6."""

import contextlib
import re
import stat
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from clipclean.checkpoint.opcodes import MAX_PICKLE, PickleContent, interpret
from clipclean.checkpoint.values import DTYPE_BYTES, Module, Pairs, Record, Storage
from clipclean.errors import RefusedInput, UnsafeCheckpoint, UnsupportedModel, absurd, damaged, truncated
from clipclean.untrusted import printable

MAX_ARCHIVE_ENTRIES = 20_000  # a training checkpoint of the largest CLIP has about 5,000
MAX_DEFLATION = 32  # a pickle of a state dict deflates to about a tenth; bombs reach 1:1000
FOLDER_AND_MEMBER = re.compile(
    r"(?P<folder>[^/]+)/(?P<member>data\.pkl|version|byteorder|\.format_version|\.storage_alignment"
    r"|\.data/(?:serialization_id|version)|(?:data|constants|traced_inputs)/\d{1,9}"
    r"|(?:constants|traced_inputs|attributes)\.pkl|(?:code|extra)/[^\\]+)"
)
STORED, DEFLATED = 0, 8
ENCRYPTED_FLAGS = 0x0001 | 0x0040 | 0x2000  # encrypted, strongly encrypted, masked headers
SIZES_FOLLOW = 0x0008  # the local header leaves sizes and CRC to a descriptor behind the data, as torch.save does
END, END64, LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
CENTRAL, LOCAL = struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s5H3L2H")
ZIP64, PADDING = 0x0001, 0x4246  # extra fields: large sizes, and what aligns the data of torch.save ("FB")
DESCRIPTORS = ("<4s3L", "<4sL2Q")  # sizes and CRC behind the data, with their mark; the second where they are large
ABSENT32, ABSENT16 = 0xFFFFFFFF, 0xFFFF  # "see the zip64 field"


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One member: its data lies at ``start`` and takes ``stored_size`` bytes there, ``size`` bytes once inflated."""

    name: str
    flags: int
    method: int
    crc: int  # CRC-32 of the data; torch.serialization.set_crc32_options(False) writes zeros instead
    stored_size: int
    size: int
    header: int  # offset of the local header
    start: int = 0

    @property
    def stop(self) -> int:
        """Offset of the first byte behind the data."""
        return self.start + self.stored_size


def members(view: memoryview, /) -> dict[str, ZipMember]:
    """Every member by its name below the archive's one top folder: ``data.pkl`` always, ``data/0`` and so on.

    Raises:
        UnsafeCheckpoint: the archive contradicts itself or hides something.
        UnsupportedModel: it is a NumPy ``.npz``.
        RefusedInput: it is truncated or no PyTorch archive.
    """
    directory, count = _directory(view)
    entries = [_with_start(view, entry, directory.start) for entry in _central_entries(view, directory, count)]
    _refuse_foreign_archive([entry.name for entry in entries])
    _refuse_gaps(view, entries, directory.start)
    by_name: dict[str, ZipMember] = {}
    folders: set[str] = set()
    for entry in entries:
        match = FOLDER_AND_MEMBER.fullmatch(entry.name)
        if match is None or ".." in entry.name.split("/") or not entry.name.isprintable():
            raise UnsafeCheckpoint(f"the archive holds {entry.name[:80]!a}, which torch.save never writes.")
        if match["member"] in by_name:
            raise UnsafeCheckpoint(f"the archive holds {entry.name[:80]!a} twice; readers differ in which they use.")
        folders.add(match["folder"])
        by_name[match["member"]] = entry
    if "data.pkl" not in by_name:
        raise UnsafeCheckpoint("the archive has its data.pkl in another place than torch.save puts it.")
    if len(folders) != 1:
        raise UnsafeCheckpoint(f"the archive has {len(folders)} top folders where torch.save writes one.")
    return by_name


def small_member(view: memoryview, entry: ZipMember, /, *, limit: int) -> bytes:
    """The bytes of a member that may have ``limit`` of them at most, inflated where need be and checked by CRC.

    Raises:
        UnsafeCheckpoint: it is larger, or inflates suspiciously.
        RefusedInput: it is damaged.
    """
    if entry.size > limit:
        raise absurd(f"{entry.name} has {entry.size:,} bytes", limit)
    data = bytes(view[entry.start : entry.stop])
    if entry.method == DEFLATED:
        data = _inflate(data, entry)
    if len(data) != entry.size or entry.crc not in (0, zlib.crc32(data)):
        raise damaged(f"{entry.name} is damaged: its checksum does not match")
    return data


def check_end(end: bytes | memoryview, /) -> None:
    """Raise RefusedInput unless these last bytes of a file are the end of a zip archive."""
    if len(end) < END.size or end[:4] != b"PK\x05\x06":
        raise truncated("the zip archive has no end")


def _inflate(data: bytes, entry: ZipMember, /) -> bytes:
    """Deflated bytes made whole, never more than the entry states."""
    if entry.size > MAX_DEFLATION * max(entry.stored_size, 1):
        raise UnsafeCheckpoint(
            f"{entry.name} is a decompression bomb: {entry.stored_size:,} bytes inflate to {entry.size:,}."
        )
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(data, entry.size + 1)
    except zlib.error as error:
        raise damaged(f"{entry.name} is damaged: {error}") from error
    if len(content) > entry.size or not inflater.eof or inflater.unused_data:
        raise UnsafeCheckpoint(f"{entry.name} does not inflate to the {entry.size:,} bytes that the archive states.")
    return content


def _directory(view: memoryview, /) -> tuple[range, int]:
    """Where the central directory lies, and how many entries it lists."""
    end = at = len(view) - END.size
    check_end(view[max(at, 0) :])
    _, disk, first_disk, entries_here, count, size, offset, comment = END.unpack_from(view, at)
    if at >= LOCATOR.size and LOCATOR.unpack_from(view, at - LOCATOR.size)[0] == b"PK\x06\x07":
        wide = _zip64_end(view, at - LOCATOR.size)
        narrow = ((count, ABSENT16), (size, ABSENT32), (offset, ABSENT32))
        if any(low not in (absent, high) for (low, absent), high in zip(narrow, wide, strict=True)):
            raise UnsafeCheckpoint("the two ends of the zip archive contradict each other.")
        entries_here, (count, size, offset), end = wide[0], wide, at - LOCATOR.size - END64.size
    if disk or first_disk or comment or entries_here not in (count, ABSENT16) or offset + size != end:
        raise UnsafeCheckpoint("the end of the zip archive does not describe this file: it is spliced or damaged.")
    if count > MAX_ARCHIVE_ENTRIES:
        raise absurd(f"the archive lists {count:,} entries", MAX_ARCHIVE_ENTRIES)
    return range(offset, end), count


def _zip64_end(view: memoryview, locator: int, /) -> tuple[int, int, int]:
    """Entry count, directory size and directory offset from the zip64 end record."""
    _, disk, where, disks = LOCATOR.unpack_from(view, locator)
    is_there = not disk and disks <= 1 and where == locator - END64.size and where >= 0
    if not is_there or (fields := END64.unpack_from(view, where))[0] != b"PK\x06\x06":
        raise UnsafeCheckpoint("the zip64 end of the archive is not where torch.save writes it.")
    _, record, _, _, disk, first_disk, entries_here, count, size, offset = fields
    if record != END64.size - 12 or disk or first_disk or entries_here != count:
        raise UnsafeCheckpoint("the zip64 end of the archive contradicts itself.")
    return count, size, offset


def _central_entries(view: memoryview, directory: range, count: int, /) -> list[ZipMember]:
    """The central directory's entries; it must be filled by them exactly."""
    entries, at = [], directory.start
    for _ in range(count):
        if at + CENTRAL.size > directory.stop or (fields := CENTRAL.unpack_from(view, at))[0] != b"PK\x01\x02":
            raise UnsafeCheckpoint("the zip archive lists fewer entries than it states.")
        (flags, method), (crc, stored_size, size) = fields[3:5], fields[7:10]
        name_length, extra_length, comment_length, disk, _, attributes, header = fields[10:]
        behind = view[at + CENTRAL.size :]  # the name, then the extra fields
        raw, extra = bytes(behind[:name_length]), bytes(behind[name_length:][:extra_length])
        at += CENTRAL.size + name_length + extra_length + comment_length
        if at > directory.stop:
            raise UnsafeCheckpoint("an entry of the zip archive reaches beyond its directory.")
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UnsafeCheckpoint(f"an entry of the archive has the undecodable name {raw[:80]!r}.") from error
        if comment_length:
            raise UnsafeCheckpoint(f"{name!a} has a comment, which torch.save never writes.")
        size, stored_size, header = _zip64_sizes(extra, [size, stored_size, header], name)
        if flags & ENCRYPTED_FLAGS:
            raise UnsafeCheckpoint(f"{name!a} is encrypted; a checkpoint of weights never is.")
        if stat.S_IFMT(attributes >> 16) not in (0, stat.S_IFREG):
            raise UnsafeCheckpoint(f"{name!a} is marked as a symbolic link or a device, which torch.save never writes.")
        if disk or method not in (STORED, DEFLATED) or (method == STORED and stored_size != size):
            raise UnsafeCheckpoint(f"{name!a} is stored in a way that torch.save never uses (method {method}).")
        entries.append(ZipMember(name, flags, method, crc, stored_size, size, header))
    if at != directory.stop:
        raise UnsafeCheckpoint("the zip archive lists more entries than it states.")
    return entries


def _zip64_sizes(extra: bytes, values: list[int], name: str, /) -> list[int]:
    """Size, stored size and offset, each taken from the zip64 field if and only if its 32-bit field says so."""
    at, wide = 0, b""
    while at < len(extra):
        if at + 4 > len(extra):
            raise UnsafeCheckpoint(f"the extra fields of {name!a} are malformed.")
        kind, length = struct.unpack_from("<2H", extra, at)
        at += 4 + length
        if kind not in (ZIP64, PADDING):
            raise UnsafeCheckpoint(f"{name!a} has an extra field 0x{kind:04x}, which torch.save never writes.")
        if at > len(extra) or (kind == ZIP64 and wide):
            raise UnsafeCheckpoint(f"the extra fields of {name!a} are malformed.")
        if kind == ZIP64:
            wide = extra[at - length : at]
    if len(wide) % 8 == 0:
        numbers = [number for (number,) in struct.iter_unpack("<Q", wide)]
        missing = values.count(ABSENT32)
        if not missing and numbers == values[: len(numbers)]:
            return values
        if missing and len(numbers) == missing:
            return [numbers.pop(0) if value == ABSENT32 else value for value in values]
    raise UnsafeCheckpoint(f"the zip64 sizes of {name!a} contradict its header.")


def _with_start(view: memoryview, entry: ZipMember, limit: int, /) -> ZipMember:
    """The entry with the place of its data, once its local header agrees with the central one."""
    at, name = entry.header, entry.name
    if at + LOCAL.size > limit or (fields := LOCAL.unpack_from(view, at))[0] != b"PK\x03\x04":
        raise UnsafeCheckpoint(f"the archive points {name!a} at a place where no entry begins.")
    _, _, flags, method, _, _, crc, stored_size, size, name_length, extra_length = fields
    extra = at + LOCAL.size + name_length
    start = extra + extra_length
    if start + entry.stored_size > limit:
        raise UnsafeCheckpoint(f"{name!a} reaches beyond the data of the archive: it is truncated or malformed.")
    if bytes(view[at + LOCAL.size : extra]) != name.encode() or (flags, method) != (entry.flags, entry.method):
        raise UnsafeCheckpoint(f"the two headers of {name!a} contradict each other.")
    local_sizes, central_sizes = (crc, stored_size, size), (entry.crc, entry.stored_size, entry.size)
    if flags & SIZES_FOLLOW:
        agrees = all(value in (0, ABSENT32, stated) for value, stated in zip(local_sizes, central_sizes, strict=True))
    else:
        size, stored_size = _zip64_sizes(bytes(view[extra:start]), [size, stored_size], name)
        agrees = (crc, stored_size, size) == central_sizes
    if not agrees:
        raise UnsafeCheckpoint(f"the two headers of {name!a} contradict each other in size or checksum.")
    return replace(entry, start=start)


def _refuse_foreign_archive(names: list[str], /) -> None:
    """Say what a zip that is no PyTorch archive is instead."""
    if names and all(name.endswith(".npy") for name in names):
        raise UnsupportedModel(
            "it is a NumPy .npz, the format of big_vision checkpoints (SigLIP, LiT). clipclean reads PyTorch CLIP "
            "weights: load it in open_clip, then save its state_dict as safetensors."
        )
    if not any(name.endswith("/data.pkl") for name in names):
        raise RefusedInput("it is a zip archive, and no PyTorch checkpoint lies in it. Unpack it and name the file.")


def _refuse_gaps(view: memoryview, entries: list[ZipMember], end: int, /) -> None:
    """Refuse bytes that belong to two entries, the trick of the bombs that need no compression, or to none.

    Readers that go through the file would find others between the entries. Behind the data of an entry that says so stand its
    sizes and CRC again, and nothing else.
    """
    at, last = 0, ""
    for entry in sorted(entries, key=lambda entry: entry.header):
        name = entry.name[:80]
        if entry.header < at:
            raise UnsafeCheckpoint(f"{last!a} and {name!a} overlap in the archive.")
        if entry.header > at:
            raise UnsafeCheckpoint(f"{entry.header - at:,} bytes before {name!a} belong to no entry.")
        at, last = entry.stop + _descriptor(view, entry), name
    if entries and at != end:
        raise UnsafeCheckpoint(f"{end - at:,} bytes behind the last entry belong to no entry of the archive.")


def _descriptor(view: memoryview, entry: ZipMember, /) -> int:
    """The length of the record behind an entry's data, where its flags tell of one; it repeats what the directory states."""
    if not entry.flags & SIZES_FOLLOW:
        return 0
    for layout in DESCRIPTORS if entry.stored_size <= ABSENT32 else DESCRIPTORS[1:]:
        with contextlib.suppress(struct.error):  # the size has more than 32 bits
            record = struct.pack(layout, b"PK\x07\x08", entry.crc, entry.stored_size, entry.size)
            if view[entry.stop : entry.stop + len(record)] == record:
                return len(record)
    raise UnsafeCheckpoint(f"what follows the data of {entry.name[:80]!a} contradicts the directory of the archive.")


MAX_CODE = 64 * 2**20  # bytes of all code in an archive; that of OpenAI's has about one megabyte
MAX_VISITS = 50_000  # a CLIP has about 1,000 modules; shared modules could make the walk exponential
QUICK_GELU = re.compile(r"quick_?gelu", re.IGNORECASE)


def flatten(root: object, /) -> Pairs:
    """Every attribute that is no module, under its dotted name.

    Raises:
        UnsafeCheckpoint: the root is no module, or the tree is built to explode.
    """
    if not isinstance(root, Module):
        raise UnsafeCheckpoint("it is laid out as a TorchScript archive, but holds no module.")
    flat = Pairs()
    pending: list[tuple[str, Module]] = [("", root)]
    visits = 0
    while pending:
        prefix, module = pending.pop()
        for name, value in module.state.items if module.state else []:
            visits += 1
            if visits > MAX_VISITS or not isinstance(name, str) or len(prefix) + len(name) > 500:
                raise UnsafeCheckpoint("its tree of modules is larger or deeper than any CLIP.")
            if isinstance(value, Storage):
                raise UnsafeCheckpoint(
                    f"{printable(name)[:80]!a} is a bare storage, of which torch.jit.load makes a tensor."
                )
            if isinstance(value, Module):
                pending.append((f"{prefix}{name}.", value))
            else:
                flat.items.append((prefix + name, value))
    return flat


def refuse_own_loading(view: memoryview, entries: Mapping[str, ZipMember], /) -> None:
    """Refuse code that sets the weights itself: with a ``__setstate__`` of its own, an archive has others than it holds.

    The code is searched for that word as text: TorchScript has no other way to write a name.

    Raises:
        UnsafeCheckpoint: a class has one, or there is more code than any model needs.
        RefusedInput: the code is damaged.
    """
    code = [entry for name, entry in entries.items() if name.startswith("code/")]
    if sum(entry.size for entry in code) > MAX_CODE:
        raise absurd(f"its code has {sum(entry.size for entry in code):,} bytes", MAX_CODE)
    for entry in code:
        if b"__setstate__" in small_member(view, entry, limit=MAX_CODE):  # of any suffix: torch finds .PY as well
            raise UnsafeCheckpoint(
                f"its code has a __setstate__ ({entry.name[:80]!a}), by which torch.jit.load makes other weights of it than it holds."
            )


def names_quick_gelu(classes: tuple[str, ...], /) -> bool | None:
    """True if a class of the archive is called QuickGELU; None says nothing, for the activation may be inlined."""
    return True if any(QUICK_GELU.search(name.rpartition(".")[2]) for name in classes) else None


# Files from before PyTorch 1.6: five pickles, then the storages in sequence.

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


def series(view: memoryview, /) -> tuple[PickleContent, dict[str, Record]]:
    """The value of the main pickle, and where each storage lies.

    Raises:
        UnsafeCheckpoint: a pickle holds more than weights, or the storages contradict it.
        RefusedInput: torch.save did not write this, or it is truncated.
    """
    magic = _pickle(view, 0)
    if magic.value != LEGACY_MAGIC:
        raise RefusedInput(
            "it is a Python pickle that torch.save did not write. Save model.state_dict() by torch.save."
        )
    protocol = _pickle(view, magic.end)
    system = _pickle(view, protocol.end)
    system_items = system.value.items if isinstance(system.value, Pairs) else []
    if protocol.value != LEGACY_PROTOCOL or not any(
        key == "little_endian" and value is True for key, value in system_items
    ):
        raise RefusedInput("it was written by an unknown version of torch.save. Re-save it with a current one.")
    main = _pickle(view, system.end)
    keys = _pickle(view, main.end)
    return main, _records(view, keys, {storage.key: storage for storage in main.storages})


def _pickle(view: memoryview, start: int, /) -> PickleContent:
    """One pickle of the series; its end counts from the start of the file."""
    content = interpret(bytes(view[start : start + MAX_PICKLE]))
    return replace(content, end=start + content.end)


def _records(view: memoryview, keys: PickleContent, storages: dict[str, Storage], /) -> dict[str, Record]:
    """Walk the storages in the order of their keys: each is a count of elements, then its bytes."""
    if not isinstance(keys.value, list) or not all(isinstance(key, str) for key in keys.value):
        raise UnsafeCheckpoint("its list of storages is malformed.")
    records: dict[str, Record] = {}
    at = keys.end
    for key in keys.value:
        storage = storages.get(key)
        if storage is None or storage.dtype not in DTYPE_BYTES or key in records:
            raise UnsafeCheckpoint(f"its list of storages names {key[:40]!a}, which no tensor uses, or names it twice.")
        if at + 8 > len(view):
            raise truncated("it ends before its last storage")
        elements = struct.unpack_from("<q", view, at)[0]
        size = elements * DTYPE_BYTES[storage.dtype]
        if elements != storage.elements:
            mismatch = f"storage {key[:40]!a} has {elements:,} elements"
            raise UnsafeCheckpoint(f"{mismatch}, and not {storage.elements:,} as stated.")
        if at + 8 + size > len(view):
            raise truncated("it ends inside a storage")
        records[key] = Record(at + 8, size)
        at += 8 + size
    if at != len(view):
        raise UnsafeCheckpoint(f"{len(view) - at:,} bytes follow its last storage, which torch.save never writes.")
    return records
