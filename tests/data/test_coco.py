import json
from dataclasses import replace
from pathlib import Path

import pytest

from clipclean.data import CleanSet, ImageCache, ReadLimits, read
from clipclean.errors import RefusedInput


def write(path: Path, images: list[dict], annotations: list[dict]) -> Path:
    """As COCO's captions: one line, and fields that nobody needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"info": {"year": 2017}, "licenses": [], "images": images, "annotations": annotations}
    path.write_text(json.dumps(told))
    return path


IMAGES = [
    {"id": 9, "file_name": "b.jpg", "height": 8, "width": 12, "coco_url": "http://x/b.jpg"},
    {"id": 7, "file_name": "a.jpg"},
]
CAPTIONS = [
    {"image_id": 7, "id": 1, "caption": "a cat"},
    {"image_id": 9, "id": 2, "caption": "a dog"},
    {"image_id": 7, "id": 3, "caption": "the cat again"},
]
PAIRS = [("a.jpg", "a cat"), ("b.jpg", "a dog"), ("a.jpg", "the cat again")]


def pairs(path: Path, limits: ReadLimits) -> list[tuple[str, str]]:
    return [(pair.key, pair.caption) for pair in clean(path, limits).pairs]


def clean(path: Path, limits: ReadLimits) -> CleanSet:
    return read(path, images=ImageCache(limits))


@pytest.mark.parametrize("place", ["train2017", "images/train2017", "annotations", "images", "annotations/train2017"])
def test_captions_are_read_with_the_images_where_cocos_archives_put_them(
    tmp_path: Path, encoded, limits: ReadLimits, place: str
) -> None:
    (tmp_path / place).mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.jpg")):
        (tmp_path / place / name).write_bytes(encoded(number))
    path = write(tmp_path / "annotations" / "captions_train2017.json", IMAGES, CAPTIONS)
    assert pairs(path, limits) == PAIRS
    assert pairs(tmp_path, limits) == PAIRS
    assert clean(tmp_path, limits).format == "coco"


def test_of_several_splits_train_is_read_and_the_others_are_named(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    for split, number in (("train2017", 0), ("val2017", 1)):
        (tmp_path / split).mkdir()
        (tmp_path / split / f"{split}.jpg").write_bytes(encoded(number))
        write(
            tmp_path / "annotations" / f"captions_{split}.json",
            [{"id": 1, "file_name": f"{split}.jpg"}],
            [{"image_id": 1, "caption": split}],
        )
    found = clean(tmp_path, limits)
    assert [pair.caption for pair in found.pairs] == ["train2017"]
    assert [kind.examples for kind in found.ignored] == [("captions_val2017.json",)]
    assert pairs(tmp_path / "annotations" / "captions_val2017.json", limits) == [("val2017.jpg", "val2017")]


def test_what_does_not_fit_together_is_skipped_with_the_reason(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(encoded(number))
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in range(4)] + [
        {"id": 8, "file_name": "gone.jpg"},
        "x",
        {"id": 5},
    ]
    annotations = [{"image_id": n, "caption": "words"} for n in (0, 1, 2, 8, 77)] + [3, {"image_id": 1, "caption": 5}]
    found = clean(write(tmp_path / "captions_x.json", images, annotations), replace(limits, max_skipped_share=0.6))
    assert [pair.key for pair in found.pairs] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [(why.key, why.reason) for why in found.skipped] == [
        ("gone.jpg", "no such file or directory"),
        ("annotation 4", "it belongs to no image of the file"),
        ("1.jpg", "no caption, or an empty one"),
        ("3.jpg", "no caption, or an empty one"),
    ]


def test_names_that_lead_out_are_not_read(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "secret.jpg").write_bytes(encoded(0))
    (tmp_path / "set" / "a.jpg").write_bytes(encoded(1))
    (tmp_path / "set" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    names = ["a.jpg", "../secret.jpg", str(tmp_path / "secret.jpg"), "link.jpg"]
    rows = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    path = write(tmp_path / "set" / "c.json", rows, [{"image_id": n, "caption": "words"} for n in range(4)])
    with pytest.raises(RefusedInput, match="3 of 4 samples") as caught:
        clean(path, limits)
    assert str(caught.value).count("a name that leads out of the folder of images") == 3


def test_images_that_are_nowhere_are_told_with_the_places(tmp_path: Path, limits: ReadLimits) -> None:
    path = write(tmp_path / "annotations" / "captions_val2014.json", IMAGES, CAPTIONS)
    with pytest.raises(RefusedInput, match=r"none of .*images/val2014.* Put the folder"):
        clean(path, limits)
