import io
import threading
import time
from collections import defaultdict
from unittest.mock import Mock

import pytest
import torch
from hostile.tars import tar
from PIL import Image

from clipclean import data
from clipclean.data import DecodedImage, Pair
from clipclean.errors import RefusedInput
from clipclean.train import Run, loader


class Drawn:
    """An image of one pixel that tells the pair's number; the large one tells ten more."""

    def __init__(self, number, before=lambda number: None):
        self.number, self.before = number, before

    def decoded(self, *, views):
        self.before(self.number)
        pixel = torch.full((3, 1, 1), self.number, dtype=torch.uint8)
        return DecodedImage(pixel, pixel + 10 if views else None)


def drawn(before=lambda number: None):
    """Seven pairs; ``before`` is called with the number of each that is decoded."""
    return [Pair(f"key-{n}", f"caption {n}", None, Drawn(n, before)) for n in range(7)]


PAIRS = drawn()
PLAN = data.plan(len(PAIRS), batch_size=3, steps=6, seed=0)  # two batches an epoch: three epochs


def tokens(captions):
    """The characters of each caption."""
    return torch.tensor([[ord(char) for char in caption.ljust(24)] for caption in captions])


VIEWS = loader.Views(
    image=lambda image, draw: image + torch.randint(1, 200, (1,), generator=torch.Generator().manual_seed(draw)).byte(),
    caption=lambda text, rng: f"{text} {rng.randrange(10**6)}",
)


def stream(*, plan=PLAN, views=None, seed=0, first=0, threads=2, pairs=PAIRS, channels=1):
    clip = Mock(fit_image=lambda image: image, tokens=tokens, **{"architecture.preprocess.size": channels})
    run = Run(seed, "fp32")
    return loader.batches(plan, pairs=pairs, clip=clip, run=run, views=views, first_step=first, threads=threads)


def batches(*, views=VIEWS, **given):
    return [*stream(views=views, **given)]


def equal(a, b):
    alike = (a.keys, a.inputs.keys()) == (b.keys, b.inputs.keys())
    return alike and all(torch.equal(a.inputs[name], b.inputs[name]) for name in a.inputs)


def test_the_batches_hold_the_planned_pairs_in_their_order_with_views_of_their_own():
    for batch, (_, numbers) in zip(batches(), PLAN, strict=True):
        assert batch.keys == tuple(f"key-{n}" for n in numbers)
        assert torch.equal(batch.inputs["pixels"], torch.tensor(numbers).byte().view(3, 1, 1, 1).expand(3, 3, 1, 1))
        assert torch.equal(batch.inputs["tokens"], tokens([f"caption {n}" for n in numbers]))
    views = loader.Views(image=lambda image, draw: image + 100, caption=lambda text, rng: f"{text}!")
    for batch in batches(views=views):
        assert torch.equal(batch.inputs["pixel_views"], batch.inputs["pixels"] + 110)
        expected = [f"caption {key.removeprefix('key-')}!" for key in batch.keys]
        assert torch.equal(batch.inputs["token_views"], tokens(expected))


@pytest.mark.parametrize("first", range(7))
def test_a_run_that_goes_on_with_other_threads_sees_what_an_uninterrupted_one_sees(first):
    rest = batches(first=first, threads=1 + first % 4)
    assert len(rest) == 6 - first
    assert all(equal(a, b) for a, b in zip(batches()[first:], rest, strict=True))


def views_of(seed):
    """Those of each pair, epoch by epoch."""
    views = defaultdict(list)
    for batch in batches(seed=seed):
        for key, image, words in zip(batch.keys, *map(batch.inputs.get, ("pixel_views", "token_views")), strict=True):
            views[key].append((*image.flatten().tolist(), *words.tolist()))
    return views


def test_the_seed_decides_the_views_of_each_pair():
    first, again, other = views_of(0), views_of(0), views_of(1)
    assert first == again
    for key, views in first.items():
        assert not set(views) & set(other[key])


def test_a_pair_has_another_view_in_every_epoch():
    for views in views_of(0).values():
        assert len(set(views)) == len(views)


def test_no_two_samples_have_the_same_draw():
    draws = [loader.sample_seed(s, e, n) for s in range(3) for e in range(3) for n in range(50)]
    assert len(set(draws)) == len(draws)
    assert all(0 <= draw < 2**63 for draw in draws)
    assert loader.sample_seed(1, 11, 1) != loader.sample_seed(11, 1, 1)


def test_a_draw_is_the_digest_of_the_numbers_of_its_sample():
    # printf 0:0:0 | b2sum -l 64, without the lowest bit
    assert loader.sample_seed(0, 0, 0) == 0xB2A3F9B0EE3F0BFB >> 1


def test_an_image_that_broke_meanwhile_is_not_passed_over():
    def broken(number):
        if number == 5:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        batches(pairs=drawn(broken))


def test_closing_a_stream_ends_its_threads():
    open_stream = stream()
    next(open_stream)
    assert loaders()
    open_stream.close()
    assert not loaders()
    assert list(open_stream) == []


@pytest.mark.parametrize(
    "size", [1, loader.PART_PAIRS - 1, loader.PART_PAIRS, loader.PART_PAIRS + 1, 2 * loader.PART_PAIRS + 3]
)
@pytest.mark.parametrize("threads", [1, 3])
def test_batches_of_any_size_are_whole_however_they_are_divided_among_threads(size, threads):
    plan = [(0, [n % 7 for n in range(size)]), (1, [3] * size), (1, [n % 5 for n in range(size)])]
    made = batches(plan=plan, views=None, threads=threads)
    assert [batch.inputs["pixels"][:, 0, 0, 0].tolist() for batch in made] == [numbers for _, numbers in plan]
    assert [len(batch.keys) for batch in made] == [size] * 3
    assert all(batch.inputs.keys() == {"pixels", "tokens"} for batch in made)  # nothing is viewed twice unasked
    assert batches(plan=[], threads=threads) == []


def test_only_the_time_that_the_caller_waited_is_kept():
    read = []
    pairs = drawn(lambda number: (time.sleep(0.1), read.append(number)))
    open_stream = stream(plan=PLAN[:2], pairs=pairs, threads=1)
    assert open_stream.seconds_waited == 0
    next(open_stream)
    first = open_stream.seconds_waited
    assert first >= 3 * 0.1  # a batch of three
    while len(read) < 6:  # the second is ready then
        time.sleep(0.05)
    next(open_stream)
    assert open_stream.seconds_waited - first < first  # what a loaded machine adds, it adds to both
    open_stream.close()


def loaders():
    return [thread for thread in threading.enumerate() if thread.name.startswith("clipclean-data")]


LIMITS = data.ReadLimits(max_pixels=10_000, max_bytes=100_000, max_skipped_share=0.0, max_pairs=None)


@pytest.mark.parametrize("damage", ["truncated", "overwritten", "removed"])
def test_a_shard_that_breaks_during_an_epoch_ends_the_stream(tmp_path, damage):
    path, members = tmp_path / "a.tar", {}
    for number in range(40):
        encoded = io.BytesIO()
        Image.new("RGB", (4, 4)).save(encoded, "PNG")
        members |= {f"{number:03}.png": encoded.getvalue(), f"{number:03}.txt": b"black"}
    path.write_bytes(tar(members))
    images = data.ImageCache(LIMITS, fit=data.Fit(4, lambda image: image), max_bytes=0)  # nothing is kept
    pairs = data.read(tmp_path, images=images).pairs
    open_stream = stream(plan=data.plan(40, batch_size=4, steps=100, seed=0), pairs=pairs, threads=3, channels=4)
    next(open_stream)
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(content[:600] if damage == "truncated" else b"\0" * len(content))
    with pytest.raises(RefusedInput, match=r"a\.tar"):
        list(open_stream)
    assert not loaders()
    assert list(open_stream) == []
