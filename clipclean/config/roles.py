"""The role of a cleaning: what it does with the triggers that an audit came to. What it is shown, and when it is tried, follows from that alone."""

from collections.abc import Sequence
from enum import Enum

from clipclean.config.recipe import Recipe


class Role(Enum):
    """What a recipe, or several in sequence, does with triggers."""

    UNDO = "goes back to the base that the model was finetuned from"
    WIDE_SURGERY = "unlearns what the audit came to, for every class that it searched"
    SURGERY = "unlearns what acts, for the suspected classes"
    SEARCH = "searches for triggers by itself, and unlearns what it takes for a backdoor"
    FINETUNE = "learns from clean pairs, and only sees through triggers"

    @classmethod
    def of(cls, recipes: Sequence[Recipe], /) -> "Role":
        """The role of recipes in sequence."""
        if any(recipe.undoes for recipe in recipes):
            return cls.UNDO
        if all(recipe.is_surgery for recipe in recipes):
            return cls.WIDE_SURGERY if all(recipe.unlearn.widely for recipe in recipes) else cls.SURGERY
        return cls.SEARCH if any(recipe.traits.searches for recipe in recipes) else cls.FINETUNE
