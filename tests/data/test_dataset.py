import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from clipclean.data import CleanSet, ImageCache, ReadLimits, read, read_images
from clipclean.errors import RefusedInput


def read_pairs(path: Path, limits: ReadLimits) -> CleanSet:
    return read(path, images=ImageCache(limits))


def test_the_digest_is_what_its_definition_says(folder: Path, samples: dict, limits: ReadLimits) -> None:
    lines = sorted(f"{hashlib.sha256(content).hexdigest()} {words}\n" for content, words in samples.values())
    assert read_pairs(folder, limits).digest == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_digest_is_the_same_in_every_container_and_order(
    tmp_path: Path, folder: Path, tar, shard_members: dict, samples: dict, limits: ReadLimits
) -> None:
    digests = {read_pairs(folder, limits).digest, read_pairs(tar(tmp_path / "a.tar", shard_members), limits).digest}
    for name, rows in (("a.tsv", [*samples]), ("b.tsv", [*samples][::-1])):
        lines = [
            "filepath\ttitle",
            *(f'{folder.name}/{row}\t"{samples[row][1].replace(chr(34), chr(34) * 2)}"' for row in rows),
        ]
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
        digests.add(read_pairs(tmp_path / name, limits).digest)
    assert len(digests) == 1


def test_the_digest_changes_with_a_caption_and_with_an_image(folder: Path, encoded, limits: ReadLimits) -> None:
    first = read_pairs(folder, limits).digest
    (folder / "0001.txt").write_text("something else")
    second = read_pairs(folder, limits).digest
    (folder / "0001.jpg").write_bytes(encoded(99))
    assert len({first, second, read_pairs(folder, limits).digest}) == 3


def test_unusable_samples_are_counted_named_and_skipped(folder: Path, encoded, limits: ReadLimits) -> None:
    whole = encoded(5, "PNG", size=(40, 40))
    for name, content in (
        ("a.png", whole[:-60]),
        ("b.jpg", encoded(6, size=(200, 200))),
        ("c.jpg", encoded(7)),
        ("d.jpg", encoded(8)),
    ):
        (folder / name).write_bytes(content)
        (folder / name).with_suffix(".txt").write_text("words")
    (folder / "c.txt").write_text(" \x00\n")
    (folder / "d.txt").unlink()
    clean = read_pairs(folder, limits)
    reasons = {why.key: why.reason for why in clean.skipped}
    assert len(clean) == len(reasons) == 4
    assert reasons["a.png"].startswith("broken PNG")
    assert reasons["b.jpg"] == "200 x 200 pixels, and 10,000 are allowed"
    assert reasons["c.jpg"] == reasons["d.jpg"] == "no caption, or an empty one"


def test_an_image_of_too_many_bytes_is_not_read(folder: Path, samples: dict, limits: ReadLimits) -> None:
    largest = max(len(content) for content, _ in samples.values())
    clean = read_pairs(folder, replace(limits, max_bytes=largest - 1))
    assert [f"{largest:,} bytes" in why.reason for why in clean.skipped] == [True]


def test_the_share_of_skipped_samples_is_limited(folder: Path, limits: ReadLimits) -> None:
    (folder / "0001.txt").unlink()
    assert len(read_pairs(folder, replace(limits, max_skipped_share=0.25))) == 3  # 1 of 4 is just allowed
    with pytest.raises(RefusedInput, match=r"1 of 4 samples(?s:.*)0001\.jpg: no caption"):
        read_pairs(folder, replace(limits, max_skipped_share=0.24))


def test_the_message_names_ten_offenders_and_counts_the_rest(tmp_path: Path, encoded, limits: ReadLimits) -> None:
    for number in range(13):
        (tmp_path / f"{number:02d}.jpg").write_bytes(b"junk")
        (tmp_path / f"{number:02d}.txt").write_text("words")
    with pytest.raises(RefusedInput) as caught:
        read_pairs(tmp_path, limits)
    assert "09.jpg: no JPEG" in str(caught.value)
    assert "10.jpg" not in str(caught.value)
    assert "3 more" in str(caught.value)


def test_an_empty_folder_is_refused_and_what_it_holds_is_named(tmp_path: Path, limits: ReadLimits) -> None:
    (tmp_path / "x.gif").write_bytes(b"GIF89a")
    with pytest.raises(RefusedInput, match=r"holds no samples(?s:.*)1 \.gif files, which are never read \(x\.gif\)"):
        read_pairs(tmp_path, limits)


def test_nothing_usable_is_refused_even_if_every_skip_is_allowed(tmp_path: Path, limits: ReadLimits) -> None:
    (tmp_path / "x.jpg").write_bytes(b"junk")
    with pytest.raises(RefusedInput, match="1 of 1 samples"):
        read_pairs(tmp_path, replace(limits, max_skipped_share=1.0))


def test_one_pair_is_read(folder: Path, limits: ReadLimits) -> None:
    for name in ("0002.png", "0003.webp", "0004.jpeg"):
        (folder / name).unlink()
    clean = read_pairs(folder, limits)
    assert len(clean) == 1


def test_images_alone_can_be_read_where_captions_are_not_needed(folder: Path, limits: ReadLimits) -> None:
    (folder / "0001.txt").unlink()
    images = read_images(folder, images=ImageCache(limits))
    assert [pair.caption == "" for pair in images.pairs] == [True, False, False, False]


def test_no_more_pairs_are_taken_than_asked_for_and_always_the_same(
    tmp_path: Path, encoded, limits: ReadLimits
) -> None:
    for number in range(40):
        (tmp_path / f"{number:02d}.png").write_bytes(encoded(number, "PNG", size=(2, 2)))
        (tmp_path / f"{number:02d}.txt").write_text("words" if number % 4 else "")
    some = replace(limits, max_pairs=10)
    first, second = read_pairs(tmp_path, some), read_pairs(tmp_path, some)
    keys = [pair.key for pair in first.pairs]
    assert len(first) == 10
    assert first == second
    assert keys == sorted(keys)
    assert keys[-1] > "20"  # spread over the set, not its beginning
    assert len(read_pairs(tmp_path, replace(limits, max_pairs=10_000))) == 30


def test_captions_of_one_image_share_it(
    tmp_path: Path, folder: Path, limits: ReadLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["image,caption", *(f"{folder.name}/0001.jpg,caption {n}" for n in range(5)), f"{folder.name}/0001.jpg,"]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    clean = read_pairs(tmp_path / "p.csv", limits)
    assert [pair.caption for pair in clean.pairs] == [f"caption {n}" for n in range(5)]
    assert len({pair.image for pair in clean.pairs}) == 1
    assert [why.reason for why in clean.skipped] == ["no caption, or an empty one"]


def test_progress_counts_up_to_the_whole(folder: Path, limits: ReadLimits) -> None:
    calls: list[tuple[int, int]] = []
    read(
        folder,
        images=ImageCache(limits),
        image_key=None,
        caption_key=None,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_two_copies_of_a_folder_read_alike(tmp_path: Path, folder: Path, limits: ReadLimits) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    first, second = read_pairs(folder, limits), read_pairs(tmp_path / "copy", limits)
    assert [pair.key for pair in first.pairs] == [pair.key for pair in second.pairs]
    assert first.digest == second.digest
