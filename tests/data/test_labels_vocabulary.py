from pathlib import Path

import pytest

from clipclean.data import read_classes, read_templates
from clipclean.errors import RefusedInput, UsageError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.txt"


def test_classes_are_lines_without_blanks_and_comments(file: Path) -> None:
    file.write_bytes("\ufeff# animals\ncat\r\n\n  golden  retriever \n#dog\n".encode())
    assert read_classes(file) == ["cat", "golden retriever"]


def test_repeated_classes_are_named(file: Path) -> None:
    file.write_text("cat\ndog\ncat\ndog\nbird\n")
    with pytest.raises(UsageError, match="'cat', 'dog' more than once"):
        read_classes(file)


@pytest.mark.parametrize("content", ["", "# only\n", "cat\n"])
def test_fewer_than_two_classes_are_refused(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(UsageError, match="two at least"):
        read_classes(file)


def test_templates_have_one_placeholder(file: Path) -> None:
    file.write_text("# simple\na photo of a {}.\nart of the {c}.\n")
    assert read_templates(file) == ["a photo of a {}.", "art of the {}."]


@pytest.mark.parametrize(
    "line", ["a photo", "{} and {}", "{0.__class__}", "a {} {x}", "a {{}}", "a {} and {c}", "a {!r:>99999999}"]
)
def test_other_lines_are_refused_and_named(file: Path, line: str) -> None:
    file.write_text(f"a photo of a {{}}.\n{line}\n")
    with pytest.raises(UsageError) as caught:
        read_templates(file)
    assert line.replace("{c}", "{}") in str(caught.value)


def test_an_empty_list_of_templates_is_refused(file: Path) -> None:
    file.write_text("")
    with pytest.raises(UsageError, match="It holds none"):
        read_templates(file)


@pytest.mark.parametrize("read", [read_classes, read_templates])
def test_a_file_that_cannot_be_read_as_text_is_refused(file: Path, read) -> None:
    with pytest.raises(RefusedInput, match="no such file"):
        read(file)
    file.write_bytes(b"caf\xe9\n")
    with pytest.raises(RefusedInput, match="UTF-8"):
        read(file)
    file.write_bytes(b"x" * 10_000_001)
    with pytest.raises(RefusedInput, match="more than 10,000,000 bytes"):
        read(file)
