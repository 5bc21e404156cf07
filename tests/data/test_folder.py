import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipclean.data import ImageCache, ReadLimits, read
from clipclean.data.folder import read_folder
from clipclean.data.sample import DataRequest
from clipclean.errors import RefusedInput


def read_pairs(path: Path, limits: ReadLimits) -> dict[str, str]:
    clean = read(path, images=ImageCache(limits))
    return {pair.key: pair.caption for pair in clean.pairs}


def test_images_take_the_text_of_the_same_stem(folder: Path, limits: ReadLimits, samples: dict) -> None:
    assert read_pairs(folder, limits) == {name: caption for name, (_, caption) in samples.items()}


def test_subfolders_are_read_and_name_their_images(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    for name in ("b/cat/2.JPG", "a/dog/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(encoded(1))
        (tmp_path / name).with_suffix(".txt").write_text("words")
    clean = read(tmp_path, images=ImageCache(limits))
    assert [(pair.key, pair.label) for pair in clean.pairs] == [("a/dog/1.jpg", "dog"), ("b/cat/2.JPG", "cat")]


def test_only_the_last_suffix_is_replaced(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    (tmp_path / "dog.v2.jpg").write_bytes(encoded(1))
    (tmp_path / "dog.v2.txt").write_text("second version")
    assert read_pairs(tmp_path, limits) == {"dog.v2.jpg": "second version"}


def test_img2dataset_files_are_read(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    shard = tmp_path / "00000"
    shard.mkdir()
    (tmp_path / "00000_stats.json").write_text("{}")
    (tmp_path / "00000.parquet").write_bytes(b"PAR1")
    for number, texts in enumerate([{"txt": "from text"}, {}]):
        (shard / f"00000000{number}.jpg").write_bytes(encoded(number))
        values = {"caption": "from json", "url": "https://example.org", "status": "success", "width": 12}
        (shard / f"00000000{number}.json").write_text(json.dumps(values))
        for kind, words in texts.items():
            (shard / f"00000000{number}.{kind}").write_text(words)
    clean = read(tmp_path, images=ImageCache(limits))
    assert [pair.caption for pair in clean.pairs] == ["from text", "from json"]
    assert {kind.reason.split()[0]: kind.examples for kind in clean.ignored} == {
        ".parquet": ("00000.parquet",),
        "text": ("00000_stats.json",),
    }


def test_links_out_of_the_folder_are_named_and_not_followed(tmp_path: Path, folder: Path, encoded) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(encoded(9))
    (outside / "secret.txt").write_text("secret")
    (folder / "away.jpg").symlink_to(outside / "secret.jpg")
    (folder / "0001.txt").unlink()
    (folder / "0001.txt").symlink_to(outside / "secret.txt")
    (folder / "whole").symlink_to(outside)
    (folder / "inside.jpg").symlink_to("0001.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    entries = {entry.key: entry for entry in read_folder(folder, DataRequest()).entries}
    assert entries["away.jpg"].problem == "a symbolic link that leads out of the folder"
    assert entries["away.jpg"].image is None
    assert entries["0001.jpg"].caption == ""
    assert entries["inside.jpg"].image is not None
    assert entries["loop.jpg"].problem
    assert entries["dangling.jpg"].problem == "no such file or directory"
    assert not any("secret" in entry.key for entry in entries.values())
    reasons = {kind.reason: kind.examples for kind in read_folder(folder, DataRequest()).ignored()}
    assert reasons["symbolic links to folders"] == ("whole",)
    assert reasons["files: a symbolic link that leads out of the folder"] == ("0001.txt",)


def test_pipes_are_skipped_without_waiting(folder: Path, limits: ReadLimits) -> None:
    os.mkfifo(folder / "0009.jpg")
    os.mkfifo(folder / "0009.txt")
    clean = read(folder, images=ImageCache(limits))
    assert [(why.key, why.reason) for why in clean.skipped] == [("0009.jpg", "not a regular file")]
    assert len(clean) == 4


def test_hidden_files_are_ignored(folder: Path, limits: ReadLimits, encoded) -> None:
    (folder / "._0001.jpg").write_bytes(b"resource fork")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.jpg").write_bytes(encoded(7))
    clean = read(folder, images=ImageCache(limits))
    assert len(clean) == 4
    assert not clean.skipped
    assert [(kind.reason, kind.count) for kind in clean.ignored] == [("hidden files or folders", 2)]


def test_names_with_control_characters_are_escaped(tmp_path: Path, limits: ReadLimits, encoded) -> None:
    (tmp_path / "a\x1b[2J\n.jpg").write_bytes(encoded(1))
    (tmp_path / "a\x1b[2J\n.txt").write_text("words")
    assert read_pairs(tmp_path, limits) == {r"a\x1b[2J\n.jpg": "words"}


def test_texts_that_are_too_long_or_not_utf8_are_named(folder: Path, limits: ReadLimits) -> None:
    (folder / "0001.txt").write_bytes(b"x" * 1_000_001)
    (folder / "0002.txt").write_bytes(b"caf\xe9")
    clean = read(folder, images=ImageCache(limits))
    reasons = {why.key: why.reason for why in clean.skipped}
    assert reasons == {
        "0001.jpg": "its .txt cannot be read: 1,000,001 bytes, and 1,000,000 are allowed",
        "0002.png": "a text beside the image is not UTF-8",
    }


def test_a_folder_that_cannot_be_listed_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(RefusedInput, match="cannot be listed: permission denied"):
        read_folder(tmp_path, DataRequest())


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder 1,200 levels deep; taken down by hand, since shutil.rmtree recurses."""
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    yield tmp_path
    for _ in range(1200):
        os.chdir("..")
        Path("d").rmdir()


def test_a_deep_tree_is_no_problem(deep: Path) -> None:
    assert read_folder(deep, DataRequest()).entries == []
