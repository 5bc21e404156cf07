"""Parquet files and saved ``datasets`` folders: tables that contain the images."""

import contextlib
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from clipclean import untrusted
from clipclean.data import sample, table
from clipclean.data.sample import MAX_SAMPLES, DataRequest, ImageSource, Listing, SampleEntry, Scratch, Unusable
from clipclean.errors import RefusedInput, ResourceError
from clipclean.untrusted import printable

BATCH_ROWS = 64  # most rows read at a time
MEMORY_LIMIT = 4_000_000_000  # bytes of addresses that reading a file may take: a row that claims billions of empty captions takes more
BATCH_BYTES = 1_000_000_000  # of the rows read at a time: a value that is written once can be spelt in every row
GROUP_BYTES = 20_000_000_000  # of one row group, uncompressed; writers make some hundred megabytes
MAX_CAPTIONS = 1000  # of one image
MAX_EXPANSION = 100  # bytes that a file may spell for each of its own: images do not compress
SPARE_BYTES = 100_000_000  # bytes that it may spell beside that
_ROW_BYTES = 64  # bytes that count for a row beside its captions: an entry takes more
_HEAD_BYTES = 16  # bytes before the first image that is copied: an offset of 0 would mean the whole file


def read(kind: str, paths: Sequence[Path], request: DataRequest, scratch: Scratch, /) -> Listing:
    """The rows of Parquet files, or of Arrow files as ``datasets`` saves them.

    Images are read where they lie in an Arrow file that is not compressed; else they are copied to files below ``scratch``, to be
    read in any order. A column of images holds encoded bytes, ``{bytes, path}`` as ``datasets`` writes them, or paths relative to
    the file. A column of captions holds texts, or lists of texts, each of which makes a pair. Labels are texts, or numbers that
    the metadata of ``datasets`` names.

    Raises:
        UsageError: the columns are missing or ambiguous.
        RefusedInput: no sound file of this kind.
    """
    listing, folder = Listing(kind), scratch()
    for number, path in enumerate(paths):
        try:
            with sample.open_regular(path) as stream:
                # Mapped before the bound holds: a large file takes addresses, and no memory.
                memory_map = pa.memory_map(str(path)).read_buffer() if kind == "arrow" else None
                with (
                    bounded_memory(),
                    contextlib.closing(_Copies(folder / f"{number}.images", path, memory_map=memory_map)) as copies,
                ):
                    layout, batches = (
                        _parquet(path, stream, request) if memory_map is None else _arrow(path, memory_map, request)
                    )
                    _take(listing, batches, layout, copies, prefix=f"{path.name} " if len(paths) > 1 else "")
        except (pa.ArrowException, OSError, ValueError, MemoryError, Unusable) as error:
            reason = printable(str(error).split("\n")[0][:200])
            raise RefusedInput(
                f"{printable(path)} is not a valid {kind.capitalize()} file: {reason}. Copy it again from its source."
            ) from error
    return listing


@contextlib.contextmanager
def bounded_memory() -> Iterator[None]:
    """Within, what asks for more than ``MEMORY_LIMIT`` beside what there is gets a MemoryError. Linux alone has such a limit."""
    if sys.platform != "linux":
        yield
        return
    import resource

    address_space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if limits[0] == resource.RLIM_INFINITY or limits[0] > address_space + MEMORY_LIMIT:
        resource.setrlimit(resource.RLIMIT_AS, (address_space + MEMORY_LIMIT, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@dataclass(frozen=True)
class _Layout:
    """The parts of a table to read: columns, the names of its labels, and the folder of relative paths."""

    columns: table.Columns
    has_label: bool
    labels: tuple[str, ...]  # by number; empty where they are not told
    folder: Path


_Table = tuple[_Layout, "Iterator[pa.RecordBatch]"]


class _Copies:
    """A file of images, one behind the other; nothing is copied that a mapped file holds as it is."""

    def __init__(self, path: Path, origin: Path, /, *, memory_map: "pa.Buffer | None" = None) -> None:
        self._path, self._memory_map, self._origin = path, memory_map, origin
        self._room = MAX_EXPANSION * origin.stat().st_size + SPARE_BYTES
        self._stream: BinaryIO | None = None
        self._sources: dict[tuple[int, int], ImageSource] = {}  # of one batch, by where the values lie in memory

    def close(self) -> None:
        """End the file, if one was begun."""
        if self._stream is not None:
            self._stream.close()

    def take(self, size: int, /) -> None:
        """Count bytes that the file spells; a value that is written once may be repeated in every row."""
        self._room -= size
        if self._room < 0:
            raise ValueError(f"it unpacks to more than {MAX_EXPANSION} times its size")

    def source_of(self, values: "pa.Array", number: int, /) -> ImageSource:
        """Where the bytes of one value of a column lie from now on; rows with the same value share it."""
        if pa.types.is_dictionary(values.type):
            values, number = values.dictionary, values.indices[number].as_py()
        # Where it lies: a scalar of pyarrow would be a copy.
        _, offsets, data = values.buffers()
        form = "<2q" if pa.types.is_large_binary(values.type) else "<2i"
        first, last = struct.unpack_from(form, offsets, (values.offset + number) * struct.calcsize(form) // 2)
        content = data.slice(first, last - first) if data is not None else pa.py_buffer(b"")
        position = (content.address, content.size)
        if position not in self._sources:
            self._sources[position] = self._written_source(content)
        return self._sources[position]

    def forget(self) -> None:
        """The values of another batch come, perhaps to the same addresses."""
        self._sources.clear()

    def _written_source(self, content: "pa.Buffer", /) -> ImageSource:
        if self._memory_map is not None:
            offset = content.address - self._memory_map.address
            if 0 < offset <= self._memory_map.size - content.size:
                return ImageSource(self._origin, offset, content.size)
        self.take(content.size)
        try:
            if self._stream is None:
                self._stream = self._path.open("xb")
                self._stream.write(bytes(_HEAD_BYTES))
            offset = self._stream.tell()
            self._stream.write(content)
        except OSError as error:
            raise ResourceError(
                f"The images of the table cannot be copied to {self._path.parent}: {sample.reason(error)}. Free some space, or "
                "name another place by TMPDIR."
            ) from error
        return ImageSource(self._path, offset, content.size)


def _parquet(path: Path, stream: BinaryIO, request: DataRequest, /) -> _Table:
    file = pq.ParquetFile(stream, pre_buffer=False)
    rows = _rows(path, file.metadata)
    layout = _layout(path, file.schema_arrow, request)
    columns = [name for name in (*layout.columns, table.LABEL_COLUMN if layout.has_label else None) if name]
    return layout, file.iter_batches(batch_size=rows, columns=columns, use_threads=False)


def _arrow(path: Path, memory_map: pa.Buffer, request: DataRequest, /) -> _Table:
    """A file or stream of record batches."""
    if memory_map[:6].to_pybytes() == b"ARROW1":
        file = pa.ipc.open_file(memory_map)
        layout = _layout(path, file.schema, request)
        return layout, (file.get_batch(number) for number in range(file.num_record_batches))
    stream = pa.ipc.open_stream(memory_map)
    return _layout(path, stream.schema, request), iter(stream)


def _layout(path: Path, schema: "pa.Schema", request: DataRequest, /) -> _Layout:
    columns = table.columns_of(schema.names, request, table=str(path))
    kinds = {name: schema.field(name).type for name in columns if name is not None}
    if not _holds_images(kinds[columns.image]):
        raise _foreign(path, columns.image, kinds[columns.image], "encoded images, or names of files")
    words = kinds[columns.caption] if columns.caption else pa.string()
    if columns.caption and not _is_text(words.value_type if _is_list(words) else words):
        raise _foreign(path, columns.caption, words, "texts, or lists of texts")
    label = schema.field(table.LABEL_COLUMN).type if table.LABEL_COLUMN in schema.names else pa.float64()
    has_label = _is_text(label) or pa.types.is_integer(_plain(label)) or pa.types.is_boolean(label)
    return _Layout(columns, has_label, _label_names(schema.metadata or {}), path.parent)


def _foreign(path: Path, column: str, kind: "pa.DataType", request: str, /) -> RefusedInput:
    return RefusedInput(
        f"{printable(path)}: the column {printable(column)} holds {printable(str(kind)[:80])}, and not {request}. Name another column."
    )


def _label_names(metadata: Mapping[bytes, bytes], /) -> tuple[str, ...]:
    """The names of the classes, in what ``datasets`` writes beside a schema."""
    try:
        value: object = untrusted.value(metadata.get(b"huggingface", b"{}")[: sample.MAX_TEXT_BYTES])
        for key in ("info", "features", table.LABEL_COLUMN, "names"):
            value = value.get(key) if isinstance(value, dict) else None
    except (ValueError, RecursionError):
        return ()
    return tuple(value) if isinstance(value, list) and all(isinstance(name, str) for name in value) else ()


def _take(
    listing: Listing, batches: "Iterator[pa.RecordBatch]", layout: _Layout, copies: _Copies, /, *, prefix: str
) -> None:
    row = 0
    for batch in batches:
        copies.forget()
        batch.validate(full=True)  # offsets of a hostile file may point anywhere
        images = batch.column(batch.schema.get_field_index(layout.columns.image))
        captions = batch.column(layout.columns.caption) if layout.columns.caption else None
        labels = batch.column(table.LABEL_COLUMN) if layout.has_label else None
        for number in range(batch.num_rows):
            row += 1
            if len(listing.entries) >= MAX_SAMPLES:
                raise ValueError(f"more than {MAX_SAMPLES:,} rows")
            value = None if labels is None else labels[number].as_py()
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(layout.labels):
                value = layout.labels[value]
            label = sample.as_label(value)
            key = printable(f"{prefix}row {row}")
            copies.take(_ROW_BYTES)
            try:
                words = [""] if captions is None else _captions(captions, number)
                copies.take(sum(map(len, words)))
                source = _image(images, number, layout, copies)
                listing.entries += [SampleEntry(key, source, sample.caption(text), label) for text in words]
            except Unusable as error:
                listing.entries.append(SampleEntry(key, label=label, problem=str(error)))


def _image(images: "pa.Array", number: int, layout: _Layout, copies: _Copies, /) -> ImageSource:
    if pa.types.is_struct(images.type):
        fields = {field.name for field in images.type}
        if "bytes" in fields and images.is_valid()[number].as_py() and images.field("bytes")[number].is_valid:
            return copies.source_of(images.field("bytes"), number)
        name = images.field("path")[number].as_py() if "path" in fields else None
    elif _holds_bytes(images.type):
        if images[number].is_valid:
            return copies.source_of(images, number)
        name = None
    else:
        name = images[number].as_py()
    if not isinstance(name, str) or not name.strip():
        raise Unusable("no image")
    return table.image_source(name.strip(), layout.folder)


def _plain(kind: "pa.DataType", /) -> "pa.DataType":
    """The type of the values, where these stand in a dictionary."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _holds_bytes(kind: "pa.DataType", /) -> bool:
    return bool(pa.types.is_binary(_plain(kind)) or pa.types.is_large_binary(_plain(kind)))


def _is_text(kind: "pa.DataType", /) -> bool:
    inner = _plain(kind)
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_null(inner))


def _is_list(kind: "pa.DataType", /) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _holds_images(kind: "pa.DataType", /) -> bool:
    if not pa.types.is_struct(kind):
        return _holds_bytes(kind) or _is_text(kind)
    inner = {field.name: field.type for field in kind}
    bytes_, path = inner.get("bytes"), inner.get("path")
    return (bytes_ is None or _holds_bytes(bytes_) or pa.types.is_null(bytes_)) and (path is None or _is_text(path))


def _captions(values: "pa.Array", number: int, /) -> list[str]:
    """One caption a pair: a text, or each of a list of texts, empty ones left out. A list is counted before it is made."""
    scalar = values[number]
    if _is_list(values.type) and scalar.is_valid and len(scalar.values) > MAX_CAPTIONS:
        raise Unusable(f"{len(scalar.values):,} captions, and {MAX_CAPTIONS:,} are allowed")
    value = scalar.as_py()
    return [text for text in (value if isinstance(value, list) else [value]) if text] or [""]


def _rows(path: Path, metadata: "pq.FileMetaData", /) -> int:
    """How many rows fit into ``BATCH_BYTES`` if each has a value as large as the largest row group, none of which is absurd."""
    if metadata.num_rows > MAX_SAMPLES:
        raise RefusedInput(f"{printable(path)} claims {metadata.num_rows:,} rows; {MAX_SAMPLES:,} are the most.")
    # Those of columns are not read: pyarrow crashes if their statistics are damaged.
    sizes: list[int] = [metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)]
    if absurd := [size for size in sizes if not 0 <= size <= GROUP_BYTES]:
        raise RefusedInput(
            f"{printable(path)} claims {absurd[0]:,} bytes in one row group; {GROUP_BYTES:,} are the most. Write it in smaller "
            "row groups."
        )
    return max(1, min(BATCH_ROWS, BATCH_BYTES // max([1, *sizes])))
