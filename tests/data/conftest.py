"""Tiny images and containers that the reader's tests share."""

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipclean.data import ReadLimits

Encode = Callable[..., bytes]


@pytest.fixture
def limits() -> ReadLimits:
    return ReadLimits(max_pixels=10_000, max_bytes=100_000, max_skipped_share=0.5, max_pairs=None)


@pytest.fixture
def encoded() -> Encode:
    """Encode a seeded random image: encoded(seed, "PNG", size=(width, height))."""

    def encode(seed: int, kind: str = "JPEG", *, size: tuple[int, int] = (12, 8)) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind)
        return stream.getvalue()

    return encode


@pytest.fixture
def samples(encoded: Encode) -> dict[str, tuple[bytes, str]]:
    """Four images by file name, with their captions."""
    return {
        "0001.jpg": (encoded(1, "JPEG"), "a red square"),
        "0002.png": (encoded(2, "PNG"), "a blue circle, far away"),
        "0003.webp": (encoded(3, "WEBP"), 'a "quoted" sign'),
        "0004.jpeg": (encoded(4, "JPEG"), "ein grüner Baum"),
    }


@pytest.fixture
def tar() -> Callable[[Path, Mapping[str, bytes]], Path]:
    """Write a tar of named members in the given order."""

    def write(path: Path, members: Mapping[str, bytes]) -> Path:
        with tarfile.open(path, "w") as archive:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return path

    return write


@pytest.fixture
def folder(tmp_path: Path, samples: dict[str, tuple[bytes, str]]) -> Path:
    """The four samples as images with text files."""
    root = tmp_path / "folder"
    root.mkdir()
    for name, (content, caption) in samples.items():
        (root / name).write_bytes(content)
        (root / name).with_suffix(".txt").write_text(caption, encoding="utf-8")
    return root


@pytest.fixture
def shard_members(samples: dict[str, tuple[bytes, str]]) -> dict[str, bytes]:
    """The four samples as members of a shard."""
    members: dict[str, bytes] = {}
    for name, (content, caption) in samples.items():
        members[name] = content
        members[Path(name).stem + ".txt"] = caption.encode()
    return members
