from pathlib import Path

import pytest
from cases import each
from webdataset.shardlists import expand_urls

from clipclean.data import formats
from clipclean.errors import RefusedInput


@each(
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
def test_patterns_expand_as_webdataset_expands_them(pattern: str, names: list[str]) -> None:
    assert formats.expand(Path(pattern)) == [Path(name) for name in names]
    assert expand_urls(pattern) == names


def test_a_wildcard_stands_for_what_is_there_in_order(tmp_path: Path) -> None:
    for name in ("b.tar", "a.tar", "c.txt"):
        (tmp_path / name).touch()
    assert formats.expand(tmp_path / "*.tar") == [tmp_path / "a.tar", tmp_path / "b.tar"]
    with pytest.raises(RefusedInput, match="Nothing matches"):
        formats.expand(tmp_path / "*.parquet")


def test_a_path_that_is_there_is_no_pattern(tmp_path: Path) -> None:
    for name in ("a{0..1}.tar", "b*.tar", "c::d"):
        (tmp_path / name).touch()
        assert formats.expand(tmp_path / name) == [tmp_path / name]


@pytest.mark.parametrize(
    "pattern", ["{0..999999}{0..999999}.tar", "{a,b}" * 40, "{{0..99},{0..99}}" * 20, "{0..100000}"]
)
def test_what_explodes_is_refused_before_it_is_expanded(pattern: str) -> None:
    with pytest.raises(RefusedInput, match="100,000 are the most"):
        formats.expand(Path(pattern))


def test_the_environment_is_not_put_into_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDS_SECRET", "leaked")
    assert formats.expand(Path("${SECRET}.tar")) == [Path("${SECRET}.tar")]


@pytest.mark.parametrize("pattern", ["{0..3.tar", "{{0,1}.tar"])
def test_unbalanced_braces_are_refused(pattern: str) -> None:
    with pytest.raises(RefusedInput, match="not balanced"):
        formats.expand(Path(pattern))
