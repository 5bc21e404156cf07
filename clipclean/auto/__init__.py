"""Cleaning by a choice among candidates (``strategy``), where a recipe lists some; others clean by themselves."""

from clipclean.auto.strategy import ChoosingStrategy
from clipclean.jobs.job import Job
from clipclean.jobs.one_recipe import OneRecipe
from clipclean.jobs.strategy import Strategy
from clipclean.requests import Sanitize


def strategy_of(job: Job[Sanitize], /) -> Strategy:
    """The way of cleaning that the recipe of a job is for; raises UsageError where a candidate is misspelt."""
    return ChoosingStrategy.of(job) if job.recipe.traits.chooses else OneRecipe(job.recipe)
