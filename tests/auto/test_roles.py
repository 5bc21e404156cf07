"""Which candidates are tried on a model, and what a cleaning does with triggers."""

import pytest

from clipclean.auto.candidates import Candidate
from clipclean.auto.left_out import Occasion
from clipclean.config import recipe
from clipclean.config.roles import Role

SURE = Occasion(is_sure=True, acts=True, is_suspected=True, has_base=True, is_wider_offered=True)
IN_DOUBT = Occasion(is_sure=False, acts=True, is_suspected=True, has_base=False, is_wider_offered=True)
CALM = Occasion(is_sure=False, acts=False, is_suspected=False, has_base=False, is_wider_offered=True)
IDLE = Occasion(is_sure=False, acts=False, is_suspected=True, has_base=False, is_wider_offered=True)


def candidate(*names):
    return Candidate(names, tuple(recipe.load(name) for name in names))


@pytest.mark.parametrize(
    ("names", "role"),
    [
        (["undo"], Role.UNDO),
        (["surgery-wide"], Role.WIDE_SURGERY),
        (["surgery"], Role.SURGERY),
        (["surgery-wide", "surgery"], Role.SURGERY),
        (["unlearn"], Role.SEARCH),
        (["unlearn", "cleanclip"], Role.SEARCH),
        (["surgery", "cleanclip"], Role.SEARCH),
        (["distill"], Role.FINETUNE),
        (["cleanclip"], Role.FINETUNE),
    ],
)
def test_recipes_in_sequence_have_one_role(names, role):
    assert candidate(*names).role is role


@pytest.mark.parametrize(
    ("name", "tried_on"),
    [
        ("undo", [SURE]),
        ("surgery-wide", [IN_DOUBT, CALM, IDLE]),
        ("surgery", [SURE, IDLE]),
        ("unlearn", [SURE, IN_DOUBT, IDLE]),
        ("distill", [SURE, IN_DOUBT, CALM, IDLE]),
    ],
)
def test_a_candidate_is_left_out_where_its_role_has_nothing_to_do(name, tried_on):
    every = [SURE, IN_DOUBT, CALM, IDLE]
    assert [occasion for occasion in every if not occasion.why_not(candidate(name))] == tried_on


@pytest.mark.parametrize(
    ("name", "at_once"),
    [("undo", True), ("surgery-wide", True), ("surgery", True), ("unlearn", False), ("distill", False)],
)
def test_the_model_itself_shows_what_a_candidate_removes_that_is_shown_what_to_unlearn(name, at_once):
    assert IN_DOUBT.is_run_at_once(candidate(name)) is at_once


def test_where_nothing_acts_surgery_is_tried_on_a_copy_first():
    assert not IDLE.is_run_at_once(candidate("surgery"))
