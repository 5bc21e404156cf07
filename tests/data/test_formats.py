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
    ],
)
def test_patterns_expand_as_webdataset_expands_them(pattern, names):
    assert formats.expand(Path(pattern)) == [Path(name) for name in names]
    assert expand_urls(pattern) == names


def test_a_wildcard_stands_for_what_is_there_in_order_and_the_environment_for_nothing(tmp_path, monkeypatch):
    for name in ("b.tar", "a.tar", "c.txt"):
        (tmp_path / name).touch()
    assert formats.expand(tmp_path / "*.tar") == [tmp_path / "a.tar", tmp_path / "b.tar"]
    with pytest.raises(RefusedInput, match=r"\*\.parquet"):
        formats.expand(tmp_path / "*.parquet")
    monkeypatch.setenv("WDS_SECRET", "leaked")
    assert formats.expand(Path("${SECRET}.tar")) == [Path("${SECRET}.tar")]
    for name in ("a{0..1}.tar", "b*.tar"):  # a path that is there is no pattern
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


@pytest.fixture
def listed(tmp_path):
    def write(content):
        (tmp_path / "list.txt").write_text(content)
        return tmp_path / "list.txt"

    return write


def test_classes_and_templates_are_lines_without_blanks_and_comments(listed, tmp_path):
    assert read_classes(listed("\ufeff# animals\ncat\r\n\n  golden  retriever \n#dog\n")) == ["cat", "golden retriever"]
    forms = listed("# simple\na photo of a {}.\nart of the {c}.\n")
    assert read_templates(forms) == ["a photo of a {}.", "art of the {}."]
    for read in (read_classes, read_templates):  # other files that are none: tests/hostile
        with pytest.raises(RefusedInput, match="none"):
            read(tmp_path / "none")


@pytest.mark.parametrize(
    ("read", "content", "named"),
    [
        (read_classes, "cat\ndog\ncat\ndog\nbird\n", "'cat', 'dog'"),
        *((read_classes, content, "list.txt") for content in ("", "# only\n", "cat\n")),
        *(
            (read_templates, f"a photo of a {{}}.\n{line}\n", line.replace("{c}", "{}"))
            for line in ("a photo", "{} and {}", "{0.__class__}", "a {} {x}", "a {{}}", "a {} and {c}", "a {!r:>99}")
        ),
        (read_templates, "", "list.txt"),
    ],
)
def test_repeated_or_too_few_classes_and_templates_without_one_placeholder_are_refused(listed, read, content, named):
    with pytest.raises(UsageError) as caught:
        read(listed(content))
    assert named in str(caught.value)
