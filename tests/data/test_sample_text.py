import json

import pytest
from cases import each
from hypothesis import given
from hypothesis import strategies as st

from clipclean import untrusted
from clipclean.data import sample


@each(
    ("raw", "clean"),
    [
        ("  a\tdog \n\r\n runs\u2028far ", "a dog runs far"),
        ("a\x00\x1b[31m dog\x07\x7f", "a[31m dog"),
        ("a \x00 dog", "a dog"),
        ("\ufeffabc\u202egpj.exe", "abcgpj.exe"),
        ("half \ud800 pair", "half pair"),
        ("👩\u200d🚀 näïve", "👩\u200d🚀 näïve"),  # a joined emoji stays whole
        ("\x00\x01\t", ""),
    ],
)
def test_a_caption_is_one_clean_line(raw: str, clean: str) -> None:
    assert sample.caption(raw) == clean


def test_a_caption_is_cut_between_characters() -> None:
    # three bytes each: 3333 characters are 9999 bytes
    assert sample.caption("€" * 5000) == "€" * 3333


@given(st.text(st.characters()))
def test_a_caption_is_bounded_encodable_and_stays_itself(raw: str) -> None:
    clean = sample.caption(raw)
    assert len(clean.encode()) <= sample.CAPTION_BYTES
    assert sample.caption(clean) == clean
    assert len(clean.splitlines()) <= 1


@given(st.text(st.characters()))
def test_a_name_is_printed_with_escapes(raw: str) -> None:
    assert untrusted.printable(raw).isprintable()


def test_printable_names_stay_as_they_are() -> None:
    assert untrusted.printable("Bäume/a b.jpg") == "Bäume/a b.jpg"
    assert untrusted.printable("a\nb\udc80") == r"a\nb\udc80"


def test_a_record_is_a_json_object() -> None:
    assert sample.record('{"a": 1, "b": [2]}') == {"a": 1, "b": [2]}


@pytest.mark.parametrize(
    "raw",
    [
        '{"a": 1, "a": 2}',
        "[1]",
        "1",
        "{",
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        json.dumps({"a": "x" * sample.TEXT_BYTES}),
    ],
)
def test_what_is_no_bounded_json_object_is_an_error(raw: str) -> None:
    with pytest.raises(ValueError, match="JSON"):
        sample.record(raw)
