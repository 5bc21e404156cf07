"""Tables of paths and captions: which columns count, and which rows are skipped. What is hostile in one: tests/hostile."""

import csv
import json

import pytest

from clipclean.data.sample import DataRequest
from clipclean.data.table import Columns, columns_of
from clipclean.errors import RefusedInput, UsageError


@pytest.fixture
def table(tmp_path, samples):
    """Write a table beside the four images: table("pairs.csv", text or bytes)."""
    (tmp_path / "images").mkdir()
    for name, (content, _) in samples.items():
        (tmp_path / "images" / name).write_bytes(content)

    def write(name, content):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / name

    return write


def lines_of(*rows):
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)


FIRST, SECOND, THIRD = "images/0001.jpg", "images/0002.png", "images/0003.webp"
HEADERS = [("filepath", "title"), ("image", "caption"), ("file_name", "text")]
READ = {  # the file, its content, captions and labels of what is read, keys of what is skipped
    **{
        f"{header} with {mark!a}": ("t.csv", f"{mark.join(header)}\n{FIRST}{mark}one\n", [("one", None)], [])
        for header in HEADERS
        for mark in "\t,;"
    },
    "a byte-order mark, and spaces in the header": (
        "t.csv",
        f"\ufeffimage, caption\r\n{FIRST},x\r\n",
        [("x", None)],
        [],
    ),
    "rows of the wrong shape": (
        "t.csv",
        lines_of("image,caption", f"{FIRST},fine", f"{SECOND},a dog, running", "", THIRD, ",nothing", f"{FIRST},too"),
        [("fine", None), ("too", None)],
        ["line 3", THIRD, "line 6"],
    ),
    "records that do not fit": (
        "t.jsonl",
        lines_of(
            {"image": FIRST, "text": "x", "label": 3},
            {"image": SECOND, "text": "half \ud800 pair"},
            {"image": THIRD, "text": 7},
            "[]",
            {"image": ["x"], "text": "z"},
        ),
        [("x", "3"), ("half pair", None)],
        [THIRD, "line 4", "line 5"],
    ),
    "lists of captions": (
        "t.json",
        json.dumps([{"filename": FIRST, "sentences": ["one", "two", 3]}, {"filename": SECOND, "sentences": []}]),
        [("one", None), ("two", None)],
        [FIRST, SECOND],
    ),
    **{
        f"JSON lines as {name}": (name, lines_of(*[{"image": FIRST, "text": "x"}] * 2), [("x", None)] * 2, [])
        for name in ("t.json", "t.jsonl", "t.txt")
    },
}


@pytest.mark.parametrize("name", READ)
def test_rows_are_pairs_or_skipped_with_their_place(table, reading, name):
    file, content, read, skipped = READ[name]
    clean = reading(table(file, content))
    assert [(pair.caption, pair.label) for pair in clean.pairs] == read
    assert [why.key for why in clean.skipped] == skipped


def test_explicit_columns_win_missing_ones_are_told_and_a_mark_that_is_never_closed_is_found(table, reading, folder):
    rows = f"image,caption,filepath,title\n{FIRST},no,{SECOND},yes\n"
    with pytest.raises(UsageError, match=r"pairs\.csv"):
        reading(table("pairs.csv", rows))
    (pair,) = reading(table("pairs.csv", rows), image_key="filepath", caption_key="title").pairs
    assert (pair.key, pair.caption) == (SECOND, "yes")
    with pytest.raises(UsageError) as caught:
        reading(table("pairs.csv", f"img,words\n{FIRST},x\n"))
    named = ("pairs.csv", "'img', 'words'", "filepath", "caption", "--image-key", "--caption-key")
    assert [word for word in named if word not in str(caught.value)] == []
    with pytest.raises(UsageError, match=r"pairs\.csv"):
        reading(table("pairs.csv", ""))
    (pair,) = reading(table("pairs.csv", f"image,caption\n{folder / '0001.jpg'},x\n")).pairs
    assert pair.image.source.path == folder / "0001.jpg"
    before = csv.field_size_limit()
    with pytest.raises(RefusedInput, match="quotation mark"):
        reading(table("pairs.csv", f'image,caption\n{FIRST},"open\n' + "more words\n" * 20_000))
    assert csv.field_size_limit() == before
    for text in ("[[]]", "3", '"x"', "[{", '[{"image": 1, "image": 2}]'):  # JSON that is no table
        with pytest.raises(RefusedInput, match=r"pairs\.json"):
            reading(table("pairs.json", text))


@pytest.mark.parametrize(
    ("names", "wanted", "columns"),
    [
        ("id file_name text title", {}, Columns("file_name", "text")),
        ("id image_path text", {}, Columns("image_path", "text")),
        ("URL TEXT", {}, Columns("URL", "TEXT")),
        ("img url sentences", {}, Columns("img", "sentences")),
        ("image label", {}, None),
        ("image path text", {}, None),
        ("a text", {"image_key": "a"}, Columns("a", "text")),
        ("image label", {"captions": False}, Columns("image", None)),
    ],
)
def test_columns_are_told_from_names(names, wanted, columns):
    if columns is None:
        with pytest.raises(UsageError):
            columns_of(names.split(), DataRequest(**wanted), table="t.csv")
    else:
        assert columns_of(names.split(), DataRequest(**wanted), table="t.csv") == columns


TABLES = {
    "captions.csv": f"image,caption\n{FIRST},x\n",
    "captions.tsv": f"image\tcaption\n{FIRST}\tx\n",
    "captions.jsonl": lines_of({"file_name": FIRST, "text": "x"}),
    "metadata.jsonl": lines_of({"file_name": FIRST, "text": "x"}),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_inside_a_folder_is_used_and_two_are_ambiguous(table, reading, name):
    folder = table(name, TABLES[name]).parent
    assert [pair.key for pair in reading(folder).pairs] == [FIRST]
    other = next(each for each in TABLES if each != name)
    table(other, TABLES[other])
    with pytest.raises(UsageError) as caught:
        reading(folder)
    assert all(each in str(caught.value) for each in (name, other))
