"""What evidence says of a model and a clean set; ranges are worked by hand."""

import pytest
from evidence_values import evidence as block
from evidence_values import measured

from clipclean.config import evidence, recipe
from clipclean.config.evidence import Subject

SUBJECT = Subject("resnet-32px", 6_000_000, 4000, 400)


def with_evidence(*blocks):
    """A recipe that was measured: of each block kind, parameters, pairs, what is left and the accuracy after."""
    plain = recipe.load("mmcl@usual").model_copy(update={"evidence": None})
    same = {"recipe_sha256": recipe.digest(plain), "classes": 400, "before": measured(0.6, 0.9, 0.0)}
    made = tuple(
        block(kind=kind, parameters=numbers, pairs=pairs, after=measured(after, left + 0.01, 0.01), **same)
        for kind, numbers, pairs, left, after in blocks
    )
    return plain.model_copy(update={"evidence": made})


TWO = (("resnet-32px", 5_000_000, 4000, 0.02, 0.59), ("resnet-32px", 5_000_000, 4000, 0.06, 0.57))
LEFT = ("resnet-32px", 5_000_000, 4000, 0.8, 0.6)
COSTLY = ("resnet-32px", 5_000_000, 4000, 0.02, 0.57)  # three points lost


def test_the_like_of_what_was_measured_is_rehearsed_with_its_range_and_other_values_expect_nothing():
    found = evidence.standing(with_evidence(*TWO), SUBJECT)
    assert found.kind == "measured"
    assert found.expected.runs == 4
    assert found.expected.left == pytest.approx((0.02, 0.04, 0.06))
    assert found.expected.lost[1] == pytest.approx(0.02)  # 0.01 and 0.03
    assert all(number in str(found) for number in ("4,000", "5.0 M", "4.0 points", "2.0 points"))
    told = {left: found.reached(left, None) for left in (0.079, 0.081, -0.001)}  # 0.02 to 0.06 were left
    assert all(word in told[left] for left, word in ((0.079, "within"), (0.081, "worse"), (-0.001, "better")))
    changed = recipe.override(with_evidence(*TWO), ["train.lr=2e-5"])
    assert evidence.standing(changed, SUBJECT).kind == "other values"
    found = evidence.standing(recipe.load("mmcl@usual"), SUBJECT)
    assert (found.kind, found.expected, found.reached(0.1, 0.1)) == ("none", None, "")


@pytest.mark.parametrize(
    ("subject", "word"),
    [
        (SUBJECT._replace(kind="vit-32px"), "other models"),
        (SUBJECT._replace(parameters=40_000_000), "other models"),
        (SUBJECT._replace(classes=1601), "other models"),
        (SUBJECT._replace(pairs=1999), "more pairs than the 1,999"),
        (SUBJECT._replace(pairs=16_001), "fewer pairs than the 16,001"),
    ],
)
def test_what_was_not_measured_on_the_like_is_extrapolated_and_says_from_what_unless_it_shows_no_removal(subject, word):
    found = evidence.standing(with_evidence(*TWO), subject)
    assert found.kind == "extrapolated"
    assert word in str(found)
    assert found.expected is not None
    for each in (SUBJECT, subject):
        found = evidence.standing(with_evidence(TWO[0], LEFT), each)
        assert (found.kind, found.kind in evidence.OWN) == ("no removal", False)


@pytest.mark.parametrize(
    ("blocks", "subject", "works"),
    [
        (TWO[:1], SUBJECT, True),
        ((TWO[0], COSTLY), SUBJECT, False),
        ((TWO[0], LEFT), SUBJECT, False),
        (TWO[:1], SUBJECT._replace(pairs=1999), False),
        (TWO[:1], SUBJECT._replace(classes=10), False),
    ],
)
def test_a_recipe_works_where_it_removed_each_attack_within_the_budget_on_the_like(blocks, subject, works):
    assert evidence.works(with_evidence(*blocks), subject, budget=0.02) is works


@pytest.mark.parametrize(
    ("blocks", "left", "lost", "words"),
    [
        (TWO, 0.05, 0.10, ["5.0 points", "within", "10.0 points", "worse", "at most 3.0 points"]),
        (
            (("resnet-32px", 5_000_000, 4000, 0.02, 0.61),),
            None,
            0.193,
            ["19.3 points", "worse", "1.0 points", "gained"],
        ),
        (TWO, None, None, []),
    ],
)
def test_a_run_is_placed_in_the_measured_range(blocks, left, lost, words):
    told = evidence.standing(with_evidence(*blocks), SUBJECT).reached(left, lost)
    assert bool(told) == bool(words)
    assert all(word in told for word in words)
