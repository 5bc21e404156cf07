"""What a search shows before its end: when it is told, which classes stand out, and by which scores."""

import sys
from dataclasses import replace

import pytest
from detect import towers

from clipclean.config import policy, thresholds
from clipclean.detect import SEARCH_FAMILIES, Course, FirstAnswers, References, all_suspects
from clipclean.detect.references import calibration
from clipclean.detect.score import Suspect, strength_words, untried_suspects

MODULE = sys.modules["clipclean.detect.search"]
LIMITS = policy.resolved(policy.DEFAULT_POLICY, thresholds.Audit())
SHORT = replace(towers.EFFORT, steps=30, controls=6)
TRIED = ("mask", "shortcut", "patch", "blend")  # all local families, and one that is not


@pytest.fixture(scope="module", autouse=True)
def _few_families():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "SEARCH_FAMILIES", {name: SEARCH_FAMILIES[name] for name in TRIED})
        yield


class Store(dict):
    """A memory of stages."""

    def recall(self, name):
        return self.get(name)

    def keep(self, name, result):
        self[name] = result


def answers(tower, *, store=None, references=None):
    """The search of a tower, and what it told on the way: shares and words."""
    lines = []
    memory = FirstAnswers(
        Store() if store is None else store,
        SHORT,
        towers.CLASSES,
        references,
        lambda share, words: lines.append((share, words)),
    )
    course = Course(0, lambda *_: None, memory)
    return towers.searched(tower, references=references, effort=SHORT, course=course), lines


@pytest.fixture(scope="module")
def planted():
    return answers(towers.backdoored(towers.spot))


@pytest.fixture(scope="module")
def honest():
    return answers(towers.honest())


def test_what_shows_is_told_twice_by_about_the_middle_of_a_search(planted):
    (first, _), (second, _) = planted[1]
    assert 0.1 < first < 0.4
    assert 0.4 <= second < 0.6


def test_a_planted_class_stands_out_at_half(planted):
    (_, words) = planted[1][-1]
    assert words.startswith("'fox' stands out")


def test_of_a_clean_model_no_class_stands_out(honest):
    assert all("stands out" not in words for _, words in honest[1])


def test_what_is_told_at_half_is_the_score_of_the_ended_search_where_no_later_family_adds_to_it(planted):
    search, lines = planted
    leader = all_suspects(search, LIMITS)[0]
    assert leader.family in ("mask", "shortcut", "patch")
    assert f"'fox' {leader.score:.1f}" in lines[-1][1]


def test_telling_changes_nothing_that_is_searched(planted):
    alone = towers.searched(towers.backdoored(towers.spot), effort=SHORT)
    assert towers.recorded(planted[0]) == towers.recorded(alone)


def test_beside_a_clean_model_that_is_backdoored_alike_the_class_does_not_stand_out(planted):
    alike = References("reference", "alike", (planted[0].sizes(),))
    _, lines = answers(towers.backdoored(towers.spot), references=alike)
    assert all("stands out" not in words for _, words in lines)


def test_a_resumed_search_tells_once_what_the_interrupted_one_had_shown(planted):
    store = Store()
    answers(towers.backdoored(towers.spot), store=store)
    del store["towards classes blend"]
    _, lines = answers(towers.backdoored(towers.spot), store=store)
    assert [words for _, words in lines] == [planted[1][-1][1]]


def test_a_score_that_rounds_to_its_limit_has_a_second_digit():
    limit = calibration().score(thresholds.Thresholds().doubt_rate)

    def words(score):
        return strength_words([Suspect("fox", {"mask": score}, (), None, is_beside=False)], is_beside=False)

    assert f"'fox' {limit:.2f}" in words(limit)
    assert f"'fox' {limit + 1:.1f};" in words(limit + 1)


def test_where_no_class_is_easier_than_all_others_there_is_no_highest_score(honest):
    candidates = [candidate for candidate in honest[0].candidates if candidate.family == "mask"]
    alike = [type(each)(each.family, each.target, {}, 0.1, True) for each in candidates]
    suspects = untried_suspects(honest[0], alike)
    assert {suspect.score for suspect in suspects} == {0.0}
    assert "(" not in strength_words(suspects, is_beside=False)
