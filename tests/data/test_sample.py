import os
from pathlib import Path

import pytest

from clipclean.data.sample import ImageSource, Unusable, open_regular, whole_file


def test_a_whole_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"12345")
    source = whole_file(path)
    assert source == ImageSource(path, 0, 5)
    assert source.load(max_bytes=5) == b"12345"


def test_a_stretch_is_read_from_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"0123456789")
    assert ImageSource(path, 3, 4).load(max_bytes=10) == b"3456"


def test_more_bytes_than_allowed_are_not_read(tmp_path: Path) -> None:
    source = ImageSource(tmp_path / "never-opened", 0, 11)
    with pytest.raises(Unusable, match="11 bytes, and 10 are allowed"):
        source.load(max_bytes=10)


@pytest.mark.parametrize("content", [b"1234", b"123456"])
def test_a_file_that_shrank_or_grew_is_noticed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"12345")
    source = whole_file(path)
    path.write_bytes(content)
    with pytest.raises(Unusable, match="size changed"):
        source.load(max_bytes=100)


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    pipe = tmp_path / "a.jpg"
    os.mkfifo(pipe)
    with pytest.raises(Unusable, match="not a regular file"):
        whole_file(pipe)
    with pytest.raises(Unusable, match="not a regular file"):
        open_regular(pipe)


@pytest.mark.parametrize("name", ["missing.jpg", "nul\0.jpg", "x" * 300])
def test_a_file_that_cannot_be_opened_has_a_reason(tmp_path: Path, name: str) -> None:
    for read in (whole_file, open_regular):
        with pytest.raises(Unusable) as caught:
            read(tmp_path / name)
        assert str(caught.value)
        assert str(caught.value).isprintable()


def test_a_folder_or_device_is_no_image(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(Unusable, match="not a regular file"):
            whole_file(path)


def test_a_source_prints_without_control_characters() -> None:
    assert str(ImageSource(Path("a\x1b[2J.jpg"), 0, 1)) == r"a\x1b[2J.jpg"
    assert str(ImageSource(Path("s.tar"), 1536, 1)) == "s.tar at byte 1,536"
