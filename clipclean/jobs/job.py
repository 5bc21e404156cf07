"""An audit or a cleaning as it was asked for, and what that stands for: recipe, policy and device, resolved once; torch need not be loaded."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from clipclean import requests
from clipclean.config import policy as policies
from clipclean.config import recipe as recipes
from clipclean.config.policy import Policy
from clipclean.config.recipe import Recipe
from clipclean.errors import UsageError

Request = TypeVar("Request", requests.Audit, requests.Sanitize)


@dataclass(frozen=True)
class Job(Generic[Request]):
    """One audit or cleaning: what is asked for, and the values that the rest of the way is passed."""

    request: Request  # with the device on which it computes
    # With the values that the user changed; a warm-up may not fit into it yet. Of an audit the standard one.
    recipe: Recipe
    policy: Policy

    @classmethod
    def of(cls, request: Request, /) -> "Job[Request]":
        """The job of a request; raises UsageError where recipe or policy is none."""
        return cls(request, recipe_of(request), policy_of(request))

    def on_device(self, device: str, /) -> "Job[Request]":
        """The same on a device, as PyTorch spells it."""
        return replace(self, request=replace(self.request, device=device))

    def of_model(self, model: Path, /) -> "Job[Request]":
        """The same of another checkpoint."""
        return replace(self, request=replace(self.request, model=model))

    def on_this_machine(self) -> "Job[Request]":
        """The same on the device of this machine that its name stands for; loads torch. Raises UsageError where there is none."""
        from clipclean.jobs import opening

        return self.on_device(opening.device_of(self.request.device))

    @property
    def effort(self) -> str:
        """Of its searches."""
        return self.request.effort if isinstance(self.request, requests.Audit) else self.recipe.auto.effort


def precision_of(job: Job[requests.Sanitize], /) -> str:
    """Of the trainings of a cleaning: fp32, bf16 or auto."""
    return job.request.precision or job.recipe.train.precision


def recipe_of(request: Request, /) -> Recipe:
    """The recipe with the values that are changed; of an audit that with the standard values. Raises UsageError."""
    if isinstance(request, requests.Audit):
        return recipes.load(recipes.STANDARD_RECIPE)
    recipe = recipes.recipe_of_run(request.recipe, request.set, max_accuracy_loss=request.max_accuracy_loss)
    if recipe.undoes and not request.base:
        raise UsageError(f"The recipe {recipe.name} compares the model with its base. Name that by --base.")
    return recipes.undoing(recipe) if request.base and recipe.traits.chooses else recipe


def policy_of(request: Request, /) -> Policy:
    """The policy, or the default one; raises UsageError."""
    if request.policy is None:
        return policies.ignoring(request.ignore) if request.ignore else policies.DEFAULT_POLICY
    if request.ignore:
        raise UsageError("--policy and --ignore both say what counts. Write what is ignored into the policy.")
    return policies.load(request.policy) if isinstance(request.policy, Path) else request.policy
