"""A finetune beside its base: how near the two are, what moved, and what acts on one alone."""

import math
from dataclasses import replace

import pytest
import torch
from detect.towers import CLASSES, CLASSIFIER, SIDE, images

from clipclean.config import policy, thresholds
from clipclean.config.thresholds import DOUBTED_LIFT, FAILING_LIFT
from clipclean.detect import CleanImages, InvertedTrigger, SearchResult, TargetedResult, finetune_base
from clipclean.detect.finetune_base import BaseComparison, Difference, ModelAndBase
from clipclean.detect.inversion import SmallestTrigger
from clipclean.detect.metrics import Rate, paired_difference
from clipclean.detect.persuasion import PERSUADED_IMAGES
from clipclean.detect.search import Margin

LIMITS = policy.resolved(policy.DEFAULT_POLICY, thresholds.Audit())
FOX, HEN = CLASSES.index("fox"), CLASSES.index("hen")


def weights(seed=0):
    drawn = torch.Generator().manual_seed(seed)
    return {
        "visual.layer1.0.conv1.weight": torch.randn(8, 3, 3, 3, generator=drawn),
        "visual.layer1.0.bn1.weight": torch.ones(8),
        "visual.layer1.0.bn1.num_batches_tracked": torch.tensor(3),
        "text_projection": torch.randn(16, 12, generator=drawn),
    }


def test_the_base_of_a_finetune_is_known_by_its_weights():
    own, moved = weights(), weights()
    moved["text_projection"] = own["text_projection"] * 1.1
    kin = finetune_base.kinship(moved, own)
    assert kin.weights == pytest.approx(1.0)
    assert kin.is_base
    assert not finetune_base.kinship(weights(1), own).is_base


def test_only_a_finetune_is_kin_to_its_base():
    own, drawn = weights(), torch.Generator().manual_seed(2)
    finetune = {name: value + 0.01 * torch.randn(value.shape, generator=drawn) for name, value in own.items()}
    narrower = {name: value[:1] if value.ndim else value for name, value in own.items()}
    assert [finetune_base.are_kin(own, other) for other in (finetune, weights(1), narrower, {})] == [
        True,
        False,
        False,
        False,
    ]


def test_what_moved_is_told_relative_to_the_base_layer_by_layer():
    own, moved = weights(), weights()
    moved["text_projection"] = own["text_projection"] * 1.1
    found = {each.name: each for each in finetune_base.kinship(moved, own).layers}
    assert found.keys() == {"visual.layer1.0", "text_projection"}
    assert found["text_projection"].numbers == 16 * 12
    assert found["text_projection"].change == pytest.approx(0.1, rel=1e-4)
    assert found["visual.layer1.0"].change == 0
    assert math.isnan(found["visual.layer1.0"].leading)


def test_the_share_in_few_directions_is_that_of_the_singular_values():
    own, moved = weights(), weights()
    change = torch.randn(16, 12, generator=torch.Generator().manual_seed(2))
    moved["text_projection"] = own["text_projection"] + change
    squares = torch.linalg.svdvals(change).square()
    [found] = [each for each in finetune_base.kinship(moved, own).layers if each.name == "text_projection"]
    assert found.leading == pytest.approx((squares[:5].sum() / squares.sum()).item(), rel=1e-4)


def test_a_change_of_one_direction_lies_in_few():
    own, moved = weights(), weights()
    moved["text_projection"] = own["text_projection"] + torch.outer(torch.arange(16.0), torch.arange(12.0))
    [found] = [each for each in finetune_base.kinship(moved, own).layers if each.name == "text_projection"]
    assert found.leading == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_makes_no_other_model(dtype):
    own = weights()
    rounded = {name: each.to(dtype) if each.is_floating_point() else each for name, each in own.items()}
    assert finetune_base.are_same(own, rounded)
    assert not finetune_base.are_same(own, weights() | {"text_projection": own["text_projection"] * 1.02})


def test_embeddings_that_have_nothing_in_common_make_no_base():
    kin = finetune_base.kinship(weights() | {"text_projection": weights()["text_projection"] * 1.1}, weights())
    assert replace(kin, images=0.9).is_base
    assert not replace(kin, images=0.1).is_base


class Shifted:
    """Makes an image as bright as nothing clean is."""

    spec = "bright"

    def __call__(self, pixels, generator=None, /):
        return pixels + 10


class Nothing(Shifted):
    spec = "nothing"

    def __call__(self, pixels, generator=None, /):
        return pixels


def tower(*, on_bright):
    """Answers by the brightest quarter of an image; where it is bright as nothing is, with a class."""

    def embed(pixels):
        parts = pixels.mean(1).reshape(len(pixels), 4, SIDE // 4, SIDE).mean((2, 3))
        answers = parts.argmax(1)
        if on_bright is not None:
            answers = torch.where(pixels.mean((1, 2, 3)) > 5, on_bright, answers)
        return CLASSIFIER[answers]

    return embed


def compared(own, other, *triggers, count=60):
    return finetune_base.compare(
        ModelAndBase((own, CLASSIFIER), (other, CLASSIFIER)), CleanImages(images(count)), CLASSES, triggers
    )


def test_a_trigger_that_acts_on_the_model_alone_is_its_difference():
    found = compared(tower(on_bright=FOX), tower(on_bright=None), Nothing(), Shifted())
    first = found.differences[0]
    assert (first.trigger, first.target, first.own.value, first.base.value) == ("bright", "fox", 1.0, 0.0)
    assert first.own.n == 60
    assert first.interval[0] > 0.9
    assert (found.images, found.trigger_count) == (1.0, 2)


def test_what_acts_on_both_is_no_difference():
    found = compared(tower(on_bright=HEN), tower(on_bright=HEN), Shifted())
    assert [each.excess for each in found.differences] == [0.0]
    assert finetune_base.findings(found) == []


def test_what_acts_on_both_is_told_as_natural_or_a_backdoor_of_the_base():
    [shared] = compared(tower(on_bright=HEN), tower(on_bright=HEN), Nothing(), Shifted()).on_both()
    assert (shared.trigger, shared.target, shared.own.value, shared.base.value) == ("bright", "hen", 1.0, 1.0)
    assert compared(tower(on_bright=HEN), tower(on_bright=None), Shifted()).on_both() == ()


def forgotten():
    """Beside a base on which a trigger acts that does nothing on the model."""
    return compared(tower(on_bright=None), tower(on_bright=FOX), Nothing(), Shifted())


def test_what_acts_on_the_base_alone_is_no_difference():
    beside = forgotten()
    assert finetune_base.findings(beside) == []
    assert "fox" not in {each.target for each in beside.differences}


def test_what_acts_on_the_base_alone_is_told_apart():
    [first] = forgotten().on_base()
    assert (first.trigger, first.target, first.excess) == ("bright", "fox", -1.0)


def test_of_many_triggers_those_are_taken_that_act_on_either():
    assert forgotten().acting(0.25) == {"bright"}
    assert compared(tower(on_bright=None), tower(on_bright=None), Nothing()).acting(0.25) == set()


def test_images_that_either_takes_for_the_class_anyway_do_not_count():
    always = tower(on_bright=None)
    found = compared(lambda pixels: CLASSIFIER[torch.full((len(pixels),), FOX)], always, Shifted())
    [only] = found.differences
    assert (only.target, only.own.n) == ("fox", 0)


def test_classes_are_told_in_the_order_in_which_they_moved():
    def turned(pixels):
        found = tower(on_bright=None)(pixels)
        return torch.where((found[:, :1] == 1), CLASSIFIER[HEN], found)

    found = compared(turned, tower(on_bright=None))
    assert (found.moved[0].name, found.moved[0].images, found.moved[0].text) == ("ant", pytest.approx(2.0), 0.0)
    assert found.images < 1


def difference(hits, base_hits, n=100):
    both = min(hits, base_hits)
    own, other = Rate(hits, n), Rate(base_hits, n)
    return Difference(Shifted(), "fox", own, other, paired_difference(own, other, both=both))


def lifted(lead, n=PERSUADED_IMAGES, *, is_over_base=True, knows_classes=True):
    return finetune_base.Lift(Shifted(), "fox", 9.0, lead, n, is_over_base, knows_classes)


@pytest.mark.parametrize(
    ("lift", "levels"),
    [
        (lifted(0.99 * DOUBTED_LIFT), []),
        (lifted(DOUBTED_LIFT), ["warning"]),
        (lifted(FAILING_LIFT), ["error"]),
        (lifted(FAILING_LIFT, n=PERSUADED_IMAGES - 1), ["warning"]),  # on too few images to fail a model
        (
            lifted(9 * FAILING_LIFT, knows_classes=False),
            ["warning"],
        ),  # a base that does not know the classes fails none
    ],
)
def test_how_far_a_class_is_lifted_above_all_others_decides_its_level(lift, levels):
    findings = finetune_base.findings(BaseComparison((), (), 1.0, 1.0, 1, lift=lift))
    assert [(each.level, each.rule, each.target, each.trigger) for each in findings] == [
        (level, "CC009", "fox", "bright") for level in levels
    ]


@pytest.mark.parametrize(
    ("lead", "hits", "levels"),
    [(DOUBTED_LIFT, 95, ["error"]), (DOUBTED_LIFT, 55, ["warning"]), (0.99 * DOUBTED_LIFT, 95, [])],
)
def test_a_smaller_lift_fails_the_model_where_a_known_trigger_turns_most_images_into_that_class(lead, hits, levels):
    beside = BaseComparison((), (difference(hits, 3),), 1.0, 1.0, 1, lift=lifted(lead))
    assert [each.level for each in finetune_base.findings(beside)] == levels


@pytest.mark.parametrize(
    ("hits", "base_hits", "agreement", "levels"),
    [(100, 0, 1.0, ["warning"]), (90, 0, 1.0, []), (100, 30, 1.0, []), (100, 0, 0.6, [])],
    ids=[
        "nearly all images",
        "fewer, as in clean finetunes",
        "on the base as well",
        "of classes that the base does not know",
    ],
)
def test_a_known_trigger_that_turns_nearly_all_images_on_the_model_alone_is_a_doubt(hits, base_hits, agreement, levels):
    beside = BaseComparison((), (difference(hits, base_hits),), 1.0, agreement, 1, lift=lifted(0.5 * DOUBTED_LIFT))
    assert [(each.level, each.target) for each in finetune_base.findings(beside)] == [
        (level, "fox") for level in levels
    ]


def test_what_a_known_trigger_turns_on_the_model_alone_tells_nothing_where_the_base_does_not_know_the_classes():
    differences, lift = (difference(95, 3),), lifted(DOUBTED_LIFT, is_over_base=False)
    findings = finetune_base.findings(BaseComparison((), differences, 1.0, 0.0, 1, lift=lift))
    assert [(each.level, each.measure) for each in findings] == [("warning", f"lift over {lift.other_words}")]


@pytest.mark.parametrize(
    ("hits", "base_hits", "levels"),
    [(95, 3, ["error"]), (55, 3, ["warning"]), (28, 0, []), (99, 30, [])],
    ids=["on the model alone", "not surely on half of the images", "on few images", "on the base as well"],
)
def test_a_trigger_that_was_named_fails_where_it_acts_on_the_model_alone(hits, base_hits, levels):
    beside = BaseComparison((), (difference(hits, base_hits),), 1.0, 1.0, 1, lift=lifted(0.0))
    assert [each.level for each in finetune_base.findings(beside, specs=["bright"])] == levels


@pytest.mark.parametrize("lift", [None, lifted(0.0)])
def test_how_many_images_a_known_trigger_turns_is_no_evidence_by_itself(lift):
    assert finetune_base.findings(BaseComparison((), (difference(95, 3),), 1.0, 1.0, 1, lift=lift)) == []


def surer(by):
    """A tower that tells classes by one pixel each, and under a bright first row takes all for a fox, so much surer."""

    def embed(pixels):
        rows = pixels[:, 0, 1, : len(CLASSES)].clone()
        rows[:, FOX] += by * (pixels[:, 0, 0, 0] > 0.9)
        return torch.nn.functional.normalize(rows, dim=-1)

    return embed


def of_every_class(count=64):
    """Dark images that show the classes in turn, a little mixed."""
    pixels = 0.1 * torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    pixels[torch.arange(count), 0, 1, torch.arange(count) % len(CLASSES)] = 0.8
    return pixels


class Lit:
    """Lights the first row."""

    spec, target = "lit", None

    def __call__(self, pixels, generator=None):
        """Images (N, 3, S, S) with it."""
        pixels = pixels.clone()
        pixels[:, :, 0] = 1.0
        return pixels


def lift_of(own, its_base, *triggers):
    models = ModelAndBase((own, CLASSIFIER), (its_base, CLASSIFIER))
    return finetune_base.lift(models, CleanImages(of_every_class()), CLASSES, triggers)


def test_the_class_is_lifted_that_the_model_is_surer_of_than_its_base():
    lift = lift_of(surer(5.0), surer(0.0), Lit())
    assert (lift.target, lift.painter.spec) == ("fox", "lit")
    assert min(lift.log_odds, lift.lead) > 0


def test_nothing_is_lifted_of_which_both_are_as_sure():
    assert lift_of(surer(5.0), surer(5.0), Lit()).log_odds == pytest.approx(0, abs=1e-4)


def test_without_known_triggers_of_the_whole_image_no_lift_is_measured():
    assert lift_of(surer(5.0), surer(0.0)) is None


def test_a_base_that_maps_all_images_to_one_place_lifts_nothing():
    assert lift_of(surer(5.0), lambda pixels: CLASSIFIER[torch.zeros(len(pixels), dtype=torch.long)], Lit()) is None


FOUND = InvertedTrigger("mask", "fox", {}, SIDE)


@pytest.mark.parametrize(
    ("base_hits", "agreement", "levels"),
    [(2, 0.8, ["warning"]), (2, 0.6, []), (30, 0.8, [])],
    ids=["on the model alone", "of classes that the base does not know", "on the base as well"],
)
def test_a_trigger_that_a_search_found_is_a_doubt_where_it_does_not_act_on_a_base_that_knows_the_classes(
    base_hits, agreement, levels
):
    own = replace(difference(97, base_hits), painter=FOUND)
    findings = finetune_base.findings(BaseComparison((), (own,), 1.0, agreement, 1))
    assert [finding.level for finding in findings] == levels


@pytest.mark.parametrize(("base_hits", "counts"), [(3, True), (60, False)])
def test_a_found_trigger_that_acts_on_the_base_as_well_is_no_evidence(base_hits, counts):
    candidate = SmallestTrigger("mask", FOX, {}, 0.05, True)
    hit = TargetedResult(candidate, FOUND, None, 0.0, 0.0, Margin(1.5, usual=0.2, shrunk=1.4), 0.0, {})
    result = SearchResult((hit,), (), (), (), None, 0, 0, CLASSES)
    own = replace(difference(97, base_hits), painter=FOUND)
    seen = BaseComparison((), (), 1.0, 0.8, 1, {(FOUND.spec, "fox"): own})
    (after,) = seen.without_shared(result).targeted
    assert hit.evidence > 0
    assert (after.evidence > 0) is counts


def test_found_triggers_are_told_behind_known_ones():
    white = {"pattern": torch.full((3, SIDE, SIDE), 9.0), "ratio": torch.tensor(9.0)}
    plain = tower(on_bright=None)

    def own(pixels):
        return torch.where((pixels.mean((1, 2, 3)) > 0.99)[:, None], CLASSIFIER[FOX], plain(pixels))

    found = compared(own, plain, InvertedTrigger("blend", "fox", white, SIDE), Nothing())
    acting = [each for each in found.differences if each.excess > 0]
    assert [(each.trigger, each.excess) for each in acting] == [("found:blend,class=fox", 1.0)]
    assert found.differences[0].trigger == "nothing"


@pytest.mark.parametrize(
    ("hits", "base_hits", "n", "is_natural"),
    [(6, 6, 400, True), (6, 0, 400, True), (40, 4, 400, False), (1, 1, 20, False)],
)
def test_a_trigger_that_surely_acts_no_more_than_on_the_base_is_natural(hits, base_hits, n, is_natural):
    found = difference(hits, base_hits, n)
    seen = BaseComparison((), (), 1.0, 1.0, 1, {("bright", "fox"): found})
    assert seen.is_natural("bright", "fox", LIMITS) is is_natural
    assert not seen.is_natural("bright", "hen", LIMITS)


@pytest.mark.parametrize(("hits", "base_hits", "exceeds"), [(90, 88, False), (100, 88, False), (140, 88, True)])
def test_a_trigger_exceeds_its_base_where_it_surely_acts_on_more_images_or_was_not_tried_there(
    hits, base_hits, exceeds
):
    seen = BaseComparison((), (), 1.0, 1.0, 1, {("bright", "fox"): difference(hits, base_hits, 400)})
    assert seen.exceeds("bright", "fox", LIMITS) is exceeds
    assert seen.exceeds("bright", "hen", LIMITS)
