from dataclasses import replace

import pytest
import torch
from auto_values import measurement, probe
from detect.towers import eval_set

from clipclean import detect
from clipclean.attack import triggers
from clipclean.config import policy, thresholds
from clipclean.detect import AuditResult, KnownTriggers, Suspicion
from clipclean.detect.forward import Strength
from clipclean.findings import finding
from clipclean.jobs import judging
from clipclean.jobs.first_audit import FirstAudit

LIMITS = policy.resolved(policy.DEFAULT_POLICY, thresholds.Audit())  # max_excess 0.05, suspicious_excess 0.3
PATCH, OTHER = triggers.parse("patch:seed=1"), triggers.parse("patch:seed=2")
CAT = detect.InvertedTrigger("mask", "cat", {}, 32)
SHOWN = eval_set(torch.zeros(4, 3, 8, 8), ("bird", "cat", "dog"))


@pytest.mark.parametrize(
    ("rule", "trigger", "is_suspected"),
    [
        ("CC001", "patch", True),
        ("CC002", "patch", True),
        ("CC003", None, True),
        ("CC006", None, True),
        ("CC020", "patch", True),  # one that the user named, on too few images
        ("CC020", None, False),
        ("CC021", None, True),  # nothing was looked for
        ("CC007", None, True),  # by a model that tells no class from another
        ("CC004", None, False),
        ("CC010", None, False),
    ],
)
def test_an_audit_suspects_a_model_by_its_signs_or_did_not_look(rule, trigger, is_suspected):
    found = finding(rule, "words", level="warning", trigger=trigger)
    assert judging.is_suspected([finding("CC004", "words"), found]) is is_suspected


def test_a_trigger_is_suspected_once():
    patch, other = Suspicion(PATCH, 1), Suspicion(OTHER, 2)
    assert detect.distinct([patch, other, Suspicion(PATCH, 0)]) == (patch, other)


def test_a_trigger_without_a_class_has_no_target():
    assert detect.targets([Suspicion(PATCH, None), Suspicion(CAT, 1), Suspicion(OTHER, 2)]) == [1, 2]


def test_a_trigger_that_may_be_natural_is_suspected_only_where_nothing_was_searched():
    shown = SHOWN.trying(KnownTriggers((PATCH, OTHER)))
    natural = searched(Strength(PATCH.spec, 1, 0.5, 0.4), Strength(OTHER.spec, 2, 0.6, 0.4))
    assert FirstAudit.of(natural, shown, LIMITS).suspicions == ()
    unsearched = replace(searched(), search=None, why_not=("CC021", "Skipped."))
    assert FirstAudit.of(unsearched, shown, LIMITS).suspicions == ((PATCH, 1), (OTHER, 2))


WAVE, FAINT, QUIET = (triggers.parse(f"sinusoid:frequency={waves}") for waves in (3, 4, 5))


def beside_cat():
    """What follows where cat is suspected, which one of the panel turns 0.9 of the images into; not dog."""
    shown = SHOWN.trying(KnownTriggers((PATCH, OTHER), (WAVE, FAINT, QUIET)))
    panel = (Strength(PATCH.spec, 2, 0.9, 0.55), Strength(OTHER.spec, 1, 0.8, 0.7))
    grid = (Strength(WAVE.spec, 1, 0.5, 0.8), Strength(FAINT.spec, 1, 0.9, 0.5), Strength(QUIET.spec, 1, 2.0, 0.4))
    return FirstAudit.of(searched(*panel, grid=grid), shown, LIMITS)


def test_known_triggers_act_towards_a_suspected_class_alone():
    assert beside_cat().acting_suspicions == ((WAVE, 1), (OTHER, 1), (FAINT, 1))


def test_of_the_known_triggers_of_a_class_the_strongest_is_watched():
    assert beside_cat().suspicions == ((WAVE, 1),)


def test_a_known_trigger_that_turns_few_images_makes_no_suspicion():
    shown = SHOWN.trying(KnownTriggers((PATCH, OTHER)))
    weak = replace(
        searched(Strength(OTHER.spec, 2, 0.8, 0.7)), measurement=measurement(panel=[probe(0.8, trigger=OTHER.spec)])
    )
    assert FirstAudit.of(weak, shown, LIMITS).acting_suspicions == ()


def searched(*strengths, grid=()):
    """An audit whose search found nothing, but in which triggers of the panel, and of the grid, act at these strengths."""
    made = detect.SearchResult((), (), (), strengths, None, 0, 4, ("bird", "cat", "dog"), grid=grid)
    first = replace(probe(0.9, trigger=PATCH.spec), target="cat")
    second = replace(probe(0.8, trigger=OTHER.spec), target="dog")
    strong = measurement(panel=[first, second])
    return AuditResult(strong, made, None, 1.0)
