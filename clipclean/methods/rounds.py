"""One round of an unlearning: clean images under triggers are trained back to where the images were without them."""

import contextlib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from clipclean import data, detect, model, train
from clipclean.config.methods import Loss as LossWeights
from clipclean.config.recipe import Recipe, Train, Unlearn
from clipclean.detect import Suspicion
from clipclean.methods.losses import section_name, unlearning_loss
from clipclean.train import Run, loader

MOST_MOVED = 0.1  # mean squared distance, of 4, by which clean images may have moved after a tenth of a round
MIXED_SHARE = 0.8  # of the images of a recovery: with as many steps and none mixed it gives back less
OPPOSITE_DISTANCE = 4.0  # squared distance of opposite embeddings: what counts for a trigger that had no turn yet
# Steps from one copy with a variant of a known trigger to the next: with one at each step 0.24 of a BadNets trigger stayed that the search came
# to, beside three natural colours; with one at every second step 0.02.
BETWEEN_VARIANTS = 2
# A batch has so many sections at most, each under a trigger of its own, moved and made stronger by its own draw. With one trigger for the whole
# batch 0.20 of a BadNets trigger stayed at 0.7 of the way, and 0.14 with these, for less accuracy.
MOST_SECTIONS = 8
LEAST_IN_SECTION = 8  # images
READ_AT_ONCE = 8  # steps of a GPU after which turns are told how far their triggers moved images
LEAST_TURNS = 0.1  # of the turns of the trigger that moves images farthest, for one that moves them no more

# What a round forgets: the ``newest`` triggers, any found or known so far, ``earlier``, where those are others, and ``variants`` of known
# ones; so are the copies in a batch called.
VARIANTS = "variants"
RoundTriggers = Mapping[str, Sequence[Suspicion[int]]]


class Teachers(NamedTuple):
    """The frozen models that say where images belong."""

    clean: model.Clip  # clean ones
    base: model.Clip | None = None  # how far from there those under triggers; None: no step

    def loss(self, clip: model.Clip, weights: LossWeights, /, *, sections: int) -> train.LossFunction:
        """The loss of a model beside these."""
        base = self.base.encode_images if self.base else None
        return unlearning_loss(clip.encode_images, self.clean.encode_images, weights, sections=sections, base=base)


@dataclass(frozen=True)
class RoundSettings:
    """How a round goes."""

    steps: int
    training: Train  # batch size, rate, warm-up and the optimizer's values
    weights: LossWeights  # of the terms of the loss
    unlearn: Unlearn  # how images are cut, triggers moved and made stronger, and how many rounds there may be
    # Whether clean images are where the original has them when it begins; a recovery begins far from there.
    begins_near: bool

    @classmethod
    def of(cls, recipe: Recipe, /) -> "RoundSettings":
        """Of a round as a recipe has it."""
        return cls(recipe.unlearn.steps, recipe.train, recipe.loss, recipe.unlearn, recipe.traits.searches)


def batches_of(
    clip: model.Clip, pairs: Sequence[data.Pair], settings: RoundSettings, number: int, /, *, run: Run
) -> Iterator[train.Batch]:
    """The batches of the round of a number; one plan covers all rounds, so that each image has its turn."""
    steps, first = settings.steps, number * settings.steps
    plan = data.plan(len(pairs), batch_size=settings.training.batch_size, steps=first + steps, seed=run.seed)
    return loader.batches(plan[first:], pairs=pairs, clip=clip, run=run)


def forget(
    clip: model.Clip,
    teachers: Teachers,
    batches: Iterable[train.Batch],
    triggers: RoundTriggers,
    settings: RoundSettings,
    /,
    *,
    generator: Generator,
    run: Run,
    inverses: train.Inverses | None = None,
) -> dict[str, float]:
    """One round of steps, with a fresh optimizer and on the image tower alone; returns the losses of the last step.

    A ``Guard`` keeps the pace of a walk. In a recovery most images are mixed with another one, and half of them are mirrored.
    """
    tower: Any = clip.net.visual  # nn.Module's __getattr__
    sections = sections_of(settings.training.batch_size, processes=run.group.size)
    # A trigger of pixels acts in the image tower. The text tower and the temperature stay, so stored zero-shot classifiers of users
    # remain valid, unless the model was put towards its base before.
    loss = teachers.loss(clip, settings.weights, sections=sections)

    turns = {
        name: Turns(several, gap=BETWEEN_VARIANTS if name == VARIANTS else 1) for name, several in triggers.items()
    }
    looks = Looks(turns, at_once=1 if clip.device.type == "cpu" else READ_AT_ONCE)
    steps, own_batches = settings.steps, itertools.islice(batches, settings.steps)
    guard = Guard.of(settings)
    training = train.fit(
        tower,
        triggered(
            own_batches,
            turns,
            settings.unlearn,
            generator=generator,
            sections=sections,
            run=run,
            mixed=0.0 if settings.begins_near else MIXED_SHARE,
        ),
        settings.training,
        loss=as_used(clip, loss),
        total=steps,
        precision=train.resolved(run.precision, clip.net, clip.device),
        optimizer=train.sparing(tower, inverses, momentum=settings.training.betas[0]) if inverses else None,
        group=run.group,
        pace=guard.pace,
    )
    with contextlib.closing(training):
        for step in training:
            guard.look(step)
            looks.take(step)
            run.progress("unlearning", step.number + 1, steps)
    clip.net.eval()
    return looks.read()


def as_used(clip: model.Clip, loss: train.LossFunction, /) -> train.LossFunction:
    """A loss with the model in evaluation mode: statistics of normalisation are not moved."""

    def of_batch(batch: train.Batch) -> dict[str, Tensor]:
        with model.evaluating(clip.net):
            return loss(batch)

    return of_batch


@dataclass
class Guard:
    """Slows a round in which clean images move too far at its beginning, or speeds it up where they hardly move.

    Steps of equal size relative to the weights move the embeddings of a wide model farther than those of a narrow one.
    """

    steps: int  # of the round
    fastest: float = 2.0  # the largest factor
    is_needed: bool = True  # without it every factor is 1
    # Of clean images at each step of the first tenth: their mean squared distance to where the original has them.
    moved: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, settings: RoundSettings, /) -> "Guard":
        """Of a round; a walk needs one, and a recovery does not: it begins with clean images far from the original's."""
        is_needed = settings.training.walk is not None and settings.begins_near
        # Steps that spare clean images hardly move them at the beginning, and go far enough all the same.
        fastest = cls.fastest if settings.training.damping is None else 1.0
        return cls(settings.steps, fastest, is_needed)

    def look(self, step: train.Step, /) -> None:
        """Take a step's measure of clean images, in the first tenth of the round."""
        if step.number < self._begun:
            self.moved.append(float(step.parts["preservation"]))

    def pace(self, number: int, /) -> float:
        """The factor on the rate of a step: 1 in the first tenth, then between a half and ``fastest``."""
        if number < self._begun or not self.is_needed:
            return 1.0
        late = self.moved[len(self.moved) // 2 :]
        moved = sum(late) / max(len(late), 1)
        return min(max(math.sqrt(MOST_MOVED / moved), 0.5), self.fastest) if moved > 0 else self.fastest

    @property
    def _begun(self) -> int:
        return max(2, self.steps // 10)


class Turns:
    """Triggers that take turns: the farther one still moves images, the more turns it gets.

    Steps on a trigger that moves images no more cost accuracy and remove nothing. Of a warp 0.35 stayed where all had as many turns, for
    0.6 points; 0.23 stayed with these, for 0.2.
    """

    def __init__(self, triggers: Sequence[Suspicion[int]], /, *, gap: int = 1) -> None:
        self._triggers, self.gap = triggers, gap  # from one turn to the next
        self._distances = torch.full((len(triggers),), OPPOSITE_DISTANCE, dtype=torch.double)
        self.latest: list[int] = []  # the places of those whose turn was last, one for each section of a batch

    def next(self, generator: Generator, /, *, sections: int) -> list[detect.TriggerLike]:
        """The triggers whose turn it is, one for each section of a batch."""
        weights = self._distances.clamp(min=LEAST_TURNS * float(self._distances.max()))
        self.latest = torch.multinomial(weights, sections, replacement=True, generator=generator).tolist()
        return [self._triggers[row].trigger for row in self.latest]

    def look(self, distance: float, row: int, /) -> None:
        """Take how far the trigger at a place moved images: their mean squared distance to where the original has those without."""
        before = float(self._distances[row])
        self._distances[row] = distance if before == OPPOSITE_DISTANCE else (before + distance) / 2


@dataclass
class Looks:
    """How far single copies moved images, of some steps at once: to read a number of a GPU waits for its steps."""

    turns: Mapping[str, Turns]
    at_once: int
    # Of the last step that was read, by name, without those of single copies.
    losses: dict[str, float] = field(default_factory=dict)
    # Steps that wait to be read, with the triggers of their sections, by the names of their distances.
    _waiting: list[tuple[train.Step, dict[str, tuple[Turns, int]]]] = field(default_factory=list)

    def take(self, step: train.Step, /) -> None:
        """Take a step that is just done."""
        sections = {
            section_name(name, section): (own, row)
            for name, own in self.turns.items()
            for section, row in enumerate(own.latest)
            if section_name(name, section) in step.parts
        }
        self._waiting.append((step, sections))
        if len(self._waiting) >= self.at_once:
            self.read()

    def read(self) -> dict[str, float]:
        """Hand the turns what was taken, and return the losses of the last step."""
        losses_by_step = train.losses_of([step for step, _ in self._waiting])
        for (_, sections), losses in zip(self._waiting, losses_by_step, strict=True):
            for name, (own, row) in sections.items():
                own.look(losses.pop(name), row)
            self.losses = losses
        self._waiting.clear()
        return self.losses


def sections_of(images: int, /, *, processes: int) -> int:
    """In how many sections a batch of so many images carries triggers: none is too small, and each process has images of all."""
    sections = math.gcd(images // LEAST_IN_SECTION, MOST_SECTIONS) if images % LEAST_IN_SECTION == 0 else 1
    return sections if images // processes % sections == 0 else 1


def triggered(
    batches: Iterable[train.Batch],
    turns: Mapping[str, Turns],
    settings: Unlearn,
    /,
    *,
    generator: Generator,
    run: Run,
    sections: int = 1,
    mixed: float = 0.0,
) -> Iterator[train.Batch]:
    """The batches, every other image cut to a part of it, with triggered copies of their images by name, by the triggers whose turn it is.

    Of n ``sections`` of a batch the one of a number has every nth image from it on, so that each of several processes has images of
    all. Of several processes each has its rows of a batch, drawn as in one process.
    """
    for number, batch in enumerate(batches):
        whole = run.group.whole(model.unit_range(batch.inputs["pixels"]))  # triggers work in [0, 1]
        # Crops show a trigger at other scales than the one at which it was found, and prevent overfitting to the few images of a
        # clean set.
        pixels = data.enlarge_parts(whole, least=settings.least_part, generator=generator)
        if mixed:
            pixels = data.mix(pixels, share=mixed, generator=generator)
        in_turn = {name: copy_turns for name, copy_turns in turns.items() if number % copy_turns.gap == 0}
        copies = {name: pixels.clone() for name in in_turn}
        for name, copy_turns in in_turn.items():
            for section, trigger in enumerate(copy_turns.next(generator, sections=sections)):
                part = slice(section, None, sections)
                copies[name][part] = jittered(trigger, pixels[part], settings, generator=generator)
        yield replace(
            batch,
            inputs={name: run.group.own(copy_images) for name, copy_images in {"pixels": pixels, **copies}.items()},
        )


def jittered(trigger: detect.TriggerLike, pixels: Tensor, settings: Unlearn, /, *, generator: Generator) -> Tensor:
    """Triggered copies of images (B, 3, S, S), the trigger moved by up to ``how.shift`` of the side, and made weaker or stronger.

    The search finds the smallest trigger that works, at one place; the planted one is stronger and may be next to it. A trigger
    that is moved over an edge returns at the opposite one. Of a trigger that moves pixels, one near it is taken, and no strength of the
    change: half of it would show the image twice.
    """
    # A found trigger is one point of the backdoor's range: unlearned at that point alone, the backdoor would act next to it.
    farthest = round(settings.shift * pixels.shape[-1])
    moves = [_draw(2 * farthest + 1, generator) - farthest for _ in range(2)]
    there = torch.roll(pixels, moves, dims=(-2, -1))
    varied = trigger.varied(generator) if isinstance(trigger, detect.InvertedTrigger) else None
    under_trigger = torch.roll((varied or trigger)(there, generator), [-move for move in moves], dims=(-2, -1))
    if varied is not None:  # of a warp 0.087 stays so, and 0.155 where its change was made weaker and stronger
        return under_trigger
    # Uniform in the logarithm: half as strong comes as often as twice as strong.
    low, high = (math.log(factor) for factor in settings.strength)
    factors = torch.empty(len(pixels), 1, 1, 1).uniform_(low, high, generator=generator).exp().to(pixels)
    return (pixels + factors * (under_trigger - pixels)).clamp(0, 1)


def some_triggered(
    pixels: Tensor, /, *, suspicions: Sequence[Suspicion[int]], share: float, settings: Unlearn, generator: Generator
) -> Tensor:
    """Copies of images (B, 3, S, S) in [0, 1], a share of them under one of the triggers, :func:`jittered`."""
    # One trigger a batch: the batch is then transformed at once, and all have their turn over the steps.
    picked = torch.rand(len(pixels), generator=generator) < share
    trigger, _ = suspicions[_draw(len(suspicions), generator)]
    images = pixels.clone()
    if picked.any():
        images[picked] = jittered(trigger, pixels[picked], settings, generator=generator)
    return images


def _draw(count: int, generator: Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
