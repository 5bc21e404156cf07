"""The learning rate of a finetuning, found by short trials on a test backdoor in a copy of the model.

The first trial has the recipe's own rate, each further one four times the last, until one removes four fifths of the test backdoor within
the accuracy budget, costs more than the budget, or diverges. Where the first does, each has a quarter of the last rate, until one is within
the budget. Taken is the one that removes four fifths; else, of those within the budget, the one that removes most. Where none removes
anything beyond chance, or no test backdoor could be planted, the recipe's own rate stays.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from clipclean.attack import power
from clipclean.auto.attempts import CleanedCopy
from clipclean.auto.candidates import Candidate
from clipclean.auto.workbench import PlantedCopy, Workbench
from clipclean.config import recipe as recipes
from clipclean.config.evidence import REMOVED
from clipclean.config.recipe import LR_FACTOR, LR_TRIALS, MOST_LR, Recipe
from clipclean.jobs import judging
from clipclean.jobs.prepare import Prepared
from clipclean.progress import say
from clipclean.report import cleaning
from clipclean.schema.report import RatesRecord, RateTrialRecord
from clipclean.train import NonFiniteLoss, Run, RunState


def settled(ready: Prepared, state: RunState, run: Run, /) -> Prepared:
    """What was prepared, with the rate that trials choose, and their record; as it was where none are wanted.

    Raises:
        OutOfTime: the deadline came before the last trial; those that are done are kept.
        Interrupted: SIGINT or SIGTERM came; the same.
    """
    recipe = ready.recipe
    if not recipe.train.lr_trials:
        return ready
    bench = Workbench.of(ready, state, run)
    bench = replace(bench, settings=bench.settings.model_copy(update={"canaries": 1}))
    if bench.samples.labels is not None:  # of a method on labels: its images may have no captions to plant by
        pairs = power.with_captions(bench.samples, ready.given.vocabulary.classes, ready.given.vocabulary.templates)
        bench = replace(bench, samples=replace(bench.samples, pairs=pairs))
    run.group.check(bench.planting.batch_size, name="auto.batch_size")
    copy = planted(bench, avoid=judging.targets(ready.given.named))
    made = list(tried(bench, recipe, copy)) if copy else []
    bench.put(bench.original)
    found = best(made, bench.limits.max_accuracy_loss)
    record = RatesRecord(chosen=found.lr if found else recipe.train.lr, found=found is not None, trials=tuple(made))
    say(cleaning.rates_line(record))
    return replace(ready, recipe=recipes.at_rate(recipe, record.chosen, lr_trials=0), rates=record)


def planted(bench: Workbench, /, *, avoid: Sequence[int]) -> PlantedCopy | None:
    """A copy that learned a test backdoor, at the control's rate or a higher one; None where it learned none."""
    # One that is too low to clean may be too low to plant.
    for rate in recipes.rates_from(bench.control.train.lr, LR_TRIALS):
        bench.put(bench.original)
        copy = replace(bench, control=recipes.at_rate(bench.control, rate)).plant(avoid=avoid)
        if copy is None or copy.took:
            return copy
    return None


def tried(bench: Workbench, recipe: Recipe, copy: PlantedCopy, /) -> Iterator[RateTrialRecord]:
    """The trials, from the recipe's own rate on, as long as one follows."""
    short, budget = recipes.rate_trials(recipe, pairs=len(bench.samples.pairs))[0], bench.limits.max_accuracy_loss
    made: list[RateTrialRecord] = []
    lr: float | None = recipe.train.lr
    for _ in range(recipe.train.lr_trials):
        if lr is None:
            return
        candidate = Candidate((f"{recipe.name}(train.lr={lr:g})",), (recipes.at_rate(short, lr),))
        try:
            found = CleanedCopy(bench, candidate, copy, ()).at(1.0)
        except NonFiniteLoss:  # and so does a higher one
            lr = None if made else lr / LR_FACTOR
            continue
        told = {"steps": short.train.max_steps, "accuracy_lost": found.accuracy_lost, "seconds": found.seconds}
        made.append(RateTrialRecord.of(found.outcomes[0], lr=lr, **told))
        yield made[-1]
        lr = following(made, budget)


def following(trials: Sequence[RateTrialRecord], budget: float, /) -> float | None:
    """The rate to try next; None where the last is enough, and at the first within the budget or beyond it, by where they began."""
    first, last = (trial.accuracy_lost > budget for trial in (trials[0], trials[-1]))
    if is_enough(trials[-1], budget) or first != last:
        return None
    rate = trials[-1].lr / LR_FACTOR if first else trials[-1].lr * LR_FACTOR
    return rate if rate <= MOST_LR else None


def is_enough(trial: RateTrialRecord, budget: float, /) -> bool:
    """Whether it removes four fifths of the test backdoor within the accuracy budget."""
    return trial.left <= (1 - REMOVED) * trial.planted and trial.accuracy_lost <= budget


def best(trials: Sequence[RateTrialRecord], budget: float, /) -> RateTrialRecord | None:
    """The first trial that is enough; else the one within the budget that removes most; None where none removes anything beyond chance."""
    within = [trial for trial in trials if trial.accuracy_lost <= budget and trial.interval[1] < trial.planted]
    enough = next((trial for trial in within if is_enough(trial, budget)), None)
    return enough or min(within, key=lambda trial: trial.left, default=None)
