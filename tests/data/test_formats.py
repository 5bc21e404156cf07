import json
from pathlib import Path

import pytest

from clipclean.data import ImageCache, ReadLimits, read
from clipclean.errors import RefusedInput, UsageError


def read_pairs(path: Path, limits: ReadLimits, *, image_key: str | None = None) -> None:
    read(path, images=ImageCache(limits), image_key=image_key, caption_key=None)


@pytest.mark.parametrize(
    "address", ["pipe:cat a.tar", "http://example.org/a.tar", "s3://bucket/{0..9}.tar", "hf://datasets/x", "gs://x/y"]
)
def test_addresses_are_refused(address: str, limits: ReadLimits) -> None:
    with pytest.raises(RefusedInput, match="not on this machine"):
        read_pairs(Path(address), limits)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x89HDF", "HDF5"),
        (b"\x80\x04.", "pickle"),
        (b"\xff\xd8\xff\xe0", "single image"),
    ],
)
def test_other_files_are_refused_by_content_with_the_way_out(
    tmp_path: Path, limits: ReadLimits, content: bytes, kind: str
) -> None:
    (tmp_path / "data.csv").write_bytes(content)
    with pytest.raises(RefusedInput, match=f"{kind}.* turn it into one of these"):
        read_pairs(tmp_path / "data.csv", limits)


def test_a_tar_is_told_by_content(tmp_path: Path, tar, shard_members: dict, limits: ReadLimits) -> None:
    read_pairs(tar(tmp_path / "shard.bin", shard_members), limits)


def test_a_file_called_tar_that_is_none_is_refused(tmp_path: Path, limits: ReadLimits) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(RefusedInput, match="no sound tar file"):
        read_pairs(tmp_path / "a.tar", limits)


def test_a_missing_path_is_refused(tmp_path: Path, limits: ReadLimits) -> None:
    with pytest.raises(RefusedInput, match="no such file"):
        read_pairs(tmp_path / "missing", limits)


def test_a_column_of_a_folder_without_a_table_makes_no_sense(folder: Path, limits: ReadLimits) -> None:
    with pytest.raises(UsageError, match="folder of images without a table"):
        read_pairs(folder, limits, image_key="image")


def write_split(root: Path, name: str, samples: dict) -> None:
    """An imagefolder of ``datasets``."""
    (root / name).mkdir(parents=True)
    for file, (content, _) in samples.items():
        (root / name / file).write_bytes(content)
    lines = [json.dumps({"file_name": file, "text": f"{name}: {caption}"}) for file, (_, caption) in samples.items()]
    (root / name / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")


def test_of_an_imagefolder_with_splits_the_first_is_read_and_the_others_are_named(
    tmp_path: Path, samples: dict, limits: ReadLimits
) -> None:
    for name in ("test", "validation"):
        write_split(tmp_path, name, samples)
    assert read(tmp_path, images=ImageCache(limits)).pairs[0].caption == "validation: a red square"
    write_split(tmp_path, "train", samples)
    found = read(tmp_path, images=ImageCache(limits))
    assert [pair.caption for pair in found.pairs] == [f"train: {caption}" for _, caption in samples.values()]
    assert [kind.examples for kind in found.ignored] == [("validation", "test")]


def test_several_sets_are_read_one_after_the_other(
    tmp_path: Path, folder: Path, tar, shard_members: dict, samples: dict, limits: ReadLimits
) -> None:
    write_split(tmp_path / "b", "train", samples)
    shard = tar(tmp_path / "c.tar", shard_members)
    found = read(Path(f"{folder}::{tmp_path / 'b'}::{shard}"), images=ImageCache(limits))
    captions = [caption for _, caption in samples.values()]
    assert [pair.caption for pair in found.pairs] == captions + [f"train: {caption}" for caption in captions] + captions
    assert [pair.key for pair in found.pairs][::4] == ["folder/0001.jpg", "b/0001.jpg", "c.tar/0001"]
    assert (found.format, found.record().as_json()["name"]) == ("several", "folder + b + c.tar")


def test_shards_by_a_wildcard_are_one_set(tmp_path: Path, tar, shard_members: dict, limits: ReadLimits) -> None:
    for name in ("a", "b"):
        tar(tmp_path / f"{name}.tar", shard_members)
    found = read(tmp_path / "*.tar", images=ImageCache(limits))
    assert (found.format, [pair.key for pair in found.pairs][::4]) == ("webdataset", ["a.tar/0001", "b.tar/0001"])


def test_captions_are_made_of_labels_by_templates_where_there_are_none(
    tmp_path: Path, encoded, limits: ReadLimits
) -> None:
    for number, name in enumerate(("tabby_cat", "dog", "dog", "3")):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / f"{number}.png").write_bytes(encoded(number, "PNG"))
    (tmp_path / "dog" / "2.txt").write_text("my own words")
    forms = ("a photo of a {}.", "the {}.")
    found = read(tmp_path, images=ImageCache(limits), templates=forms)
    told = {pair.key: pair.caption for pair in found.pairs}
    assert told["dog/2.png"] == "my own words"
    assert told["tabby_cat/0.png"] in {form.format("tabby cat") for form in forms}
    assert told["dog/1.png"] in {form.format("dog") for form in forms}
    assert [why.key for why in found.skipped] == ["3/3.png"]
    assert told == {pair.key: pair.caption for pair in read(tmp_path, images=ImageCache(limits), templates=forms).pairs}


def test_a_table_of_labels_needs_no_captions_where_templates_make_them(folder: Path, limits: ReadLimits) -> None:
    (folder.parent / "p.csv").write_text("image,label\nfolder/0001.jpg,dog\n")
    found = read(folder.parent / "p.csv", images=ImageCache(limits), templates=["a {}"])
    assert [pair.caption for pair in found.pairs] == ["a dog"]
    (folder.parent / "p.csv").write_text("image,words\nfolder/0001.jpg,dog\n")
    with pytest.raises(UsageError, match="'image', 'words'"):
        read(folder.parent / "p.csv", images=ImageCache(limits), templates=["a {}"])


def test_class_folders_without_captions_are_refused_with_the_way_out(
    tmp_path: Path, encoded, limits: ReadLimits
) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(encoded(1, "PNG"))
    with pytest.raises(RefusedInput, match="To make captions of the labels, give caption templates by --templates"):
        read(tmp_path, images=ImageCache(limits))
