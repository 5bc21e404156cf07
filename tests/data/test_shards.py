"""Shards are read in place, as webdataset reads them. What is hostile in a tar: tests/hostile, and lengths here."""

import tarfile

import pytest

from clipclean.errors import RefusedInput


def captions(clean):
    return {pair.key: pair.caption for pair in clean.pairs}


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
        theirs = {
            sample["__key__"]: (
                next(sample[kind] for kind in ("jpg", "png", "jpeg", "webp") if kind in sample),
                sample["txt"].decode(),
            )
            for sample in tariterators.group_by_keys(files)
        }
    ours = {pair.key: (pair.image.load(), pair.caption) for pair in reading(path).pairs}
    assert ours == theirs
    assert len(ours) == 7


def test_folder_and_pattern_name_several_shards(tmp_path, tar, samples, reading):
    for number, (name, (content, words)) in enumerate(samples.items()):
        tar(tmp_path / f"s-{number:03d}.tar", {f"x.{name.split('.')[1]}": content, "x.txt": words.encode()})
    (tmp_path / "nshards.txt").write_text("4")
    before = sorted(tmp_path.iterdir())
    whole = reading(tmp_path)
    assert [pair.key for pair in whole.pairs] == [f"s-00{n}.tar/x" for n in range(4)]
    assert sorted(tmp_path.iterdir()) == before  # nothing was extracted
    for pattern in ("s-{000..003}.tar", "*.tar"):
        assert reading(tmp_path / pattern).digest == whole.digest
    assert len(reading(tmp_path / "s-{001..002}.tar")) == 2
    with pytest.raises(RefusedInput, match=r"2 of the 6 .*'s-004\.tar', 's-005\.tar'"):
        reading(tmp_path / "s-{000..005}.tar")


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
    assert captions(reading(path)) == {name: "words"}
