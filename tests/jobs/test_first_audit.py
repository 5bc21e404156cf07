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


def test_a_trigger_is_suspected_once_and_one_of_the_panel_that_may_be_natural_where_nothing_was_searched():
    patch, other = Suspicion(PATCH, 1), Suspicion(OTHER, 2)
    assert detect.distinct([patch, other, Suspicion(PATCH, 0)]) == (patch, other)
    assert detect.targets([Suspicion(PATCH, None), Suspicion(CAT, 1), other]) == [1, 2]
    shown = SHOWN.trying(KnownTriggers((PATCH, OTHER)))
    natural = searched(Strength(PATCH.spec, 1, 0.5, 0.4), Strength(OTHER.spec, 2, 0.6, 0.4))
    assert FirstAudit.of(natural, shown, LIMITS).suspicions == ()
    unsearched = replace(searched(), search=None, why_not=("CC021", "Skipped."))
    assert FirstAudit.of(unsearched, shown, LIMITS).suspicions == ((PATCH, 1), (OTHER, 2))


def test_known_triggers_are_told_towards_a_suspected_class_alone_and_its_strongest_is_watched():
    wave, faint, quiet = (triggers.parse(f"sinusoid:frequency={waves}") for waves in (3, 4, 5))
    shown = SHOWN.trying(KnownTriggers((PATCH, OTHER), (wave, faint, quiet)))
    panel = (Strength(PATCH.spec, 2, 0.9, 0.55), Strength(OTHER.spec, 1, 0.8, 0.7))
    grid = (Strength(wave.spec, 1, 0.5, 0.8), Strength(faint.spec, 1, 0.9, 0.5), Strength(quiet.spec, 1, 2.0, 0.4))
    found = FirstAudit.of(searched(*panel, grid=grid), shown, LIMITS)
    assert found.acting == (
        (wave, 1),
        (OTHER, 1),
        (faint, 1),
    )  # cat, which one of the panel turns 0.9 of the images into; not dog
    assert found.suspicions == ((wave, 1),)


def test_a_known_trigger_that_turns_few_images_makes_no_suspicion():
    shown = SHOWN.trying(KnownTriggers((PATCH, OTHER)))
    weak = replace(
        searched(Strength(OTHER.spec, 2, 0.8, 0.7)), measured=measurement(panel=[probe(0.8, trigger=OTHER.spec)])
    )
    assert FirstAudit.of(weak, shown, LIMITS).acting == ()


def searched(*strengths, grid=()):
    """An audit whose search found nothing, but in which triggers of the panel, and of the grid, act at these strengths."""
    made = detect.SearchResult((), (), (), strengths, None, 0, 4, ("bird", "cat", "dog"), grid=grid)
    first = replace(probe(0.9, trigger=PATCH.spec), target="cat")
    second = replace(probe(0.8, trigger=OTHER.spec), target="dog")
    strong = measurement(panel=[first, second])
    return AuditResult(strong, made, None, 1.0)
