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

    @property
    def occasion(self) -> str:
        """When ``auto`` tries a candidate of this role, in words; empty for always."""
        return _OCCASIONS.get(self, "")

    @classmethod
    def of(cls, recipes: Sequence[Recipe], /) -> "Role":
        """The role of recipes in sequence."""
        if any(recipe.undoes for recipe in recipes):
            return cls.UNDO
        if all(recipe.is_surgery for recipe in recipes):
            return cls.WIDE_SURGERY if all(recipe.unlearn.widely for recipe in recipes) else cls.SURGERY
        return cls.SEARCH if any(recipe.traits.searches for recipe in recipes) else cls.FINETUNE


# ``clipclean.auto.left_out`` decides it.
_OCCASIONS = {
    Role.UNDO: "if the model was finetuned from the base",
    Role.WIDE_SURGERY: "if no class is sure",
    Role.SURGERY: "if a class is suspected",
    Role.SEARCH: "if a class is suspected",
}
