import math

import pytest
import torch
import torch.nn.functional as F
from torch import tensor

from clipclean.detect import zeroshot
from clipclean.detect.metrics import Rate
from clipclean.detect.zeroshot import SHARPNESS, canonical_form
from clipclean.errors import Inconclusive, UsageError


def letters(texts: list[str]) -> torch.Tensor:
    """A text encoder that counts a, b and c, so that its embeddings are known by heart."""
    return tensor([[float(text.count(letter)) for letter in "abc"] for text in texts])


def test_a_class_is_the_renormalised_mean_of_unit_embeddings():
    # class "a": "a" -> (1, 0, 0) and "a bbb" -> (1, 3, 0) / sqrt 10, whose length must not count
    text_classifier = zeroshot.classifier(letters, ["a"], templates=["{}", "{} bbb"], batch_size=8)
    x, y = (1 + 1 / math.sqrt(10)) / 2, 3 / math.sqrt(10) / 2
    torch.testing.assert_close(text_classifier, tensor([[x, y, 0]]) / math.hypot(x, y))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 100])
def test_batches_do_not_change_the_classifier_and_are_never_exceeded(batch_size):
    sizes = []

    def encode(texts: list[str]) -> torch.Tensor:
        sizes.append(len(texts))
        return letters(texts)

    classes, templates = ["a", "b", "ab", "c", "ca"], ["{}", "{}a", "b{}"]
    text_classifier = zeroshot.classifier(encode, classes, templates=templates, batch_size=batch_size)
    assert max(sizes) <= batch_size
    torch.testing.assert_close(
        text_classifier, zeroshot.classifier(letters, classes, templates=templates, batch_size=15)
    )


def test_templates_are_not_format_strings():
    seen = []

    def encode(texts: list[str]) -> torch.Tensor:
        seen.extend(texts)
        return letters(texts)

    zeroshot.classifier(encode, ["a{0}"], templates=["{} {0.__class__}"], batch_size=4)
    assert seen == ["a{0} {0.__class__}"]


@pytest.mark.parametrize(("classes", "templates"), [([], ["{}"]), (["a"], []), (["a"], ["{}", "a photo"])])
def test_a_classifier_needs_classes_and_templates_with_a_place_for_them(classes, templates):
    with pytest.raises(UsageError):
        zeroshot.classifier(letters, classes, templates=templates, batch_size=4)


def test_embeddings_that_are_not_numbers_are_never_a_prediction():
    with pytest.raises(Inconclusive, match="not finite"):
        zeroshot.predict(tensor([[torch.nan, 0.0]]), torch.eye(2))
    with pytest.raises(Inconclusive, match="not finite"):
        zeroshot.classifier(lambda texts: letters(texts) * torch.nan, ["a"], templates=["{}"], batch_size=1)


def test_attack_success_leaves_out_images_of_the_target_class():
    #                label  0  0  1  1  2  2   target 2: four images count
    labels = tensor([0, 0, 1, 1, 2, 2])
    before = tensor([0, 2, 1, 1, 2, 2])
    after = tensor([2, 2, 2, 1, 2, 2])
    attack = zeroshot.attack_success(before, after, labels=labels, target=2)
    assert attack == zeroshot.Attack(asr=Rate(3, 4), base=Rate(1, 4), both=1)
    assert attack.excess == 0.5


def test_without_labels_only_changes_to_the_target_count():
    before, after = tensor([0, 2, 1]), tensor([2, 2, 1])
    attack = zeroshot.attack_success(before, after, labels=None, target=2)
    assert attack == zeroshot.Attack(asr=Rate(1, 2), base=Rate(0, 2), both=0)


def test_images_of_the_target_alone_measure_nothing():
    attack = zeroshot.attack_success(tensor([0, 0]), tensor([0, 0]), labels=tensor([0, 0]), target=0)
    assert attack.asr == attack.base == Rate(0, 0)
    assert math.isnan(attack.excess)
    assert attack.excess_interval == (-1, 1)


def test_excess_by_class_agrees_with_attack_success():
    generator = torch.Generator().manual_seed(0)
    before, after, labels = (torch.randint(4, (50,), generator=generator) for _ in range(3))
    for truth in (labels, None):
        excess = zeroshot.excess_by_class(before, after, labels=truth, classes=5)
        singly = [zeroshot.attack_success(before, after, labels=truth, target=t).excess for t in range(5)]
        assert excess.tolist() == pytest.approx(singly)


def test_a_class_that_holds_every_image_cannot_be_a_target():
    excess = zeroshot.excess_by_class(tensor([0, 0]), tensor([0, 0]), labels=tensor([0, 0]), classes=2)
    assert excess.tolist() == [-math.inf, 0]


def test_accuracy_under_trigger_counts_labels_kept():
    assert zeroshot.accuracy_under_trigger(tensor([0, 1, 1]), tensor([0, 1, 2])) == Rate(2, 3)


def unit(*degrees: float) -> torch.Tensor:
    """Unit vectors in the plane."""
    angles = torch.deg2rad(tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_knn_counts_triggered_images_among_the_target():
    # class 0 around 0 degrees, target 1 around 90; one of two triggered images of class 0 lands there
    clean, labels = unit(0, 1, 2, 89, 90, 91), tensor([0, 0, 0, 1, 1, 1])
    triggered = unit(90, 1, 3, 0, 0, 0)
    assert zeroshot.knn_attack_success(clean, labels, triggered, target=1, k=3) == Rate(1, 3)


def test_in_knn_an_image_has_no_vote_on_itself():
    # with its own vote the image at 0 would have a majority of its class among two
    clean, labels = unit(0, 10, 100), tensor([0, 1, 1])
    assert zeroshot.knn_attack_success(clean, labels, clean, target=1, k=1) == Rate(1, 1)


def test_in_knn_a_tie_is_no_success():
    clean, labels = unit(0, 10, -10, 180), tensor([0, 0, 1, 2])
    # triggered image 3 lies between 0 (class 0) and -10 (the target): one vote each; the others lie beside class 2
    triggered = unit(180, 180, 180, -5)
    assert zeroshot.knn_attack_success(clean, labels, triggered, target=1, k=2).hits == 0


def test_knn_with_too_few_images_measures_nothing():
    clean = unit(0, 90)
    assert zeroshot.knn_attack_success(clean, tensor([0, 1]), clean, target=1, k=2) == Rate(0, 0)
    with pytest.raises(ValueError, match="at least 1"):
        zeroshot.knn_attack_success(clean, tensor([0, 1]), clean, target=1, k=0)


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
