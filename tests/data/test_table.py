"""Tables of paths and captions: which columns count, and which rows are skipped."""

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


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("header", [("filepath", "title"), ("image", "caption"), ("file_name", "text")])
def test_known_headers_are_read_with_any_separator(table, reading, header, separator):
    lines = [separator.join(header), separator.join(("images/0001.jpg", "one")), ""]
    (pair,) = reading(table("pairs.csv", "\n".join(lines))).pairs
    assert (pair.key, pair.caption) == ("images/0001.jpg", "one")


def test_explicit_columns_win_and_two_complete_pairs_are_ambiguous(table, reading):
    rows = "image,caption,filepath,title\nimages/0001.jpg,no,images/0002.png,yes\n"
    with pytest.raises(UsageError, match=r"pairs\.csv"):
        reading(table("pairs.csv", rows))
    (pair,) = reading(table("pairs.csv", rows), image_key="filepath", caption_key="title").pairs
    assert (pair.key, pair.caption) == ("images/0002.png", "yes")


def test_missing_columns_name_what_was_found_and_what_to_pass(table, reading):
    with pytest.raises(UsageError) as caught:
        reading(table("pairs.csv", "img,words\nimages/0001.jpg,x\n"))
    named = ("pairs.csv", "'img', 'words'", "filepath", "caption", "--image-key", "--caption-key")
    assert [word for word in named if word not in str(caught.value)] == []
    with pytest.raises(UsageError, match=r"pairs\.csv"):
        reading(table("pairs.csv", ""))


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        ("id file_name text title", Columns("file_name", "text")),
        ("image text", Columns("image", "text")),
        ("id image_path text", Columns("image_path", "text")),
        ("URL TEXT", Columns("URL", "TEXT")),
        ("img url sentences", Columns("img", "sentences")),
        ("image label", None),
        ("image path text", None),
        ("", None),
    ],
)
def test_columns_are_told_from_names(names, columns):
    if columns is None:
        with pytest.raises(UsageError):
            columns_of(names.split(), DataRequest(), table="t.csv")
    else:
        assert columns_of(names.split(), DataRequest(), table="t.csv") == columns


def test_columns_that_are_named_or_not_needed_leave_no_doubt():
    assert columns_of(["a", "text"], DataRequest(image_key="a"), table="t.csv") == Columns("a", "text")
    assert columns_of(["image", "label"], DataRequest(captions=False), table="t.csv") == Columns("image", None)


def test_rows_without_a_usable_image_are_skipped_and_an_absolute_path_is_allowed(table, folder, reading):
    good = [f"images/{name}" for name in ("0001.jpg", "0002.png", "0003.webp")] + [str(folder / "0001.jpg")]
    bad = ["/dev/zero", "images", "gone\x07.jpg", "https://example.org/a.jpg"]
    clean = reading(table("pairs.csv", "\n".join(["image,caption", *(f"{name},x" for name in good + bad)])))
    assert len(clean) == 4
    assert [why.key for why in clean.skipped] == [bad[0], bad[1], r"gone\x07.jpg", bad[3]]
    assert "local files only" in clean.skipped[3].reason


def test_rows_of_the_wrong_shape_are_skipped_with_the_line(table, reading):
    fine = "images/0001.jpg,fine"
    lines = ["image,caption", fine, "images/0002.png,a dog, running", "", "images/0003.webp", ",nothing", fine]
    clean = reading(table("pairs.csv", "\n".join(lines)))
    assert [why.key for why in clean.skipped] == ["line 3", "images/0003.webp", "line 6"]


def test_json_records_that_do_not_fit_are_skipped_with_the_line(table, reading):
    records = [
        '{"image": "images/0001.jpg", "text": "x", "label": 3}',
        r'{"image": "images/0002.png", "text": "half \ud800 pair"}',
        '{"image": "images/0003.webp", "text": 7}',
        "[]",
        '{"image": ["x"], "text": "z"}',
    ]
    clean = reading(table("pairs.jsonl", "\n".join(records)))
    assert [(pair.label, pair.caption) for pair in clean.pairs] == [("3", "x"), (None, "half pair")]
    assert [why.key for why in clean.skipped] == ["images/0003.webp", "line 4", "line 5"]


def test_a_byte_order_mark_and_spaces_in_the_header_do_not_matter(table, reading):
    assert len(reading(table("pairs.csv", b"\xef\xbb\xbfimage, caption\r\nimages/0001.jpg,x\r\n"))) == 1


def test_a_quotation_mark_that_is_never_closed_is_found(table, reading):
    before = csv.field_size_limit()
    with pytest.raises(RefusedInput, match="quotation mark"):
        reading(table("pairs.csv", 'image,caption\nimages/0001.jpg,"open\n' + "more words\n" * 20_000))
    assert csv.field_size_limit() == before


def test_an_endless_record_is_refused(table, reading):
    with pytest.raises(RefusedInput, match="line 2"):
        reading(table("pairs.csv", '{"image": "a", "text": "b"}\n' + "x" * 1_000_001))


@pytest.mark.parametrize("name", ["pairs.json", "pairs.jsonl", "pairs.txt"])
def test_json_lines_are_read_under_any_name(table, reading, name):
    lines = [json.dumps({"image": f"images/{image}", "text": "x"}) for image in ("0001.jpg", "0002.png")]
    assert reading(table(name, "\n".join(lines))).format == "jsonl"


@pytest.mark.parametrize("text", ["[1, 2]", "[[]]", "3", '"x"', "[{", '[{"image": 1, "image": 2}]'])
def test_json_that_is_no_table_is_refused(table, reading, text):
    with pytest.raises(RefusedInput, match=r"pairs\.json"):
        reading(table("pairs.json", text))


def test_a_list_of_captions_gives_a_pair_for_each(table, reading):
    rows = [
        {"filename": "images/0001.jpg", "sentences": ["one", "two", 3]},
        {"filename": "images/0002.png", "sentences": []},
    ]
    clean = reading(table("pairs.json", json.dumps(rows)))
    assert [pair.caption for pair in clean.pairs] == ["one", "two"]
    assert [why.key for why in clean.skipped] == ["images/0001.jpg", "images/0002.png"]


TABLES = {
    "captions.csv": "image,caption\nimages/0001.jpg,x\n",
    "captions.tsv": "image\tcaption\nimages/0001.jpg\tx\n",
    "captions.jsonl": '{"file_name": "images/0001.jpg", "text": "x"}\n',
    "metadata.jsonl": '{"file_name": "images/0001.jpg", "text": "x"}\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_inside_a_folder_is_used_and_two_are_ambiguous(table, reading, name):
    folder = table(name, TABLES[name]).parent
    assert [pair.key for pair in reading(folder).pairs] == ["images/0001.jpg"]
    other = next(each for each in TABLES if each != name)
    table(other, TABLES[other])
    with pytest.raises(UsageError) as caught:
        reading(folder)
    assert all(each in str(caught.value) for each in (name, other))
