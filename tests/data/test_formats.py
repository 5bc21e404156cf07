"""Patterns of paths, lists of classes and templates, the parts of a sample, and shards."""

import sys
import tarfile
from pathlib import Path

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from webdataset.shardlists import expand_urls

from clipclean import untrusted
from clipclean.data import ImageCache, listing, read_classes, read_images, read_templates, sample
from clipclean.data.formats import CONTAINERS, READABLE_FORMATS, Container
from clipclean.data.sample import ImageSource, Unusable, whole_file
from clipclean.errors import RefusedInput, UsageError


def test_a_table_with_images_asks_for_pyarrow(tmp_path, monkeypatch, limits):
    (tmp_path / "pairs.parquet").write_bytes(b"PAR1" + bytes(600))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "clipclean.data.arrow", raising=False)
    with pytest.raises(UsageError, match="pip install pyarrow"):
        read_images(tmp_path / "pairs.parquet", images=ImageCache(limits))


@pytest.mark.parametrize(("mark", "is_read"), [(None, False), (b"ab", True), (b"bc", False)])
def test_a_kind_of_file_is_told_by_its_mark_if_it_has_one(mark, is_read):
    assert Container("x", "x", mark).tells(b"abc") is is_read


def test_a_refused_file_is_told_every_format():
    assert all(container.words in READABLE_FORMATS for container in CONTAINERS.values())


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
    assert listing.expand(Path(pattern)) == [Path(name) for name in names]
    assert expand_urls(pattern) == names


def touch(folder, *names):
    for name in names:
        (folder / name).touch()


def test_a_wildcard_stands_for_what_is_there_in_order(tmp_path):
    touch(tmp_path, "b.tar", "a.tar", "c.txt")
    assert listing.expand(tmp_path / "*.tar") == [tmp_path / "a.tar", tmp_path / "b.tar"]


def test_a_wildcard_that_matches_nothing_is_refused(tmp_path):
    touch(tmp_path, "b.tar", "a.tar", "c.txt")
    with pytest.raises(RefusedInput, match=r"\*\.parquet"):
        listing.expand(tmp_path / "*.parquet")


def test_a_variable_of_the_environment_is_no_pattern(monkeypatch):
    monkeypatch.setenv("WDS_SECRET", "leaked")
    assert listing.expand(Path("${SECRET}.tar")) == [Path("${SECRET}.tar")]


@pytest.mark.parametrize("name", ["a{0..1}.tar", "b*.tar"])
def test_a_path_that_is_there_is_no_pattern(tmp_path, name):
    touch(tmp_path, "b.tar", "a.tar", name)
    assert listing.expand(tmp_path / name) == [tmp_path / name]


@pytest.mark.parametrize(
    ("read", "content", "entries"),
    [
        (read_classes, "\ufeff# animals\ncat\r\n\n  golden  retriever \n#dog\n", ["cat", "golden retriever"]),
        (read_templates, "# simple\na photo of a {}.\nart of the {c}.\n", ["a photo of a {}.", "art of the {}."]),
    ],
)
def test_a_list_is_read_without_comments_or_blanks(tmp_path, read, content, entries):
    assert read(tiny.written(tmp_path / "list.txt", content)) == entries


@pytest.mark.parametrize("read", [read_classes, read_templates])
def test_a_list_that_is_missing_is_refused(tmp_path, read):
    with pytest.raises(RefusedInput, match="none"):  # other files that are none: tests/hostile
        read(tmp_path / "none")


# Bytes and texts of one sample, as they are read from files.


def test_a_source_is_read_as_a_stretch_of_its_file(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"12345")
    assert whole_file(file) == ImageSource(file, 0, 5)
    assert whole_file(file).load(max_bytes=5) == b"12345"
    assert ImageSource(file, 2, 2).load(max_bytes=10) == b"34"


def test_a_source_longer_than_the_limit_is_never_opened(tmp_path):
    with pytest.raises(Unusable, match=r"11 .*10"):
        ImageSource(tmp_path / "never-opened", 0, 11).load(max_bytes=10)


def test_a_source_of_images_is_printed_without_control_characters():
    assert str(ImageSource(Path("a\x1b[2J.jpg"), 0, 1)) == r"a\x1b[2J.jpg"
    assert "1,536" in str(ImageSource(Path("s.tar"), 1536, 1))


def test_a_file_that_changed_in_length_is_not_used(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"12345")
    source = whole_file(file)
    for content in (b"1234", b"123456"):  # it shrank or grew
        file.write_bytes(content)
        with pytest.raises(Unusable, match="changed"):
            source.load(max_bytes=100)


def test_a_record_is_read_up_to_a_limit():
    assert sample.record('{"a": 1, "b": [2]}') == {"a": 1, "b": [2]}
    with pytest.raises(ValueError, match="more than 1,000,000"):
        sample.record(" " * (sample.MAX_TEXT_BYTES + 1))


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  a\tdog \n\r\n runs\u2028far ", "a dog runs far"),
        ("a\x00\x1b[31m \x00 dog\x07\x7f", "a[31m dog"),
        ("half \ud800 pair", "half pair"),
        ("👩\u200d🚀 näïve", "👩\u200d🚀 näïve"),  # a joined emoji stays whole
        ("€" * 5000, "€" * 3333),  # cut between characters: three bytes each, 3333 are 9999 bytes
    ],
)
def test_a_caption_is_one_clean_line(raw, clean):
    assert sample.caption(raw) == clean


@given(st.text(st.characters()))
def test_any_text_becomes_a_caption_of_one_bounded_line(raw):
    clean = sample.caption(raw)
    assert len(clean.encode()) <= sample.CAPTION_BYTES
    assert len(clean.splitlines()) <= 1


@given(st.text(st.characters()))
def test_a_clean_caption_stays_as_it_is(raw):
    clean = sample.caption(raw)
    assert sample.caption(clean) == clean


@given(st.text(st.characters()))
def test_any_text_is_printed_with_escapes(raw):
    assert untrusted.printable(raw).isprintable()


# Shards are read in place, as webdataset reads them. What is hostile in a tar: tests/hostile, and lengths here.


def test_webdataset_reads_the_same_samples(tmp_path, tar, shard_members, encoded, reading):
    tariterators = pytest.importorskip("webdataset.tariterators")
    extra = {
        "sub/dir.d/x.JPG": encoded(5),
        "sub/dir.d/x.txt": b"upper case",
        "./dot.jpg": encoded(6),
        "./dot.txt": b"dot",
        "__meta__/m.jpg": encoded(7),
        "__meta__/m.txt": b"no",
        "PK-1.jpg": encoded(8),  # like a zip
        "PK-1.txt": b"words",
    }
    path = tar(tmp_path / "a.tar", dict(reversed(extra.items())) | shard_members)
    with path.open("rb") as stream:
        files = tariterators.tar_file_expander([{"url": "a.tar", "stream": stream}])
        theirs = {each["__key__"]: each for each in tariterators.group_by_keys(files)}
    ours = {pair.key: (pair.image.load(), pair.caption.encode()) for pair in reading(path).pairs}
    kinds = ("jpg", "png", "jpeg", "webp")
    assert ours == {key: (next(filter(None, map(each.get, kinds))), each["txt"]) for key, each in theirs.items()}
    assert len(ours) == 7


@pytest.fixture
def shards(tmp_path, tar, samples):
    """A folder of four shards with one sample each."""
    for number, (name, (content, words)) in enumerate(samples.items()):
        tar(tmp_path / f"s-{number:03d}.tar", {f"x.{name.split('.')[1]}": content, "x.txt": words.encode()})
    (tmp_path / "nshards.txt").write_text("4")
    return tmp_path


def test_a_folder_names_its_shards_in_order(shards, reading):
    assert [pair.key for pair in reading(shards).pairs] == [f"s-00{n}.tar/x" for n in range(4)]


def test_nothing_is_extracted_from_shards(shards, reading):
    before = sorted(shards.iterdir())
    clean = reading(shards)  # held, since what is copied out goes with it
    assert sorted(shards.iterdir()) == before
    assert len(clean) == 4


def test_a_pattern_names_the_shards_that_match_it(shards, reading):
    whole = reading(shards)
    for pattern in ("s-{000..003}.tar", "*.tar"):
        assert reading(shards / pattern).digest == whole.digest
    assert len(reading(shards / "s-{001..002}.tar")) == 2


def test_shards_of_a_pattern_that_are_missing_are_named(shards, reading):
    with pytest.raises(RefusedInput, match=r"2 of the 6 .*'s-004\.tar', 's-005\.tar'"):
        reading(shards / "s-{000..005}.tar")


def test_of_several_images_the_first_known_extension_or_the_asked_one_counts(tmp_path, tar, encoded, reading):
    members = {"a.png": encoded(0, "PNG"), "a.jpg": encoded(1), "a.seg.png": encoded(2, "PNG"), "a.txt": b"words"}
    path = tar(tmp_path / "a.tar", members)
    clean = reading(path)
    assert clean.pairs[0].image.load() == members["a.jpg"]
    assert sum(kind.count for kind in clean.ignored) == 2
    assert reading(path, image_key="png").pairs[0].image.load() == members["a.png"]


def test_a_truncated_shard_is_refused_at_any_length(tmp_path, tar, shard_members, reading):
    path = tar(tmp_path / "a.tar", shard_members)
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512  # where the end mark begins
    for length in [*range(0, end, 300), end, end + 511]:
        path.write_bytes(whole[:length])
        with pytest.raises(RefusedInput, match=r"a\.tar"):
            reading(path)
    path.write_bytes(whole[: end + 1024])
    assert len(reading(path)) == 4


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_are_read(tmp_path, tar, encoded, reading, form, monkeypatch):
    monkeypatch.setattr(tarfile.TarFile, "format", form)
    name = "d" * 90 + "/" + "é" * 100
    path = tar(tmp_path / "a.tar", {f"{name}.jpg": encoded(1), f"{name}.txt": b"words"})
    assert {pair.key: pair.caption for pair in reading(path).pairs} == {name: "words"}
