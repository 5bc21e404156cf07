import pytest
import torch

from clipclean.report.example_images import MOST, neighbouring, principal


def test_the_plane_is_that_of_the_largest_variance_a_line_or_one_place():
    found = principal(torch.tensor([[0.0, 5.0, 3.0], [0.0, 5.0, -3.0], [1.0, 5.0, 0.0], [-1.0, 5.0, 0.0]]))
    assert (found.method, found.places) == ("pca", ((3, 0), (-3, 0), (0, 1), (0, -1)))
    assert found.explained == pytest.approx([18 / 20, 2 / 20])
    found = principal(torch.tensor([[1.0], [-1.0], [1.0], [1.0]]))
    assert [y for _, y in found.places] == [0, 0, 0, 0]
    assert found.explained == pytest.approx([1, 0])
    found = principal(torch.ones(4, 3))
    assert (set(found.places), found.explained) == ({(0, 0)}, (0, 0))
    assert neighbouring(torch.ones(40, 3), seed=0) is None


def two_groups():
    rng = torch.Generator().manual_seed(0)
    near, far = torch.randn(20, 8, generator=rng) * 0.05, torch.randn(20, 8, generator=rng) * 0.05
    return torch.cat([near + torch.eye(8)[0], far + torch.eye(8)[1]])


def test_neighbours_stay_together_groups_apart_and_the_map_follows_the_seed():
    places = torch.tensor(neighbouring(two_groups(), seed=0).places)
    centres = places[:20].mean(0), places[20:].mean(0)
    own = torch.cdist(places, torch.stack(centres))
    assert (own[:20].argmin(1) == 0).all()
    assert (own[20:].argmin(1) == 1).all()
    assert neighbouring(two_groups(), seed=3) == neighbouring(two_groups(), seed=3)
    for count in (9, MOST + 1):  # too few, or too many
        assert neighbouring(torch.randn(count, 4, generator=torch.Generator().manual_seed(0)), seed=0) is None
