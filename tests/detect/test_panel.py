"""The least strengths of known triggers, on towers that feel stripes and on towers that feel nothing."""

import pytest
import torch
from detect import towers

from clipclean.detect import inversion
from clipclean.detect.panel import glanced, strengths


class Lines:
    """Upright stripes, or the same lying down."""

    def __init__(self, spec, pattern):
        self.spec, self.pattern = spec, pattern

    def __call__(self, images, _generator, /):
        return (images + 0.25 * self.pattern).clamp(0, 1)


UPRIGHT, LYING = Lines("upright", towers.STRIPES), Lines("lying", towers.STRIPES.T)


def measured(measure, embed, triggers):
    pixels = towers.images(60)
    canonical = inversion.canonical_of(embed, pixels, towers.CLASSIFIER)
    with torch.no_grad():
        return measure(embed, pixels, triggers, canonical=canonical)


def test_a_grid_is_measured_as_the_panel_is_where_a_trigger_acts():
    embed = towers.backdoored(towers.stripes)
    (felt, other), (same, _) = (measured(how, embed, [UPRIGHT, LYING]) for how in (glanced, strengths))
    assert felt == same
    assert (felt.trigger, towers.CLASSES[felt.target]) == ("upright", "fox")
    assert felt.least < 0.5
    assert (other.target, other.excess < 0.5) == (-1, True)


@pytest.mark.parametrize("measure", [glanced, strengths])
def test_on_the_clean_model_neither_acts(measure):
    assert [found.target for found in measured(measure, towers.honest(), [UPRIGHT, LYING])] == [-1, -1]
