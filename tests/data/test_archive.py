"""Archives are written by zipfile, tarfile and shutil."""

import bz2
import gzip
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from clipclean.data import CleanSet, ImageCache, ReadLimits, archive, read
from clipclean.errors import RefusedInput


def clean(path: Path, limits: ReadLimits) -> CleanSet:
    return read(path, images=ImageCache(limits))


@pytest.mark.parametrize("form", ["zip", "gztar", "bztar", "xztar"])
@pytest.mark.parametrize("base", [None, "folder"])
def test_an_archive_of_a_folder_reads_like_the_folder(
    tmp_path: Path, folder: Path, limits: ReadLimits, form: str, base: str | None
) -> None:
    root = folder.parent if base else folder
    (tmp_path / "out").mkdir()
    path = Path(shutil.make_archive(str(tmp_path / "out" / "packed"), form, root, base))
    found, plain = clean(path, limits), clean(folder, limits)
    assert [(pair.key, pair.caption) for pair in found.pairs] == [(pair.key, pair.caption) for pair in plain.pairs]
    assert found.digest == plain.digest
    assert sorted(path.parent.iterdir()) == [path]  # unpacked elsewhere
    assert not any(pair.image.is_file for pair in found.pairs)


def test_an_archive_may_hold_any_format_and_its_copies_go_with_the_data(
    tmp_path: Path, tar, shard_members: dict, samples: dict, limits: ReadLimits
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(tar(tmp_path / "b.tar", shard_members), "shards/b.tar")
        packed.writestr("__MACOSX/shards/._b.tar", b"x")
    found = clean(tmp_path / "a.zip", limits)
    assert found.format == "webdataset"
    assert [pair.caption for pair in found.pairs] == [caption for _, caption in samples.values()]
    copy = found.pairs[0].image.source.path
    del found
    assert not copy.exists()


def test_what_is_left_out_is_counted(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("x/1.png", encoded(1, "PNG"))
        packed.writestr("x/1.txt", "words")
        packed.writestr("x/run.py", "print()")
        packed.writestr("../up.png", encoded(2, "PNG"))
        link = zipfile.ZipInfo("x/link.png")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
    found = clean(tmp_path / "a.zip", limits)
    assert [pair.key for pair in found.pairs] == ["1.png"]
    assert {kind.reason: kind.examples for kind in found.ignored} == {
        ".py files, which are never read": ("x/run.py",),
        "members whose names lead out of the archive, or cannot be printed": ("../up.png",),
        "members that are links, devices or sparse files": ("x/link.png",),
    }


def test_more_than_honest_archives_unpack_to_is_refused_before_it_is_written(
    tmp_path: Path, limits: ReadLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "SPARE", 1_000_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(20):
            packed.writestr(f"{number}.png", bytes(1_000_000))
    with pytest.raises(RefusedInput, match="100 times its size"):
        clean(tmp_path / "a.zip", limits)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
@pytest.mark.parametrize("kind", ["hidden", "never read"])
def test_what_is_left_out_of_a_tar_counts_too_since_it_must_be_unpacked_to_get_behind_it(
    tmp_path: Path, limits: ReadLimits, monkeypatch: pytest.MonkeyPatch, kind: str, compress
) -> None:
    """A small archive of zeros would keep the reader busy for hours, and none of it would be written."""
    monkeypatch.setattr(archive, "SPARE", 1_000_000)
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as packed:
        for number in range(20):
            member = tarfile.TarInfo(".1.png" if kind == "hidden" else f"{number}.npy")
            member.size = 1_000_000
            packed.addfile(member, io.BytesIO(bytes(1_000_000)))
    (tmp_path / "a.tar.gz").write_bytes(compress(whole.getvalue()))
    with pytest.raises(RefusedInput, match="100 times its size"):
        clean(tmp_path / "a.tar.gz", limits)


def test_two_members_of_one_name_are_refused(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as packed:
        for _ in range(2):
            member = tarfile.TarInfo("1.png")
            member.size = len(encoded(1, "PNG"))
            packed.addfile(member, io.BytesIO(encoded(1, "PNG")))
    with pytest.raises(RefusedInput, match=r"damaged or encrypted: 1\.png: file exists"):
        clean(tmp_path / "a.tar.gz", limits)
