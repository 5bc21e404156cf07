import pytest
import torch

from clipclean import data, feed
from clipclean.data import Pair

PAIRS = [Pair(f"key-{n}", f"caption {n}", None, None) for n in range(7)]
PLAN = data.plan(len(PAIRS), batch_size=3, steps=6, seed=0)  # two batches an epoch: three epochs


def picture(number):
    """One pixel that tells the pair's number."""
    return torch.full((3, 1, 1), number, dtype=torch.uint8)


def tokens(captions):
    """The characters of each caption."""
    return torch.tensor([[ord(char) for char in caption.ljust(24)] for caption in captions])


VIEWS = feed.Views(
    image=lambda image, draw: image + torch.randint(1, 200, (1,), generator=torch.Generator().manual_seed(draw)).byte(),
    caption=lambda text, rng: f"{text} {rng.randrange(10**6)}",
)


def batches(*, views=VIEWS, seed=0, first=0, threads=2, picture=picture):
    return [
        *feed.batches(
            PLAN,
            pairs=PAIRS,
            picture=picture,
            fit=lambda image: image.float() / 255,
            tokens=tokens,
            views=views,
            seed=seed,
            first_step=first,
            threads=threads,
        )
    ]


def equal(a, b):
    return (
        a.keys == b.keys
        and a.inputs.keys() == b.inputs.keys()
        and all(torch.equal(a.inputs[name], b.inputs[name]) for name in a.inputs)
    )


def test_the_batches_hold_the_planned_pairs_in_the_planned_order():
    for batch, (_, numbers) in zip(batches(), PLAN, strict=True):
        assert batch.keys == tuple(f"key-{n}" for n in numbers)
        torch.testing.assert_close(
            batch.inputs["pixels"], torch.tensor(numbers).view(3, 1, 1, 1).expand(3, 3, 1, 1) / 255
        )
        assert torch.equal(batch.inputs["tokens"], tokens([f"caption {n}" for n in numbers]))


@pytest.mark.parametrize("first", range(7))
def test_a_run_that_goes_on_sees_what_an_uninterrupted_one_sees(first):
    rest = batches(first=first)
    assert len(rest) == 6 - first
    assert all(equal(a, b) for a, b in zip(batches()[first:], rest, strict=True))


def test_the_number_of_threads_changes_nothing():
    assert all(equal(a, b) for a, b in zip(batches(threads=1), batches(threads=4), strict=True))


def seen(number, *, seed=0):
    """The views of one pair, epoch by epoch."""
    rows = [
        (batch.inputs["pixel_views"][place], batch.inputs["token_views"][place])
        for batch in batches(seed=seed)
        for place, key in enumerate(batch.keys)
        if key == f"key-{number}"
    ]
    return [tuple(torch.cat([image.flatten(), caption.float()]).tolist()) for image, caption in rows]


def test_views_differ_between_epochs_and_between_seeds_and_are_equal_for_one_seed():
    for number in range(7):
        assert len(set(seen(number))) == len(seen(number))
        assert seen(number) == seen(number)
        assert not set(seen(number)) & set(seen(number, seed=1))


def test_the_view_is_of_its_own_picture_and_caption():
    views = feed.Views(image=lambda image, draw: image + 100, caption=lambda text, rng: f"{text}!")
    for batch in batches(views=views):
        torch.testing.assert_close(batch.inputs["pixel_views"], batch.inputs["pixels"] + 100 / 255)
        expected = [f"caption {key.removeprefix('key-')}!" for key in batch.keys]
        assert torch.equal(batch.inputs["token_views"], tokens(expected))


def test_nothing_is_viewed_twice_where_nobody_looks_at_it():
    for batch in batches(views=None):
        assert batch.inputs.keys() == {"pixels", "tokens"}


def test_a_picture_that_broke_meanwhile_is_not_passed_over():
    def broken(number):
        if number == 5:
            raise OSError("gone")
        return picture(number)

    with pytest.raises(OSError, match="gone"):
        batches(picture=broken)


def test_draws_depend_on_seed_epoch_and_pair_and_fit_into_63_bits():
    drawn = [feed.sample_seed(s, e, n) for s in range(3) for e in range(3) for n in range(50)]
    assert len(set(drawn)) == len(drawn)
    assert all(0 <= draw < 2**63 for draw in drawn)
    # printf 0:0:0 | b2sum -l 64, without the lowest bit
    assert feed.sample_seed(0, 0, 0) == 0xB2A3F9B0EE3F0BFB >> 1
    assert feed.sample_seed(1, 11, 1) != feed.sample_seed(11, 1, 1)
