"""Samples, names of files with their contents and captions, in every container that is read."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hostile.tars import tar


def written_tar(path, members):
    """A tar of named members in the given order."""
    path.write_bytes(tar(members))
    return path


def members_of(samples):
    """Samples as members of a shard, or as files of a folder; what belongs together stands together."""
    members = {}
    for name, (content, caption) in samples.items():
        members |= {name: content, Path(name).stem + ".txt": caption.encode()}
    return members


def of_files(folder):
    """The samples in a folder of images with a caption beside each."""
    return {path.name: (path.read_bytes(), path.with_suffix(".txt").read_text()) for path in folder.glob("*.png")}


def in_folder(root, samples):
    root.mkdir(parents=True, exist_ok=True)
    for name, content in members_of(samples).items():
        (root / name).write_bytes(content)
    return root


def rows_of(root, samples):
    """Pairs of paths and captions; the images lie beside the table."""
    (root / "images").mkdir(parents=True)
    for name, (content, _) in samples.items():
        (root / "images" / name).write_bytes(content)
    return [(f"images/{name}", caption) for name, (_, caption) in samples.items()]


def in_csv(root, samples, separator=","):
    rows = rows_of(root, samples)
    with (root / "pairs.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=separator).writerows([("filepath", "title"), *rows])
    return root / "pairs.csv"


def in_json_lines(root, samples):
    lines = [json.dumps({"image": name, "text": caption}) for name, caption in rows_of(root, samples)]
    (root / "pairs.txt").write_text("\n".join(lines) + "\n\n")
    return root / "pairs.txt"


def in_json(root, samples):
    rows = [{"file_name": name, "caption": caption} for name, caption in rows_of(root, samples)]
    (root / "pairs.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return root / "pairs.json"


def in_image_folder(root, samples, split="train"):
    """As ``datasets`` has it: a table of file names and texts beside the images of a split."""
    lines = [json.dumps({"file_name": name, "text": caption}) for name, caption in rows_of(root / split, samples)]
    (root / split / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return root


def in_coco(root, samples, split="train2017"):
    """As COCO's captions: one line, and fields that nobody needs."""
    (root / split).mkdir(parents=True)
    images, annotations = [], []
    for number, (name, (content, caption)) in enumerate(samples.items()):
        (root / split / name).write_bytes(content)
        images.append({"id": 9 - number, "file_name": name, "height": 8, "coco_url": f"http://x/{name}"})
        annotations.append({"image_id": 9 - number, "id": number, "caption": caption})
    told = {"info": {"year": 2017}, "licenses": [], "images": images, "annotations": annotations}
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"captions_{split}.json").write_text(json.dumps(told))
    return root


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def table_of(samples, **changes):
    """With the metadata by which ``datasets`` names classes."""
    told = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    rows = [
        {"image": None if content is None else {"bytes": content, "path": name}, "text": caption, "label": number % 2}
        for number, (name, (content, caption)) in enumerate(samples.items())
    ]
    types = {"image": IMAGE, "text": pa.string(), "label": pa.int64()} | changes
    return pa.Table.from_pylist(rows, pa.schema([*types.items()], metadata={"huggingface": json.dumps(told)}))


def in_parquet(root, samples):
    root.mkdir(parents=True)
    pq.write_table(table_of(samples), root / "a.parquet", row_group_size=3)
    return root / "a.parquet"


def in_arrow(root, samples, *, compression=None, new=pa.ipc.new_stream):
    """``save_to_disk`` of a DatasetDict: a folder a split, with record batches."""
    (root / "train").mkdir(parents=True)
    (root / "dataset_dict.json").write_text('{"splits": ["train"]}')
    for name in ("state.json", "dataset_info.json"):
        (root / "train" / name).write_text("{}")
    table, options = table_of(samples), pa.ipc.IpcWriteOptions(compression=compression)
    with new(str(root / "train" / "data-00000-of-00001.arrow"), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=3)
    return root


def in_tar(root, samples):
    root.mkdir(parents=True)
    return written_tar(root / "shard.bin", members_of(samples))


WRITERS = {
    "folder": in_folder,
    "webdataset": in_tar,
    "csv": in_csv,
    "tsv": lambda root, samples: in_csv(root, samples, "\t"),
    "jsonl": in_json_lines,
    "json": in_json,
    "imagefolder": in_image_folder,
    "coco": in_coco,
    "parquet": in_parquet,
    "arrow": in_arrow,
}


def contents(clean):
    return [(pair.image.load(), pair.caption) for pair in clean.pairs]
