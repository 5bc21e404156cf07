import csv
import json
from pathlib import Path

import pytest

from clipclean.data import CleanSet, ImageCache, ReadLimits, read, read_images
from clipclean.data.sample import DataRequest
from clipclean.data.table import Columns, columns_of
from clipclean.errors import RefusedInput, UsageError


@pytest.fixture
def image_folder(tmp_path: Path, samples: dict) -> Path:
    (tmp_path / "images").mkdir()
    for name, (content, _) in samples.items():
        (tmp_path / "images" / name).write_bytes(content)
    return tmp_path


def write_csv(path: Path, rows: list[list[str]], *, separator: str) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=separator).writerows(rows)
    return path


def rows_of(samples: dict, header: list[str]) -> list[list[str]]:
    return [header] + [[f"images/{name}", caption] for name, (_, caption) in samples.items()]


def read_pairs(path: Path, limits: ReadLimits, **keys: str) -> CleanSet:
    return read(path, images=ImageCache(limits), **({"image_key": None, "caption_key": None} | keys))


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("header", [["filepath", "title"], ["image", "caption"], ["file_name", "text"]])
def test_known_headers_are_read_with_any_separator(
    image_folder: Path, samples: dict, limits: ReadLimits, header: list[str], separator: str
) -> None:
    path = write_csv(image_folder / "pairs.csv", rows_of(samples, header), separator=separator)
    clean = read_pairs(path, limits)
    assert clean.format == ("tsv" if separator == "\t" else "csv")
    assert [(pair.key, pair.caption) for pair in clean.pairs] == [
        (f"images/{name}", caption) for name, (_, caption) in samples.items()
    ]


def test_explicit_columns_win(image_folder: Path, limits: ReadLimits) -> None:
    rows = [["image", "caption", "picture", "words"], ["no.jpg", "no", "images/0001.jpg", "yes"]]
    path = write_csv(image_folder / "pairs.csv", rows, separator=",")
    clean = read_pairs(path, limits, image_key="picture", caption_key="words")
    assert [(pair.key, pair.caption) for pair in clean.pairs] == [("images/0001.jpg", "yes")]


def test_missing_columns_name_what_was_found_what_is_known_and_what_to_pass(
    image_folder: Path, limits: ReadLimits
) -> None:
    path = write_csv(image_folder / "pairs.csv", [["img", "words"], ["images/0001.jpg", "x"]], separator=",")
    with pytest.raises(UsageError) as caught:
        read_pairs(path, limits)
    for word in (
        "pairs.csv",
        "'img', 'words'",
        "filepath and title",
        "image and caption",
        "--image-key",
        "--caption-key",
    ):
        assert word in str(caught.value)


def test_two_complete_pairs_of_columns_are_ambiguous(image_folder: Path, limits: ReadLimits) -> None:
    rows = [["filepath", "title", "image", "caption"], ["images/0001.jpg", "x", "images/0002.png", "y"]]
    path = write_csv(image_folder / "pairs.csv", rows, separator="\t")
    with pytest.raises(UsageError, match="does not tell"):
        read_pairs(path, limits)
    assert read_pairs(path, limits, image_key="image", caption_key="caption").pairs[0].caption == "y"


def test_columns_are_told_from_names() -> None:
    def told(*names: str, captions: bool = True) -> Columns:
        return columns_of(names, DataRequest(captions=captions), table="t.csv")

    assert told("id", "file_name", "text", "title") == Columns("file_name", "text")
    assert told("image", "text") == Columns("image", "text")
    assert told("id", "image_path", "text") == Columns("image_path", "text")
    assert told("URL", "TEXT") == Columns("URL", "TEXT")
    assert told("img", "url", "sentences") == Columns("img", "sentences")
    assert columns_of(["a", "text"], DataRequest(image_key="a"), table="t.csv") == Columns("a", "text")
    assert told("image", "label", captions=False) == Columns("image", None)
    with pytest.raises(UsageError):
        told("image", "label")
    with pytest.raises(UsageError):
        told("image", "path", "text")
    with pytest.raises(UsageError, match="Columns found: none"):
        told()


def test_an_absolute_path_to_a_regular_file_is_allowed(tmp_path: Path, folder: Path, limits: ReadLimits) -> None:
    path = write_csv(tmp_path / "p.csv", [["image", "caption"], [str(folder / "0001.jpg"), "x"]], separator=",")
    assert len(read_pairs(path, limits)) == 1


def test_rows_without_a_usable_image_are_skipped_with_the_reason(image_folder: Path, limits: ReadLimits) -> None:
    good = [[f"images/{name}", "good"] for name in ("0001.jpg", "0002.png", "0003.webp", "0004.jpeg")]
    bad = [["/dev/zero", "endless"], ["images", "a folder"], ["gone\x07.jpg", "gone"]]
    rows = [["image", "caption"], *good, *bad]
    path = write_csv(image_folder / "pairs.csv", rows, separator=",")
    assert [(why.key, why.reason) for why in read_pairs(path, limits).skipped] == [
        ("/dev/zero", "not a regular file"),
        ("images", "not a regular file"),
        (r"gone\x07.jpg", "no such file or directory"),
    ]


def test_rows_of_the_wrong_shape_are_skipped_with_the_line(image_folder: Path, limits: ReadLimits) -> None:
    lines = [
        "image,caption",
        "images/0001.jpg,fine",
        "images/0002.png,a dog, running",
        "",
        "images/0003.webp",
        ",nothing",
        "images/0004.jpeg,fine",
    ]
    (image_folder / "pairs.csv").write_text("\n".join(lines))
    limits = ReadLimits(max_pixels=limits.max_pixels, max_bytes=limits.max_bytes, max_skipped_share=0.6, max_pairs=None)
    clean = read_pairs(image_folder / "pairs.csv", limits)
    assert [(why.key, why.reason) for why in clean.skipped] == [
        ("line 3", "3 fields under 2 columns: put captions with separators in quotes"),
        ("images/0003.webp", "no caption, or an empty one"),
        ("line 6", "no text under image"),
    ]


def test_addresses_are_skipped_not_fetched(image_folder: Path, limits: ReadLimits) -> None:
    rows = [["image", "caption"], ["images/0001.jpg", "x"], ["https://example.org/a.jpg", "y"]]
    path = write_csv(image_folder / "pairs.csv", rows, separator=",")
    (why,) = read_pairs(path, limits).skipped
    assert "local files only" in why.reason


def test_a_byte_order_mark_and_spaces_in_the_header_do_not_matter(image_folder: Path, limits: ReadLimits) -> None:
    (image_folder / "pairs.csv").write_bytes(b"\xef\xbb\xbfimage, caption\r\nimages/0001.jpg,x\r\n")
    assert len(read_pairs(image_folder / "pairs.csv", limits)) == 1


def test_a_quotation_mark_that_is_never_closed_is_found(image_folder: Path, limits: ReadLimits) -> None:
    (image_folder / "pairs.csv").write_text('image,caption\nimages/0001.jpg,"open\n' + "more words\n" * 20_000)
    before = csv.field_size_limit()
    with pytest.raises(RefusedInput, match="quotation mark"):
        read_pairs(image_folder / "pairs.csv", limits)
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("start", ["image,caption\n", '{"image": "a", "text": "b"}\n'])
def test_an_endless_line_is_refused(image_folder: Path, limits: ReadLimits, start: str) -> None:
    (image_folder / "pairs.csv").write_text(start + "x" * 1_000_001)
    with pytest.raises(RefusedInput, match="line 2: longer than 1,000,000 characters"):
        read_pairs(image_folder / "pairs.csv", limits)


def test_what_is_not_utf8_is_refused(image_folder: Path, limits: ReadLimits) -> None:
    (image_folder / "pairs.csv").write_bytes(b"image,caption\nimages/0001.jpg,caf\xe9\n")
    with pytest.raises(RefusedInput, match="not UTF-8"):
        read_pairs(image_folder / "pairs.csv", limits)


def test_an_empty_file_has_no_columns(image_folder: Path, limits: ReadLimits) -> None:
    (image_folder / "pairs.csv").write_text("")
    with pytest.raises(UsageError, match="Columns found: none"):
        read_pairs(image_folder / "pairs.csv", limits)


@pytest.mark.parametrize("keys", [("file_name", "text"), ("image", "caption"), ("filepath", "title")])
def test_json_lines_are_read(image_folder: Path, samples: dict, limits: ReadLimits, keys: tuple[str, str]) -> None:
    lines = [json.dumps({keys[0]: f"images/{name}", keys[1]: words}) for name, (_, words) in samples.items()]
    (image_folder / "pairs.jsonl").write_text("\n".join(lines) + "\n\n")
    clean = read_pairs(image_folder / "pairs.jsonl", limits)
    assert clean.format == "jsonl"
    assert [pair.caption for pair in clean.pairs] == [words for _, words in samples.values()]


def test_json_records_that_do_not_fit_are_skipped_with_the_line(image_folder: Path, limits: ReadLimits) -> None:
    records = [
        '{"image": "images/0001.jpg", "text": "x", "label": 3}',
        '{"image": "images/0002.png", "text": "y"}',
        '{"image": "images/0003.webp", "text": 7}',
        "[]",
        '{"image": ["x"], "text": "z"}',
    ]
    (image_folder / "pairs.jsonl").write_text("\n".join(records))
    limits = ReadLimits(max_pixels=limits.max_pixels, max_bytes=limits.max_bytes, max_skipped_share=0.6, max_pairs=None)
    clean = read_pairs(image_folder / "pairs.jsonl", limits)
    assert [pair.label for pair in clean.pairs] == ["3", None]
    assert [(why.key, why.reason) for why in clean.skipped] == [
        ("images/0003.webp", "no caption, or an empty one"),
        ("line 4", "JSON, but not an object"),
        ("line 5", "no text under image"),
    ]


def test_half_a_surrogate_pair_does_not_break_the_digest(image_folder: Path, limits: ReadLimits) -> None:
    (image_folder / "pairs.jsonl").write_text(r'{"image": "images/0001.jpg", "text": "half \ud800 pair"}')
    assert read_pairs(image_folder / "pairs.jsonl", limits).pairs[0].caption == "half pair"


def test_a_json_array_of_objects_is_a_table(image_folder: Path, samples: dict, limits: ReadLimits) -> None:
    rows = [{"image_path": f"images/{name}", "text": caption, "label": 3} for name, (_, caption) in samples.items()]
    (image_folder / "pairs.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    clean = read_pairs(image_folder / "pairs.json", limits)
    assert clean.format == "json"
    assert [pair.caption for pair in clean.pairs] == [caption for _, caption in samples.values()]
    assert {pair.label for pair in clean.pairs} == {"3"}


def test_json_lines_are_read_under_any_name(image_folder: Path, samples: dict, limits: ReadLimits) -> None:
    lines = [json.dumps({"image": f"images/{name}", "caption": caption}) for name, (_, caption) in samples.items()]
    for name in ("pairs.json", "pairs.jsonl", "pairs.txt"):
        (image_folder / name).write_text("\n".join(lines), encoding="utf-8")
        assert read_pairs(image_folder / name, limits).format == "jsonl"


def test_a_list_of_captions_gives_a_pair_for_each(image_folder: Path, limits: ReadLimits) -> None:
    rows = [
        {"filename": "images/0001.jpg", "sentences": ["one", "two", 3]},
        {"filename": "images/0002.png", "sentences": []},
    ]
    (image_folder / "pairs.json").write_text(json.dumps(rows))
    clean = read_pairs(image_folder / "pairs.json", limits)
    assert [(pair.key, pair.caption) for pair in clean.pairs] == [
        ("images/0001.jpg", "one"),
        ("images/0001.jpg", "two"),
    ]
    assert [why.reason for why in clean.skipped] == ["no caption, or an empty one"] * 2


@pytest.mark.parametrize("text", ["[1, 2]", "[[]]", "3", '"x"', "[{", '[{"image": 1, "image": 2}]'])
def test_json_that_is_no_table_is_refused_with_the_way_out(tmp_path: Path, limits: ReadLimits, text: str) -> None:
    (tmp_path / "pairs.json").write_text(text)
    with pytest.raises(RefusedInput, match=r"array of objects|one object in each line"):
        read_pairs(tmp_path / "pairs.json", limits)


@pytest.mark.parametrize("name", ["captions.csv", "captions.tsv", "captions.jsonl", "metadata.jsonl"])
def test_a_table_inside_a_folder_is_used(image_folder: Path, samples: dict, limits: ReadLimits, name: str) -> None:
    if name.endswith(".jsonl"):
        (image_folder / name).write_text('{"file_name": "images/0001.jpg", "text": "x"}\n')
    else:
        separator = "\t" if name.endswith(".tsv") else ","
        write_csv(image_folder / name, [["image", "caption"], ["images/0001.jpg", "x"]], separator=separator)
    assert [pair.key for pair in read_pairs(image_folder, limits).pairs] == ["images/0001.jpg"]


def test_two_tables_inside_a_folder_are_ambiguous(image_folder: Path, limits: ReadLimits) -> None:
    for name in ("captions.csv", "metadata.jsonl"):
        (image_folder / name).write_text("")
    with pytest.raises(UsageError, match=r"captions\.csv and metadata\.jsonl"):
        read_pairs(image_folder, limits)


def test_captions_may_be_missing_where_they_are_not_needed(image_folder: Path, limits: ReadLimits) -> None:
    path = write_csv(image_folder / "p.csv", [["filepath", "label"], ["images/0001.jpg", "dog"]], separator=",")
    (pair,) = read_images(path, images=ImageCache(limits)).pairs
    assert (pair.caption, pair.label) == ("", "dog")
