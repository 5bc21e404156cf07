"""Tables, as text and as Parquet and Arrow: which columns count, which rows are skipped. Hostile ones: tests/hostile."""

import csv
import json
import os
import sys

import containers
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipclean.data.arrow import MEMORY_LIMIT, bounded_memory
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


AMBIGUOUS = f"image,caption,filepath,title\n{FIRST},no,{SECOND},yes\n"


def test_ambiguous_columns_are_refused(table, reading):
    with pytest.raises(UsageError, match=r"pairs\.csv"):
        reading(table("pairs.csv", AMBIGUOUS))


def test_explicit_columns_win(table, reading):
    (pair,) = reading(table("pairs.csv", AMBIGUOUS), image_key="filepath", caption_key="title").pairs
    assert (pair.key, pair.caption) == (SECOND, "yes")


def test_columns_that_are_missing_are_told(table, reading):
    with pytest.raises(UsageError) as caught:
        reading(table("pairs.csv", f"img,words\n{FIRST},x\n"))
    named = ("pairs.csv", "'img', 'words'", "filepath", "caption", "--image-key", "--caption-key")
    assert [word for word in named if word not in str(caught.value)] == []


def test_options_for_columns_are_named_only_where_captions_are_read():
    # A command that reads images alone has no such option.
    with pytest.raises(UsageError) as caught:
        columns_of(("foto", "words"), DataRequest(captions=False), table="pairs.csv")
    assert "--" not in str(caught.value)


def test_an_empty_table_is_refused(table, reading):
    with pytest.raises(UsageError, match=r"pairs\.csv"):
        reading(table("pairs.csv", ""))


def test_an_absolute_path_in_a_table_is_read(table, reading, folder):
    (pair,) = reading(table("pairs.csv", f"image,caption\n{folder / '0001.jpg'},x\n")).pairs
    assert pair.image.source.path == folder / "0001.jpg"


UNCLOSED = f'image,caption\n{FIRST},"open\n' + "more words\n" * 20_000


def test_a_quotation_mark_that_is_never_closed_is_told(table, reading):
    with pytest.raises(RefusedInput, match="quotation mark"):
        reading(table("pairs.csv", UNCLOSED))


def test_reading_a_table_leaves_the_limit_of_csv_alone(table, reading):
    before = csv.field_size_limit()
    with pytest.raises(RefusedInput, match="quotation mark"):
        reading(table("pairs.csv", UNCLOSED))
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("names", "wanted", "image", "caption"),
    [
        ("id file_name text title", {}, "file_name", "text"),
        ("id image_path text", {}, "image_path", "text"),
        ("URL TEXT", {}, "URL", "TEXT"),
        ("img url sentences", {}, "img", "sentences"),
        ("a text", {"image_key": "a"}, "a", "text"),
        ("image label", {"captions": False}, "image", None),
    ],
)
def test_columns_are_told_from_names(names, wanted, image, caption):
    assert columns_of(names.split(), DataRequest(**wanted), table="t.csv") == Columns(image, caption)
    for lacking in ("image label", "image path text"):
        with pytest.raises(UsageError):
            columns_of(lacking.split(), DataRequest(), table="t.csv")


TABLES = {
    "captions.csv": f"image,caption\n{FIRST},x\n",
    "captions.tsv": f"image\tcaption\n{FIRST}\tx\n",
    "captions.jsonl": lines_of({"file_name": FIRST, "text": "x"}),
    "metadata.jsonl": lines_of({"file_name": FIRST, "text": "x"}),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_inside_a_folder_is_used(table, reading, name):
    folder = table(name, TABLES[name]).parent
    assert [pair.key for pair in reading(folder).pairs] == [FIRST]


@pytest.mark.parametrize("name", TABLES)
def test_two_tables_inside_a_folder_are_ambiguous(table, reading, name):
    other = next(each for each in TABLES if each != name)
    folder = table(name, TABLES[name]).parent
    table(other, TABLES[other])
    with pytest.raises(UsageError) as caught:
        reading(folder)
    assert all(each in str(caught.value) for each in (name, other))


# Parquet and Arrow, written by pyarrow in the layouts that ``datasets`` makes of them.


def written(whole, path, form):
    if form == "parquet":
        pq.write_table(whole, path)
        return path
    with pa.ipc.new_file(path, whole.schema) as writer:
        writer.write_table(whole)
    return path


@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_a_parquet_file_is_read_in_any_compression(tmp_path, samples, reading, compression):
    pq.write_table(containers.table_of(samples), tmp_path / "a.parquet", compression=compression, row_group_size=3)
    clean = reading(tmp_path / "a.parquet")
    assert containers.contents(clean) == [*samples.values()]
    assert [pair.label for pair in clean.pairs] == ["cat", "dog", "cat", "dog"]
    assert [pair.key for pair in clean.pairs] == ["row 1", "row 2", "row 3", "row 4"]


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
def test_a_folder_of_datasets_is_read_in_place_where_not_compressed(tmp_path, samples, reading, new, compression):
    path = containers.in_arrow(tmp_path / "a", samples, compression=compression, new=new)
    clean = reading(path)
    assert containers.contents(clean) == [*samples.values()]
    assert {pair.image.source.path.parent == path / "train" for pair in clean.pairs} == {compression is None}
    assert len(reading(path / "train")) == 4


def test_each_caption_of_a_list_is_a_pair(tmp_path, samples, reading):
    """Its image is a column of plain bytes."""
    images = pa.array([content for content, _ in samples.values()], pa.large_binary())
    whole = pa.table({"jpg": images, "captions": [["one", "two"], ["three"], [], None]})
    clean = reading(written(whole, tmp_path / "a", "parquet"))
    rows = [(pair.key, pair.caption) for pair in clean.pairs]
    assert rows == [("row 1", "one"), ("row 1", "two"), ("row 2", "three")]
    assert [why.key for why in clean.skipped] == ["row 3", "row 4"]


@pytest.mark.usefixtures("folder")
def test_paths_in_a_column_of_addresses_are_read(tmp_path, reading):
    whole = pa.table({"url": ["folder/0001.jpg", "folder/0002.png", "https://x.org/a.jpg", None], "TEXT": ["a"] * 4})
    clean = reading(written(whole, tmp_path / "a", "parquet"))
    assert [pair.image.source.path.name for pair in clean.pairs] == ["0001.jpg", "0002.png"]
    assert len(clean.skipped) == 2


def half_empty(samples):
    """A table of four samples under names that nobody knows; the first two have no image."""
    empty = {"0001.jpg": (None, "a"), "0002.png": (b"", "b")}
    return containers.table_of(samples | empty).rename_columns(["picture", "words", "label"])


def test_unknown_columns_of_a_parquet_file_are_told(tmp_path, samples, reading):
    path = written(half_empty(samples), tmp_path / "a", "parquet")
    with pytest.raises(UsageError, match="'picture', 'words', 'label'"):
        reading(path)


def test_rows_with_an_empty_image_are_skipped(tmp_path, samples, reading):
    path = written(half_empty(samples), tmp_path / "a", "parquet")
    clean = reading(path, image_key="picture", caption_key="words")
    assert ([why.key for why in clean.skipped], len(clean)) == (["row 1", "row 2"], 2)


def test_the_captions_of_a_row_are_bounded_in_number(tmp_path, samples, reading):
    images = [content for content, _ in samples.values()][2:]
    whole = pa.table({"image": images, "text": [["", "a red square", ""], [""] * 1_000_000]})
    clean = reading(written(whole, tmp_path / "a", "parquet"), max_skipped_share=0.5)
    assert [pair.caption for pair in clean.pairs] == ["a red square"]
    assert "1,000,000" in clean.skipped[0].reason


def test_copies_of_images_go_with_the_data(tmp_path, samples, reading):
    clean = reading(written(containers.table_of(samples), tmp_path / "a", "parquet"))
    copy = clean.pairs[0].image.source.path
    assert copy.exists()
    assert not clean.pairs[0].image.is_file
    del clean
    assert not copy.parent.exists()


def test_a_label_of_another_type_is_none(tmp_path, samples, reading):
    whole = containers.table_of(samples)
    when = pa.array([10**18] * len(whole), pa.timestamp("ns", tz="Mars/Olympus"))
    whole = whole.set_column(whole.schema.get_field_index("label"), "label", when)
    assert {pair.label for pair in reading(written(whole, tmp_path / "a", "arrow")).pairs} == {None}


@pytest.mark.skipif(sys.platform != "linux", reason="no such limit")
def test_what_a_file_claims_takes_no_more_memory_than_an_honest_one_needs():
    with bounded_memory(), pytest.raises(MemoryError):  # as pyarrow asks for a row of a billion empty captions
        pa.allocate_buffer(2 * MEMORY_LIMIT)
    assert pa.allocate_buffer(2 * MEMORY_LIMIT).size == 2 * MEMORY_LIMIT


def test_a_file_larger_than_that_bound_is_read(tmp_path, samples, reading):
    """It is mapped before the bound holds: a file takes addresses, and no memory."""
    path = containers.in_arrow(tmp_path / "a", samples)
    # behind the stream, with no room on the disk
    os.truncate(path / "train" / "data-00000-of-00001.arrow", MEMORY_LIMIT + 10**9)
    assert containers.contents(reading(path)) == [*samples.values()]
