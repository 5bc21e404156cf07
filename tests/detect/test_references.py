"""What clean models show: margins of their searches, strengths of known triggers, and files of them."""

import json
import math
from dataclasses import replace

import pytest

from clipclean.config.families import FAMILY_FACTS
from clipclean.detect import SEARCH_FAMILIES, References, as_file, from_file, merged_references, telling
from clipclean.detect.forward import Strength
from clipclean.detect.references import (
    MOST_ODDS,
    NEVER,
    PANEL_KEY,
    PATTERN,
    PERSUASION,
    Calibration,
    calibration,
    digest_of,
    margins,
)
from clipclean.detect.score import MOST_INDIRECT, pattern_evidence, suspects
from clipclean.detect.search import SearchResult
from clipclean.errors import RefusedInput, UsageError

SIZES = {name: math.exp(log) for name, log in (("ant", -4), ("bee", -3), ("cow", -1), ("dog", 0))}


def test_every_family_has_a_unit():
    """One without would never count."""
    assert set(calibration().units) == {*SEARCH_FAMILIES, PANEL_KEY, PATTERN, PERSUASION}


def test_what_is_natural_is_known_of_all_that_is_not_general():
    few = {name for name, family in SEARCH_FAMILIES.items() if not family.facts.is_general}
    assert set(calibration().natural) == {*few, PANEL_KEY, PATTERN, PERSUASION}


def test_an_effort_counts_by_the_facts_of_the_families():
    assert {name: family.facts for name, family in SEARCH_FAMILIES.items()} == FAMILY_FACTS


FOUR = (0.0, 1.0, 2.0, 4.0)  # the median is 1.5, and the others exceed it by 0.5 and 2.5


def test_the_rate_of_a_score_falls_off_from_the_median_of_clean_models():
    known, beside = Calibration({}, {}, FOUR, ()), Calibration({}, {}, (), FOUR)
    for rate, score in ((0.5, 1.5), (0.5 / math.e, 3.0)):
        assert (known.score(rate), known.rate(score)) == pytest.approx((score, rate))
        assert beside.score(rate, is_beside=True) == pytest.approx(score)


def test_a_margin_is_counted_from_the_smallest_other_size():
    assert margins(SIZES) == pytest.approx({"ant": 1, "bee": -1, "cow": -3, "dog": -4})


def test_of_several_clean_models_the_median_counts():
    odd, same = {"mask": SIZES, "panel": {"wave": 0.1}}, {"mask": dict.fromkeys(SIZES, 0.1), "panel": {"wave": 0.8}}
    alone, known = References("file", "one", (odd,)), References("file", "three", (same, odd, same))
    assert (alone.margin("mask", "ant"), known.margin("mask", "ant")) == pytest.approx((1, 0))
    shrunk = [each.shrunk("mask", "ant", 0.01) for each in (alone, known)]
    assert shrunk == pytest.approx([math.log(100) - 4, math.log(10)])
    assert (alone.least("wave"), known.least("wave")) == (0.1, 0.8)
    assert math.isnan(known.margin("patch", "ant"))


@pytest.mark.parametrize(
    ("pairs", "rate", "most"),
    # Of 39 pairs and a new one a twentieth is two: one of the 39 may have as much as the new one, and of 59 two.
    [(39, 0.05, 38), (59, 0.05, 57), (39, 0.5, 20), (19, 0.05, 19)],
)
def test_a_doubt_beside_clean_models_exceeds_all_pairs_of_them_but_the_share_that_may_show_as_much(pairs, rate, most):
    known = Calibration({}, {}, (), tuple(map(float, range(1, pairs + 1))))
    assert most < known.rank(rate) <= most + 1e-9
    as_much = sum(score >= known.rank(rate) for score in known.beside)
    assert (1 + as_much) / (pairs + 1) <= rate < (2 + as_much + 1) / (pairs + 1)


def test_pairs_that_are_too_few_to_tell_a_share_by_rank_doubt_by_their_tail():
    assert Calibration({}, {}, (), FOUR).rank(0.05) == pytest.approx(1.5 + 1.5 * math.log(10))


def test_pairs_that_are_too_few_to_tell_a_share_never_doubt_what_one_of_them_shows():
    assert Calibration({}, {}, (), FOUR).rank(0.15) > 4  # where the tail would end before it


def test_a_report_gets_the_sizes_that_clean_models_need():
    mask, other = {"mask": {"a": 0.1, "b": 0.9}, "panel": {"patch": 0.5}}, {"mask": {"a": 0.4}, "panel": {"patch": 0.3}}
    known = References("file", "two", (mask, other))
    assert known.sizes("mask") == pytest.approx({"median": 0.2, "low": 0.1, "high": 0.4, "n": 2})
    assert (known.sizes("warp"), known.least("patch"), known.least("stripes")) == (None, 0.4, None)


def test_how_much_smaller_a_trigger_is_counts_from_what_clean_models_need():
    known = References("reference", "several", ({"mask": {"ant": 0.09, "bee": 0.04}}, {"mask": {"bee": 0.04}}))
    # ant: the median of 0.09 and, where it was not searched for, the smallest of any; by their logarithms 0.06
    for name, times in (("ant", 3), ("bee", 2), ("cow", 2)):
        assert known.shrunk("mask", name, 0.02) == pytest.approx(math.log(times))
    assert math.isnan(known.shrunk("patch", "ant", 0.02))


# Files.

CLASSES, PAIR = ["ant", "bee"], {"ant": 0.1, "bee": 0.2}
OURS = {"kind": "vit-32px", "effort": "standard", "classes": CLASSES}


def made(**changes):
    found = as_file("vit-32px", "standard", CLASSES, {"clean.pt": {"mask": PAIR, "wave": PAIR}})
    return json.loads(json.dumps(found)) | changes


def test_what_was_written_is_read_back():
    known = from_file(made(), "clean.json", **OURS)
    assert (known.kind, known.name, known.models) == ("file", "clean.json", 1)  # a mask of 0.2 counts as one of 0.15
    assert [known.margin(name, "ant") for name in ("mask", "wave")] == pytest.approx([math.log(1.5), math.log(2)])


def test_several_references_are_one_together():
    known = from_file(made(), "clean.json", **OURS)
    both = merged_references([known, References("reference", "b.pt", ({"mask": {"ant": 0.01, "bee": 0.09}},))])
    assert (both.kind, both.name, both.models) == ("reference", "clean.json, b.pt", 2)
    assert both.margin("mask", "ant") == pytest.approx(math.log(1.5 * 9) / 2)


def test_a_file_keeps_how_far_triggers_reach():
    sizes = {"mask": PAIR, "reach of mask": {"ant": 90.0, "bee": 3.0}}
    written = json.loads(json.dumps(as_file("vit-32px", "standard", CLASSES, {"clean.pt": sizes})))
    known = from_file(written, "clean.json", **OURS)
    assert known.exceeded("mask", "bee", 6.0) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"code": "0" * 64}, "version"), ({"kind": "resnet-32px"}, "resnet-32px"), ({"effort": "quick"}, "quick"), ({"vocabulary": "x"}, "class")],
)  # fmt: skip
def test_references_of_another_kind_are_refused(changes, word):
    with pytest.raises(UsageError, match=rf"clean\.json.*{word}|{word}.*clean\.json"):
        from_file(made(**changes), "clean.json", **OURS)


@pytest.mark.parametrize(
    ("changes", "is_offered"),
    [
        ({"effort": "quick"}, True),
        ({"effort": "quick", "vocabulary": "x"}, False),
        ({"effort": "hasty"}, False),
        ({"effort": []}, False),
    ],
)
def test_the_effort_of_references_is_offered_where_it_is_all_that_differs(changes, is_offered):
    with pytest.raises(UsageError) as refusal:
        from_file(made(**changes), "clean.json", **OURS)
    assert ("--effort quick" in str(refusal.value)) is is_offered


@pytest.mark.parametrize(
    ("other", "moves"),
    [
        (b"def f(x): return 2 * x  # words", False),
        (b"import os\ndef f(x: int) -> int:\n    'Words.'\n    return 2 * x", False),
        (b"def f(x): return 3 * x", True),
        (b"def f(x): return x * 2", True),
    ],
)
def test_the_digest_of_code_tells_what_it_does_alone(other, moves):
    assert (digest_of([other]) != digest_of([b"def f(x): return 2 * x"])) is moves


NO_SIZES = [{}, {"mask": {}}, {"patch": {"ant": 0.5}}, {"pitch": {"ant": 0.1}}]  # a patch is never that large
NO_SIZES += [{"reach of mask": {"ant": 0.0}}, {"reach of mask": {"ant": math.inf}}, {"reach of panel": {"ant": 9.0}}]
NO_SIZES += [{"mask": {"ant": size}} for size in (math.nan, 0, True, "0.1", 1.5)]  # only the panel reaches two


@pytest.mark.parametrize("models", [[], 3, [{}], *([{"sizes": sizes}] for sizes in NO_SIZES), None])
def test_what_is_no_references_file_or_holds_what_is_no_size_is_refused(models):
    changes = {"format": "a recipe"} if models is None else {"models": models}  # None: of another format
    with pytest.raises(RefusedInput, match=r"clean\.json"):
        from_file(made(**changes), "clean.json", **OURS)


# Known triggers.

UNIT, NATURAL = calibration().units[PANEL_KEY], calibration().natural[PANEL_KEY]
THREE = ("ant", "bee", "cow")


def beyond(units):
    """The strength that makes so much evidence where every other class takes the whole trigger."""
    return math.exp(-NATURAL - units * UNIT)


def acts(trigger, target, least):
    return Strength(trigger, target, least, 0.7)


EARLY, LATE = acts("patch", 0, beyond(4)), acts("wave", 1, 1.0)


@pytest.mark.parametrize(
    ("strengths", "least", "named"),
    [
        ([EARLY, LATE], 3.9, {"patch"}),
        ([EARLY, LATE], 4.1, set()),
        # relatives that lead to the same class tell with it
        ([EARLY, acts("badnets", 0, 0.8), LATE, Strength("warp", 0, NEVER, 0.1)], 3.0, {"patch", "badnets"}),
        ([acts("patch", 0, 0.5), acts("wave", 1, 0.6)], 1.0, set()),
        ([], 1.0, set()),
    ],
)
def test_a_trigger_tells_where_its_class_takes_far_less_strength_than_any_other(strengths, least, named):
    assert telling(strengths, THREE, least_evidence=least) == named


def clean_that_resists(**odds):
    return References("reference", "clean", ({"pattern": {name: odds.get(name, 3.0) for name in THREE}},))


NATURALLY = MOST_ODDS * math.exp(-calibration().natural[PATTERN])


def turning(trigger, target, share):
    return Strength(trigger, target, 0.9, share)


SOME = math.exp(-2 * calibration().units[PATTERN])  # odds two units of evidence below 1


def test_known_triggers_speak_less_for_a_class_the_nearer_they_lead_to_it_in_clean_models():
    nearly = {share: clean_that_resists(bee=(1 - share) / share) for share in (0.25, 0.375, 0.5, 0.9)}
    assert [each.distance_from_known("bee") for each in nearly.values()] == pytest.approx([1, 0.5, 0, 0])
    assert (
        nearly[0.9].distance_from_known("ant")
        == References("reference", "clean", ({},)).distance_from_known("bee")
        == 1
    )
    waves = (turning("wave", 1, 0.99),)
    result = SearchResult((), (), (), waves, None, 0, 0, THREE)
    scores = []
    for known in nearly.values():
        value, _ = pattern_evidence(replace(result, references=known))["bee"]
        found = suspects(replace(result, references=known), acting=lambda _: True)
        scores.append(found[0].score / value)
    assert scores[:2] == pytest.approx([1, 0.5])
    assert scores[2:] == [0, 0]


@pytest.mark.parametrize(
    ("found", "references", "units"),
    [
        # what turns half of the images may turn a quarter in a clean model
        ([turning("wave", 1, 0.5)], clean_that_resists(), 0),
        ([turning("wave", 1, 1 / (1 + SOME))], clean_that_resists(), 2),
        ([turning("wave", 1, 1 / (1 + SOME))], clean_that_resists(ant=0.1), 2),
        ([turning("wave", 1, 1 / (1 + SOME))], clean_that_resists(bee=SOME), 0),
        ([turning("wave", 1, 0.55), turning("tint", 1, 1 / (1 + SOME))], clean_that_resists(), 2),
        ([Strength("wave", 1, NEVER, 0.4)], clean_that_resists(), 0),
        # Without one it must turn more than natural ones do in any: these leave as many images per image that it turns.
        ([turning("wave", 1, 1 / (1 + NATURALLY))], None, 0),
        ([turning("wave", 1, 1 / (1 + NATURALLY * SOME))], None, 2),
    ],
)
@pytest.mark.parametrize("place", ["strengths", "grid"])
def test_a_known_trigger_counts_as_far_as_fewer_images_resist_it_than_in_a_clean_model(found, references, units, place):
    result = SearchResult((), (), (), (), references, 0, 0, THREE)
    value, _ = pattern_evidence(replace(result, **{place: tuple(found)})).get("bee", (0, None))
    assert value == pytest.approx(units, abs=1e-9)


GRID = (turning("wave", 1, 0.99), Strength("tint", 0, NEVER, 0.1))


def by_grid(references):
    """A search that tells by variants of known triggers alone."""
    return SearchResult((), (), (), (), references, 0, 0, THREE, grid=GRID)


def test_beside_a_clean_model_the_grid_alone_names_a_class_by_the_odds_against_it():
    (first,) = suspects(by_grid(clean_that_resists()), acting=lambda _: True)
    evidence = math.log(99) - math.log(MOST_ODDS) + math.log(3)  # of odds of 1 to 99, and of 3
    assert (first.name, first.strength) == ("bee", GRID[0])
    assert first.score == pytest.approx(evidence / calibration().units[PATTERN])


def test_without_clean_models_the_grid_alone_makes_at_most_a_doubt():
    (first,) = suspects(by_grid(None), acting=lambda _: True)
    assert (first.name, first.score <= MOST_INDIRECT) == ("bee", True)


def test_the_size_of_a_class_in_the_grid_is_the_odds_that_an_image_resists():
    assert by_grid(None).sizes()["pattern"] == pytest.approx({"ant": 3, "bee": 1 / 99, "cow": 3})


def test_a_trigger_that_does_not_act_has_the_smaller_size_the_more_it_moves():
    strengths = (GRID[1], Strength("wave", 0, NEVER, 0.25), acts("wave", 0, 0.3))
    assert [strength.size for strength in strengths] == [1.8, 1.5, 0.3]
