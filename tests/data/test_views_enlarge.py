import pytest
import torch
from torch import Generator

from clipclean.data import enlarged, moved

LEFT_TO_RIGHT = torch.linspace(0, 1, 32).expand(6, 3, 32, 32)


def cut(images=LEFT_TO_RIGHT, *, least=0.5, seed=0):
    return enlarged(images, least=least, generator=Generator().manual_seed(seed))


def test_every_other_image_stays_and_the_others_change():
    found = cut()
    assert torch.equal(found[::2], LEFT_TO_RIGHT[::2])
    assert all(not torch.allclose(found[i], LEFT_TO_RIGHT[i], atol=0.01) for i in (1, 3, 5))


def test_a_part_of_the_whole_side_is_the_image():
    torch.testing.assert_close(cut(least=1.0), LEFT_TO_RIGHT)


def test_a_part_is_a_stretch_of_the_image_of_at_least_the_asked_side_and_lies_within_it():
    shares, starts = [], []
    for seed in range(40):
        row = cut(least=0.6, seed=seed)[1, 0, 0]
        steps = row.diff()[2:-2]
        assert steps.max() - steps.min() < 1e-4  # a ramp stays a ramp, of the slope that the side gives
        shares.append(steps.mean().item() * 31)
        starts.append(row[0].item())
    assert 0.59 < min(shares) < 0.7
    assert 0.9 < max(shares) < 1.01
    assert max(starts) > 0.2  # anywhere, not in the middle alone
    assert min(starts) < 0.02


def test_equal_generators_cut_equal_parts_and_one_image_stays():
    assert torch.equal(cut(seed=3), cut(seed=3))
    assert torch.equal(cut(LEFT_TO_RIGHT[:1]), LEFT_TO_RIGHT[:1])


def slope(row):
    """That of a moved ramp relative to the ramp's; negative where it is mirrored."""
    return row.diff()[4:-4].mean().item() * 31


def moved_ramp(ramp=LEFT_TO_RIGHT, *, least, mirrored, seed=0):
    return moved(ramp, least=least, mirrored=mirrored, generator=Generator().manual_seed(seed))


def test_every_image_is_a_part_of_at_least_the_asked_side_and_no_two_are_alike():
    slopes = [slope(image[0, 0]) for seed in range(20) for image in moved_ramp(least=0.6, mirrored=0, seed=seed)]
    assert 0.6 <= min(slopes) < 0.65
    assert 0.95 < max(slopes) <= 1.0 + 1e-4
    assert len(set(slopes)) > 100


def test_mirrored_images_run_from_right_to_left_as_often_as_asked():
    slopes = [slope(image[0, 0]) for seed in range(50) for image in moved_ramp(least=1, mirrored=0.3, seed=seed)]
    assert sum(each < 0 for each in slopes) / 300 == pytest.approx(0.3, abs=0.08)
    torch.testing.assert_close(moved_ramp(least=1, mirrored=1), LEFT_TO_RIGHT.flip(3))


def test_parts_lie_anywhere_from_top_to_bottom_and_are_never_upside_down():
    down = LEFT_TO_RIGHT.transpose(2, 3)
    columns = [image[0, :, 0] for seed in range(20) for image in moved_ramp(down, least=0.6, mirrored=0.5, seed=seed)]
    assert 0.6 <= min(map(slope, columns)) < 0.65
    starts = [column[4].item() for column in columns]
    assert min(starts) < 0.12
    assert max(starts) > 0.35


def test_whole_images_that_are_not_mirrored_stay_as_they_are():
    torch.testing.assert_close(moved_ramp(least=1, mirrored=0), LEFT_TO_RIGHT)


def test_equal_generators_move_equally():
    assert torch.equal(moved_ramp(least=0.5, mirrored=0.5, seed=3), moved_ramp(least=0.5, mirrored=0.5, seed=3))
