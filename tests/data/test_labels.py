import json

import pytest
import torch

from clipclean import progress
from clipclean.data import ImageCache, classes_in, read_classes, read_labelled
from clipclean.errors import UsageError

CLASSES = ["golden retriever", "cat", "T-shirt"]


@pytest.fixture
def write(tmp_path, encoded):
    def do(*names):
        for number, name in enumerate(names):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(encoded(number))
        return tmp_path

    return do


@pytest.fixture
def labels(limits):
    return lambda path, classes=CLASSES: read_labelled(path, images=ImageCache(limits), classes=classes).labels.tolist()


def test_class_folders_are_labels_in_any_plain_spelling(write, limits):
    root = write("cat/1.jpg", "Golden_Retriever/2.jpg", "train/t-shirt/3.jpg")
    clean = read_labelled(root, images=ImageCache(limits), classes=CLASSES)
    assert [pair.key for pair in clean.pairs] == ["Golden_Retriever/2.jpg", "cat/1.jpg", "train/t-shirt/3.jpg"]
    assert clean.labels.dtype == torch.int64
    assert clean.labels.tolist() == [0, 1, 2]


def test_captions_that_are_class_names_are_labels(write, labels):
    root = write("00000/1.jpg", "00000/2.jpg") / "00000"
    (root / "1.txt").write_text("cat")
    (root / "2.txt").write_text("golden retriever")
    assert labels(root) == [1, 0]


def test_unknown_folders_are_named_once_with_the_nearest_class(write, labels):
    root = write("cat/1.jpg", "golden retreiver/2.jpg", "golden retreiver/3.jpg", "n0001/4.jpg", "5.jpg")
    with pytest.raises(UsageError) as caught:
        labels(root)
    told, named = str(caught.value), ("4 of 5", "golden retreiver/2.jpg", "'golden retriever'", "n0001/4.jpg", "5.jpg")
    assert [word for word in (*named, "golden retreiver/3.jpg") if word in told] == [*named]


def test_a_folder_of_a_number_names_no_class(write, labels):
    with pytest.raises(UsageError, match="'00001'"):
        labels(write("00001/a.jpg"))


def test_a_number_in_a_table_names_a_class(write, labels):
    root = write("00001/a.jpg")
    (root / "p.csv").write_text("filepath,label\n00001/a.jpg,2\n00001/a.jpg,cat\n")
    assert labels(root / "p.csv") == [2, 1]
    rows = [{"image": "00001/a.jpg", "label": label} for label in (1, "T-shirt")]
    (root / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert labels(root / "p.jsonl") == [1, 2]


def test_a_number_in_a_shard_names_a_class(tmp_path, tar, encoded, labels):
    members = {"x.jpg": encoded(1), "x.cls": b"0", "y.jpg": encoded(2), "y.cls": b"1"}
    assert labels(tar(tmp_path / "a.tar", members)) == [0, 1]


@pytest.mark.parametrize(
    ("label", "classes", "found"),
    [
        *((number, CLASSES, "no class") for number in ("3", "-1", "1.0", "²", "9" * 5000)),  # out of range
        ("1", ["0", "1"], 1),
        ("1", ["1", "2"], r"'1'.*'2'"),  # one by its name, another by its number
        ("crane", ["Crane", "crane"], 1),  # an exact name beats a spelling
        ("CRANE", ["Crane", "crane"], "0.*1"),
    ],
)
def test_a_label_that_means_no_class_or_may_mean_two_is_refused(write, labels, label, classes, found):
    path = write("a.jpg") / "p.csv"
    path.write_text(f"filepath,label\na.jpg,{label}\n", encoding="utf-8")
    if isinstance(found, int):
        assert labels(path, classes) == [found]
        return
    with pytest.raises(UsageError, match=found):
        labels(path, classes)


def test_a_caption_labels_its_image_where_it_names_exactly_one_class():
    for number, captions in {
        0: ["a photo of a cat.", "a cat, another cat"],
        2: ["A Red-Apple on a table"],  # the longer name, and not the apple within it
        3: ["dog"],
        -1: ["an apple beside a red apple", "a cat and a dog", "a catalogue", ""],
    }.items():
        assert classes_in(captions, ["cat", "apple", "red apple", "dog"]).tolist() == [number] * len(captions)


INVISIBLE = ["\u200b", "\u00ad", "\u200d", "\u2060", "\u034f", "\ufe0f", "\u3164", "\U000e0061"]


@pytest.mark.parametrize("mark", INVISIBLE)
def test_what_cannot_be_seen_in_a_class_name_makes_no_other_class(mark):
    for twin in (f"cat{mark}", f"c{mark}at", f"{mark}cat"):
        assert read_classes(["dog", twin]) == ["dog", "cat"]
        with pytest.raises(UsageError, match="cat"):
            read_classes(["cat", "dog", twin])
    with pytest.raises(UsageError, match="0 class names"):
        read_classes([mark])


@pytest.mark.parametrize(
    ("line", "is_said"), [("c\x07at", True), ("c\u202eat", True), ("cat", False), ("  cat ", False)]
)
def test_a_class_name_from_which_characters_are_left_out_is_said(tmp_path, line, is_said):
    place, said = tmp_path / "classes.txt", []
    place.write_text(f"{line}\ndog\n", encoding="utf-8")
    with progress.heard(progress.Listener(words=said.append)):
        assert read_classes(place) == ["cat", "dog"]
    assert ["'cat'" in words for words in said] == [True] * is_said


@pytest.mark.parametrize("twin", ["Cat", "ｃａｔ", "cat ", "  CAT", "ﬁg"])
def test_names_that_differ_in_case_width_or_blanks_alone_are_one_class(twin):
    with pytest.raises(UsageError, match="more than once"):
        read_classes(["cat", "fig", "dog", twin])
    assert read_classes(["T-shirt", "T shirt", "Crane"]) == ["T-shirt", "T shirt", "Crane"]
