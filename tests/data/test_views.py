"""Second views of images: drawn from a seed alone, by another implementation where there is one."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Generator
from torchvision.transforms import AutoAugment
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from clipclean.data import enlarge_parts, image_view, mix, move, perturb

SEEDS = range(60)  # twice the 25 policies and more: each operation occurs
IMAGE = torch.randint(0, 256, (3, 24, 37), dtype=torch.uint8, generator=Generator().manual_seed(0))


def test_a_view_is_torchvisions_autoaugment_under_the_same_draws():
    reference = AutoAugment()
    # of 256, three and two levels, and of one: histograms are levelled in each
    images = (IMAGE, IMAGE // 86 * 127, IMAGE // 128 * 255, torch.full_like(IMAGE, 90))
    for seed in range(200):
        image = images[seed % len(images)]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            expected = pil_to_tensor(reference(to_pil_image(image)))
        assert torch.equal(image_view(image, seed=seed), expected), seed
    turned = IMAGE.transpose(1, 2)
    assert torch.equal(image_view(turned, seed=11), image_view(turned.contiguous(), seed=11))


def test_a_view_is_that_of_its_seed_in_any_thread():
    serial = [image_view(IMAGE, seed=seed) for seed in SEEDS]
    torch.rand(1)
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda seed: image_view(IMAGE, seed=seed), [*SEEDS] * 4))
    assert all(torch.equal(view, serial[i % len(SEEDS)]) for i, view in enumerate(threaded))


def test_seeds_give_views_that_differ():
    assert len({image_view(IMAGE, seed=seed).numpy().tobytes() for seed in SEEDS}) > len(SEEDS) / 3


def test_a_view_has_the_form_of_its_image():
    views = [image_view(IMAGE, seed=seed) for seed in SEEDS]
    assert all((view.shape, view.dtype) == (IMAGE.shape, torch.uint8) for view in views)


def test_a_view_is_a_copy_of_its_image():
    before = IMAGE.clone()
    views = [image_view(IMAGE, seed=seed) for seed in SEEDS]
    assert all(view.data_ptr() != IMAGE.data_ptr() for view in views)
    assert torch.equal(IMAGE, before)


def test_a_view_leaves_the_random_state_of_torch_alone():
    state = torch.get_rng_state()
    image_view(IMAGE, seed=3)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 1, 9), (3, 9, 1), (3, 2, 2)])
def test_the_smallest_images_have_views_by_the_largest_seeds_too(shape):
    image = torch.full(shape, 200, dtype=torch.uint8)
    assert all(image_view(image, seed=seed).shape == shape for seed in (*SEEDS, -1, 2**63 - 1))


RAMP = torch.linspace(0, 1, 32).expand(6, 3, 32, 32)  # from left to right
DOWN = RAMP.transpose(2, 3)
GREY = torch.full((40, 3, 32, 32), 0.5)


def cut(images=RAMP, *, least=0.5, seed=0):
    return enlarge_parts(images, least=least, generator=Generator().manual_seed(seed))


def shifted(ramp=RAMP, *, least, mirrored, seed=0):
    return move(ramp, least=least, mirror_share=mirrored, generator=Generator().manual_seed(seed))


def changed(*, seed=0, **chosen):
    nothing = {"noise": 0.0, "noise_share": 0.0, "erased_side": 0.0}
    return perturb(GREY, **(nothing | chosen), generator=Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("view", "given"),
    [
        (cut, {}),
        (shifted, {"least": 0.5, "mirrored": 0.5}),
        (changed, {"noise": 0.5, "noise_share": 0.5, "erased_side": 0.2}),
    ],
)
def test_equal_generators_give_equal_views_within_the_range(view, given):
    first, again, other = (view(**given, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0 <= first.min() <= first.max() <= 1


@pytest.mark.parametrize(
    ("found", "images"),
    [
        (cut(least=1.0), RAMP),
        (cut(RAMP[:1]), RAMP[:1]),
        (shifted(least=1, mirrored=0), RAMP),
        (shifted(least=1, mirrored=1), RAMP.flip(3)),
        (changed(), GREY),
    ],
    ids=["a part of the whole side", "one image", "moved by nothing", "mirrored", "nothing asked for"],
)
def test_nothing_asked_for_changes_nothing(found, images):
    torch.testing.assert_close(found, images)


def slope(row):
    """That of a ramp relative to the whole one's; negative where it is mirrored."""
    return row.diff()[4:-4].mean().item() * 31


def test_every_other_image_is_a_stretch_of_at_least_the_asked_side_that_lies_anywhere_within():
    found = [cut(least=0.6, seed=seed) for seed in range(40)]
    assert all(torch.equal(each[::2], RAMP[::2]) for each in found)
    rows = [each[1, 0, 0] for each in found]
    assert all(row.diff()[2:-2].max() - row.diff()[2:-2].min() < 1e-4 for row in rows)  # a ramp stays a ramp
    slopes, starts = [slope(row) for row in rows], [row[0].item() for row in rows]
    assert 0.59 < min(slopes) < 0.7
    assert 0.9 < max(slopes) < 1.01
    assert min(starts) < 0.02
    assert max(starts) > 0.2  # not in the middle alone


def moved_rows(down):
    """Of 300 images that were moved, the values along the ramp; three in ten were to be mirrored."""
    moves = [shifted(DOWN if down else RAMP, least=0.6, mirrored=0.3, seed=seed) for seed in range(50)]
    return [image[0, :, 0] if down else image[0, 0] for each in moves for image in each]


def test_moved_images_are_mirrored_as_often_as_asked():
    slopes = [slope(row) for row in moved_rows(down=False)]
    assert sum(each < 0 for each in slopes) / 300 == pytest.approx(0.3, abs=0.08)


def test_a_moved_image_is_never_upside_down():
    assert all(slope(row) > 0 for row in moved_rows(down=True))


@pytest.mark.parametrize("down", [False, True])
def test_every_moved_image_is_a_part_of_at_least_the_asked_side(down):
    slopes = [slope(row) for row in moved_rows(down)]
    sides = [abs(each) for each in slopes]
    assert 0.6 - 1e-3 <= min(sides) < 0.65
    assert 0.95 < max(sides) <= 1.0 + 1e-4
    assert len(set(slopes)) > 100


@pytest.mark.parametrize("down", [False, True])
def test_moved_images_lie_anywhere_within(down):
    starts = [row[4].item() for row in moved_rows(down) if slope(row) > 0]
    assert min(starts) < 0.15
    assert max(starts) > 0.35


def test_noise_falls_on_its_share_of_images():
    noisy = changed(noise=0.1, noise_share=0.5)
    touched = (noisy != GREY).flatten(1).any(1)
    assert 10 < touched.sum() < 30  # of 40, half on average
    assert abs(noisy[touched].std().item() - 0.1) < 0.01
    assert torch.equal(noisy[~touched], GREY[~touched])


def test_one_square_is_erased_in_each_image():
    erased = changed(erased_side=0.25)  # of 32: at most 8 px, and at least 0.7 of that
    for image in (erased != GREY).any(1):
        rows, columns = image.any(1).sum().item(), image.any(0).sum().item()
        assert rows == columns
        assert 6 <= rows <= 8  # ceil(0.7 * 8) = 6
        assert image.sum() == rows * columns


# image k goes from k to k + 1, left to right
STEPS = torch.arange(4.0).expand(8, 3, 4, 4) / 3 + torch.arange(8.0).view(8, 1, 1, 1)


def mixed(share):
    return mix(STEPS, share=share, generator=Generator().manual_seed(0))


@pytest.mark.parametrize(("share", "alone"), [(0.0, 8), (1.0, 0)])
def test_the_asked_share_of_images_is_mixed(share, alone):
    pairs = zip(mixed(share), STEPS, strict=True)
    own = [any(torch.equal(image, some) for some in (before, before.flip(-1))) for image, before in pairs]
    assert sum(own) == alone


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_some_mixed_images_are_mirrored(share):
    images = mixed(share)
    slopes = (images[:, 0, 0, -1] - images[:, 0, 0, 0]).sign()
    assert {-1.0, 1.0} <= set(slopes.tolist())


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_mixed_images_stay_in_the_range_of_all(share):
    images = mixed(share)
    assert images.min() >= 0
    assert images.max() <= 8
