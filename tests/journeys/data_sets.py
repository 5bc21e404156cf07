"""Clean pairs as other programs write them, tiny: each function writes 48 and returns what a user puts behind --data."""

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import tiny

COUNT = 48
NAMES = [f"{number:03}.png" for number in range(COUNT)]
CAPTIONS = [f"a {tiny.CLASSES[number % len(tiny.CLASSES)]}" for number in range(COUNT)]


def images(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        tiny.image(number).save(folder / name)
    return folder


def encoded(number: int) -> bytes:
    stream = io.BytesIO()
    tiny.image(number).save(stream, "PNG")
    return stream.getvalue()


def table(folder: Path, columns: tuple[str, str], *, delimiter: str, name: str) -> str:
    images(folder / "images")
    with (folder / name).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows((f"images/{image}", caption) for image, caption in zip(NAMES, CAPTIONS, strict=True))
    return str(folder / name)


def lines(folder: Path, keys: tuple[str, str], name: str) -> Path:
    rows = ({keys[0]: image, keys[1]: caption} for image, caption in zip(NAMES, CAPTIONS, strict=True))
    (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return folder / name


def captions_beside(folder: Path) -> str:
    return str(tiny.pairs(folder / "pairs"))


def open_clip_csv(folder: Path) -> str:
    return table(folder, ("filepath", "title"), delimiter="\t", name="train.csv")


def image_folder(folder: Path) -> str:
    """An imagefolder of the hub, with a folder for its split; its root is named."""
    lines(images(folder / "dataset" / "train"), ("file_name", "text"), "metadata.jsonl")
    return str(folder / "dataset")


def coco(folder: Path) -> str:
    """COCO's own layout; the folder around is named."""
    images(folder / "coco" / "train2017")
    document = {
        "info": {},
        "images": [{"id": number, "file_name": name} for number, name in enumerate(NAMES)],
        "annotations": [{"id": n, "image_id": n, "caption": caption} for n, caption in enumerate(CAPTIONS)],
    }
    place = folder / "coco" / "annotations" / "captions_train2017.json"
    place.parent.mkdir()
    place.write_text(json.dumps(document), encoding="utf-8")
    return str(folder / "coco")


def hub_table() -> pa.Table:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [
        {"image": {"bytes": encoded(number), "path": name}, "text": CAPTIONS[number]}
        for number, name in enumerate(NAMES)
    ]
    return pa.Table.from_pylist(rows, pa.schema([("image", kind), ("text", pa.string())]))


def parquet(folder: Path) -> str:
    (folder / "hub" / "data").mkdir(parents=True)
    pq.write_table(hub_table(), folder / "hub" / "data" / "train-00000-of-00001.parquet")
    return str(folder / "hub")


def shards(folder: Path) -> Path:
    """Two shards of webdataset."""
    place = folder / "shards"
    place.mkdir()
    for shard in range(2):
        with tarfile.open(place / f"{shard:05}.tar", "w") as archive:
            for number in range(shard, COUNT, 2):
                for suffix, content in (("png", encoded(number)), ("txt", CAPTIONS[number].encode())):
                    member = tarfile.TarInfo(f"{number:03}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return place


def braces(folder: Path) -> str:
    return str(shards(folder) / "{00000..00001}.tar")


def img2dataset(folder: Path) -> str:
    """Its output ``files``: folders of images, each with a text and a JSON beside it."""
    place = tiny.pairs(folder / "out" / "00000")
    for number, name in enumerate(NAMES):
        told = {"caption": CAPTIONS[number], "key": name.removesuffix(".png"), "status": "success"}
        (place / name).with_suffix(".json").write_text(json.dumps(told), encoding="utf-8")
    return str(folder / "out")


def class_folders(folder: Path) -> str:
    """Labelled images; their captions come from --templates."""
    return str(tiny.labelled(folder / "labelled", count=COUNT, first=0))


DATA: dict[str, Callable[[Path], str]] = {
    "captions beside": captions_beside,
    "csv of open_clip": open_clip_csv,
    "imagefolder": image_folder,
    "COCO": coco,
    "Parquet": parquet,
    "braces": braces,
    "img2dataset": img2dataset,
    "class folders": class_folders,
}
