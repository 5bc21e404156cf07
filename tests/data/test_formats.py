from pathlib import Path

import pytest

from clipclean.data import ImageCache, Limits, read
from clipclean.errors import RefusedInput, UsageError


def read_pairs(path: Path, limits: Limits, *, image_key: str | None = None) -> None:
    read(path, images=ImageCache(limits), image_key=image_key, caption_key=None)


@pytest.mark.parametrize(
    "address", ["pipe:cat a.tar", "http://example.org/a.tar", "s3://bucket/{0..9}.tar", "hf://datasets/x", "gs://x/y"]
)
def test_addresses_are_refused(address: str, limits: Limits) -> None:
    with pytest.raises(RefusedInput, match="local paths only"):
        read_pairs(Path(address), limits)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x1f\x8b\x08", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"PAR1", "Parquet"),
        (b"\x80\x04.", "pickle"),
        (b"\xff\xd8\xff\xe0", "single picture"),
    ],
)
def test_other_files_are_refused_by_content_with_the_way_out(
    tmp_path: Path, limits: Limits, content: bytes, kind: str
) -> None:
    (tmp_path / "data.csv").write_bytes(content)
    with pytest.raises(RefusedInput, match=f"{kind}.* turn it into one of these"):
        read_pairs(tmp_path / "data.csv", limits)


def test_a_tar_is_told_by_content(tmp_path: Path, tar, shard_members: dict, limits: Limits) -> None:
    read_pairs(tar(tmp_path / "shard.bin", shard_members), limits)


def test_a_file_called_tar_that_is_none_is_refused(tmp_path: Path, limits: Limits) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(RefusedInput, match="no sound tar file"):
        read_pairs(tmp_path / "a.tar", limits)


def test_a_missing_path_is_refused(tmp_path: Path, limits: Limits) -> None:
    with pytest.raises(RefusedInput, match="no such file"):
        read_pairs(tmp_path / "missing", limits)


def test_a_column_of_a_folder_without_a_table_makes_no_sense(folder: Path, limits: Limits) -> None:
    with pytest.raises(UsageError, match="folder of pictures without a table"):
        read_pairs(folder, limits, image_key="image")
