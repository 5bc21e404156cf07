import math

import pytest
import torch
import torch.nn.functional as F
from torch import tensor

from clipclean.detect import zeroshot
from clipclean.detect.metrics import Rate, paired_difference
from clipclean.detect.zeroshot import SHARPNESS, canonical_form


def letters(texts: list[str]) -> torch.Tensor:
    """A text encoder that counts a, b and c, so that its embeddings are known by heart."""
    return tensor([[float(text.count(letter)) for letter in "abc"] for text in texts])


def classifier(encode=letters, classes=("a",), templates=("{}",), batch_size=8):
    return zeroshot.classifier(encode, list(classes), templates=list(templates), batch_size=batch_size)


def asked_of(texts: list[list[str]]):
    """An encoder that keeps the texts of each batch."""

    def encode(batch: list[str]) -> torch.Tensor:
        texts.append(batch)
        return letters(batch)

    return encode


def test_a_class_is_the_renormalised_mean_of_unit_embeddings():
    x, y = (1 + 1 / math.sqrt(10)) / 2, 3 / math.sqrt(10) / 2
    torch.testing.assert_close(classifier(templates=["{}", "{} bbb"]), tensor([[x, y, 0]]) / math.hypot(x, y))


def test_templates_are_no_format_strings():
    texts: list[list[str]] = []
    classifier(asked_of(texts), ["a{0}"], ["{} {0.__class__}"])
    assert texts == [["a{0} {0.__class__}"]]


def test_a_class_is_the_same_whatever_the_batches():
    texts: list[list[str]] = []
    encode = asked_of(texts)
    words = {"classes": ["a", "b", "ab", "c", "ca"], "templates": ["{}", "{}a", "b{}"]}
    for size in (1, 2, 3, 5, 100):
        texts.clear()
        torch.testing.assert_close(classifier(encode, **words, batch_size=size), classifier(**words, batch_size=15))
        assert max(map(len, texts)) <= size


@pytest.mark.parametrize(
    ("before", "after", "labels", "target", "rates", "both"),
    [
        # target 2: four images count
        ([0, 2, 1, 1, 2, 2], [2, 2, 2, 1, 2, 2], [0, 0, 1, 1, 2, 2], 2, (Rate(3, 4), Rate(1, 4)), 1),
        # without labels only changes to the target count
        ([0, 2, 1], [2, 2, 1], None, 2, (Rate(1, 2), Rate(0, 2)), 0),
        # images of the target alone measure nothing
        ([0, 0], [0, 0], [0, 0], 0, (Rate(0, 0), Rate(0, 0)), 0),
    ],
)
def test_attack_success_leaves_out_images_of_the_target_class(before, after, labels, target, rates, both):
    labels = None if labels is None else tensor(labels)
    found = zeroshot.attack_success(tensor(before), tensor(after), labels=labels, target=target)
    assert (found.asr, found.base_rate, found.excess_interval) == (*rates, paired_difference(*rates, both=both))
    assert found.excess == pytest.approx(0.5 if rates[0].n else math.nan, nan_ok=True)


def test_excess_by_class_agrees_with_attack_success():
    generator = torch.Generator().manual_seed(0)
    before, after, labels = (torch.randint(4, (50,), generator=generator) for _ in range(3))
    for truth in (labels, None):
        excess = zeroshot.excess_by_class(before, after, labels=truth, classes=5)
        singly = [zeroshot.attack_success(before, after, labels=truth, target=t).excess for t in range(5)]
        assert excess.tolist() == pytest.approx(singly)
    excess = zeroshot.excess_by_class(tensor([0, 0]), tensor([0, 0]), labels=tensor([0, 0]), classes=2)
    assert excess.tolist() == [-math.inf, 0]  # a class that holds every image cannot be a target


def unit(*degrees: float) -> torch.Tensor:
    """Unit vectors in the plane."""
    angles = torch.deg2rad(tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


@pytest.mark.parametrize(
    ("clean", "labels", "triggered", "k", "rate"),
    [
        # class 0 around 0 degrees, target 1 around 90; one of three triggered images of class 0 lands there
        (unit(0, 1, 2, 89, 90, 91), [0, 0, 0, 1, 1, 1], unit(90, 1, 3, 0, 0, 0), 3, Rate(1, 3)),
        # an image has no vote on itself: with it the image at 0 would have a majority of its class among two
        (unit(0, 10, 100), [0, 1, 1], unit(0, 10, 100), 1, Rate(1, 1)),
        # a tie is no success: -5 lies between 0 (class 0) and -10 (the target); the others lie beside class 2
        (unit(0, 10, -10, 180), [0, 0, 1, 2], unit(180, 180, 180, -5), 2, Rate(0, 3)),
        (unit(0, 90), [0, 1], unit(0, 90), 2, Rate(0, 0)),  # too few images measure nothing
    ],
)
def test_knn_counts_triggered_images_among_the_target(clean, labels, triggered, k, rate):
    assert zeroshot.knn_attack_success(clean, tensor(labels), triggered, target=1, k=k) == rate


def random(rows, columns, seed):
    return F.normalize(torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)), dim=1)


IMAGES, TEXTS = random(20, 8, 0), random(5, 8, 1)
TURN = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(3)))[0]
AWAY = torch.linalg.qr(torch.cat([TEXTS, random(1, 8, 2)]).T)[0][:, -1]  # orthogonal to all texts


def test_logits_have_a_slope_where_all_classes_are_as_near():
    level = torch.zeros(1, 3, requires_grad=True)
    canonical_form(torch.eye(3)).logits(level).sum().backward()
    assert level.grad.isfinite().all()


def test_answers_are_those_of_the_cosines():
    assert torch.equal(canonical_form(TEXTS).logits(IMAGES).argmax(1), (IMAGES @ TEXTS.T).argmax(1))


def test_logits_are_cosines_in_units_of_their_own_deviation():
    # cosines 1, 0, 0 less their mean: 2/3, -1/3, -1/3, of the deviation sqrt(2)/3
    logits = canonical_form(torch.eye(3)).logits(torch.tensor([[1.0, 0.0, 0.0]]))
    assert logits[0].tolist() == pytest.approx([SHARPNESS * v for v in (2**0.5, -(0.5**0.5), -(0.5**0.5))])


def test_what_keeps_the_answers_changes_no_logit():
    known = canonical_form(TEXTS).logits(IMAGES)
    along = F.normalize(IMAGES.double() + 300 * AWAY, dim=1)  # a constant that no class lies along
    for texts, images in ((TEXTS.double(), along), (TEXTS @ TURN, IMAGES @ TURN), (7 * TEXTS, 0.1 * IMAGES)):
        assert torch.allclose(canonical_form(texts).logits(images).float(), known, atol=1e-3)


def test_naturalness_is_the_cosine_to_where_the_own_images_of_a_class_lie_as_seen_from_the_middle_of_all():
    texts = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    # Five images of each class, above the plane of the texts and below it: from the middle their ways are (1, -1, 2) and (-1, 1, -2).
    images = torch.tensor([[1.0, 0.0, 1.0]] * 5 + [[0.0, 1.0, -1.0]] * 5)
    form = canonical_form(texts, embeddings=images)
    middle = torch.tensor([0.5, 0.5, 0.0])
    shown = middle + torch.tensor([[1.0, -1.0, 2.0], [2.0, 0.0, 0.0], [-1.0, 1.0, -2.0]])
    # as the images do: 1; by the words alone: 1 / sqrt(6); as those of the other class: none
    assert form.naturalness(shown, tensor([0, 0, 0])).tolist() == pytest.approx([1, 6**-0.5, 0], abs=1e-6)
    # A class that no image is taken for is where those lie that come nearest to it: here all five of class 0.
    rare = canonical_form(torch.cat([texts, 0.4 * texts[:1]]), embeddings=images)
    assert rare.naturalness(shown[:1], tensor([2])).item() == pytest.approx(1, abs=1e-6)
