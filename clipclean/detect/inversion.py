"""Trigger inversion: searches for unknown triggers, first without a target, then towards suspected classes.

Without a target: move the embeddings of arbitrary images together, and see which class they gather at. Towards a
class: find the smallest trigger that turns arbitrary images into it. A backdoor is a shortcut, so the trigger found for its
target is much smaller than those found for other classes, and than those that clean models need; natural triggers exist
in clean models too, but are larger.

Sources: the collapse of embeddings as the aim is that of DECREE (Feng et al. 2023, arXiv 2303.15180); the smallest
trigger for each class, and the anomaly index by the median absolute deviation, of Neural Cleanse (Wang et al. 2019).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipclean import model
from clipclean.config.effort import (
    CLASSES_AT_ONCE,
    FINALISTS,
    SECOND_ROUND_FACTOR,
    Effort,
    rows_at_a_glance,
    rows_by_step,
)
from clipclean.detect.families import SEARCH_FAMILIES, Family, InvertedTrigger, Parameters
from clipclean.detect.measure import Embed, embeddings, spaced
from clipclean.detect.metrics import spread
from clipclean.detect.zeroshot import Canonical, all_finite, canonical_form
from clipclean.errors import Inconclusive
from clipclean.findings import CC
from clipclean.progress import track

# Steps of the logarithm of the weight on size, while an attack fails, and while it works.
SIZE_WEIGHT_FALL, SIZE_WEIGHT_RISE = -0.3, 0.3
SIZE_WEIGHTS = (1e-3, 0.3, 3.0)  # least, first and greatest weight on the logarithm of size
SUCCESS_MEMORY = 0.6  # of the running success
SUCCESS_SLACK = 0.05  # by which the running success may lag behind the one that counts
COLLAPSED_SPREAD = 1e-8  # spread of unit embeddings below which images differ by rounding only
# Least mean success of any class, in the later half of the steps until then, by which a search of many steps goes on: see ``vain_share``
# of :class:`FamilyFacts`.
VAIN_SUCCESS = 0.15
TYPICAL_LOGIT_MARGIN = 0.5  # margin by which canonical logits should exceed those of real images, since batches vary
# Weight of how far triggered images go where the class's own lie. A natural trigger paints what those show, so it grows; a backdoor leads
# to the class's words beside them. Source: CSO, arXiv 2512.08129, of features before the projection; here of the embeddings.
NATURALNESS_WEIGHT = 3.0
SPREAD_WEIGHT = 6.0  # weight of the remaining share of the spread, relative to the logarithm of size
CONFIRMING_IMAGES = 64  # images on which the exact tower confirms a trigger that a rounded one found
START_IMAGES = 4  # images on which the starts of a family are tried
# Numbers of the images of one backward pass, 62 images at 224 px: bounds the memory. Weights are laid out anew for each pass, and of fewer
# than 32 images oneDNN multiplies some matrices of a ViT-B/32 on one core.
MOST_NUMBERS_A_PASS = 9 * 2**20

Aim = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # embeddings (R, B, D), their rows -> loss and success (R,)


class NoSearch(Exception):  # an error is named for what happened
    """No search is possible; ``rule`` is the code of the finding that reports it."""

    def __init__(self, rule: str, words: str) -> None:
        super().__init__(words)
        self.rule = rule


class Round(NamedTuple):
    """How long triggers are shrunk."""

    steps: int
    batch: int  # images at a time
    level: float  # the success that counts as one that works
    is_halved: bool = False  # whether the worse rows stop on the way
    trial_steps: int | None = None  # steps after which it ends unless some row came near


class _End(NamedTuple):
    """Where the search of one row ended: its smallest trigger that worked, or the last one and an infinite size."""

    parameters: Parameters  # on the CPU
    size: float
    is_stopped: bool  # before the last step, since others were nearer
    passes: int  # images that went forward and back for it


@dataclass(frozen=True)
class SmallestTrigger:
    """The result of one search."""

    family: str  # a key of :data:`SEARCH_FAMILIES`
    target: int  # place of a class: the one searched for, or the one that got most images
    parameters: Parameters  # of the smallest trigger that worked; of the last one if none did
    size: float  # its size; the family's cap if none worked
    is_reached: bool  # whether one worked
    share: float = 0.0  # of the images at one class, without a target
    is_stopped: bool = False  # before the last step, since other classes were nearer; then the size is a lower bound
    # The size from a fresh start, where one that was given led to a smaller trigger. Other classes are compared with it: a tile that
    # somebody planted for one class, and that no gradient leads to, shall not hide the trigger of another.
    afresh: float | None = None
    passes: int = 0  # images that went forward and back for it

    @property
    def fresh_size(self) -> float:
        """The size that searches by gradients alone come to."""
        return self.size if self.afresh is None else self.afresh

    def as_trigger(self, classes: Sequence[str], /, *, side: int) -> InvertedTrigger:
        """The trigger as a value; ``side`` is that of the images, in px."""
        return InvertedTrigger(self.family, classes[self.target], self.parameters, side)


@dataclass(frozen=True)
class Inversion:
    """The search for triggers of one family in one model."""

    embed: Embed  # the image tower, differentiable
    pixels: Tensor  # (N, 3, S, S) in [0, 1], images to search with
    canonical: Canonical  # of the model, on clean images
    family_name: str  # what to look for
    effort: Effort  # how hard
    generator: Generator  # draws starts, images and places; on the CPU
    last: Embed | None = None  # the exact tower, which confirms what decides, where ``embed`` is rounded

    @property
    def family(self) -> Family:
        """What is painted, and how large it is."""
        return SEARCH_FAMILIES[self.family_name]

    def untargeted(self) -> list[SmallestTrigger]:
        """Searches without a target, each with the share of images that its class got.

        The spread is measured relative to that of the clean images, so an offset that all embeddings share changes nothing.

        Raises:
            Inconclusive: the model gives numbers that are not finite.
            NoSearch: it maps all images to one place already.
        """
        pixels, effort = self.pixels, self.effort
        clean = spread(_embedded(self.embed, pixels))

        def attack(embeddings: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:  # (R, B, D)
            apart = (embeddings - embeddings.mean(1, keepdim=True)).square().sum(-1).mean(1)  # (R,)
            # Relative to the clean spread, not whitened: with whitened embeddings clean and backdoored models alike needed 0.4 of
            # the image.
            remaining = (apart / clean).clamp(min=1e-6)
            return SPREAD_WEIGHT * remaining, 1 - remaining.detach()

        begin = self.family.begin(effort.restarts, pixels.shape[-1], self.generator)
        results = []
        for end in self._smallest(begin, attack, Round(effort.steps, effort.free_images, effort.collapse)):
            trigger = InvertedTrigger(self.family_name, "", end.parameters, pixels.shape[-1])
            triggered = trigger(pixels, Generator().manual_seed(0))
            answers = self.canonical.logits(_embedded(self.embed, triggered)).argmax(1)
            counts = answers.bincount(minlength=len(self.canonical.texts))
            # The class where a search ends only makes it a suspect: in clean models, too, most families end at one class
            # (commit a95ae354: benchmarks/results/notebook.md, "A verdict on models that nobody calibrated").
            candidate = self._candidate(int(counts.argmax()), end)
            results.append(replace(candidate, share=counts.max().item() / len(pixels)))
        return results

    def targeted(self, targets: Sequence[int], starts: Sequence[SmallestTrigger] = (), /) -> list[SmallestTrigger]:
        """The smallest trigger for each class of ``targets``.

        First for all classes, in the same passes; then, in a general family, once more for those whose triggers are smallest, on
        more images. Only the smallest triggers decide, so only they need an exact size. ``starts`` are candidates of the family
        that are shrunk further, each for its own class, beside the fresh start that every class gets.

        Raises:
            Inconclusive: the model gives numbers that are not finite.
        """
        effort, facts = self.effort, self.family.facts
        level = facts.success or effort.success
        trial_steps = None if facts.vain_share is None else effort.trial_steps(self.family_name)
        plan = Round(
            effort.first_round_steps * facts.steps,
            effort.images,
            level,
            is_halved=effort.halves,
            trial_steps=trial_steps,
        )
        first = self._towards(self._begin(targets), targets, plan)
        # By themselves: beside small tiles, which work from the first step on, a fresh start would stop early.
        goals = [start.target for start in starts]
        begin = {key: torch.stack([start.parameters[key] for start in starts]) for key in first[0].parameters if starts}
        from_starts = self._towards(begin, goals, plan) if starts else []
        # Of a class that was begun both afresh and from an earlier trigger, the smaller end counts.
        by_target = {c.target: c for c in sorted(from_starts, key=lambda c: -c.size)}
        first = [_smaller(c, by_target[c.target]) if c.target in by_target else c for c in first]
        if not facts.is_general:
            return first
        finalists = sorted(first, key=lambda candidate: candidate.size)[:FINALISTS]
        if not any(candidate.is_reached for candidate in finalists):
            return first  # no class stands out by a size that none has
        begin = {key: torch.stack([c.parameters[key] for c in finalists]) for key in first[0].parameters}
        plan = Round(effort.second_round_steps, SECOND_ROUND_FACTOR * effort.images, effort.success)
        goals = [c.target for c in finalists]
        second, more_passes = self._working(begin, goals, plan), plan.steps * plan.batch
        return [
            replace(second.get(c.target, c), afresh=c.afresh, passes=c.passes + more_passes) if c.target in goals else c
            for c in first
        ]

    def _working(self, begin: Parameters, goals: Sequence[int], plan: Round, /) -> dict[int, SmallestTrigger]:
        """By class the triggers of a round that work; where the exact tower sees less of one, it searches for it itself."""
        working = {c.target: c for c in self._towards(begin, goals, plan) if c.is_reached}
        if self.last is None:
            return working
        exact, sample = replace(self, embed=self.last, last=None), spaced(self.pixels, CONFIRMING_IMAGES)
        lost = [
            c.target for c in working.values() if exact._success(c, sample) < self._success(c, sample) - SUCCESS_SLACK
        ]
        if not lost:
            return working
        begin_again = {key: values.detach()[[goals.index(goal) for goal in lost]] for key, values in begin.items()}
        confirmed = {goal: c for goal, c in working.items() if goal not in lost}
        return confirmed | exact._working(begin_again, lost, plan)

    @torch.no_grad()
    def _success(self, candidate: SmallestTrigger, images: Tensor, /) -> float:
        """The share of images (N, 3, S, S) that a trigger turns, at the same places each time."""
        painting = replace(self, generator=Generator().manual_seed(0))
        row = {key: values[None].to(images.device) for key, values in candidate.parameters.items()}
        goal = torch.tensor([candidate.target], device=images.device)
        return self._attack(goal)(painting._embedded_under(images, row), torch.zeros_like(goal))[1].item()

    def swept(self, classes: Sequence[int], /, progress: Callable[[], None]) -> list[int]:
        """The ``classes``, sorted by how near a brief search comes to a small trigger that works; those that stopped early come last.

        A search without a target may end at an easy class and miss the backdoor's class. This one tries each class, in a few
        steps of one image, and only chooses suspects. ``progress`` is called after each of the :func:`blocks`.
        """
        generator_state = self.generator.get_state()
        scores = []
        for block in torch.split(torch.tensor(classes, device=self.canonical.texts.device), CLASSES_AT_ONCE):
            self.generator.set_state(generator_state)  # the same images for all classes
            scores.append(self._brief(block))
            progress()
        return [classes[number] for number in torch.cat(scores).argsort(stable=True).tolist()]

    @torch.no_grad()
    def _begin(self, targets: Sequence[int], /) -> Parameters:
        """Parameters to start from, a row for each class: of a family with starts the one that brings a few images nearest to it."""
        pixels, side = self.pixels, self.pixels.shape[-1]
        begin = self.family.begin(len(targets), side, self.generator)
        if self.family.starts is None:
            return begin
        few = pixels[torch.linspace(0, len(pixels) - 1, min(START_IMAGES, len(pixels))).round().long()]
        goals = self.canonical.representatives[torch.tensor(targets, device=pixels.device)]
        nearest = torch.full((len(targets),), math.inf, device=pixels.device)
        for block in self.family.starts(side, self.generator):
            loss, start = self._losses(few, goals, block).min(0)
            better, start = loss < nearest, start.cpu()
            nearest = torch.where(better, loss, nearest)
            begin = _rows_of(better.cpu(), {key: values[start] for key, values in block.items()}, begin)
        return begin

    def _losses(self, images: Tensor, goals: Tensor, parameters: Parameters, /) -> Tensor:
        """The loss (R, T) of every row of parameters for every class of ``goals`` (T,), a few rows at a time."""
        rows_at_once = max(1, MOST_NUMBERS_A_PASS // images.numel())
        count = len(next(iter(parameters.values())))
        losses = []
        for rows in torch.chunk(torch.arange(count), -(-count // rows_at_once)):
            row_parameters = {key: values[rows].to(images.device) for key, values in parameters.items()}
            logits = self.canonical.logits(self._embedded_under(images, row_parameters))
            losses.append(_shortfall(logits, logits[..., goals], self.canonical.typical[goals]).mean(1))
        return torch.cat(losses)

    def _embedded_under(self, images: Tensor, parameters: Parameters, /) -> Tensor:
        """Embeddings (R, B, D) of the images (B, 3, S, S) under every row of the parameters."""
        rows = len(next(iter(parameters.values())))
        painted = self.family.paint(images[None].expand(rows, *images.shape), parameters, self.generator)
        return self.embed(painted.flatten(0, 1)).float().view(rows, len(images), -1)

    def _attack(self, goals: Tensor, /) -> Aim:
        """The loss and the convincing share of each row, towards its class of ``goals`` (R,), or the class that stands for it."""
        goals = self.canonical.representatives[goals]

        def attack(embeddings: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:  # (R, B, D)
            logits = self.canonical.logits(embeddings)  # (R, B, K)
            goal = goals[rows][:, None].expand(logits.shape[:2])
            shortfall = _shortfall(logits, logits.gather(-1, goal[..., None]), self.canonical.typical[goal][..., None])
            loss = shortfall.mean((1, 2))
            if self.family.facts.is_apart:
                loss = loss + NATURALNESS_WEIGHT * self.canonical.naturalness(embeddings, goal).mean(1)
            return loss, self.canonical.convinces(logits, goal).float().mean(1)

        return attack

    def _towards(self, begin: Parameters, goals: Sequence[int], plan: Round, /) -> list[SmallestTrigger]:
        """One round towards the class of each row of ``begin``."""
        end_results = self._smallest(begin, self._attack(torch.tensor(goals, device=self.canonical.texts.device)), plan)
        candidates = [self._candidate(goal, end) for goal, end in zip(goals, end_results, strict=True)]
        largest = max(
            candidate.size for candidate, end in zip(candidates, end_results, strict=True) if not end.is_stopped
        )
        # A class that was stopped would have needed about as much as the last one that went on, or more. The least that it can
        # have needed is the careful guess: other classes then stand out less, in this model and beside it as a reference.
        return [
            replace(candidate, size=largest, is_reached=False, is_stopped=True)
            if end.is_stopped and candidate.size > largest
            else candidate
            for candidate, end in zip(candidates, end_results, strict=True)
        ]

    def _candidate(self, target: int, end: _End, /) -> SmallestTrigger:
        is_reached = math.isfinite(end.size)
        size = end.size if is_reached else self.family.cap
        return SmallestTrigger(self.family_name, target, end.parameters, size, is_reached, passes=end.passes)

    def _shrinking(self, begin: Parameters, /) -> tuple[Parameters, torch.optim.Adam]:
        """The parameters to shrink, and their optimizer."""
        parameters = {key: values.to(self.pixels.device).requires_grad_() for key, values in begin.items()}
        # Moments as in the code of Neural Cleanse: short ones, since the weight on the size changes the aim from step to step.
        return parameters, torch.optim.Adam(parameters.values(), lr=self.family.rate, betas=(0.5, 0.9))

    def _batch(self, count: int, /) -> Tensor:
        """New images of each step: a trigger fitted to one batch would turn those images only."""
        rows = torch.randint(len(self.pixels), (count,), generator=self.generator)
        return self.pixels[model.send(rows, self.pixels.device)]

    def _brief(self, goals: Tensor, /) -> Tensor:
        """How near a brief search comes to a small trigger for each class of ``goals`` (R,); smaller is nearer, inf where it stopped
        early.
        """
        count, device = len(goals), self.pixels.device
        parameters, optimizer = self._shrinking(self.family.begin(count, self.pixels.shape[-1], self.generator))
        weight = torch.full((count,), SIZE_WEIGHTS[1], device=device)
        running_loss, rows = torch.zeros(count, device=device), torch.arange(count, device=device)
        steps = rows_at_a_glance(count, steps=self.effort.sweep)
        for taking_part in track(f"{self.family_name}, a glance at {count} classes", steps, len(steps)):
            rows = _best(rows, running_loss, taking_part)
            images = self._batch(1)
            size = self.family.size(parameters).detach()
            losses, _ = self._backward(images, parameters, rows, self._attack(goals), weight)
            # Loss and size together: of each of twelve victims with 50 to 400 classes this led to the target. Half the steps, of two
            # images, lost that of a patch which was trained in from scratch.
            running_loss[rows] = SUCCESS_MEMORY * running_loss[rows] + (1 - SUCCESS_MEMORY) * (
                losses + (weight * size.log())[rows]
            )
            optimizer.step()
            optimizer.zero_grad()
        # A running loss begins at zero, and steps see other images: that of a class which stopped says nothing beside one that
        # went on.
        nearness = torch.full_like(running_loss, math.inf)
        nearness[rows] = running_loss[rows]
        return nearness

    def _smallest(self, begin: Parameters, attack: Aim, plan: Round, /) -> list[_End]:
        """For each row the smallest parameters whose attack reached the plan's level, with their size; if none did, the last ones,
        and inf.

        The weight of size against success rises while an attack works and falls while it does not.
        """
        count, device, level = len(next(iter(begin.values()))), self.pixels.device, plan.level
        parameters, optimizer = self._shrinking(begin)
        least, first, greatest = (math.log(weight) for weight in SIZE_WEIGHTS)
        weight, best = torch.full((count,), first, device=device), torch.full((count,), math.inf, device=device)
        smallest = {key: values.detach().clone() for key, values in parameters.items()}
        running_success, running_loss = (torch.zeros(count, device=device) for _ in range(2))
        passes, trial_success, rows = *torch.zeros(2, count, device=device), torch.arange(count, device=device)
        steps = rows_by_step(count, steps=plan.steps, halves=plan.is_halved)
        for step, taking_part in enumerate(track(f"{self.family_name}, {count} at once", steps, len(steps))):
            if step == plan.trial_steps and trial_success.max().item() < VAIN_SUCCESS * (step - step // 2):
                break
            rows = _best(rows, running_loss, taking_part)
            passes.index_add_(0, rows, torch.full_like(running_success[rows], plan.batch))
            images = self._batch(plan.batch)
            size = self.family.size(parameters).detach()[rows]
            loss, success = self._backward(images, parameters, rows, attack, weight.exp())
            # One batch turns by luck: a trigger counts where the running success, up to SUCCESS_SLACK, agrees with this one.
            running_success[rows] = (
                success if step == 0 else SUCCESS_MEMORY * running_success[rows] + (1 - SUCCESS_MEMORY) * success
            )
            if plan.trial_steps and plan.trial_steps // 2 <= step < plan.trial_steps:
                trial_success.index_add_(0, rows, success)
            running_loss[rows] = SUCCESS_MEMORY * running_loss[rows] + (1 - SUCCESS_MEMORY) * (
                loss + SIZE_WEIGHTS[1] * size.log()
            )
            improves = (success >= level) & (running_success[rows] >= level - SUCCESS_SLACK) & (size < best[rows])
            # Chosen by where, not by a mask as an index: the host would wait for a GPU to count it.
            best[rows] = torch.where(improves, size, best[rows])
            better = torch.zeros_like(best, dtype=torch.bool).index_copy(0, rows, improves)
            smallest = _rows_of(better, parameters, smallest)
            optimizer.step()
            optimizer.zero_grad()
            # As in Neural Cleanse: press on the size only while the attack works, so that the search ends at the border of success.
            weight[rows] = (weight[rows] + torch.where(success >= level, SIZE_WEIGHT_RISE, SIZE_WEIGHT_FALL)).clamp(
                least, greatest
            )
        if not all(values.isfinite().all() for values in parameters.values()):
            raise Inconclusive(
                "The model gives gradients that are not finite (NaN or infinity): nothing can be searched."
            )
        # Where none worked, the last trigger stands for the search: its caller puts the cap for the size.
        smallest = {key: values.cpu() for key, values in _rows_of(~best.isfinite(), parameters, smallest).items()}
        last_rows = set(rows.tolist())
        return [
            _End({key: values[row] for key, values in smallest.items()}, size, row not in last_rows, int(count))
            for row, (size, count) in enumerate(zip(best.tolist(), passes.tolist(), strict=True))
        ]

    def _backward(
        self, images: Tensor, parameters: Parameters, rows: Tensor, attack: Aim, weight: Tensor, /
    ) -> tuple[Tensor, Tensor]:
        """Gradients of success and size for the ``rows`` (R,) of the parameters, and their losses and successes, each (R,).

        A few rows go together, to bound memory.
        """
        rows_at_once = max(1, MOST_NUMBERS_A_PASS // (images[0].numel() * len(images)))
        generator_state = self.generator.get_state()
        losses, successes = [], []
        for chunk in torch.chunk(rows, -(-len(rows) // rows_at_once)):  # evenly: a small rest takes nearly as long
            self.generator.set_state(generator_state)  # the same places for every row, however many fit
            chunk_parameters = {key: values[chunk] for key, values in parameters.items()}
            loss, success = attack(self._embedded_under(images, chunk_parameters), chunk)
            # On the logarithm: a step from 2 % to 1 % of the image counts as much as one from 20 % to 10 %.
            total = loss + weight[chunk] * self.family.size(chunk_parameters).log()
            total.sum().backward()  # type: ignore[no-untyped-call] # torch's own annotation
            losses.append(loss.detach())
            successes.append(success)
        return torch.cat(losses), torch.cat(successes)


def canonical_of(
    embed: Embed, pixels: Tensor, text_classifier: Tensor, /, *, stands_for: Tensor | None = None
) -> Canonical:
    """The canonical form of a model on clean images (N, 3, S, S) and a text classifier (K, D); ``stands_for`` as :func:`canonical_form`.

    Raises:
        Inconclusive: the model gives numbers that are not finite.
        NoSearch: it maps all images to one place.
    """
    embeddings = _embedded(embed, pixels)
    if spread(embeddings) < COLLAPSED_SPREAD:
        raise NoSearch(CC.EMBEDDINGS_COLLAPSE, "The model maps all images to one place, so no trigger can be detected.")
    return canonical_form(text_classifier, embeddings=embeddings, stands_for=stands_for)


def blocks(classes: int, /) -> int:
    """The number of blocks of classes that a sweep takes in turn."""
    return math.ceil(classes / CLASSES_AT_ONCE)


def _smaller(fresh: SmallestTrigger, from_start: SmallestTrigger) -> SmallestTrigger:
    """The end of a fresh start, or of one that was given if that is smaller; both cost passes."""
    passes = fresh.passes + from_start.passes
    if from_start.size < fresh.size:
        return replace(from_start, afresh=fresh.size, passes=passes)
    return replace(fresh, passes=passes)


def _best(rows: Tensor, losses: Tensor, count: int, /) -> Tensor:
    """Those ``count`` of the rows (R,) whose ``losses`` are lowest, in their order."""
    if count >= len(rows):
        return rows
    return rows[losses[rows].argsort(stable=True)[:count].sort().values]


def _rows_of(is_row: Tensor, these: Parameters, others: Parameters, /) -> Parameters:
    """``these`` parameters in the rows (R,) where ``is_row``, and the ``others`` elsewhere."""
    return {
        key: torch.where(is_row.view(-1, *[1] * (values.ndim - 1)), these[key].detach(), values)
        for key, values in others.items()
    }


def _shortfall(logits: Tensor, own: Tensor, typical: Tensor) -> Tensor:
    """How far images (R, B) of logits (R, B, K) are from some classes, whose logits are ``own`` (R, B, T): a loss (R, B, T).

    The cross-entropy, plus the amount by which a logit misses a level slightly above the ``typical`` one of real images of the class.
    """
    # Cross-entropy alone ends just over the border of a class, where clean models have natural triggers too. So logits should
    # reach those of real images of the class (commit a95ae354: benchmarks/results/notebook.md, "When a trigger counts as working").
    return logits.logsumexp(-1, keepdim=True) - own + F.relu(typical + TYPICAL_LOGIT_MARGIN - own)


def anomaly_index(size: float, others: Sequence[float], /, *, floor: float) -> float:
    """How many robust deviations the logarithm of ``size`` lies below the median of the logarithms of ``others``.

    Deviations are 1.4826 times the median absolute deviation, and at least ``floor``, since a few equal sizes
    would make any difference infinite. Positive means smaller than the others; nan without others.
    """
    if not others:
        return math.nan
    logs = torch.tensor(others, dtype=torch.float64).log()
    centre = logs.quantile(0.5)
    # 1.4826: makes the median absolute deviation that of a normal distribution (Wang et al. 2019).
    deviation = max(1.4826 * (logs - centre).abs().quantile(0.5).item(), floor)
    return (centre.item() - math.log(size)) / deviation


def _embedded(embed: Embed, images: Tensor) -> Tensor:
    """Embeddings (N, D), or Inconclusive where they are not finite."""
    return all_finite(embeddings(embed, images).float())
