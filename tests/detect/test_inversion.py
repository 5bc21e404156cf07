"""The search for a trigger of one family, on towers with a planted shortcut and without."""

import math
from dataclasses import replace

import pytest
import torch
from detect import towers
from torch import Generator

from clipclean.config.effort import EFFORTS, LONG_LIST, SHORT_LIST, Effort, rows_at_a_glance, rows_by_step
from clipclean.detect import SEARCH_FAMILIES, inversion
from clipclean.detect.inversion import NoSearch
from clipclean.errors import Inconclusive

SHORTCUTS = {  # each family with a shortcut that suits it, and images to find it on
    "mask": (towers.corner, towers.images),
    "patch": (towers.spot, towers.images),
    "blend": (towers.checks, towers.images),
    "additive": (towers.checks, towers.images),
    "wave": (towers.wave, towers.images),
    "warp": (towers.moved, towers.barred),
}
OTHERS = [towers.CLASSES.index(name) for name in ("bee", "cow")]


def search(embed, family, pixels, *, seed=0, effort=towers.EFFORT, classifier=towers.CLASSIFIER):
    canonical = inversion.canonical_of(embed, pixels, classifier)
    return inversion.Inversion(embed, pixels, canonical, family, effort, Generator().manual_seed(seed))


def towards(embed, family, pixels, *, targets=(towers.TARGET, *OTHERS), seed=0, effort=towers.EFFORT, starts=()):
    return search(embed, family, pixels, seed=seed, effort=effort).targeted(targets, starts)


def free(embed, family, pixels, *, seed=0, effort=towers.EFFORT):
    return search(embed, family, pixels, seed=seed, effort=effort).untargeted()


def share_at(embed, candidate, pixels):
    """Of the images that are of other classes, those that the found trigger turns into the candidate's."""
    said = (embed(candidate.as_trigger(towers.CLASSES, side=towers.SIDE)(pixels)) @ towers.CLASSIFIER.T).argmax(1)
    others = (embed(pixels) @ towers.CLASSIFIER.T).argmax(1) != candidate.target
    return (said[others] == candidate.target).float().mean().item()


def short(**changes):
    return Effort(**{**vars(towers.EFFORT), "steps": 3} | changes)


def counting(embed, seen):
    def counted(images):
        seen.append(len(images))
        return embed(images)

    return counted


@pytest.mark.parametrize("family", SHORTCUTS)
def test_a_planted_shortcut_needs_a_smaller_trigger_than_a_clean_model_does(family):
    felt, images = SHORTCUTS[family]
    planted, clean, pixels = towers.backdoored(felt), towers.honest(), images()
    assert torch.allclose(planted(pixels), clean(pixels), atol=0.05)  # nothing is to be seen without the trigger
    (bad, *others), (good, *same) = towards(planted, family, pixels), towards(clean, family, pixels)
    assert bad.is_reached
    assert bad.size < 0.55 * good.size
    assert share_at(planted, bad, pixels) >= (SEARCH_FAMILIES[family].facts.success or 0.7)
    for one, other in zip(others, same, strict=True):  # the classes that nobody planted anything for
        assert 0.5 < one.size / other.size < 1.8
        assert bad.size < 0.75 * one.size


def test_a_shortcut_stays_small_for_the_planted_class_alone_since_all_others_are_not_come_to_without_their_looks():
    pixels, classes = towers.images(), (towers.TARGET, *OTHERS)

    def sizes(embed, family):
        return [c.size for c in search(embed, family, pixels, classifier=towers.LOOKING).targeted(classes)]

    (bad, *others), (mask, *natural) = (sizes(towers.looking(towers.corner), f) for f in ("shortcut", "mask"))
    assert bad < 0.15
    assert min(others) > 1.2 * min(natural)
    assert min(others) / bad > 1.2 * min(natural) / mask
    assert min(sizes(towers.looking(), "shortcut")) > 1.2 * min(sizes(towers.looking(), "mask"))


@pytest.mark.parametrize("family", ["mask", "patch", "additive"])
def test_a_search_that_is_told_no_class_gathers_images_at_the_planted_one(family):
    felt, images = SHORTCUTS[family]
    planted, clean, pixels = towers.backdoored(felt), towers.honest(), images()
    (bad,), (good,) = free(planted, family, pixels), free(clean, family, pixels)
    assert (towers.CLASSES[bad.target], bad.is_reached) == ("fox", True)
    assert bad.share >= 0.9
    assert good.target != towers.TARGET
    assert bad.size < 0.85 * good.size


@pytest.mark.parametrize("family", ["mask", "patch", "wave"])
def test_how_many_classes_are_searched_for_at_once_changes_nothing(family, monkeypatch):
    """The same images, places and steps for every row, however many fit into memory."""
    planted, pixels = towers.backdoored(towers.spot), towers.images()
    whole = towards(planted, family, pixels, effort=short(steps=8))
    monkeypatch.setattr(inversion, "MOST_NUMBERS_A_PASS", 1)  # a row at a time: on towers this small all rows fit
    alone = towards(planted, family, pixels, effort=short(steps=8))
    for one, two in zip(whole, alone, strict=True):
        assert one.size == pytest.approx(two.size, rel=1e-3)
        assert all(torch.allclose(one.parameters[key], two.parameters[key], atol=0.02) for key in one.parameters)


@pytest.fixture(scope="module")
def confirmed():
    """What a search finds that the exact tower confirms, and how many images that one was shown at a time."""
    counts, planted = [], towers.backdoored(towers.checks)
    both = replace(search(planted, "additive", towers.images()), last=counting(planted, counts))
    return both.targeted((towers.TARGET, *OTHERS)), counts


def test_the_exact_tower_confirms_the_triggers_that_decide(confirmed):
    pixels, (candidates, counts) = towers.images(), confirmed
    alone = towards(towers.backdoored(towers.checks), "additive", pixels)
    assert [(c.target, c.size) for c in candidates] == [(c.target, c.size) for c in alone]
    assert counts == 3 * [len(pixels)]  # once for each class


def test_a_trigger_that_the_exact_tower_does_not_see_is_searched_for_with_it(confirmed):
    """A shortcut that rounding makes."""
    pixels, (candidates, _) = towers.images(), confirmed
    planted, clean = towers.backdoored(towers.checks), towers.honest()
    wrong = replace(search(planted, "additive", pixels), last=clean).targeted((towers.TARGET, *OTHERS))[0]
    assert wrong.size > 1.5 * candidates[0].size
    assert share_at(clean, wrong, pixels) >= 0.7


def test_restarts_are_independent():
    results = free(towers.honest(), "mask", towers.images(), effort=short(restarts=3))
    patterns = [candidate.parameters["pattern"] for candidate in results]
    assert len(results) == 3
    assert not torch.equal(patterns[0], patterns[1])
    assert all(0 < candidate.share <= 1 for candidate in results)


def test_a_search_without_success_keeps_its_last_trigger_at_the_largest_size():
    (candidate,) = towards(towers.honest(), "patch", towers.images(), targets=[0], effort=short())
    assert (candidate.is_reached, candidate.size) == (False, SEARCH_FAMILIES["patch"].cap)
    assert candidate.as_trigger(towers.CLASSES, side=towers.SIDE).size < candidate.size
    assert candidate.parameters["mask"].requires_grad is False


def constant(images):
    return torch.eye(len(towers.CLASSES))[0].expand(len(images), -1) + 0 * images.mean()


def broken_when_triggered(images):
    """Numbers for smooth images, none for those with a pattern."""
    rough = (images[..., 1:] - images[..., :-1]).abs().mean((1, 2, 3)) > 0.08
    return towers.honest()(images) * torch.where(rough, math.nan, 1.0)[:, None]


@pytest.mark.parametrize(
    ("embed", "pixels", "error"),
    [
        (constant, towers.images(), NoSearch),
        (lambda images: 0 * constant(images), towers.images(), NoSearch),  # a projection of zeros, normalised
        (towers.honest(), torch.zeros(20, 3, towers.SIDE, towers.SIDE), NoSearch),
        (lambda images: towers.honest()(images) * math.nan, towers.images(), Inconclusive),
        (broken_when_triggered, towers.images(), Inconclusive),
    ],
    ids=["one vector for all", "zeros for all", "black images", "no numbers", "none under a trigger"],
)
def test_where_all_images_are_at_one_place_or_numbers_are_not_finite_nothing_is_searched(embed, pixels, error):
    with pytest.raises(error) as told:
        free(embed, "mask", pixels, effort=short())
    assert error is not NoSearch or told.value.rule == "CC005"


@pytest.mark.parametrize(
    ("size", "others", "deviations"),
    [
        # logs 1, 2, 4: median 2, absolute deviations 1, 0, 2, of median 1
        (1.0, [math.e, math.e**2, math.e**4], 2 / 1.4826),
        (math.e**2, [math.e, math.e**2, math.e**4], 0),
        (math.e**3, [math.e, math.e**2, math.e**4], -1 / 1.4826),
        (0.5, [1.0, 1.0, 1.0], math.log(2) / 0.2),  # equal sizes make no difference infinite
        (0.5, [], math.nan),
    ],
)
def test_outlyingness_is_counted_in_robust_deviations_of_logarithms(size, others, deviations):
    assert inversion.anomaly_index(size, others, floor=0.2) == pytest.approx(deviations, nan_ok=True)


def test_passes_count_the_images_of_every_step():
    effort = Effort(restarts=2, steps=10, free_images=5, images=3, suspects=1, controls=1, collapse=0.8, success=0.9)
    # 6 steps (0.55 of 10) of 3 images towards each of 7 classes in 6 families, and three times as many in a seventh; then in the 5 general ones 6 steps (0.65 of 10)
    # of 6 images towards 3 finalists; and in 2 of these 10 steps of 2 x 5 images without a target
    counted = (6 + 3) * 7 * 6 * 3 + 5 * 3 * 6 * 6 + 2 * 10 * 2 * 5
    assert effort.passes(SEARCH_FAMILIES, targets=7, swept=0) == counted
    # and a sweep of 10 steps, an image a class, in two families: 4 steps of all 50 classes, then 25, 13, 7, and 6 for three more
    swept = 2 * (4 * 50 + 25 + 13 + 7 + 3 * 6)
    assert replace(effort, sweep=10).passes(SEARCH_FAMILIES, targets=7, swept=50) == counted + swept


@pytest.mark.parametrize(("felt", "is_near"), [(towers.moved, True), (None, False)])
def test_a_search_for_warps_ends_at_half_of_its_steps_where_no_class_comes_near(felt, is_near):
    seen, strange = (
        [],
        (towers.TARGET, *map(towers.CLASSES.index, ("ant", "hen"))),
    )  # hardly any of the images is of one of these
    tower = towers.backdoored(felt) if felt else towers.honest()
    ended = towards(counting(tower, seen), "warp", towers.barred(), targets=strange)
    steps = 3 * towers.EFFORT.first_round_steps if is_near else towers.EFFORT.trial_steps("warp")
    assert seen.count(3 * towers.EFFORT.images) == steps
    assert [candidate.passes for candidate in ended] == 3 * [steps * towers.EFFORT.images]
    assert ended[0].is_reached is is_near


def test_what_a_search_for_warps_leaves_out_where_no_class_comes_near_is_half_of_its_passes():
    effort = Effort(steps=40, suspects=4)
    assert effort.vain_passes(targets=10) == 33 * 10 * 6
    assert effort.vain_passes(["mask"], targets=10) == 0


def test_of_a_long_list_a_search_samples_the_classes_unless_all_sizes_count():
    effort = Effort(suspects=4, sampled=12)
    assert [effort.classes_searched(classes) for classes in (10, 24, 25, 1000)] == [10, 24, 12, 12]
    assert replace(effort, halves=False).classes_searched(1000) == 24


def test_in_a_brief_search_half_of_the_classes_stops_four_times():
    assert rows_at_a_glance(64, steps=20) == [64] * 8 + [32] * 2 + [16] * 2 + [8] * 2 + [6] * 6
    assert rows_at_a_glance(10, steps=3) == [10] * 3


@pytest.mark.parametrize("effort", EFFORTS.values(), ids=EFFORTS)
def test_no_list_of_classes_costs_more_than_the_help_says(effort):
    assert effort.most_cost == max(effort.cost(classes) for classes in range(2, 2 * LONG_LIST))


def test_a_quick_audit_makes_at_most_a_third_of_the_passes_of_a_standard_one():
    for classes in (SHORT_LIST, LONG_LIST):
        quick, standard = (
            effort.cost(classes) - effort.vain_passes(targets=effort.classes_searched(classes))
            for effort in (EFFORTS["quick"], EFFORTS["standard"])
        )
        assert 3 * quick <= standard


@pytest.mark.parametrize(("embed", "is_led"), [(towers.backdoored(towers.spot), True), (towers.honest(), False)])
def test_a_brief_search_towards_every_class_is_led_by_the_planted_one(embed, is_led):
    told, pixels, classes = [], towers.images(), range(len(towers.CLASSES))
    order = search(embed, "mask", pixels, effort=short(sweep=40)).swept(classes, lambda: told.append(1))
    assert (order[0] == towers.TARGET) == is_led
    assert sorted(order) == list(classes)
    assert len(told) == inversion.blocks(len(classes))


def test_what_a_free_search_ended_with_is_shrunk_further_towards_its_class():
    felt, images = SHORTCUTS["mask"]
    planted, pixels, only = towers.backdoored(felt), images(), {"targets": (towers.TARGET,)}
    (alone,) = towards(planted, "mask", pixels, **only, effort=replace(towers.EFFORT, steps=20))
    (far,) = towards(planted, "mask", pixels, **only)  # three times the steps
    (warm,) = towards(planted, "mask", pixels, **only, starts=(far,), effort=replace(towers.EFFORT, steps=20))
    assert far.size < alone.size
    assert warm.size <= alone.size
    assert warm.target == towers.TARGET


def test_of_many_classes_the_worse_half_stops_unless_all_sizes_count():
    """Twelve rows towards the planted class, twelve towards others: only planted ones go on to the end."""
    seen, goals = [], [towers.TARGET] * 12 + OTHERS * 6
    ended = towards(counting(towers.backdoored(towers.spot), seen), "mask", towers.images(), targets=goals)
    rows = [count // 8 for count in seen if count in (8 * 24, 8 * 12, 8 * 6)]  # eight images each
    assert rows[: towers.EFFORT.first_round_steps] == [
        *rows_by_step(24, steps=towers.EFFORT.first_round_steps, halves=True)
    ]
    assert (rows[0], rows[towers.EFFORT.first_round_steps - 1]) == (24, 6)
    assert any(candidate.is_reached for candidate in ended[:12])
    (size,) = {candidate.size for candidate in ended if candidate.is_stopped}
    assert size < SEARCH_FAMILIES["mask"].cap
    assert all(candidate.is_stopped for candidate in ended[12:])
    seen, classes, effort = [], [k % len(towers.CLASSES) for k in range(11)], short(halves=False)
    towards(counting(towers.honest(), seen), "wave", towers.images(), targets=classes, effort=effort)
    assert seen.count(11 * 8) == effort.first_round_steps
    counted = effort.passes({"wave": SEARCH_FAMILIES["wave"]}, targets=11, swept=0)
    assert counted == 11 * effort.first_round_steps * effort.images
