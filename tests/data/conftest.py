"""Four tiny images with captions, and what reads them."""

from dataclasses import replace

import containers
import pytest
from hostile.seeds import image_bytes

from clipclean.data import ImageCache, ReadLimits, read


@pytest.fixture
def limits():
    return ReadLimits(max_pixels=10_000, max_bytes=100_000, max_skipped_share=0.6, max_pairs=None)


@pytest.fixture
def reading(limits):
    """Read a data set: reading(path, image_key="x", max_pairs=3)."""

    def do(*places, **given):
        changes = {key: given.pop(key) for key in [*given] if hasattr(limits, key)}
        return read(*places, images=ImageCache(replace(limits, **changes)), **given)

    return do


@pytest.fixture
def encoded():
    """Encode a seeded random image: encoded(seed, "PNG", size=(width, height))."""

    return lambda seed, kind="JPEG", *, size=(12, 8): image_bytes(seed, kind, size)


@pytest.fixture
def samples(encoded):
    """Four images by file name, with their captions."""
    return {
        "0001.jpg": (encoded(1, "JPEG"), "a red square"),
        "0002.png": (encoded(2, "PNG"), "a blue circle, far away"),
        "0003.webp": (encoded(3, "WEBP"), 'a "quoted" sign'),
        "0004.jpeg": (encoded(4, "JPEG"), "ein grüner Baum"),
    }


@pytest.fixture
def tar():
    return containers.written_tar


@pytest.fixture
def folder(tmp_path, samples):
    return containers.in_folder(tmp_path / "folder", samples)


@pytest.fixture
def shard_members(samples):
    return containers.members_of(samples)


@pytest.fixture(params=containers.WRITERS)
def container(request):
    """A name of a format, and what writes samples in it: write(folder, samples)."""
    return request.param, containers.WRITERS[request.param]
