"""Patterns of paths, and lists of classes and templates."""

from pathlib import Path

import pytest
from webdataset.shardlists import expand_urls

from clipclean.data import formats, read_classes, read_templates
from clipclean.errors import RefusedInput, UsageError


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("s.tar", ["s.tar"]),
        ("s{8..11}.tar", ["s8.tar", "s9.tar", "s10.tar", "s11.tar"]),
        ("s{08..10}", ["s08", "s09", "s10"]),
        ("s{2..0}", ["s2", "s1", "s0"]),
        ("{0..1}/s{0..1}", ["0/s0", "0/s1", "1/s0", "1/s1"]),
        ("0000{0,1}.tar", ["00000.tar", "00001.tar"]),
        ("a{0..1}.tar::b.tar", ["a0.tar", "a1.tar", "b.tar"]),
    ],
)
def test_patterns_expand_as_webdataset_expands_them(pattern, names):
    assert formats.expand(Path(pattern)) == [Path(name) for name in names]
    assert expand_urls(pattern) == names


def test_a_wildcard_stands_for_what_is_there_in_order(tmp_path):
    for name in ("b.tar", "a.tar", "c.txt"):
        (tmp_path / name).touch()
    assert formats.expand(tmp_path / "*.tar") == [tmp_path / "a.tar", tmp_path / "b.tar"]
    with pytest.raises(RefusedInput, match=r"\*\.parquet"):
        formats.expand(tmp_path / "*.parquet")


@pytest.mark.parametrize("name", ["a{0..1}.tar", "b*.tar", "c::d"])
def test_a_path_that_is_there_is_no_pattern(tmp_path, name):
    (tmp_path / name).touch()
    assert formats.expand(tmp_path / name) == [tmp_path / name]


@pytest.mark.parametrize(
    "pattern",
    [
        *("{0..999999}{0..999999}.tar", "{a,b}" * 40, "{{0..99},{0..99}}" * 20, "{0..100000}"),  # explode
        *("{0..3.tar", "{{0,1}.tar"),  # are not balanced
    ],
)
def test_what_explodes_or_is_not_balanced_is_refused_before_it_is_expanded(pattern):
    with pytest.raises(RefusedInput):
        formats.expand(Path(pattern))


def test_the_environment_is_not_put_into_paths(monkeypatch):
    monkeypatch.setenv("WDS_SECRET", "leaked")
    assert formats.expand(Path("${SECRET}.tar")) == [Path("${SECRET}.tar")]


@pytest.fixture
def listed(tmp_path):
    def write(content):
        (tmp_path / "list.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "list.txt"

    return write


def test_classes_and_templates_are_lines_without_blanks_and_comments(listed):
    names = listed("\ufeff# animals\ncat\r\n\n  golden  retriever \n#dog\n")
    assert read_classes(names) == ["cat", "golden retriever"]
    forms = listed("# simple\na photo of a {}.\nart of the {c}.\n")
    assert read_templates(forms) == ["a photo of a {}.", "art of the {}."]


@pytest.mark.parametrize(
    ("content", "names"),
    [("cat\ndog\ncat\ndog\nbird\n", "'cat', 'dog'"), ("", ""), ("# only\n", ""), ("cat\n", "")],
)
def test_repeated_or_fewer_than_two_classes_are_refused(listed, content, names):
    with pytest.raises(UsageError, match=names or "list.txt"):
        read_classes(listed(content))


@pytest.mark.parametrize(
    "line", ["a photo", "{} and {}", "{0.__class__}", "a {} {x}", "a {{}}", "a {} and {c}", "a {!r:>99999999}", None]
)
def test_templates_have_one_placeholder(listed, line):
    with pytest.raises(UsageError) as caught:
        read_templates(listed(f"a photo of a {{}}.\n{line}\n" if line else ""))
    assert line is None or line.replace("{c}", "{}") in str(caught.value)


@pytest.mark.parametrize("read", [read_classes, read_templates])
@pytest.mark.parametrize("content", [None, b"caf\xe9\n", b"x" * 10_000_001], ids=["missing", "no UTF-8", "too long"])
def test_a_file_that_cannot_be_read_as_text_is_refused(tmp_path, listed, read, content):
    path = tmp_path / "none" if content is None else listed(content)
    with pytest.raises(RefusedInput, match=path.name):
        read(path)
