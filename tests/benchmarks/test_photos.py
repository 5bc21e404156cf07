"""Tiny-ImageNet as arrays, on a folder of the same form."""

import json
import random

import pytest
import torch
from PIL import Image

WORDS = "n1\tlion, king of beasts\nn2\tgoose\nn3\tpolice van, wagon\nn4\tbeach wagon, wagon\n"


@pytest.fixture(scope="module")
def photos(script):
    return script("photos")


@pytest.fixture
def folder(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(photos, "AUDITED", 1)
    root = tmp_path / "tiny-imagenet-200"
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("n2\nn1\nn4\nn3\n")
    (root / "words.txt").write_text(WORDS)
    rows = []
    for level, wnid in enumerate(("n1", "n2", "n3", "n4")):
        (root / "train" / wnid / "images").mkdir(parents=True)
        image = Image.new("RGB", (64, 64), (50 * level, 0, 0))
        for number in range(3):
            image.save(root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG")
        image.save(root / "val" / "images" / f"val_{level}.JPEG")
        rows.append(f"val_{level}.JPEG\t{wnid}\t0\t0\t9\t9\n")
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    return root


@pytest.fixture
def prepared(photos, folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    photos.prepare(folder, out, side=32)
    return photos.read(out, side=32)


def test_every_image_stands_beside_its_class_and_part(photos, prepared):
    assert prepared.images.shape == (16, 3, 32, 32)
    for number, name in enumerate(["lion", "goose", "police van", "beach wagon"]):
        assert prepared.names[number][0] == name
        mine = prepared.images[prepared.label == number].float()
        assert (mine[:, 0].mean((1, 2)) - 50 * number).abs().max() < 3  # JPEG
        counts = [len(prepared.among(part, torch.tensor([number]))) for part in photos.PARTS]
        assert counts == [2, 1, 1]


def test_the_first_images_by_name_are_kept_back(prepared):
    audited = prepared.among("audit", torch.arange(4)).tolist()
    assert [prepared.files[k] for k in audited] == [f"train/n{n}/images/n{n}_0.JPEG" for n in (1, 2, 3, 4)]


def test_a_name_that_two_classes_share_is_no_name(prepared):
    assert prepared.names[2:] == [["police van"], ["beach wagon"]]


def test_captions_have_the_names_of_their_class_and_no_other(prepared):
    rng = random.Random(0)
    captions = {prepared.caption(0, rng) for _ in range(300)}
    assert any("king of beasts" in caption for caption in captions)
    assert all("lion" in caption or "king of beasts" in caption for caption in captions)


def test_what_is_there_is_kept(photos, folder, tmp_path, prepared):
    before = (tmp_path / "out" / "images-32.npy").stat().st_mtime_ns
    (folder / "train" / "n1" / "images" / "n1_0.JPEG").unlink()
    photos.prepare(folder, tmp_path / "out", side=32)
    assert (tmp_path / "out" / "images-32.npy").stat().st_mtime_ns == before
    assert len(json.loads((tmp_path / "out" / "photos.json").read_text())["files"]) == 16


def test_another_folder_is_refused(photos, tmp_path):
    with pytest.raises(SystemExit, match="not Tiny-ImageNet"):
        photos.catalogue(tmp_path)
