"""A cleaning as it was asked for, and what that stands for: recipe, policy and device, resolved once; torch need not be loaded."""

from dataclasses import dataclass, replace

from clipclean import requests
from clipclean.config import recipe as recipes
from clipclean.config.policy import Policy
from clipclean.config.recipe import Recipe
from clipclean.errors import UsageError


@dataclass(frozen=True)
class Job:
    """One cleaning: what is asked for, and the values that the rest of the way is passed."""

    request: requests.Sanitize  # with the policy below, and the device on which it computes
    recipe: Recipe  # with the values that the user changed; a warm-up may not fit into it yet
    policy: Policy

    @classmethod
    def of(cls, request: requests.Sanitize, /) -> "Job":
        """The job of a request; raises UsageError where recipe or policy is none."""
        recipe, policy = recipe_of(request), requests.policy_of(request)
        return cls(replace(request, policy=policy, ignore=()), recipe, policy)

    def on(self, device: str, /) -> "Job":
        """The same on a device, as PyTorch spells it."""
        return replace(self, request=replace(self.request, device=device))

    def here(self) -> "Job":
        """The same on the device of this machine that its name stands for; loads torch. Raises UsageError where there is none."""
        from clipclean.jobs import inputs

        return self.on(inputs.device_of(self.request.device))

    @property
    def device(self) -> str:
        """Where it computes."""
        return self.request.device


def recipe_of(request: requests.Sanitize, /) -> Recipe:
    """The recipe with the values that are changed; raises UsageError."""
    recipe = recipes.chosen(request.recipe, request.set, max_accuracy_loss=request.max_accuracy_loss)
    if recipe.traits.undoes and not request.base:
        raise UsageError(f"The recipe {recipe.name} compares the model with its base. Name that by --base.")
    return recipes.undoing(recipe) if request.base and recipe.traits.chooses else recipe
