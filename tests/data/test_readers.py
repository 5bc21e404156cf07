"""What every reader does, whatever the container."""

import hashlib
import json
import os
import subprocess

import containers
import pyarrow.parquet as pq
import pytest

from clipclean.data import ImageCache, read_images
from clipclean.errors import RefusedInput, UsageError


def reasons(clean):
    return {why.key: why.reason for why in clean.skipped}


def test_every_container_gives_the_same_pairs(tmp_path, container, samples, reading):
    _, write = container
    clean = reading(write(tmp_path / "a", samples))
    assert containers.contents(clean) == [*samples.values()]
    assert (clean.skipped, len({pair.key for pair in clean.pairs})) == ((), 4)


def test_every_container_is_told_by_its_format(tmp_path, container, samples, reading):
    name, write = container
    assert reading(write(tmp_path / "a", samples)).format == {"imagefolder": "jsonl"}.get(name, name)


def test_every_sample_read_is_a_step_of_the_progress(tmp_path, container, samples, reading):
    _, write = container
    calls = []
    reading(write(tmp_path / "a", samples), progress=lambda *done: calls.append(done))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_digest_is_that_of_the_sorted_pairs(tmp_path, container, samples, reading):
    _, write = container
    clean = reading(write(tmp_path / "a", samples))
    lines = sorted(f"{hashlib.sha256(content).hexdigest()} {words}\n" for content, words in samples.values())
    assert clean.digest == hashlib.sha256("".join(lines).encode()).hexdigest()
    backwards = dict(reversed(samples.items()))
    assert reading(write(tmp_path / "b", backwards)).digest == clean.digest


@pytest.fixture
def half_bad(tmp_path, container, samples, encoded):
    """A set of the four samples, and of four that cannot be used."""
    _, write = container
    bad = {
        "0005.png": (encoded(5, "PNG", size=(40, 40))[:-40], "broken"),
        "0006.jpg": (encoded(6, size=(200, 200)), "too many pixels"),
        "0007.jpg": (encoded(7), " \x00\n"),
        "0008.jpg": (b"junk", "no image"),
    }
    return write(tmp_path / "a", samples | bad)


def test_what_cannot_be_used_is_skipped(half_bad, samples, reading):
    clean = reading(half_bad)
    assert containers.contents(clean) == [*samples.values()]
    assert len(clean.skipped) == 4
    words = sorted(reason.split()[0] for reason in reasons(clean).values())
    assert words == ["200", "broken", "no", "no"]


def test_the_share_of_what_is_skipped_is_limited(half_bad, reading):
    with pytest.raises(RefusedInput, match="4 of 8"):
        reading(half_bad, max_skipped_share=0.49)
    assert len(reading(half_bad, max_skipped_share=0.5)) == 4


def test_an_image_of_too_many_bytes_is_skipped(tmp_path, container, samples, reading):
    _, write = container
    largest = max(len(content) for content, _ in samples.values())
    clean = reading(write(tmp_path / "large", samples), max_bytes=largest - 1)
    assert [f"{largest:,}" in why.reason for why in clean.skipped] == [True]


def test_a_set_of_which_nothing_can_be_used_is_refused(tmp_path, container, reading):
    _, write = container
    junk = {f"{number:02d}.jpg": (b"junk", "words") for number in range(13)}
    with pytest.raises(RefusedInput, match="13 of 13") as caught:  # even if every skip is allowed
        reading(write(tmp_path / "junk", junk), max_skipped_share=1.0)
    assert str(caught.value).count("no JPEG") == 10
    assert "3 more" in str(caught.value)


@pytest.fixture
def thirty(tmp_path, container, encoded):
    """A set of forty images with captions in their order, of which every fourth is empty."""
    _, write = container
    samples = {f"{n:02d}.png": (encoded(n, "PNG", size=(2, 2)), f"{n:02d}" if n % 4 else "") for n in range(40)}
    return write(tmp_path / "a", samples)


def test_a_limit_of_pairs_takes_always_the_same(thirty, reading):
    first, second = reading(thirty, max_pairs=10), reading(thirty, max_pairs=10)
    captions = [pair.caption for pair in first.pairs]
    assert (len(first), captions) == (10, [pair.caption for pair in second.pairs])


def test_a_limit_of_pairs_takes_them_from_all_over_the_set(thirty, reading):
    captions = [pair.caption for pair in reading(thirty, max_pairs=10).pairs]
    assert captions == sorted(captions)
    assert captions[-1] > "20"  # spread over the set, not its beginning


def test_a_limit_above_the_size_of_a_set_takes_all_pairs(thirty, reading):
    assert len(reading(thirty, max_pairs=10_000)) == 30


@pytest.mark.usefixtures("folder")
def test_captions_of_one_image_share_it(tmp_path, reading):
    lines = ["image,caption", *(f"folder/0001.jpg,caption {n}" for n in range(5)), "folder/0001.jpg,"]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    clean = reading(tmp_path / "p.csv")
    assert [pair.caption for pair in clean.pairs] == [f"caption {n}" for n in range(5)]
    assert len({pair.image for pair in clean.pairs}) == 1
    assert [*reasons(clean)] == ["folder/0001.jpg"]


def test_images_alone_can_be_read(tmp_path, folder, limits):
    (folder / "0001.txt").unlink()
    images = read_images(folder, images=ImageCache(limits))
    assert [pair.caption == "" for pair in images.pairs] == [True, False, False, False]
    (tmp_path / "p.csv").write_text("filepath,label\nfolder/0001.jpg,dog\n")
    (pair,) = read_images(tmp_path / "p.csv", images=ImageCache(limits)).pairs
    assert (pair.caption, pair.label) == ("", "dog")


# Folders.


def captioned(image, content):
    """Write an image with a caption beside it."""
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(content)
    image.with_suffix(".txt").write_text("words")


def test_a_subfolder_is_the_label_of_its_images(tmp_path, encoded, reading):
    for name in ("b/cat/2.JPG", "a/dog/1.jpg"):
        captioned(tmp_path / name, encoded(1))
    labels = [(pair.key, pair.label) for pair in reading(tmp_path).pairs]
    assert labels == [("a/dog/1.jpg", "dog"), ("b/cat/2.JPG", "cat")]


def test_only_the_last_suffix_of_an_image_is_replaced(tmp_path, encoded, reading):
    captioned(tmp_path / "a" / "dog" / "1.v2.jpg", encoded(1))
    assert [(pair.key, pair.caption) for pair in reading(tmp_path).pairs] == [("a/dog/1.v2.jpg", "words")]


def test_img2dataset_files_are_read(tmp_path, tar, encoded, reading):
    sidecar = json.dumps({"caption": "from json", "key": "000000001", "status": "success", "exif": "{}"}).encode()
    files = {"000000000.jpg": encoded(0), "000000000.txt": b"from text", "000000000.json": sidecar}
    files |= {"000000001.jpg": encoded(1), "000000001.json": sidecar}
    shard, folder = tar(tmp_path / "00000.tar", files), tmp_path / "folder"
    (folder / "00000").mkdir(parents=True)
    for name, content in files.items():
        (folder / "00000" / name).write_bytes(content)
    (folder / "00000_stats.json").write_text("{}")
    (folder / "00000.parquet").write_bytes(b"PAR1")
    for path in (folder, shard):
        assert [pair.caption for pair in reading(path).pairs] == ["from text", "from json"]
    assert {kind.examples for kind in reading(folder).ignored} == {("00000.parquet",), ("00000_stats.json",)}
    assert {pair.caption for pair in reading(shard, caption_key="caption").pairs} == {"from json"}


FILES = ["0001.jpg", "0002.png", "0003.webp", "0004.jpeg"]


def test_hidden_files_are_not_read(folder, encoded, reading):
    (folder / "._0001.jpg").write_bytes(b"resource fork")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.jpg").write_bytes(encoded(7))
    clean = reading(folder)
    assert [pair.key for pair in clean.pairs] == FILES
    assert [kind.count for kind in clean.ignored] == [2]


def test_a_link_to_a_file_of_the_folder_is_read(folder, reading):
    (folder / "inside.jpg").symlink_to("0002.png")
    (folder / "inside.txt").write_text("words")
    assert [pair.key for pair in reading(folder).pairs] == [*FILES, "inside.jpg"]


def test_a_link_to_a_folder_is_not_read(folder, reading):
    (folder / "whole").symlink_to(folder.parent)
    clean = reading(folder)
    assert [pair.key for pair in clean.pairs] == FILES
    assert [(kind.count, kind.examples) for kind in clean.ignored] == [(1, ("whole",))]


def test_an_image_whose_text_cannot_be_read_is_skipped(folder, reading):
    (folder / "0001.txt").write_bytes(b"x" * 1_000_001)
    (folder / "0002.txt").write_bytes(b"caf\xe9")
    clean = reading(folder)
    assert [("1,000,000" in reason, "UTF-8" in reason) for reason in reasons(clean).values()] == [(1, 0), (0, 1)]
    assert [*reasons(clean)] == ["0001.jpg", "0002.png"]


def test_a_folder_without_a_sample_is_refused(tmp_path, reading):
    (tmp_path / "x.gif").write_bytes(b"GIF89a")
    with pytest.raises(RefusedInput, match=r"1 \.gif .*\(x\.gif\)"):
        reading(tmp_path)


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path, reading, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)  # the system's: root may list everything
    with pytest.raises(RefusedInput, match=tmp_path.name):
        reading(tmp_path)


def test_a_deep_tree_is_no_problem(tmp_path, reading):
    """Of 1,200 levels, made and taken down by programs that do not recurse as Python does."""
    subprocess.run(["mkdir", "-p", tmp_path / "/".join("d" * 1200)], check=True)
    try:
        with pytest.raises(RefusedInput, match=tmp_path.name):
            reading(tmp_path)
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


# COCO.


def coco(path, images, annotations):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


IMAGES = [{"id": 9, "file_name": "b.jpg"}, {"id": 7, "file_name": "a.jpg"}]
SAID = ((7, "a cat"), (9, "a dog"), (7, "the cat again"))
CAPTIONS = [{"image_id": number, "caption": words} for number, words in SAID]


@pytest.mark.parametrize("place", ["train2017", "images/train2017", "annotations", "images", "annotations/train2017"])
def test_captions_are_read_with_the_images_where_cocos_archives_put_them(tmp_path, encoded, reading, place):
    (tmp_path / place).mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.jpg")):
        (tmp_path / place / name).write_bytes(encoded(number))
    path = coco(tmp_path / "annotations" / "captions_train2017.json", IMAGES, CAPTIONS)
    for each in (path, tmp_path):
        found = [(pair.key, pair.caption) for pair in reading(each).pairs]
        assert found == [("a.jpg", "a cat"), ("b.jpg", "a dog"), ("a.jpg", "the cat again")]


def test_entries_that_do_not_fit_are_skipped(tmp_path, encoded, reading):
    (tmp_path / "set").mkdir()
    for number in range(4):
        (tmp_path / "set" / f"{number}.jpg").write_bytes(encoded(number))
    names = [*(f"{n}.jpg" for n in range(4)), "gone.jpg"]
    images = [*({"id": n, "file_name": name} for n, name in enumerate(names)), "x", {"id": 55}]
    sound = [{"image_id": n, "caption": "words"} for n in (0, 1, 2, 4, 77)]
    annotations = [*sound, 3, {"image_id": 1, "caption": 5}]
    clean = reading(coco(tmp_path / "set" / "captions_x.json", images, annotations), max_skipped_share=0.8)
    assert [pair.key for pair in clean.pairs] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [*reasons(clean)] == ["gone.jpg", "annotation 4", "1.jpg", "3.jpg"]


def test_the_places_where_images_are_missing_are_told(tmp_path, reading):
    with pytest.raises(RefusedInput, match="images/val2014"):
        reading(coco(tmp_path / "annotations" / "captions_val2014.json", IMAGES, CAPTIONS))


# Names of data sets.


def test_a_folder_has_no_columns(folder, reading):
    with pytest.raises(UsageError, match="image"):
        reading(folder, image_key="image")


def test_a_table_of_labels_needs_no_captions_beside_templates(folder, reading):
    path = folder.parent / "p.csv"
    path.write_text("image,label\nfolder/0001.jpg,dog\n")
    assert [pair.caption for pair in reading(path, templates=["a {}"]).pairs] == ["a dog"]


def test_a_table_without_labels_is_refused_beside_templates(folder, reading):
    path = folder.parent / "p.csv"
    path.write_text("image,words\nfolder/0001.jpg,dog\n")
    with pytest.raises(UsageError, match="'image', 'words'"):
        reading(path, templates=["a {}"])


def of_split(name, samples):
    """The samples with captions that name their split."""
    return {file: (content, f"{name}: {caption}") for file, (content, caption) in samples.items()}


def in_hub(root, samples, name):
    (root / "data").mkdir(exist_ok=True)
    (root / "README.md").write_text("---\n---\n")
    whole = containers.table_of(samples)
    for number, part in enumerate((whole[:1], whole[1:])):
        pq.write_table(part, root / "data" / f"{name}-{number}-of-2.parquet")


SPLITS = {  # what writes a split, and what is not read of three of them
    containers.in_image_folder: ("validation", "test"),
    in_hub: ("test-0-of-2.parquet", "test-1-of-2.parquet", "validation-0-of-2.parquet"),
    containers.in_coco: ("captions_test.json", "captions_validation.json"),
}


def write_splits(write, root, samples, *names):
    for name in names:
        write(root, of_split(name, samples), name)
    return root


@pytest.mark.parametrize("write", SPLITS)
def test_of_several_splits_the_first_is_read(tmp_path, samples, reading, write):
    write_splits(write, tmp_path, samples, "test", "validation")
    assert reading(tmp_path).pairs[0].caption.startswith("validation: ")
    write_splits(write, tmp_path, samples, "train")
    clean = reading(tmp_path)
    assert containers.contents(clean) == [(content, f"train: {caption}") for content, caption in samples.values()]


@pytest.mark.parametrize(("write", "others"), SPLITS.items())
def test_splits_that_are_not_read_are_named(tmp_path, samples, reading, write, others):
    clean = reading(write_splits(write, tmp_path, samples, "test", "validation", "train"))
    assert [kind.examples for kind in clean.ignored] == [others]


def test_another_split_of_coco_is_read_by_its_name(tmp_path, samples, reading):
    write_splits(containers.in_coco, tmp_path, samples, "test", "validation", "train")
    assert reading(tmp_path / "annotations" / "captions_test.json").pairs[0].caption.startswith("test: ")


def test_several_sets_are_read_one_after_the_other(tmp_path, folder, tar, shard_members, samples, reading):
    containers.in_image_folder(tmp_path / "b", of_split("train", samples))
    shard = tar(tmp_path / "c.tar", shard_members)
    clean = reading(folder, tmp_path / "b", shard)
    captions = [caption for _, caption in samples.values()]
    assert [pair.caption for pair in clean.pairs] == captions + [f"train: {words}" for words in captions] + captions
    assert [pair.key for pair in clean.pairs][::4] == ["folder/0001.jpg", "b/images/0001.jpg", "c.tar/0001"]
    assert (clean.format, clean.record().as_json()["name"]) == ("several", "folder + b + c.tar")


def test_captions_are_made_of_labels_by_templates_where_there_are_none(tmp_path, encoded, reading):
    for number, name in enumerate(("tabby_cat", "dog", "dog", "3")):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / f"{number}.png").write_bytes(encoded(number, "PNG"))
    with pytest.raises(RefusedInput, match="--templates"):
        reading(tmp_path)
    (tmp_path / "dog" / "2.txt").write_text("my own words")
    forms = ("a photo of a {}.", "the {}.")
    clean = reading(tmp_path, templates=forms)
    told = {pair.key: pair.caption for pair in clean.pairs}
    assert told["dog/2.png"] == "my own words"
    assert told["tabby_cat/0.png"] in {form.format("tabby cat") for form in forms}
    assert told["dog/1.png"] in {form.format("dog") for form in forms}
    assert [*reasons(clean)] == ["3/3.png"]
    assert told == {pair.key: pair.caption for pair in reading(tmp_path, templates=forms).pairs}
