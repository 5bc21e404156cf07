from typing import get_args

from clipclean.config.methods import METHODS
from clipclean.config.recipe import Recipe
from clipclean.methods import losses


def test_every_method_that_a_recipe_may_name_has_an_entry():
    assert set(METHODS) == set(get_args(Recipe.model_fields["method"].annotation))


def test_every_method_that_finetunes_has_a_loss_and_no_other_has():
    finetuning = {name for name, method in METHODS.items() if not (method.searches or method.chooses)}
    assert set(losses.LOSSES) == finetuning
