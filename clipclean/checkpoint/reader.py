"""Reading a checkpoint into named tensors, executing nothing."""

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from clipclean.checkpoint import container, contents, folders, layouts, opcodes, safetensors_file, tensors
from clipclean.checkpoint.values import Record
from clipclean.errors import RefusedInput, UnsafeCheckpoint, UnsupportedModel, UsageError, damaged
from clipclean.findings import CC
from clipclean.untrusted import first_few

ContainerKind = Literal["zip", "pickle", "safetensors"]  # of a file: what ``tell`` knows, and ``READERS`` read
Format = Literal["torch-zip", "torchscript", "torch-legacy", "safetensors", "module"] | folders.Layout
SAFER_FORMATS = "Ask for the weights as safetensors, or re-save the state_dict alone from a source that you trust."


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The weights of a file, and what the file is."""

    path: Path
    weights: Path  # the file that was read; of shards their index
    format: Format
    producer: str
    # Contiguous, finite, on the CPU, in their stored dtypes, sharing no memory; open_clip's names, without wrappers and prefixes.
    tensors: dict[str, Tensor]
    # The open_clip_config.json in the same folder, or for a model of transformers its config.json, with its preprocessor_config.json
    # under that key.
    config: dict[str, object] | None = None
    config_name: str | None = None  # which of them
    sha256: str  # of ``weights``; of shards the digest of what ``sha256sum INDEX SHARD...`` prints
    size: int  # bytes; of shards those of all files
    quick_gelu: bool | None  # True where a TorchScript archive names such a class, None where the file does not tell
    notes: tuple[str, ...] = ()  # what was left out
    library: str = "open_clip"  # by whose names the tensors are called
    wrappers: tuple[str, ...] = ()  # the keys that the weights were found under, outermost first
    others: tuple[str, ...] = ()  # the keys of further sets of weights, which were not read
    digests: Mapping[str, str] = field(default_factory=dict)  # the SHA-256 of each file that was read

    def unjudged_parts(self) -> dict[str, str]:
        """What lies in the file beside these tensors and may act, in words, by the rule that tells of it."""
        statements = {}
        if self.format == "torchscript":
            statements[CC.CODE_NOT_JUDGED] = (
                "The file is a TorchScript archive: its code was neither read nor run. Judged are its weights, in open_clip's module."
            )
        if self.others:
            wrapper = ".".join(self.wrappers) or "its top"
            statements[CC.OTHER_WEIGHTS_NOT_JUDGED] = (
                f"Judged are the weights at {wrapper}; further ones lie in the same file, at {first_few(self.others)}."
            )
        return statements


@dataclass(frozen=True)
class _FileContent:
    """The value that a file holds, before its tensors are chosen."""

    file: contents.Contents
    root: object
    records: dict[str, Record]
    format: Format
    producer: str | None = None
    quick_gelu: bool | None = None
    dropped_kinds: tuple[str, ...] = ()


def read(path: Path, /, *, weights: str | None = None) -> Checkpoint:
    """Read a CLIP checkpoint: torch.save (new and old), TorchScript, safetensors, an open_clip or transformers directory.

    The format is told by content, never by suffix. Nothing in the file is imported, called or compiled. Peak memory is
    about the size of the file, and the time that of torch.load and one SHA-256 of the file.

    Args:
        path: a file, the ``.index.json`` of shards, or a directory.
        weights: the key of the weights in a training checkpoint with several, ``ema`` for averaged ones; None for the
            usual ones.

    Raises:
        UnsafeCheckpoint: the file asks for more than weights, or contradicts itself.
        UnsupportedModel: it holds a model of another kind than CLIP with native towers.
        RefusedInput: it is missing, empty, truncated, unreadable, or its weights are not finite.
        UsageError: it has no weights of the chosen name.
        ResourceError: it does not fit into memory.

    Example:
        >>> from pathlib import Path
        >>> from clipclean import checkpoint
        >>> model = checkpoint.read(Path("model.pt"))  # doctest: +SKIP
        >>> model.format, len(model.tensors)  # doctest: +SKIP
        ('torch-zip', 302)
    """
    try:
        location = folders.locate(path)
        parts = _parts(location)
        roots = [part.root for part in parts]
        selection = layouts.weights(
            folders.merge(location.index, roots) if location.index else roots[0], choice=weights
        )
        description = location.description_for(selection.library)
        tensors_by_name = _build(selection, parts)
        twin_notes = _compare(location, tensors_by_name)
        digests = {location.weights.name: location.index.sha256} if location.index else {}
        digests |= {file.name: part.file.sha256 for file, part in zip(location.files, parts, strict=True)}
        # Of one file, or of the output of sha256sum INDEX SHARD...
        listing = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
        sha256 = parts[0].file.sha256 if len(digests) == 1 else hashlib.sha256(listing.encode()).hexdigest()
    except UnsafeCheckpoint as error:
        raise UnsafeCheckpoint(f"{path}: {error} {SAFER_FORMATS}") from error
    except (RefusedInput, UsageError) as error:
        raise type(error)(f"{path}: {error}") from error
    return Checkpoint(
        path=path,
        weights=location.weights,
        format=location.layout or parts[0].format,
        producer=_producer(location, parts, selection),
        tensors=tensors_by_name,
        config=description.config if description else None,
        config_name=description.name if description else None,
        sha256=sha256,
        size=sum(part.file.size for part in parts) + (location.index.size if location.index else 0),
        quick_gelu=parts[0].quick_gelu,
        notes=(*_notes(location, parts, selection, description), *twin_notes),
        library=selection.library,
        wrappers=selection.wrappers,
        others=selection.others,
        digests=digests,
    )


def _compare(location: folders.WeightsLocation, weights: dict[str, Tensor], /) -> list[str]:
    """A note on further weights in a directory, which must be the same: which ones are used depends on who reads it.

    Raises:
        UnsafeCheckpoint: they differ, or ask for more than weights.
        RefusedInput: they cannot be read.
    """
    further = folders.further_weights(location)
    if not further:
        return []
    expected = digest(weights)
    for path in further:
        if digest(read(path).tensors) != expected:
            raise UnsafeCheckpoint(
                f"it holds other weights in {path.name} than in {location.weights.name}, and libraries differ in which they use. "
                "Name the file that you mean, or remove the others."
            )
    return [f"{', '.join(path.name for path in further)} beside it: the same weights, whichever a library takes"]


def digest(weights: Mapping[str, Tensor], /) -> str:
    """Hex SHA-256 of tensors, the same for every container: over names, dtypes, shapes and little-endian bytes.

    Tensors count in the order of their names. Before the bytes of each comes one line of JSON,
    ``["name","float32",[2,3]]``.
    """
    hasher = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        header = [name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        hasher.update(json.dumps(header, separators=(",", ":")).encode() + b"\n")
        # A flat view first: a scalar has no axis to split into bytes.
        hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def _parts(location: folders.WeightsLocation, /) -> list[_FileContent]:
    """Every file that holds tensors, read and parsed."""
    parts: list[_FileContent] = []
    for path in location.files:
        try:
            with contents.open_file(path) as source:
                kind = tell(source.head)
                # Of another length than it states; less is sooner read than judged, and a pickle does not say it in one place.
                if source.size > contents.BLOCK_BYTES and kind == "safetensors":
                    safetensors_file.check_extent(source)
                elif source.size > contents.BLOCK_BYTES and kind == "zip":
                    container.check_end(source.at(source.size - container.END.size, container.END.size))
                file = contents.load(source)
            parts.append(READERS[kind](file))
        except RefusedInput as error:
            if location.index is None:
                raise
            raise type(error)(f"{path.name}: {error}") from error
    if len({part.format for part in parts}) > 1:
        raise damaged("its shards are files of different formats")
    return parts


def _build(selection: layouts.Weights, parts: list[_FileContent], /) -> dict[str, Tensor]:
    """The chosen tensors of all parts, under open_clip's names."""
    file_tensors: dict[str, Tensor] = {}
    for part in parts:
        # Keys of records repeat from file to file, so each file builds what it described itself.
        own_ids = {id(value) for _, value in part.root.items} if len(parts) > 1 else None  # type: ignore[attr-defined] # merged before
        refs = {name: ref for name, ref in selection.tensors.items() if own_ids is None or id(ref) in own_ids}
        file_tensors |= tensors.build(refs, part.records, part.file)
    model_tensors = layouts.LIBRARIES[selection.library].to_open_clip(file_tensors)
    for part in parts:
        tensors.free_the_rest(model_tensors.values(), part.file)
    return model_tensors


def _zip(file: contents.Contents, /) -> _FileContent:
    """torch.save since 1.6, or a TorchScript archive."""
    view = file.view()
    members = container.members(view)
    is_script = "constants.pkl" in members or any(name.startswith("code/") for name in members)
    order = members.get("byteorder")
    if order is not None and container.small_member(view, order, limit=16) != b"little":
        raise RefusedInput("it was written on a big-endian machine. Re-save it on a common one.")
    data = container.small_member(view, members["data.pkl"], limit=opcodes.MAX_PICKLE)
    content = opcodes.interpret(data, torchscript=is_script)
    if content.end != len(data):
        raise UnsafeCheckpoint(
            f"{len(data) - content.end:,} bytes follow the end of its pickle, which torch.save never writes."
        )
    storages = {name.removeprefix("data/"): entry for name, entry in members.items() if name.startswith("data/")}
    if any(entry.method != container.STORED for entry in storages.values()):
        raise RefusedInput("its numbers are compressed: it was repacked. Re-save the state_dict with torch.save.")
    records = {key: Record(entry.start, entry.size, entry.crc or None) for key, entry in storages.items()}
    if not is_script:
        return _FileContent(file, content.value, records, "torch-zip", dropped_kinds=content.dropped_kinds)
    root, quick_gelu = container.flatten(content.value), container.names_quick_gelu(content.classes)
    container.refuse_own_loading(view, members)
    return _FileContent(file, root, records, "torchscript", "TorchScript archive", quick_gelu, content.dropped_kinds)


def _pickle(file: contents.Contents, /) -> _FileContent:
    """torch.save before 1.6."""
    content, records = container.series(file.view())
    return _FileContent(file, content.value, records, "torch-legacy", dropped_kinds=content.dropped_kinds)


def _safetensors(file: contents.Contents, /) -> _FileContent:
    root, records = safetensors_file.read(file.view())
    return _FileContent(file, root, records, "safetensors", "safetensors file")


READERS: dict[ContainerKind, Callable[[contents.Contents], _FileContent]] = {
    "zip": _zip,
    "pickle": _pickle,
    "safetensors": _safetensors,
}

# First bytes of files that people pass by mistake, each with the way out.
MISTAKEN_FILES = {
    b"version https://git-lfs": "a Git LFS pointer, not the weights themselves. Run `git lfs pull` and try again",
    b"\x93NUMPY": "a NumPy array. Save a state_dict as safetensors instead",
    b"\x89HDF": "an HDF5 file (Keras). Only PyTorch and safetensors weights of CLIP are read",
    b"GGUF": "a GGUF file. Use the original checkpoint that it was converted from",
    b"\x1f\x8b": "compressed with gzip. Decompress it first",
    b"BZh": "compressed with bzip2. Decompress it first",
    b"\xfd7zXZ": "compressed with xz. Decompress it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd. Decompress it first",
    b"7z\xbc\xaf": "a 7z archive. Unpack it first",
    b"Rar!": "a RAR archive. Unpack it first",
    b"PK\x05\x06": "an empty zip archive. Download or copy it again",
}
PLAIN_TEXT = re.compile(rb"[\t\n\r\x20-\x7e]+")


def tell(head: bytes, /) -> ContainerKind:
    """Name the container from the first 512 bytes of a file.

    Raises:
        UnsupportedModel: it is a legacy tar checkpoint.
        RefusedInput: it is anything else that clipclean does not read.
    """
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    for magic, words in MISTAKEN_FILES.items():
        if head.startswith(magic):
            raise RefusedInput(f"it is {words}.")
    if _is_tar(head):
        raise UnsupportedModel(
            "it is a tar archive. Checkpoints from before PyTorch 0.4 were tars, and their loader runs code; "
            "re-save the state_dict with a current torch.save, or as safetensors."
        )
    # The length of a safetensors header may begin with the byte of a pickle. Its upper half is zero, and where that of a
    # pickle is, in the length of a frame, more zeros follow in place of the brace.
    if head[8:9] == b"{" and (head[0] != 0x80 or head[4:8] == bytes(4)):
        return "safetensors"
    if head[0] == 0x80:
        return "pickle"
    if PLAIN_TEXT.fullmatch(head):
        raise RefusedInput("it is a text file, not a checkpoint. Check the path, or whether a download failed.")
    raise RefusedInput(
        "it is neither a PyTorch checkpoint, nor a TorchScript archive, nor a safetensors file. "
        "Check the path, or whether the file is complete."
    )


def _is_tar(head: bytes, /) -> bool:
    """Whether torch's legacy loader, which tries tar before anything else, would take these for the first header of one."""
    if head[257:262] == b"ustar" or head.startswith(b"././@LongLink"):
        return True
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")  # parses one header: its checksum is all that counts
    except tarfile.HeaderError:
        return False
    return True


def _producer(location: folders.WeightsLocation, parts: list[_FileContent], selection: layouts.Weights, /) -> str:
    if location.layout:
        return f"{location.layout.replace('-', ' ')}, weights in {location.weights.name} ({parts[0].format})"
    return f"{len(parts)} shards ({parts[0].format})" if location.index else parts[0].producer or selection.producer


def _notes(
    location: folders.WeightsLocation,
    parts: list[_FileContent],
    selection: layouts.Weights,
    description: folders.Description | None,
    /,
) -> tuple[str, ...]:
    """Notes on skipped, dropped and added values."""
    notes = list(selection.notes)
    if dropped_kinds := dict.fromkeys(kind for part in parts for kind in part.dropped_kinds):
        notes.append(f"contains {', '.join(dropped_kinds)}: read as inert data and dropped")
    if location.index:
        notes.append(f"{len(parts)} shards, as {location.weights.name} lists them; sha256 is that of their sha256sum")
    if description and not location.layout:
        notes.append(f"{description.name} in the same folder describes it")
    return tuple(notes)


def of_module(net: nn.Module, /) -> Checkpoint:
    """The weights of a module, copied to the CPU; ``sha256`` is the digest of its tensors, since there is no file.

    Raises:
        UnsupportedModel: it is a model of another kind than open_clip's with native towers.
        RefusedInput: a tensor holds NaN or an infinity, or is no plain tensor of numbers.
    """
    name = type(net).__name__
    try:
        layouts.refuse_foreign(net.state_dict())
    except UnsupportedModel as error:
        raise UnsupportedModel(f"{name}: {error}") from error
    if (library := layouts.library_of(net.state_dict())) != "open_clip":
        raise UnsupportedModel(f"{name} is a model of {library}. Save it by save_pretrained, and name the folder.")
    odd = [
        key
        for key, tensor in net.state_dict().items()
        if not (isinstance(tensor, Tensor) and tensor.layout is torch.strided)
        or (tensor.is_meta or tensor.is_complex() or tensor.is_quantized)
    ]
    if odd:
        raise RefusedInput(
            f"{name} holds {first_few(odd, show=str)}: of no numbers yet (meta), sparse, complex or quantised. Give a module "
            "with plain weights in fp32, fp16 or bf16."
        )
    weights = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in net.state_dict().items()}
    tensors.refuse_non_finite(weights)
    return Checkpoint(
        path=Path(name),
        weights=Path(name),
        format="module",
        producer=f"{type(net).__module__}.{name}, in memory",
        tensors=weights,
        sha256=digest(weights),
        size=sum(tensor.nbytes for tensor in weights.values()),
        quick_gelu=any(type(part).__name__ == "QuickGELU" for part in net.modules()),
    )


def preprocess_of(net: nn.Module, /) -> dict[str, object]:
    """How the module takes its images, as open_clip notes it on the image tower; empty where it is not noted."""
    config = getattr(getattr(net, "visual", None), "preprocess_cfg", None)
    return dict(config) if isinstance(config, dict) else {}
