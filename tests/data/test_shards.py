import io
import json
import pickle  # noqa: TID251 # builds the hostile member that must never be loaded
import tarfile
from pathlib import Path

import pytest

from clipclean.data import CleanSet, ImageCache, ReadLimits, read
from clipclean.errors import RefusedInput


def read_pairs(path: Path, limits: ReadLimits, **keys: str) -> CleanSet:
    return read(path, images=ImageCache(limits), **({"image_key": None, "caption_key": None} | keys))


def captions(clean: CleanSet) -> dict[str, str]:
    return {pair.key: pair.caption for pair in clean.pairs}


def test_a_shard_is_read_in_place(tmp_path: Path, tar, shard_members: dict, samples: dict, limits: ReadLimits) -> None:
    path = tar(tmp_path / "a.tar", shard_members)
    clean = read_pairs(path, limits)
    assert clean.format == "webdataset"
    assert captions(clean) == {Path(name).stem: words for name, (_, words) in samples.items()}
    contents = {content for content, _ in samples.values()}
    assert {pair.image.load() for pair in clean.pairs} == contents
    assert sorted(tmp_path.iterdir()) == [path]  # nothing was extracted


def test_webdataset_reads_the_same_samples(
    tmp_path: Path, tar, shard_members: dict, encoded, limits: ReadLimits
) -> None:
    tariterators = pytest.importorskip("webdataset.tariterators")
    extra = {
        "sub/dir.d/x.JPG": encoded(5),
        "sub/dir.d/x.txt": b"upper case",
        "./dot.jpg": encoded(6),
        "./dot.txt": b"dot",
        "__meta__/m.jpg": encoded(7),
        "__meta__/m.txt": b"no",
    }
    path = tar(tmp_path / "a.tar", shard_members | extra)
    with path.open("rb") as stream:
        files = tariterators.tar_file_expander([{"url": "a.tar", "stream": stream}])
        samples = list(tariterators.group_by_keys(files))
    theirs = {
        sample["__key__"]: (
            next(sample[kind] for kind in ("jpg", "png", "jpeg", "webp") if kind in sample),
            sample["txt"].decode(),
        )
        for sample in samples
    }
    ours = {pair.key: (pair.image.load(), pair.caption) for pair in read_pairs(path, limits).pairs}
    assert ours == theirs
    assert len(ours) == 6


def test_folder_and_pattern_name_several_shards(tmp_path: Path, tar, samples: dict, limits: ReadLimits) -> None:
    for number, (name, (content, words)) in enumerate(samples.items()):
        kind = name.split(".")[1]
        tar(tmp_path / f"s-{number:03d}.tar", {f"x.{kind}": content, "x.txt": words.encode()})
    (tmp_path / "nshards.txt").write_text("4")
    whole = read_pairs(tmp_path, limits)
    assert [pair.key for pair in whole.pairs] == [f"s-00{n}.tar/x" for n in range(4)]
    assert read_pairs(tmp_path / "s-{000..003}.tar", limits).digest == whole.digest
    assert len(read_pairs(tmp_path / "s-{001..002}.tar", limits)) == 2
    with pytest.raises(RefusedInput, match=r"2 of the 6 shards .* missing: 's-004\.tar', 's-005\.tar'"):
        read_pairs(tmp_path / "s-{000..005}.tar", limits)


def test_img2dataset_shards_are_read(tmp_path: Path, tar, encoded, limits: ReadLimits) -> None:
    sidecar = json.dumps({"caption": "from json", "key": "000000001", "status": "success", "exif": "{}"}).encode()
    members = {
        "000000000.jpg": encoded(0),
        "000000000.txt": b"from text",
        "000000000.json": sidecar,
        "000000001.jpg": encoded(1),
        "000000001.json": sidecar,
    }
    path = tar(tmp_path / "00000.tar", members)
    assert captions(read_pairs(path, limits)) == {"000000000": "from text", "000000001": "from json"}
    assert captions(read_pairs(path, limits, caption_key="caption")) == dict.fromkeys(
        ("000000000", "000000001"), "from json"
    )


def test_a_class_file_is_the_label(tmp_path: Path, tar, encoded, limits: ReadLimits) -> None:
    path = tar(tmp_path / "0.tar", {"a.webp": encoded(0, "WEBP"), "a.txt": b"words", "a.cls": b"7\n"})
    assert [pair.label for pair in read_pairs(path, limits).pairs] == ["7"]


def test_of_several_images_the_first_known_extension_or_the_asked_one_counts(
    tmp_path: Path, tar, encoded, limits: ReadLimits
) -> None:
    members = {"a.png": encoded(0, "PNG"), "a.jpg": encoded(1), "a.seg.png": encoded(2, "PNG"), "a.txt": b"words"}
    path = tar(tmp_path / "a.tar", members)
    clean = read_pairs(path, limits)
    assert clean.pairs[0].image.load() == members["a.jpg"]
    assert {kind.reason for kind in clean.ignored} == {
        "further images of a sample",
        ".png files, which are never read",
    }
    asked = read_pairs(path, limits, image_key="png")
    assert asked.pairs[0].image.load() == members["a.png"]


def test_a_sample_with_two_members_of_one_kind_is_skipped(
    tmp_path: Path, tar, shard_members: dict, limits: ReadLimits
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, content in [*shard_members.items(), ("z.txt", b"one"), ("z.TXT", b"two")]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (why,) = read_pairs(tmp_path / "a.tar", limits).skipped
    assert (why.key, why.reason) == ("z", "two members have the extension .txt")


class _Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.mark,))


def test_members_that_could_run_are_counted_and_never_decoded(
    tmp_path: Path, tar, shard_members: dict, limits: ReadLimits
) -> None:
    payload = pickle.dumps(_Payload(tmp_path / "executed"))
    hostile = {"0005.pkl": payload, "0005.pickle": payload, "0005.pth": payload, "0005.npy": payload, "0005.py": b"1/0"}
    clean = read_pairs(tar(tmp_path / "a.tar", shard_members | hostile), limits)
    assert len(clean) == 4
    assert {kind.reason: kind.count for kind in clean.ignored} == {
        f"{suffix} files, which are never read": 1 for suffix in (".pkl", ".pickle", ".pth", ".npy", ".py")
    }
    assert not (tmp_path / "executed").exists()


def test_names_that_climb_links_and_devices_are_ignored(
    tmp_path: Path, encoded, shard_members: dict, limits: ReadLimits
) -> None:
    path = tmp_path / "in" / "a.tar"
    path.parent.mkdir()
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(encoded(9))
    with tarfile.open(path, "w") as archive:
        for name in ("../x.jpg", "/abs.jpg", "a/../../y.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(encoded(5))
            archive.addfile(member, io.BytesIO(encoded(5)))
        for name, kind in (
            ("l.jpg", tarfile.SYMTYPE),
            ("h.jpg", tarfile.LNKTYPE),
            ("d.jpg", tarfile.CHRTYPE),
            ("f.jpg", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(secret)
            archive.addfile(member)
        for name, content in shard_members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    clean = read_pairs(path, limits)
    assert len(clean) == 4
    assert {kind.reason: kind.count for kind in clean.ignored} == {
        "members whose names lead out of the archive": 3,
        "members that are links, devices or sparse files": 4,
    }
    assert sorted(tmp_path.iterdir()) == [path.parent, secret]


def test_a_truncated_shard_is_refused_at_any_length(
    tmp_path: Path, tar, shard_members: dict, limits: ReadLimits
) -> None:
    path = tar(tmp_path / "a.tar", shard_members)
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512  # where the end mark begins
    for length in [*range(0, end, 300), end, end + 511]:
        path.write_bytes(whole[:length])
        with pytest.raises(RefusedInput, match=r"a\.tar"):
            read_pairs(path, limits)
    path.write_bytes(whole[: end + 1024])
    assert len(read_pairs(path, limits)) == 4


def test_a_damaged_header_does_not_end_the_shard_early(
    tmp_path: Path, tar, shard_members: dict, limits: ReadLimits
) -> None:
    path = tar(tmp_path / "a.tar", shard_members)
    content = bytearray(path.read_bytes())
    place = content.index(b"0003.webp")
    content[place : place + 4] = b"9999"  # the checksum no longer fits
    path.write_bytes(content)
    with pytest.raises(RefusedInput, match="goes on after its last readable member"):
        read_pairs(path, limits)


def test_two_tars_in_one_file_are_refused(tmp_path: Path, tar, shard_members: dict, limits: ReadLimits) -> None:
    path = tar(tmp_path / "a.tar", shard_members)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(RefusedInput, match="several tar files in one"):
        read_pairs(path, limits)


def _pax(fields: bytes, *, size: int | None = None, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """An extended header by hand; ``fields`` are records of "<length> <key>=<value>\\n"."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = kind, len(fields) if size is None else size
    return header.tobuf(tarfile.USTAR_FORMAT) + fields + b"\0" * (-len(fields) % 512)


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        (_pax(b"17 size=-1000000\n"), "a member claims -1,000,000 bytes"),  # the loop of CVE-2025-8194
        (_pax(b"13 size=-512\n"), "a member claims -512 bytes"),
        (_pax(b"13 size=-512\n", kind=tarfile.XGLTYPE), "a member claims -512 bytes"),
        (_pax(b"1" * 20_000), "a header claims 20,000 bytes"),  # quadratic to parse, CVE-2024-6232
        (_pax(b"10 path=a\n", size=1 << 32), "a header claims 4,294,967,296 bytes"),
        (_pax(b"10 path=a\n") * 2000, "recursion"),
        (_pax(b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"), ""),
        (_pax(b"17 size=99999999\n"), "unexpected end of data"),
    ],
)
def test_hostile_headers_are_refused(
    tmp_path: Path, tar, shard_members: dict, limits: ReadLimits, head: bytes, complaint: str
) -> None:
    path = tar(tmp_path / "a.tar", shard_members)
    path.write_bytes(head + path.read_bytes())
    with pytest.raises(RefusedInput, match=f"a.tar is truncated or no sound tar file: .*{complaint}"):
        read_pairs(path, limits)


def test_a_sparse_member_is_ignored(tmp_path: Path, tar, shard_members: dict, limits: ReadLimits) -> None:
    path = tar(tmp_path / "a.tar", shard_members)
    # version 0.1 of the format: a map of one stretch of 0 bytes, for a member that then has none
    fields = b"22 GNU.sparse.map=0,0\n" + b"21 GNU.sparse.size=9\n"
    member = tarfile.TarInfo("hole.jpg")
    path.write_bytes(_pax(fields) + member.tobuf(tarfile.USTAR_FORMAT) + path.read_bytes())
    clean = read_pairs(path, limits)
    assert len(clean) == 4
    assert [kind.reason for kind in clean.ignored] == ["members that are links, devices or sparse files"]


def test_long_names_are_read(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    name = "d" * 90 + "/" + "é" * 100
    for tar_format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        path = tmp_path / f"{tar_format}.tar"
        with tarfile.open(path, "w", format=tar_format) as archive:
            for kind, content in (("jpg", encoded(1)), ("txt", b"words")):
                member = tarfile.TarInfo(f"{name}.{kind}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        assert captions(read_pairs(path, limits)) == {name: "words"}


def test_a_first_member_named_like_a_zip_is_no_zip(tmp_path: Path, tar, encoded, limits: ReadLimits) -> None:
    path = tar(tmp_path / "a.tar", {"PK-1.jpg": encoded(1), "PK-1.txt": b"words"})
    assert captions(read_pairs(path, limits)) == {"PK-1": "words"}


def test_a_text_member_that_is_too_long_spoils_its_sample_only(
    tmp_path: Path, tar, shard_members: dict, encoded, limits: ReadLimits
) -> None:
    members = shard_members | {"z.jpg": encoded(5), "z.txt": b"x" * 1_000_001}
    (why,) = read_pairs(tar(tmp_path / "a.tar", members), limits).skipped
    assert (why.key, why.reason) == ("z", "its .txt has more than 1,000,000 bytes")
