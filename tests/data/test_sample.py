"""Bytes and texts of one sample, as they are read from files."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipclean import untrusted
from clipclean.data import sample
from clipclean.data.sample import ImageSource, Unusable, open_regular, whole_file


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"12345")
    return path


def test_a_file_or_a_stretch_of_it_is_read_up_to_a_limit_and_printed_without_control_characters(file):
    assert whole_file(file) == ImageSource(file, 0, 5)
    assert whole_file(file).load(max_bytes=5) == b"12345"
    assert ImageSource(file, 2, 2).load(max_bytes=10) == b"34"
    with pytest.raises(Unusable, match=r"11 .*10"):
        ImageSource(file.parent / "never-opened", 0, 11).load(max_bytes=10)
    assert str(ImageSource(Path("a\x1b[2J.jpg"), 0, 1)) == r"a\x1b[2J.jpg"
    assert "1,536" in str(ImageSource(Path("s.tar"), 1536, 1))
    source = whole_file(file)
    for content in (b"1234", b"123456"):  # it shrank or grew
        file.write_bytes(content)
        with pytest.raises(Unusable, match="changed"):
            source.load(max_bytes=100)


@pytest.mark.parametrize("read", [whole_file, open_regular])
@pytest.mark.parametrize("name", ["pipe", ".", "/dev/null", "missing.jpg", "nul\0.jpg", "x" * 300])
def test_what_is_no_regular_file_is_refused_without_waiting_for_a_writer(tmp_path, read, name):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unusable) as caught:
        read(tmp_path / name)
    assert str(caught.value).isprintable()
    assert str(caught.value)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  a\tdog \n\r\n runs\u2028far ", "a dog runs far"),
        ("a\x00\x1b[31m dog\x07\x7f", "a[31m dog"),
        ("a \x00 dog", "a dog"),
        ("\ufeffabc\u202egpj.exe", "abcgpj.exe"),
        ("half \ud800 pair", "half pair"),
        ("👩\u200d🚀 näïve", "👩\u200d🚀 näïve"),  # a joined emoji stays whole
        ("\x00\x01\t", ""),
        ("€" * 5000, "€" * 3333),  # cut between characters: three bytes each, 3333 are 9999 bytes
    ],
)
def test_a_caption_is_one_clean_line(raw, clean):
    assert sample.caption(raw) == clean


@given(st.text(st.characters()))
def test_a_caption_is_bounded_encodable_and_stays_itself_and_a_name_is_printed_with_escapes(raw):
    clean = sample.caption(raw)
    assert len(clean.encode()) <= sample.CAPTION_BYTES
    assert sample.caption(clean) == clean
    assert len(clean.splitlines()) <= 1
    assert untrusted.printable(raw).isprintable()


@pytest.mark.parametrize(
    "raw",
    [
        '{"a": 1, "a": 2}',
        "[1]",
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        json.dumps({"a": "x" * sample.TEXT_BYTES}),
    ],
    ids=lambda raw: raw[:20],
)
def test_a_record_is_a_bounded_json_object(raw):
    assert sample.record('{"a": 1, "b": [2]}') == {"a": 1, "b": [2]}
    with pytest.raises(ValueError, match="JSON"):
        sample.record(raw)
