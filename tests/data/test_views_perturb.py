import torch
from torch import Generator

from clipclean.data import perturbed

GREY = torch.full((40, 3, 32, 32), 0.5)


def changed(**chosen):
    settings = {"noise": 0.0, "noise_share": 0.0, "erased_side": 0.0, "generator": Generator().manual_seed(0)} | chosen
    return perturbed(GREY, **settings)


def test_nothing_asked_for_changes_nothing():
    assert torch.equal(changed(), GREY)


def test_equal_generators_give_equal_images_within_the_range():
    first, again = (
        changed(noise=0.5, noise_share=0.5, erased_side=0.2, generator=Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first, again)
    assert (first.min(), first.max()) == (0, 1)  # noise of half the range reaches both ends and is clipped


def test_noise_falls_on_its_share_of_images_with_its_deviation():
    noisy = changed(noise=0.1, noise_share=0.5)
    touched = (noisy != GREY).flatten(1).any(1)
    assert 10 < touched.sum() < 30  # of 40, half on average
    assert abs(noisy[touched].std().item() - 0.1) < 0.01
    assert torch.equal(noisy[~touched], GREY[~touched])


def test_one_square_of_the_asked_size_is_erased_in_each_image():
    erased = changed(erased_side=0.25)  # of 32: at most 8 px, and at least 0.7 of that
    for image in (erased != GREY).any(1):
        rows, columns = image.any(1).sum().item(), image.any(0).sum().item()
        assert rows == columns
        assert 6 <= rows <= 8  # ceil(0.7 * 8) = 6
        assert image.sum() == rows * columns
