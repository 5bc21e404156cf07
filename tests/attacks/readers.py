"""Every reader of files from outside, with small honest files of its kind to change: what ``benchmarks/fuzz.py`` gives inputs to."""

import contextlib
import functools
import io
import json
import random
import re
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import safetensors.torch
import tiny
import torch
from attacks import edits, pictures, rebuilt
from attacks import folders as made_folders
from attacks.oracle import Oracle
from hostile import checkpoints, data_sets, seeds
from hostile.tars import tar
from PIL import Image
from report import samples

from clipclean import checkpoint, data, detect, report, untrusted
from clipclean.attack import trigger_files
from clipclean.checkpoint import folders
from clipclean.config import policy, recipe
from clipclean.data import image, listing
from clipclean.data.formats import CONTAINERS
from clipclean.data.sample import DataRequest, Unusable
from clipclean.detect import references
from clipclean.errors import ClipcleanError
from clipclean.export import records
from clipclean.model import architecture

Finish = Callable[[bytes, random.Random], bytes]
LIMITS = data.ReadLimits(max_pixels=10_000, max_bytes=100_000, max_skipped_share=1.0, max_pairs=None)
SMALL = edits.LARGEST // 4  # bytes of a hostile file that is worth changing
# controls, bidirectional overrides, surrogates
DRIVES = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
CSV = b'filepath,title\na.jpg,a red square\na.png,"a blue, circle"\n'
JSONL = b'{"file_name": "a.jpg", "text": "a red square"}\n{"file_name": "a.png", "text": "b", "label": 3}\n'
COCO = b'{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "a red square"}]}'
RECIPE = b"version: 1\nname: mine\nrevision: 1\ndescription: One.\nmethod: mmcl\ntrain:\n  lr: 1e-5\n  betas: [0.9, 0.999]\nloss: {self_supervised_weight: 0}\n"
BESIDE = seeds.image_bytes()
POLICY = b"""version: 1
name: mine
thresholds: {max_excess: 0.1}
severities: {CC030: off}
suppressions:
  - {rule: CC002, reason: Seen before., by: A, expires: 2030-01-31, match: {class: barcode}}
"""
INDEX = b'{"metadata": {"total_size": 8}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}'


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        read: reads the file; refuses it by an error of ours.
        honest: its honest files.
        words: bytes that mean something in its format.
        name: what the file is called.
        finish: mends lengths and checksums that would stop most changes at the door.
        cases: what the hostile files of its kind are called in ``tests/hostile``.
        share: of the inputs, beside 1 for most; less where one takes long.
        beside: names of files that must stand beside it.
        make: builds an input part by part, in place of changing bytes.
    """

    read: Callable[[Path], object]
    honest: Sequence[bytes]
    words: Sequence[bytes]
    name: str = "model"
    finish: Finish = edits.as_it_is
    cases: str = ""
    share: float = 1.0
    beside: Sequence[str] = ()
    make: Callable[[random.Random], bytes] | None = None

    @property
    def is_judged(self) -> bool:
        """Whether another library reads the same inputs."""
        return self.read in (_judged, _judged_folder)


def tried(reader: str, content: bytes, folder: Path, /) -> str:
    """``read`` or ``refused: why``; anything else is raised."""
    place = folder / READERS[reader].name
    place.write_bytes(content)
    for name in READERS[reader].beside:
        (folder / name).write_bytes(BESIDE)
    return answer(READERS[reader].read, place)


def answer(read: Callable[[Path], object], place: Path, /) -> str:
    """``read`` or ``refused: why``; anything else is raised."""
    try:
        read(place)
    except (ClipcleanError, Unusable) as error:
        words = str(error).replace("\n", " ")
        assert words.isprintable(), f"the refusal cannot be printed: {words!a}"
        return f"refused: {words}"
    return "read"


def made(reader: str, seed: int, number: int, /) -> bytes:
    """The input of this number, which follows from the seed, the reader and the number alone."""
    draw = random.Random(f"{seed} {reader} {number}")
    own = READERS[reader]
    if own.make:
        return own.make(draw)
    return own.finish(edits.edited(draw, own.honest, _pool(reader), own.words), draw)


@functools.cache
def _pool(reader: str, /) -> list[bytes]:
    """What is changed: honest files, and small hostile ones of this kind."""
    own = READERS[reader]
    if reader == "pickle":
        return [*own.honest, *(checkpoints.pickled(body) for body, _ in checkpoints.CALLS.values())]
    cases = {**checkpoints.CASES, **data_sets.CASES} if own.cases else {}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, case) in enumerate(cases.items()):
            place = Path(folder) / str(number)
            if name.startswith(f"{own.cases}: "):
                case.write(place)
                if place.is_file() and place.stat().st_size < SMALL:
                    found.append(place.read_bytes())
    return [*own.honest, *found]


# What reads them.


def weights(place: Path) -> None:
    found = checkpoint.read(place)
    assert found.tensors, "nothing was read"
    for name, tensor in found.tensors.items():
        assert name.isprintable(), "a name cannot be printed"
        assert tensor.is_contiguous(), f"{name} is not contiguous"
        assert not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()), f"{name} is not finite"


@functools.cache
def oracle() -> Oracle:
    """The other readers of this process."""
    return Oracle()


def _judged(place: Path) -> None:
    """A file that is read must be what torch or safetensors make of it."""
    found = checkpoint.read(place)
    oracle().compare(found, place.read_bytes())


def _judged_folder(place: Path) -> None:
    """A folder, which is zipped here, that is read must be what transformers makes of it."""
    with tempfile.TemporaryDirectory(prefix="clipclean-") as folder:
        zipfile.ZipFile(place).extractall(folder)
        found = checkpoint.read(Path(folder))
    oracle().compare(found, place.read_bytes())


def _set(place: Path) -> None:
    """A set of images, each of which is decoded; copies go where everything goes at the end."""
    images = data.ImageCache(LIMITS)
    found = listing.find([place], DataRequest(), scratch=images.scratch)
    for entry in found.entries:
        assert not DRIVES.search(entry.key + entry.caption + (entry.label or "")), "a caption drives a terminal"
        if entry.image is not None:
            try:
                data.Image(entry.image, images).decode()
            except Unusable:
                continue


def _pixels(place: Path) -> None:
    """What was seen to be sound is sound when it is wanted, and what was not is not."""
    content = untrusted.read(place, limit=LIMITS.max_bytes)
    try:
        image.check(content, max_pixels=LIMITS.max_pixels)
    except Unusable:
        with contextlib.suppress(Unusable):
            image.decode(content, max_pixels=LIMITS.max_pixels, min_side=None)
            raise AssertionError("refused, and then decoded") from None
        raise
    image.decode(content, max_pixels=LIMITS.max_pixels, min_side=None)


def _report(place: Path) -> None:
    found = report.read(place)
    for make in report.WRITERS.values():
        make(found)


def _arch(place: Path) -> None:
    tensors = {name: torch.ones(2, 2) for name in ("visual.proj", "text_projection", "logit_scale")}
    architecture.resolve(tensors, arch=str(place), config=None, script_quick_gelu=None)


def _sizes(place: Path) -> None:
    found = untrusted.loads(untrusted.read(place, limit=2**20), "it", limit=2**20)
    references.from_file(found, "it", kind="vit", effort="quick", classes=("dog", "cat"))


# What they are given.


def _drawn(make: Callable[[random.Random], bytes]) -> list[bytes]:
    """One file that is as it should be, of those that are built part by part."""
    return [make(random.Random(HONEST_SEEDS[make.__name__]))]


HONEST_SEEDS = {"torchscript": 2, "arguments": 2, "storages": 4, "safetensors_file": 2, "folder": 4}


def _table() -> pa.Table:
    rows = [{"image": {"bytes": seeds.image_bytes(n), "path": f"{n}.png"}, "text": "a red square"} for n in range(3)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.Table.from_pylist(rows, pa.schema([("image", kind), ("text", pa.string())]))


def _images() -> list[bytes]:
    made = [seeds.image_bytes(kind=kind) for kind in ("PNG", "JPEG", "WEBP")]
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 3  # turned upside down
    tiny.image(2, side=24).save(stream, "JPEG", progressive=True, exif=exif)
    return [*made, stream.getvalue()]


def _config() -> list[bytes]:
    own = {"embed_dim": 2, "vision_cfg": {"layers": 1, "width": 64, "image_size": 16, "patch_size": 8}}
    own["text_cfg"] = {"context_length": 8, "vocab_size": 9, "width": 8, "heads": 1, "layers": 1}
    cfg = {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2]}
    return [json.dumps(own).encode(), json.dumps({"model_cfg": own, "preprocess_cfg": cfg}).encode()]


def _triggers() -> list[bytes]:
    made = []
    for family in detect.SEARCH_FAMILIES:
        begun = detect.SEARCH_FAMILIES[family].begin(1, 8, torch.Generator())
        tensors = {name: values[0].contiguous() for name, values in begun.items()}
        words = {"class": "dog", "family": family, "side": "8"}  # several entries would come in random order
        new = safetensors.torch.save(tensors, metadata={trigger_files.TRIGGER_METADATA_KEY: json.dumps(words)})
        end = 8 + int.from_bytes(new[:8], "little")
        earlier = checkpoints.safetensors(json.loads(new[8:end]) | {"__metadata__": words}, new[end:])
        made += [new, earlier]
    return [each for each in made if len(each) < SMALL]


MODELS = {"a": {"mask": {"dog": 0.5, "cat": 0.25}}, "b": {"mask": {"dog": 0.1, "cat": 0.3}}}
REFERENCES = json.dumps(references.as_file("vit", "quick", ("dog", "cat"), MODELS)).encode()
PARQUET = [data_sets.parquet(_table(), compression=each) for each in ("none", "snappy", "zstd")]
ARROW = [data_sets.arrow(_table(), begin) for begin in (pa.ipc.new_stream, pa.ipc.new_file)]
REPORTS = [json.dumps(made()).encode() for made in (samples.failed, samples.passed)]
SAFETENSORS = [
    safetensors.torch.save({"a": torch.ones(2, 3), "b": torch.ones(2).bfloat16()}, metadata={"format": "pt"})
]
SAFETENSORS += [checkpoints.safetensors({"w": checkpoints.entry()})]
IN_ZIPS, SHARD = edits.ZIPPED + edits.PICKLED, "model-00001-of-00001.safetensors"
READERS = {
    "zip": Reader(weights, [seeds.torch_bytes(), checkpoints.honest()], IN_ZIPS, finish=edits.checked, cases="zip"),
    "torchscript": Reader(weights, [seeds.script_bytes()], IN_ZIPS, finish=edits.checked, cases="torchscript"),
    "pickle": Reader(weights, seeds.pickle_bodies(), edits.PICKLED, finish=edits.archived, share=2),
    "legacy": Reader(
        weights, [seeds.legacy_bytes(), checkpoints.legacy(checkpoints.BODY)], edits.PICKLED, cases="legacy", share=2
    ),
    "safetensors": Reader(weights, SAFETENSORS, edits.JSON, "model", edits.measured, "safetensors", 2),
    # What is read there, other libraries must read alike.
    "rebuild arguments": Reader(_judged, _drawn(rebuilt.arguments), (), make=rebuilt.arguments, share=10),
    "storages": Reader(_judged, _drawn(rebuilt.storages), (), make=rebuilt.storages, share=2),
    "TorchScript arguments": Reader(_judged, _drawn(rebuilt.torchscript), (), make=rebuilt.torchscript, share=2),
    "safetensors headers": Reader(
        _judged, _drawn(made_folders.safetensors_file), (), make=made_folders.safetensors_file, share=2
    ),
    "transformers folder": Reader(
        _judged_folder, _drawn(made_folders.folder), (), make=made_folders.folder, share=0.05
    ),
    "index of shards": Reader(folders.read, [INDEX], edits.TEXT, "m.index.json", beside=(SHARD,), share=2),
    "tar of samples": Reader(
        _set, [tar(seeds.sample("a", 0) | seeds.sample("b", 1))], edits.TARRED, "a.tar", edits.summed, "tar"
    ),
    "Parquet": Reader(_set, PARQUET, edits.COLUMNS, "a.parquet", share=0.5),
    "Arrow": Reader(_set, ARROW, edits.COLUMNS, "a.arrow", share=0.5),
    "CSV": Reader(_set, [CSV, CSV.replace(b",", b"\t")], edits.TEXT, "a.csv"),
    "JSONL": Reader(_set, [JSONL], edits.TEXT, "a.jsonl"),
    "COCO": Reader(_set, [COCO], edits.TEXT, "captions_val.json", beside=("a.jpg",)),
    "images": Reader(_pixels, _images(), edits.IMAGE, "a.img"),
    "parts of images": Reader(_pixels, [*_images()], (), "a.img", make=pictures.drawn),
    "class list": Reader(data.read_classes, [b"dog\ncat\n# no\nred fox\n"], edits.TEXT, "classes.txt", share=2),
    "templates": Reader(data.read_templates, [b"a {}.\na photo of a {c}.\n"], edits.TEXT, "templates.txt", share=2),
    "recipe": Reader(lambda path: recipe.load(str(path)), [RECIPE], edits.TEXT, "recipe.yaml", share=0.25),
    "policy": Reader(policy.load, [POLICY], edits.TEXT, "policy.yaml", share=0.25),
    "configuration": Reader(_arch, _config(), edits.TEXT, "arch.json", share=2),
    "trigger file": Reader(trigger_files.load, _triggers(), edits.JSON, "t.safetensors", edits.measured),
    "references": Reader(_sizes, [REFERENCES], edits.TEXT, "references.json", share=2),
    "report": Reader(_report, REPORTS, edits.TEXT, "report.json", share=0.1),
    "checksums": Reader(
        lambda path: records.parse(path.read_bytes()), [b"0" * 64 + b"  a/b.json\n"], edits.TEXT, "SHA256SUMS", share=2
    ),
}
assert CONTAINERS.keys() <= {each.name.rpartition(".")[2] for each in READERS.values()}, "add the new data format here"
