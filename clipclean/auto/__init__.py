"""Cleaning by a choice among candidates, where a recipe lists some; others clean by themselves.

Which candidates, in which order: ``recipes/auto.yaml``. When one is left out: ``left_out``.
"""

from clipclean.auto.choosing import ChoosingStrategy
from clipclean.jobs.job import Job
from clipclean.jobs.one_recipe import OneRecipe
from clipclean.jobs.strategy import Strategy
from clipclean.requests import Sanitize


def strategy_of(job: Job[Sanitize], /) -> Strategy:
    """The way of cleaning that the recipe of a job is for; raises UsageError where a candidate is misspelt."""
    return ChoosingStrategy.of(job) if job.recipe.traits.chooses else OneRecipe(job.recipe)
