from pathlib import Path

import pytest
import torch
from cases import each

from clipclean.data import ImageCache, ReadLimits, labelled, named_in
from clipclean.errors import UsageError

CLASSES = ["golden retriever", "cat", "T-shirt"]


def write(root: Path, names: list[str], encoded) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(number))
    return root


def test_class_folders_are_labels_in_any_plain_spelling(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    root = write(tmp_path, ["cat/1.jpg", "Golden_Retriever/2.jpg", "train/t-shirt/3.jpg"], encoded)
    found = labelled(root, images=ImageCache(limits), classes=CLASSES)
    assert [pair.key for pair in found.pairs] == ["Golden_Retriever/2.jpg", "cat/1.jpg", "train/t-shirt/3.jpg"]
    assert found.labels.dtype == torch.int64
    assert found.labels.tolist() == [0, 1, 2]


def test_unknown_folders_are_named_with_the_nearest_class(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    root = write(
        tmp_path, ["cat/1.jpg", "golden retreiver/2.jpg", "golden retreiver/3.jpg", "n0001/4.jpg", "5.jpg"], encoded
    )
    with pytest.raises(UsageError) as caught:
        labelled(root, images=ImageCache(limits), classes=CLASSES)
    message = str(caught.value)
    assert "4 of 5 images" in message
    assert "golden retreiver/2.jpg: 'golden retreiver' is no class; did you mean 'golden retriever'?" in message
    assert "golden retreiver/3.jpg" not in message
    assert "n0001/4.jpg: 'n0001' is no class" in message
    assert "5.jpg: no label" in message


def test_a_number_names_a_class_in_a_table_and_a_shard_but_not_as_a_folder(
    tmp_path: Path, tar, encoded, limits: ReadLimits
) -> None:
    write(tmp_path / "00001", ["a.jpg"], encoded)
    (tmp_path / "p.csv").write_text("filepath,label\n00001/a.jpg,2\n00001/a.jpg,cat\n")
    assert labelled(tmp_path / "p.csv", images=ImageCache(limits), classes=CLASSES).labels.tolist() == [2, 1]
    shard = tar(tmp_path / "a.tar", {"x.jpg": encoded(1), "x.cls": b"0", "y.jpg": encoded(2), "y.cls": b"1"})
    assert labelled(shard, images=ImageCache(limits), classes=CLASSES).labels.tolist() == [0, 1]
    (tmp_path / "p.csv").unlink()
    shard.unlink()
    with pytest.raises(UsageError, match="'00001' is no class"):
        labelled(tmp_path, images=ImageCache(limits), classes=CLASSES)


@pytest.mark.parametrize("label", ["3", "-1", "1.0", "²", "9" * 5000])
def test_a_number_out_of_range_is_no_class(tmp_path: Path, encoded, limits: ReadLimits, label: str) -> None:
    write(tmp_path, ["a.jpg"], encoded)
    (tmp_path / "p.csv").write_text(f"filepath,label\na.jpg,{label}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="is no class"):
        labelled(tmp_path / "p.csv", images=ImageCache(limits), classes=CLASSES)


def test_a_label_that_is_one_class_by_name_and_another_by_number_is_refused(
    tmp_path: Path, encoded, limits: ReadLimits
) -> None:
    write(tmp_path, ["a.jpg"], encoded)
    (tmp_path / "p.csv").write_text("filepath,label\na.jpg,1\n")
    assert labelled(tmp_path / "p.csv", images=ImageCache(limits), classes=["0", "1"]).labels.tolist() == [1]
    with pytest.raises(UsageError, match=r"'1' may mean 0 \('1'\) or 1 \('2'\)"):
        labelled(tmp_path / "p.csv", images=ImageCache(limits), classes=["1", "2"])


def test_an_exact_name_beats_a_plain_spelling(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    root = write(tmp_path, ["crane/1.jpg"], encoded)
    assert labelled(root, images=ImageCache(limits), classes=["Crane", "crane"]).labels.tolist() == [1]
    root = write(tmp_path, ["CRANE/1.jpg"], encoded)
    with pytest.raises(UsageError, match=r"may mean 0 .* or 1"):
        labelled(root, images=ImageCache(limits), classes=["Crane", "crane"])


def test_a_caption_that_is_a_class_name_serves_as_label(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    root = write(tmp_path, ["00000/1.jpg", "00000/2.jpg"], encoded)
    (root / "00000" / "1.txt").write_text("cat")
    (root / "00000" / "2.txt").write_text("golden retriever")
    assert labelled(root, images=ImageCache(limits), classes=CLASSES).labels.tolist() == [1, 0]


def test_json_labels_are_read_as_names_or_numbers(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    write(tmp_path, ["a.jpg"], encoded)
    (tmp_path / "p.jsonl").write_text('{"image": "a.jpg", "label": 1}\n{"image": "a.jpg", "label": "T-shirt"}\n')
    assert labelled(tmp_path / "p.jsonl", images=ImageCache(limits), classes=CLASSES).labels.tolist() == [1, 2]


# Captions that name a class.


@each(
    ("caption", "number"),
    [
        ("a photo of a cat.", 0),
        ("A Red-Apple on a table", 2),  # the longer name, and not the apple within it
        ("an apple beside a red apple", -1),
        ("a cat and a dog", -1),
        ("a cat, another cat", 0),
        ("a catalogue", -1),
        ("", -1),
        ("dog", 3),
    ],
)
def test_a_caption_labels_its_image_where_it_names_exactly_one_class(caption, number):
    assert named_in([caption], ["cat", "apple", "red apple", "dog"]).tolist() == [number]
