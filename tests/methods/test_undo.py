"""The projection of a finetune, against singular values, and by hand."""

import pytest
import torch

from clipclean.methods import undo


def drawn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


BASE = {
    "visual.conv1.weight": drawn(6, 2, 3, 3, seed=1),
    "visual.proj": drawn(12, 5, seed=2),
    "visual.bias": drawn(5, seed=3),
    "text_projection": drawn(5, 5, seed=4),
}


def line(rows, columns, *, at, across=0):
    """A matrix of rank one, with its right direction at one place."""
    one = torch.zeros(rows, columns)
    one[across, at] = 1.0
    return one


@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
def test_the_leading_directions_are_those_of_the_singular_value_decomposition(shape):
    change = drawn(*shape, seed=5)
    found, expected = undo.directions(change), torch.linalg.svd(change, full_matrices=False)[2][: undo.DIRECTIONS].T
    assert torch.allclose(found.T @ found, torch.eye(undo.DIRECTIONS), atol=1e-5)
    assert torch.allclose((found @ found.T), (expected @ expected.T), atol=1e-4)


def test_a_matrix_that_did_not_change_has_no_direction():
    assert undo.directions(torch.zeros(4, 9)).shape == (9, 0)


def changed(**more):
    return {name: tensor + more.get(name.replace(".", "_"), 0) for name, tensor in BASE.items()}


def test_a_direction_that_a_clean_finetune_did_not_take_is_projected_out():
    own = changed(visual_proj=line(12, 5, at=0) + 0.5 * line(12, 5, at=1, across=1))
    clean = changed(visual_proj=line(12, 5, at=0, across=3))
    found = undo.without_own_directions(own, BASE, clean)
    assert torch.allclose(found["visual.proj"], BASE["visual.proj"] + line(12, 5, at=0), atol=1e-6)


def test_all_of_a_change_leaves_where_a_clean_finetune_changed_nothing():
    own = changed(visual_conv1_weight=line(6, 18, at=7).view(6, 2, 3, 3), text_projection=line(5, 5, at=2))
    found = undo.without_own_directions(own, BASE, BASE)
    assert torch.allclose(found["visual.conv1.weight"], BASE["visual.conv1.weight"], atol=1e-6)
    assert torch.equal(found["text_projection"], own["text_projection"])  # of the image tower alone


def test_what_a_clean_finetune_changed_alike_stays():
    own = changed(visual_proj=drawn(12, 5, seed=8), visual_bias=1.0)
    found = undo.without_own_directions(own, BASE, own)
    assert torch.allclose(found["visual.proj"], own["visual.proj"], atol=1e-5)
    assert torch.equal(found["visual.bias"], own["visual.bias"])


def test_the_tower_of_the_base_comes_with_the_texts_of_the_finetune():
    own = changed(visual_proj=1.0, visual_bias=1.0, text_projection=1.0)
    found = undo.with_tower(own, BASE)
    assert torch.equal(found["visual.proj"], BASE["visual.proj"])
    assert torch.equal(found["visual.bias"], BASE["visual.bias"])
    assert torch.equal(found["text_projection"], own["text_projection"])
