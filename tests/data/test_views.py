from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import AutoAugment
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from clipclean.data import image_view
from clipclean.data.views import _equalized

SEEDS = range(60)  # twice the 25 policies and more: each operation occurs


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.randint(0, 256, (3, 24, 37), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_view_is_torchvisions_autoaugment_under_the_same_draws(image: Tensor) -> None:
    reference = AutoAugment()
    for seed in range(150):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            expected = pil_to_tensor(reference(to_pil_image(image)))
        assert torch.equal(image_view(image, seed=seed), expected), seed


def test_a_view_keeps_shape_and_dtype_and_leaves_the_image_alone(image: Tensor) -> None:
    before = image.clone()
    for seed in SEEDS:
        view = image_view(image, seed=seed)
        assert (view.shape, view.dtype) == (image.shape, torch.uint8)
        assert view.data_ptr() != image.data_ptr()
    assert torch.equal(image, before)


def test_the_same_seed_gives_the_same_view_and_seeds_differ(image: Tensor) -> None:
    views = [image_view(image, seed=seed) for seed in SEEDS]
    assert all(torch.equal(view, image_view(image, seed=seed)) for seed, view in zip(SEEDS, views, strict=True))
    assert len({view.numpy().tobytes() for view in views}) > len(SEEDS) / 3


def test_global_random_state_is_neither_read_nor_changed(image: Tensor) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = image_view(image, seed=3)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(2)
        assert torch.equal(image_view(image, seed=3), first)


def test_threads_see_what_a_serial_run_sees(image: Tensor) -> None:
    serial = [image_view(image, seed=seed) for seed in SEEDS]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda seed: image_view(image, seed=seed), [*SEEDS] * 4))
    assert all(torch.equal(view, serial[i % len(SEEDS)]) for i, view in enumerate(threaded))


def test_a_non_contiguous_image_gives_the_view_of_its_copy(image: Tensor) -> None:
    turned = image.transpose(1, 2)
    assert torch.equal(image_view(turned, seed=11), image_view(turned.contiguous(), seed=11))


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 1, 9), (3, 9, 1), (3, 2, 2)])
def test_the_smallest_images_have_views(shape: tuple[int, ...]) -> None:
    image = torch.full(shape, 200, dtype=torch.uint8)
    assert all(image_view(image, seed=seed).shape == shape for seed in SEEDS)


@pytest.mark.parametrize("seed", [-1, 2**63 - 1])
def test_any_integer_of_64_bits_is_a_seed(image: Tensor, seed: int) -> None:
    assert image_view(image, seed=seed).shape == image.shape


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.uint8), torch.zeros(1, 3, 4, 4, dtype=torch.uint8)],
    ids=["float", "grey", "batch"],
)
def test_what_is_no_rgb_image_is_refused(wrong: Tensor) -> None:
    with pytest.raises(ValueError, match=r"An image is uint8 \(3, H, W\)"):
        image_view(wrong, seed=0)


@pytest.mark.parametrize("levels", [1, 2, 3, 256])
def test_histograms_are_levelled_as_pillow_levels_them(levels: int) -> None:
    rng = np.random.default_rng(levels)
    for size in ((1, 1), (40, 30), (7, 300)):
        drawn = Image.fromarray((rng.integers(0, levels, (*size, 3)) * (255 // levels)).astype(np.uint8))
        assert np.array_equal(np.asarray(_equalized(drawn, 0.0)), np.asarray(ImageOps.equalize(drawn)))
