"""A whole search on towers: what it finds beside a reference and without, what it compares with what, and its stages."""

import json
import math
import sys
from dataclasses import replace

import pytest
import torch
from detect import towers
from torch import Generator

from clipclean import deadline
from clipclean.config import policy, thresholds
from clipclean.config.effort import MOST_JUDGING_IMAGES, MOST_SEARCHED_IMAGES
from clipclean.detect import (
    SEARCH_FAMILIES,
    Course,
    LateReferences,
    NoSearch,
    References,
    is_failing,
    is_undoubted,
    search_findings,
    suspect_records,
)
from clipclean.detect.inversion import SmallestTrigger
from clipclean.detect.measure import UNMEASURED, Measurement
from clipclean.detect.search import Comparison, divided, random_classes, shortlisted
from clipclean.detect.stages import Stages

MODULE = sys.modules["clipclean.detect.search"]
LIMITS = policy.resolved(policy.DEFAULT_POLICY, thresholds.Audit())
LOW = LIMITS.model_copy(update={"false_alarm_rate": 0.25})
TRIED = ("mask", "patch")  # the families that suit the shortcut, and another one
IMAGES = 60
EIGHT = towers.images(8)
SHORT = replace(towers.EFFORT, steps=4)
QUICK = replace(towers.EFFORT, steps=30)


@pytest.fixture(scope="module", autouse=True)
def _two_families():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "SEARCH_FAMILIES", {name: SEARCH_FAMILIES[name] for name in TRIED})
        yield


@pytest.fixture(scope="module")
def clean():
    return towers.searched(towers.honest())


@pytest.fixture(scope="module")
def yard(clean):
    """What clean models need, by the planted one without its backdoor: they share the seed."""
    return References("reference", "same seed", (clean.sizes(),))


@pytest.fixture(scope="module")
def bad(yard):
    return towers.searched(towers.backdoored(towers.spot), references=yard)


def judged(made):
    return [(finding.level, finding.target) for finding in search_findings(made, images=IMAGES, limits=LIMITS)]


def test_a_planted_shortcut_fails_with_its_class_beside_a_reference(bad):
    assert judged(bad) == [("error", "fox")]
    first = bad.targeted[0]
    assert (first.trigger.target, first.candidate.is_reached) == ("fox", True)
    assert first.gathering >= 0.9
    assert first.probe.excess >= LIMITS.min_found_excess  # on images that were not searched on
    assert first.margin.value > 1  # a third of what any other class needs
    (suspect,) = suspect_records(bad, Measurement(UNMEASURED, (), (), 0, torch.eye(2)), limits=LIMITS)
    assert (suspect.class_, suspect.trigger) == ("fox", first.trigger.spec)
    assert "patch" in suspect.families


def test_the_report_of_a_search_counts_what_was_done(bad):
    record = json.loads(json.dumps(towers.recorded(bad), allow_nan=False))
    assert record["images"] == 36  # six tenths of 60
    effort, classes = towers.EFFORT, len(towers.CLASSES)
    # a search without a target; in each of 2 families one towards every class, as there are few, and one for 3 finalists; one from a tile that acts
    free, row, second = 60 * effort.free_images, 33 * effort.images, 39 * 3 * 2 * effort.images
    assert record["forward_passes"] == free + 2 * (classes * row + second) + row
    assert (len(record["found"]), len(record["controls"])) == (2 * effort.suspects, 2 * (classes - effort.suspects))
    assert "fox" not in {entry["class"] for entry in record["controls"]}
    assert record["found"][0]["reference"]["n"] == 1
    assert record["found"][0]["collapse"] == pytest.approx(1 - bad.targeted[0].probe.spread)
    assert bad.targeted[0].probe.n == 24


def test_where_local_triggers_show_far_more_than_enough_or_nothing_at_all_no_other_family_is_searched(
    yard, monkeypatch
):
    monkeypatch.setattr(MODULE, "SEARCH_FAMILIES", {name: SEARCH_FAMILIES[name] for name in (*TRIED, "additive")})
    planted, honest, made = towers.backdoored(towers.spot), towers.honest(), []
    for tower, known, end in (
        (planted, yard, is_failing),
        (honest, yard, is_failing),
        (honest, yard, is_undoubted),
        (honest, None, is_undoubted),
    ):
        told = []

        def enough(found, told=told, end=end):
            told.append({each.family for each in found.candidates})
            return end(found, limits=LOW if end is is_failing else LIMITS)

        course = Course(0, lambda *_: None, None, enough)
        made.append(towers.searched(tower, references=known, effort=QUICK, course=course))
        # asked once patches that move were searched for, and once all that is local was
        assert told == [{"patch"}] if tower is planted else told[-1] == set(TRIED)
    bad, clean, beside, alone = made
    assert [{each.family for each in found.candidates} for found in (bad, alone)] == [{"patch"}, set(TRIED)]
    # nothing is no pass without clean models: beside one, it is looked for in all families
    assert [{each.family for each in found.candidates} for found in (clean, beside)] == [{*TRIED, "additive"}] * 2
    assert judged(bad) == [("error", "fox")]
    assert bad.cut is None
    assert bad.passes < clean.passes


def test_the_same_model_without_a_backdoor_does_not_fail(clean):
    assert {level for level, _ in judged(clean)} <= {"warning"}


def test_every_class_of_a_short_list_is_compared_with_all_others(clean):
    assert all(set(clean.sizes()[family]) == set(towers.CLASSES) for family in TRIED)
    hit = clean.targeted[0]
    others = [math.log(v) for k, v in clean.sizes()[hit.candidate.family].items() if k != hit.trigger.target]
    assert hit.margin.value == pytest.approx(min(others) - math.log(hit.candidate.size))
    assert all(entry["reference"] is None for entry in towers.recorded(clean)["found"])
    shown = [hit.evidence for hit in clean.targeted]
    assert shown == sorted(shown, reverse=True)


@pytest.mark.parametrize("pointed", range(len(towers.CLASSES)))
def test_of_a_long_list_the_class_that_something_points_at_is_searched_for(pointed):
    few = replace(towers.EFFORT, steps=2, suspects=2, controls=4)
    result = towers.searched(towers.honest(), pixels=EIGHT, effort=few, pointed=[pointed])
    assert len(result.sizes()["mask"]) in (5, 6)  # four drawn ones, and who is pointed at by that or by a search
    assert towers.CLASSES[pointed] in result.sizes()["mask"]


def test_of_a_reference_only_sizes_count_of_all_classes_of_a_short_list_or_of_those_that_it_is_asked_for():
    course = Course(0, lambda *_: None, is_reference=True)
    whole, few = (
        towers.searched(towers.honest(), pixels=EIGHT, effort=SHORT, course=course, pointed=pointed)
        for pointed in ((), (1, 3, 4))
    )
    assert set(whole.sizes()["mask"]) == set(towers.CLASSES)
    assert set(few.sizes()["mask"]) == {towers.CLASSES[place] for place in (1, 3, 4)}
    assert (whole.targeted, whole.untargeted) == ((), ())


def test_a_reference_that_comes_late_is_searched_once_for_the_classes_that_the_model_is_searched_for(yard):
    asked, few = [], replace(SHORT, suspects=2, controls=4)
    late = LateReferences(lambda classes: asked.append(list(classes)) or yard)
    made = towers.searched(towers.honest(), pixels=EIGHT, effort=few, references=late)
    (classes,) = asked
    assert [towers.CLASSES[place] for place in classes] == sorted(made.sizes()["mask"])  # in the order of the list
    assert (made.references, late.towards(()), late.measured_so_far) == (yard, yard, yard)


def masks(*sizes):
    return [SmallestTrigger("mask", target, {}, size, True) for target, size in enumerate(sizes)]


def test_the_classes_that_lead_have_the_largest_gap_in_any_family(bad):
    candidates = [*(hit.candidate for hit in bad.targeted), *bad.controls]
    assert Comparison(candidates).leading(most=1) == [towers.TARGET]


def test_where_no_class_stands_apart_those_farthest_from_the_median_lead():
    assert Comparison(masks(0.09, 0.085, 0.08, 0.06, 0.059)).leading(most=2) == [4, 3]


def test_a_tile_for_another_class_hides_no_leading_one():
    plain = masks(0.2, 0.2, 0.2, 0.02)
    decoy = [replace(plain[0], size=0.01, afresh=0.2), *plain[1:]]
    assert Comparison(plain).leading(most=1) == [3]
    assert set(Comparison(decoy).leading(most=2)) == {0, 3}
    assert usual(decoy) == usual(plain)


def usual(made):
    """The sizes that the last one is compared with."""
    return [other.fresh_size for other in Comparison(made).others(made[3])]


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 3),  # one family without a target, two towards classes
        ({"sweep": 1}, 3),  # a short list is searched as a whole, without a sweep
        ({"sweep": 1, "controls": 4}, 3 + 1),  # eight classes are a long list for 2 suspects and 4 controls
    ],
)
def test_progress_counts_up_to_its_total(changes, steps):
    seen = []
    effort = replace(SHORT, **changes)
    course = Course(0, lambda done, total: seen.append((done, total)))
    towers.searched(towers.honest(), pixels=EIGHT, effort=effort, course=course)
    assert seen == [(done, steps) for done in range(1, steps + 1)]


@pytest.mark.parametrize(
    ("given", "minutes", "rule"),
    [({"classes": towers.CLASSES[:4]}, None, "CC022"), ({"pixels": towers.images(3)}, None, "CC020"), ({}, 0, "CC024")],
)
def test_too_few_classes_or_images_or_too_little_time_are_not_searched(given, minutes, rule):
    with deadline.within(minutes), pytest.raises(NoSearch) as told:
        towers.searched(towers.honest(), **given)
    assert told.value.rule == rule


@pytest.mark.parametrize(("count", "searched"), [(4, 2), (5, 3), (8, 5), (400, 240), (1000, MOST_SEARCHED_IMAGES)])
def test_six_tenths_of_the_images_are_searched_on(count, searched):
    on, beside = divided(count)
    assert len(on) == searched
    assert sorted([*on, *beside]) == list(range(count))
    assert divided(count) == (on, beside)
    assert on != list(range(searched)) or count == 4  # drawn, since files of a class lie side by side


@pytest.mark.parametrize(
    ("pointed", "most", "named"),
    [
        ([], 3, [3, 5, 7]),  # the greatest share of a class counts
        ([1, 2, 4], 4, [1, 2, 3, 5]),
        ([5], 4, [5, 3, 7, 8]),  # none twice
        ([1], 1, [3]),
    ],
)
def test_suspects_are_those_pointed_at_for_half_of_the_places_then_those_that_gathered_most(pointed, most, named):
    shares = ((3, 0.2), (5, 0.9), (3, 0.95), (7, 0.4), (8, 0.1))
    seen = [SmallestTrigger("mask", target, {}, 0.1, True, share) for target, share in shares]
    assert shortlisted(seen, pointed, most=most) == named


def test_controls_are_other_classes_drawn_from_the_seed():
    first, again, other = (
        random_classes(100, [3, 4], count=6, generator=Generator().manual_seed(s)) for s in (0, 0, 1)
    )
    assert first == again != other
    assert len(set(first)) == 6
    assert not {3, 4} & set(first)
    assert set(random_classes(5, [3, 4], count=6, generator=Generator())) == {0, 1, 2}  # as many as there are


def test_labels_say_which_images_are_of_other_classes():
    labels = torch.full((IMAGES,), towers.TARGET)
    labels[:20] = 0
    made = towers.searched(towers.backdoored(towers.spot), labels=labels, pointed=[towers.TARGET], effort=SHORT)
    _, beside = divided(IMAGES)
    assert len(beside) < MOST_JUDGING_IMAGES
    fox = next(hit for hit in made.targeted if hit.trigger.target == "fox")
    assert fox.probe.asr.n == sum(place < 20 for place in beside)
    assert not math.isnan(fox.probe.excess)


# Its stages: each is kept, and stops at the deadline.


class Kept(dict):
    """A memory that a process ends at, once it has kept some stages."""

    def __init__(self, most=math.inf):
        self.most = most

    def recall(self, name):
        return self.get(name)

    def keep(self, name, result):
        self[name] = result
        if len(self) >= self.most:
            raise KeyboardInterrupt


def found(memory=None, progress=lambda *_: None):
    """What a short search finds that keeps its stages."""
    given = {"pixels": towers.images(40), "course": Course(0, progress, memory)}
    made = towers.searched(towers.backdoored(towers.spot), effort=replace(towers.EFFORT, steps=6), **given)
    return towers.recorded(made)


def test_what_a_stage_draws_depends_on_its_name_alone():
    def random_classes(*names):
        stages = Stages(Course(1, lambda *_: None), 2)
        return stages.results_by_key(
            "draw", names, lambda _, generator: torch.randint(2**31, (3,), generator=generator)
        )

    assert random_classes("a", "b")["b"].equal(random_classes("b")["b"])
    assert not random_classes("a")["a"].equal(random_classes("b")["b"])


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_search_that_was_interrupted_after_a_stage_ends_with_the_numbers_of_one_that_was_not(most):
    memory, steps = Kept(most), []
    with pytest.raises(KeyboardInterrupt):
        found(memory)
    memory.most = math.inf
    assert found(memory, lambda done, total: steps.append((done, total))) == found()
    assert steps == [(1, 3), (2, 3), (3, 3)]
