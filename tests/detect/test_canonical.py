import pytest
import torch
import torch.nn.functional as F

from clipclean.detect.canonical import SHARPNESS, canonical_form


def random(rows, columns, seed):
    return F.normalize(torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)), dim=1)


IMAGES, TEXTS = random(20, 8, 0), random(5, 8, 1)


def test_answers_are_those_of_the_cosines():
    found = canonical_form(TEXTS).logits(IMAGES)
    assert torch.equal(found.argmax(1), (IMAGES @ TEXTS.T).argmax(1))


def test_answers_are_in_units_of_their_own_deviation():
    # cosines 1, 0, 0 less their mean: 2/3, -1/3, -1/3, of the deviation sqrt(2)/3
    found = canonical_form(torch.eye(3)).logits(torch.tensor([[1.0, 0.0, 0.0]]))
    assert found[0].tolist() == pytest.approx([SHARPNESS * v for v in (2**0.5, -(0.5**0.5), -(0.5**0.5))])


def test_a_constant_that_no_class_lies_along_changes_nothing():
    away = torch.linalg.qr(torch.cat([TEXTS, random(1, 8, 2)]).T)[0][:, -1]  # orthogonal to all texts
    moved = F.normalize(IMAGES.double() + 300 * away, dim=1)
    form = canonical_form(TEXTS.double())
    assert torch.allclose(form.logits(moved), form.logits(IMAGES.double()), atol=1e-3)


def test_a_rotation_of_the_joint_space_changes_nothing():
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(3)))[0]
    assert torch.allclose(
        canonical_form(TEXTS @ turn).logits(IMAGES @ turn), canonical_form(TEXTS).logits(IMAGES), atol=1e-4
    )


def test_lengths_change_nothing():
    assert torch.allclose(
        canonical_form(7 * TEXTS).logits(0.1 * IMAGES), canonical_form(TEXTS).logits(IMAGES), atol=1e-4
    )
