import math
import sys
from dataclasses import dataclass, replace

import pytest
import torch
from detect import towers

from clipclean import deadline
from clipclean.detect import FAMILIES, search
from clipclean.detect.stages import Course, Stages, pack, unpack

MODULE = sys.modules["clipclean.detect.search"]


@dataclass(frozen=True)
class Point:
    x: float
    where: tuple[int, ...]


KINDS = {"Point": Point}


class Kept(dict):
    """A memory that a process ends at, once it has kept some stages."""

    def __init__(self, most=math.inf):
        self.most = most

    def recall(self, name):
        return self.get(name)

    def keep(self, name, packed):
        self[name] = packed
        if len(self) >= self.most:
            raise KeyboardInterrupt


@pytest.fixture(scope="module", autouse=True)
def _two_families():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "FAMILIES", {name: FAMILIES[name] for name in ("mask", "patch")})
        yield


def searched(memory, embed=None, progress=lambda *_: None, effort=towers.EFFORT):
    return search(
        embed or towers.backdoored(towers.spot),
        towers.eval_set(towers.images(40)),
        towers.CLASSIFIER,
        effort=effort,
        references=None,
        course=Course(0, progress, memory),
    )


def test_values_of_known_kinds_come_back_as_they_were_and_no_others_are_kept():
    value = [(Point(math.inf, (1, 2)), 0.1), {"a": torch.arange(3), "b": None}, "text", True]
    tensors, told = pack(value, kinds=KINDS)
    back = unpack(tensors, told, kinds=KINDS)
    assert back[0] == value[0]
    assert back[1]["a"].equal(torch.arange(3))
    assert back[1]["b"] is None
    assert back[2:] == value[2:]
    with pytest.raises(TypeError, match="Point"):
        pack(Point(1.0, ()), kinds={})


def test_a_stage_draws_the_same_whatever_ran_before():
    def drawn(*names):
        stages = Stages(Course(1, lambda *_: None), total=2, kinds=())
        return stages.each("draw", names, lambda _, generator: torch.randint(2**31, (3,), generator=generator))

    assert drawn("a", "b")["b"].equal(drawn("b")["b"])
    assert not drawn("a")["a"].equal(drawn("b")["b"])


@pytest.mark.parametrize("most", [1, 3, 4])
def test_a_search_that_was_interrupted_after_a_stage_ends_with_the_numbers_of_one_that_was_not(most):
    short, memory = replace(towers.EFFORT, steps=6), Kept(most)
    whole = towers.recorded(searched(Kept(), effort=short))
    with pytest.raises(KeyboardInterrupt):
        searched(memory, effort=short)
    memory.most, steps = math.inf, []
    again = searched(memory, progress=lambda done, total: steps.append((done, total)), effort=short)
    assert towers.recorded(again) == whole
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.slow
def test_a_search_whose_time_is_over_tells_what_the_finished_stages_found():
    passes = 0
    tower = towers.backdoored(towers.spot)

    def slow(images):  # time passes by batches, so the test needs no clock
        nonlocal passes
        passes += 1
        return tower(images)

    searched(Kept(), slow)
    whole, passes = passes, 0

    def ends(images):
        nonlocal passes
        passes += 1
        if passes == int(0.8 * whole):
            raise deadline.OutOfTime
        return tower(images)

    found = searched(Kept(), ends)
    assert found.cut == (3, 4)
    assert {hit.candidate.family for hit in found.targeted} == {"mask"}


def test_a_search_without_any_time_says_so():
    with deadline.within(0), pytest.raises(MODULE.NoSearch) as raised:
        searched(Kept())
    assert raised.value.rule == "CC024"
