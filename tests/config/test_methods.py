"""Methods and efforts: tables that others go by."""

from typing import get_args

import pytest

from clipclean.config import effort
from clipclean.config.methods import METHODS
from clipclean.config.recipe import Recipe
from clipclean.methods import losses


def test_every_method_that_a_recipe_may_name_has_an_entry_and_those_that_finetune_a_loss():
    assert set(METHODS) == set(get_args(Recipe.model_fields["method"].annotation))
    assert set(losses.LOSSES) == {n for n, method in METHODS.items() if not (method.searches or method.chooses)}


@pytest.mark.parametrize(
    ("classes", "steps", "left"),
    [
        (10, 4, [10] * 4),  # a short list keeps every class to the end
        (25, 10, [25] * 4 + [13] * 3 + [7] * 3),
        (64, 1, [64]),
        (12, 10, [12] * 4 + [6] * 6),  # six go on in any case
    ],
)
def test_the_worse_half_of_a_long_list_stops_at_40_percent_and_half_of_the_rest_at_70(classes, steps, left):
    assert effort.left(classes, steps=steps) == left
