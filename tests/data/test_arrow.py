"""Files are written by pyarrow, in the layouts that ``datasets`` makes of them."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipclean.data import CleanSet, ImageCache, ReadLimits, read
from clipclean.data.arrow import MEMORY, bounded
from clipclean.errors import RefusedInput, UsageError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture
def rows(samples: dict) -> list[dict[str, Any]]:
    return [
        {"image": {"bytes": content, "path": name}, "text": caption, "label": number % 2}
        for number, (name, (content, caption)) in enumerate(samples.items())
    ]


def table_of(rows: list[dict], **changes: pa.DataType) -> pa.Table:
    """With the metadata by which ``datasets`` names classes."""
    told = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    types = {"image": IMAGE, "text": pa.string(), "label": pa.int64()} | changes
    schema = pa.schema([(name, types[name]) for name in rows[0]], metadata={"huggingface": json.dumps(told)})
    return pa.Table.from_pylist(rows, schema)


def clean(path: Path, limits: ReadLimits, **keys: str) -> CleanSet:
    return read(path, images=ImageCache(limits), **keys)


def contents(found: CleanSet) -> list[tuple[bytes, str]]:
    return [(pair.image.load(), pair.caption) for pair in found.pairs]


@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_a_parquet_file_of_encoded_images_is_read(
    tmp_path: Path, rows: list, samples: dict, limits: ReadLimits, compression: str
) -> None:
    pq.write_table(table_of(rows), tmp_path / "a.parquet", compression=compression, row_group_size=3)
    found = clean(tmp_path / "a.parquet", limits)
    assert found.format == "parquet"
    assert contents(found) == [*samples.values()]
    assert [pair.label for pair in found.pairs] == ["cat", "dog", "cat", "dog"]
    assert [pair.key for pair in found.pairs] == ["row 1", "row 2", "row 3", "row 4"]


def test_the_layout_of_the_hub_is_read_and_of_its_splits_train(
    tmp_path: Path, rows: list, samples: dict, limits: ReadLimits
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("---\n---\n")
    for name, some in (
        ("train-00000-of-00002", rows[:1]),
        ("train-00001-of-00002", rows[1:]),
        ("test-00000-of-00001", rows),
    ):
        pq.write_table(table_of(some), tmp_path / "data" / f"{name}.parquet")
    found = clean(tmp_path, limits)
    assert contents(found) == [*samples.values()]
    assert [kind.examples for kind in found.ignored] == [("test-00000-of-00001.parquet",)]


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("is_stream", [True, False])
def test_a_folder_that_datasets_saved_is_read(
    tmp_path: Path, rows: list, samples: dict, limits: ReadLimits, is_stream: bool, compression: str | None
) -> None:
    """``save_to_disk`` of a DatasetDict: a folder a split, with a stream of record batches."""
    for split, some in (("train", rows), ("test", rows[:1])):
        folder = tmp_path / split
        folder.mkdir()
        (folder / "state.json").write_text("{}")
        (folder / "dataset_info.json").write_text("{}")
        new = pa.ipc.new_stream if is_stream else pa.ipc.new_file
        table = table_of(some)
        options = pa.ipc.IpcWriteOptions(compression=compression)
        with new(str(folder / "data-00000-of-00001.arrow"), table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=3)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    found = clean(tmp_path, limits)
    assert found.format == "arrow"
    assert contents(found) == [*samples.values()]
    assert {pair.image.source.path.parent == tmp_path / "train" for pair in found.pairs} == {compression is None}
    assert len(clean(tmp_path / "test", limits)) == 1


def test_plain_bytes_and_lists_of_captions_are_read(tmp_path: Path, samples: dict, limits: ReadLimits) -> None:
    table = pa.table(
        {
            "jpg": pa.array([content for content, _ in samples.values()], pa.large_binary()),
            "captions": [["one", "two"], ["three"], [], None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    found = clean(tmp_path / "a.parquet", limits)
    assert [(pair.key, pair.caption) for pair in found.pairs] == [
        ("row 1", "one"),
        ("row 1", "two"),
        ("row 2", "three"),
    ]
    assert [(why.key, why.reason) for why in found.skipped] == [
        (f"row {number}", "no caption, or an empty one") for number in (3, 4)
    ]


def test_paths_and_addresses_in_a_column_are_those_of_a_table(tmp_path: Path, folder: Path, limits: ReadLimits) -> None:
    table = pa.table({"url": ["folder/0001.jpg", "folder/0002.png", "https://x.org/a.jpg", None], "TEXT": ["a"] * 4})
    pq.write_table(table, tmp_path / "a.parquet")
    found = clean(tmp_path / "a.parquet", limits)
    assert [pair.image.source.path.name for pair in found.pairs] == ["0001.jpg", "0002.png"]
    assert [why.reason for why in found.skipped] == ["an address; clipclean reads local files only", "no image"]


def test_empty_images_are_skipped_and_columns_can_be_named(tmp_path: Path, rows: list, limits: ReadLimits) -> None:
    rows[0]["image"], rows[1]["image"] = None, {"bytes": b"", "path": None}
    table = table_of(rows).rename_columns(["picture", "words", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="'picture', 'words', 'label'"):
        clean(tmp_path / "a.parquet", limits)
    found = clean(tmp_path / "a.parquet", limits, image_key="picture", caption_key="words")
    assert [why.reason for why in found.skipped] == ["no image", "empty file"]
    assert len(found) == 2


def test_copies_go_with_the_data(tmp_path: Path, rows: list, limits: ReadLimits) -> None:
    pq.write_table(table_of(rows), tmp_path / "a.parquet")
    found = clean(tmp_path / "a.parquet", limits)
    copy = found.pairs[0].image.source.path
    assert copy.exists()
    assert not found.pairs[0].image.is_file
    del found
    assert not copy.parent.exists()


@pytest.mark.parametrize("cut", [4, 100, -20])
def test_a_damaged_file_is_refused(tmp_path: Path, rows: list, limits: ReadLimits, cut: int) -> None:
    pq.write_table(table_of(rows), tmp_path / "a.parquet")
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table_of(rows).schema) as writer:
        writer.write_table(table_of(rows))
    for name in ("a.parquet", "a.arrow"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:cut])
        with pytest.raises(RefusedInput, match=r"not a valid (Parquet|Arrow) file"):
            clean(path, limits)


WHEN = pa.array([10**18, 10**18], pa.timestamp("ns", tz="Mars/Olympus"))


@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"text": pa.array([10**9, 10**9], pa.date32())}, "text"),
        ({"text": WHEN}, "text"),
        ({"text": pa.array([[1], [2]])}, "text"),
        ({"image": pa.array([1.0, 2.0])}, "image"),
        ({"image": pa.array([{"bytes": 1}, {"bytes": 2}])}, "image"),
    ],
)
def test_columns_of_other_types_are_refused_by_name(
    tmp_path: Path, limits: ReadLimits, form: str, columns: dict, word: str
) -> None:
    whole = pa.table({"image": pa.array([b"a", b"b"]), "text": ["a", "b"]} | columns)
    written(whole, tmp_path / "a", form)
    with pytest.raises(RefusedInput, match=f"the column {word} holds"):
        clean(tmp_path / "a", limits)


def written(whole: pa.Table, path: Path, form: str) -> None:
    if form == "parquet":
        pq.write_table(whole, path)
        return
    with pa.ipc.new_file(path, whole.schema) as writer:
        writer.write_table(whole)


@pytest.mark.parametrize("name", ["image", "text", "label"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, limits: ReadLimits, name: str) -> None:
    columns = {"image": pa.array([b"a"]), "text": pa.array(["a"]), "label": pa.array(["a"])}
    twice = pa.Table.from_arrays([*columns.values(), columns[name]], [*columns, name])
    written(twice, tmp_path / "a", "arrow")
    with pytest.raises(RefusedInput, match=f"2 columns called {name}"):
        clean(tmp_path / "a", limits)


def test_labels_of_other_types_are_none(tmp_path: Path, rows: list, limits: ReadLimits) -> None:
    whole = table_of(rows)
    when = pa.array([10**18] * len(rows), WHEN.type)
    written(whole.set_column(whole.schema.get_field_index("label"), "label", when), tmp_path / "a", "arrow")
    assert {pair.label for pair in clean(tmp_path / "a", limits).pairs} == {None}


def test_more_captions_than_any_image_has_are_counted_and_not_made(
    tmp_path: Path, samples: dict, limits: ReadLimits
) -> None:
    contents = [content for content, _ in samples.values()][:2]
    whole = pa.table({"image": contents, "text": [["", "a red square", ""], [""] * 1_000_000]})
    written(whole, tmp_path / "a", "parquet")
    found = read(tmp_path / "a", images=ImageCache(replace(limits, max_skipped_share=0.5)))
    assert [pair.caption for pair in found.pairs] == ["a red square"]
    assert "1,000,000 captions" in found.skipped[0].reason


@pytest.mark.skipif(sys.platform != "linux", reason="no such limit")
def test_what_a_file_claims_takes_no_more_memory_than_an_honest_one_needs() -> None:
    with bounded(), pytest.raises(MemoryError):  # as pyarrow asks for a row of a billion empty captions
        pa.allocate_buffer(2 * MEMORY)
    assert pa.allocate_buffer(2 * MEMORY).size == 2 * MEMORY
