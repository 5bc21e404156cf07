import pytest
import torch
from detect import towers

from clipclean.detect import canonical_of, search
from clipclean.detect.rounding import fastest
from clipclean.detect.stages import Course
from clipclean.detect.tiles import COUNT, swept, tiles
from clipclean.model import has_bfloat16

IMAGES = towers.images(40)


def found(tower, images=IMAGES):
    return swept(tower, images, canonical=canonical_of(tower, images, towers.CLASSIFIER), success=0.9)


def searched(tower, **more):
    made = search(
        tower,
        towers.eval_set(towers.images(60)),
        towers.CLASSIFIER,
        effort=towers.EFFORT,
        references=None,
        course=Course(0, lambda *_: None),
        **more,
    )
    return {hit.found.target: hit for hit in made.targeted if hit.candidate.family == "mask"}


def test_there_are_as_many_tiles_as_is_said_and_each_changes_its_place_alone():
    made = list(tiles(32))
    assert len(made) == COUNT
    grey = torch.full((1, 3, 32, 32), 0.5)
    for tile in made:
        width = tile.content.shape[-1]
        assert ((tile.painted(grey) - grey).abs().sum(1) > 0).sum() == width**2


def test_a_trigger_that_no_gradient_leads_to_is_found_as_a_small_mask():
    (tile,) = found(towers.stepped(towers.spot))
    assert (tile.target, tile.is_reached) == (towers.TARGET, True)
    assert tile.size == pytest.approx(16 / 16**2, abs=0.002)  # four by four of sixteen by sixteen
    hit = searched(towers.stepped(towers.spot))[towers.CLASSES[towers.TARGET]]
    assert hit.probe.excess > 0.9
    assert hit.candidate.size < 0.08
    assert hit.margin.value > 0.5


def test_in_a_clean_model_no_tile_is_found_and_the_search_is_what_it_was():
    assert found(towers.honest()) == []
    assert found(towers.honest(1)) == []


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="no rounding: bfloat16 is never taken here")
def test_what_bfloat16_rounds_away_is_seen_and_costs_a_sound_model_nothing():
    for felt in (towers.spot, towers.checks):
        tower = towers.hidden(felt)
        assert fastest(tower, IMAGES, towers.CLASSIFIER) is tower
    sound = towers.honest()
    assert fastest(sound, IMAGES, towers.CLASSIFIER) is not sound


def test_a_rounded_tower_decides_nothing_of_what_was_found():
    """Even where the searches by gradients see nothing of the trigger, the exact tower judges."""
    tower = towers.hidden(towers.spot)
    (hit,) = [
        each for name, each in searched(tower, fast=towers.honest()).items() if name == towers.CLASSES[towers.TARGET]
    ]
    assert hit.probe.excess > 0.8
