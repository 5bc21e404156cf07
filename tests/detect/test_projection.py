import pytest
import torch

from clipclean.detect import project


def places(found):
    return [(point["x"], point["y"]) for point in found["points"]]


def test_the_plane_is_that_of_the_largest_variance():
    # Four points, +-3 along the third axis and +-1 along the first; the second is the same for all.
    clean = torch.tensor([[0.0, 5.0, 3.0], [0.0, 5.0, -3.0]])
    triggered = torch.tensor([[1.0, 5.0, 0.0], [-1.0, 5.0, 0.0]])
    found = project(clean, triggered, kinds=["clean", "target", "triggered", "triggered"])
    assert found["method"] == "pca"
    assert places(found) == [(3, 0), (-3, 0), (0, 1), (0, -1)]
    assert [point["kind"] for point in found["points"]] == ["clean", "target", "triggered", "triggered"]
    assert found["explained"] == pytest.approx([18 / 20, 2 / 20])


def test_distances_in_the_plane_are_at_most_those_between_embeddings():
    rng = torch.Generator().manual_seed(0)
    clean, triggered = torch.randn(12, 8, generator=rng), torch.randn(12, 8, generator=rng)
    found = project(clean, triggered, kinds=["clean"] * 12 + ["triggered"] * 12)
    plane, space = torch.tensor(places(found)), torch.cat([clean, triggered])
    assert (torch.cdist(plane, plane) <= torch.cdist(space, space) + 1e-3).all()
    assert sum(found["explained"]) < 1


def test_the_picture_does_not_turn_over_from_run_to_run():
    rng = torch.Generator().manual_seed(1)
    clean, triggered = torch.randn(5, 4, generator=rng), torch.randn(5, 4, generator=rng)
    kinds = ["clean"] * 5 + ["triggered"] * 5
    once, again = (project(clean * scale, triggered * scale, kinds=kinds) for scale in (1.0, 1.0))
    assert once == again
    for axis in (0, 1):
        assert max(places(project(clean, triggered, kinds=kinds)), key=lambda p: abs(p[axis]))[axis] is not None


def test_embeddings_that_are_all_the_same_lie_in_one_place():
    found = project(torch.ones(2, 3), torch.ones(2, 3), kinds=["clean"] * 2 + ["triggered"] * 2)
    assert set(places(found)) == {(0, 0)}
    assert found["explained"] == [0, 0]


def test_embeddings_of_one_dimension_lie_on_a_line():
    found = project(
        torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0], [1.0]]), kinds=["clean"] * 2 + ["triggered"] * 2
    )
    assert [y for _, y in places(found)] == [0, 0, 0, 0]
    assert found["explained"] == pytest.approx([1, 0])


def test_every_point_needs_a_kind():
    with pytest.raises(ValueError, match="zip"):
        project(torch.ones(2, 3), torch.ones(2, 3), kinds=["clean"])
