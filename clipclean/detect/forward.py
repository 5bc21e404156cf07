"""What forward passes alone show: known triggers below full strength, and tiles.

The panel: the least strength at which each known trigger acts. A planted one acts at far less than the others.

Tiles: small squares pasted on images, a coarse sweep for triggers that no gradient leads to.

Rounding: whether a search may compute in bfloat16, whose digits can hide what a trigger says.

Other precisions: whether a model that will be deployed in one of them answers as it does here.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipclean import model
from clipclean.detect.families import MASK, SEARCH_FAMILIES
from clipclean.detect.inversion import SmallestTrigger
from clipclean.detect.measure import Embed, rounded, spaced
from clipclean.detect.references import MOST_ODDS, NEVER
from clipclean.detect.suspicion import TriggerLike
from clipclean.detect.zeroshot import EMBED_BATCH, Canonical, canonical_form, excess_by_class
from clipclean.progress import track
from clipclean.schema.report import StrengthRecord

MOST_IMAGES = 96  # on which known triggers and random changes are tried
ACTING_EXCESS = 0.5  # least excess share of images in one class for a trigger that acts
MOVING_EXCESS = 1 / (1 + MOST_ODDS)  # excess share from which on a trigger is measured exactly
LEAST_ODDS = 0.5 / MOST_IMAGES  # that an image resists: no less is seen on so many
CHANGES_A_BATCH = 16  # triggers of a grid, tiles, or other changes, in one batch

# The panel.

# Shares of a trigger's change, tried in this order as long as it acts.
TRIED_STRENGTHS = (1.0, 0.5, 0.25, 0.125, 0.0625)
BRIEF_IMAGES = 16  # on which each trigger of a grid is first tried at full strength; those that move some get more


@dataclass(frozen=True)
class Strength:
    """The least share of a trigger's change at which half of the images convincingly become one class; ``NEVER`` if it does not
    act.
    """

    trigger: str  # its spec
    target: int  # place of the class that most images become under the whole trigger
    least: float  # in (0, 1], or ``NEVER``
    excess: float  # share of images that become it, under the whole trigger

    @property
    def acts(self) -> bool:
        """Whether half of the images become its class."""
        return self.excess >= ACTING_EXCESS

    def record(self, classes: Sequence[str], /) -> StrengthRecord:
        """For a report; ``classes`` are the names."""
        return StrengthRecord.of(self, class_=classes[self.target] if self.acts else None)

    @property
    def size(self) -> float:
        """The least strength; for a trigger that does not act, a value from 1 to ``NEVER``, lower the more images it moves."""
        return self.least if self.acts else NEVER - (NEVER - 1) * self.excess / ACTING_EXCESS


def resisting(strengths: Iterable[Strength], classes: Sequence[str], /) -> dict[str, float]:
    """For each class the odds that an image resists the trigger that turns most into it, in (0, ``MOST_ODDS``]."""
    odds = dict.fromkeys(classes, MOST_ODDS)
    for strength in strengths:
        name, share = classes[strength.target], max(strength.excess, MOVING_EXCESS)
        odds[name] = min(odds[name], max((1 - share) / share, LEAST_ODDS))
    return odds


def strengths(
    embed: Embed, pixels: Tensor, triggers: Sequence[TriggerLike], /, *, canonical: Canonical, look: Embed | None = None
) -> tuple[Strength, ...]:
    """The least strength of every trigger, on the same sample of the images (N, 3, S, S) in [0, 1].

    Those that come nowhere near acting by ``look``, see :func:`measure.looking`, are not measured by ``embed``.
    """
    if not triggers:
        return ()
    sample, look, results = spaced(pixels, MOST_IMAGES), look or embed, []
    before = _logits(embed, sample, canonical).argmax(1)
    for trigger in track("known triggers", triggers, len(triggers)):
        strength = _least(look, sample, trigger, before=before, canonical=canonical)
        is_sure = look is embed or strength.excess < MOVING_EXCESS
        results.append(strength if is_sure else _least(embed, sample, trigger, before=before, canonical=canonical))
    return tuple(results)


def glances(
    embed: Embed, pixels: Tensor, triggers: Sequence[TriggerLike], /, *, canonical: Canonical, look: Embed | None = None
) -> tuple[Strength, ...]:
    """The least strength of every trigger of a grid, as :func:`strengths`; for those that move hardly any of a few images by ``look``,
    the excess there.
    """
    few, brief = spaced(pixels, BRIEF_IMAGES), []
    # Hundreds of triggers, most of which do nothing: a first try on few images leaves few for the costly measurement.
    painted = (trigger(few, Generator().manual_seed(0)) for trigger in triggers)
    looks = _looks("variants", look or embed, few, painted, len(triggers), canonical)
    for trigger, shares in zip(triggers, looks, strict=True):
        brief.append(Strength(trigger.spec, int(shares.argmax()), NEVER, shares.max().item()))
    moving = [trigger for trigger, strength in zip(triggers, brief, strict=True) if strength.excess >= MOVING_EXCESS]
    exact = {
        strength.trigger: strength for strength in strengths(embed, pixels, moving, canonical=canonical, look=look)
    }
    return tuple(exact.get(strength.trigger, strength) for strength in brief)


def _looks(
    what: str, embed: Embed, images: Tensor, changes: Iterator[Tensor], count: int, canonical: Canonical
) -> Iterator[Tensor]:
    """For each of ``count`` changes of the images (N, 3, S, S) the :func:`excess` (K,), some changes in one pass."""
    before = _logits(embed, images, canonical).argmax(1)
    for _ in track(what, range(0, count, CHANGES_A_BATCH), -(-count // CHANGES_A_BATCH)):
        batch = list(itertools.islice(changes, CHANGES_A_BATCH))
        for rows in _logits(embed, torch.cat(batch), canonical).view(len(batch), len(images), -1):
            yield excess(rows, before, canonical)


@torch.no_grad()
def _logits(embed: Embed, pixels: Tensor, canonical: Canonical) -> Tensor:
    return canonical.logits(embed(pixels).float())


def _least(embed: Embed, pixels: Tensor, trigger: TriggerLike, /, *, before: Tensor, canonical: Canonical) -> Strength:
    change = trigger(pixels, Generator().manual_seed(0)) - pixels
    target, strongest, curve = -1, 0.0, []
    for share in TRIED_STRENGTHS:
        logits = _logits(embed, (pixels + share * change).clamp(0, 1), canonical)
        shares = excess(logits, before, canonical)
        # The class under the whole trigger: weaker ones are followed only as far as they lead there.
        if share == TRIED_STRENGTHS[0]:
            target, strongest = int(shares.argmax()), shares.max().item()
        curve.append((share, shares[target].item()))
        if curve[-1][1] < ACTING_EXCESS:
            break
    return Strength(trigger.spec, target, _crossing(curve), strongest)


def excess(logits: Tensor, before: Tensor, canonical: Canonical, /) -> Tensor:
    """For each class the share (K,) of images of other classes that logits (N, K), unlike ``before`` (N,), convincingly assign
    to it.
    """
    after = logits.argmax(1)
    turned = torch.where(canonical.convinces(logits, after), after, before)
    return excess_by_class(before, turned, labels=None, classes=len(canonical.texts))


def _crossing(curve: Sequence[tuple[float, float]]) -> float:
    """Where a falling curve of (share, excess) crosses ``ACTING_EXCESS``, between logarithms of shares; ``NEVER`` if it begins below."""
    if curve[0][1] < ACTING_EXCESS:
        return NEVER
    if curve[-1][1] >= ACTING_EXCESS:
        return curve[-1][0]
    (above, high), (below, low) = curve[-2:]
    part = (high - ACTING_EXCESS) / (high - low)
    return math.exp(math.log(above) + part * (math.log(below) - math.log(above)))


# Random changes, to see whether rounding hides a trigger.

NOISE_LEVELS = (0.1, 0.2, 0.3)  # up or down at each place of a fine grid; of the range of a pixel
BLENDED_SHARES = (0.3, 0.5)  # share of a random pattern
ADDED_LEVEL = 0.25  # of a coarse pattern of two values
COARSE_CELLS, FINE_CELLS = (4, 8), 32  # cells along a side of a random pattern
RANDOM_CHANGES = len(NOISE_LEVELS) + len(BLENDED_SHARES) * (len(COARSE_CELLS) + 1) + len(COARSE_CELLS)  # of each image


def random_changes(pixels: Tensor, generator: Generator, /) -> Iterator[Tensor]:
    """Copies of images (N, 3, S, S), each image changed by a random pattern of its own: noise, blended patterns, coarse ones added."""
    for delta in NOISE_LEVELS:
        yield (pixels + delta * _signs(_pattern(pixels, FINE_CELLS, generator, smooth=False))).clamp(0, 1)
    for ratio in BLENDED_SHARES:
        for cells in (*COARSE_CELLS, FINE_CELLS):
            yield torch.lerp(pixels, _pattern(pixels, cells, generator), ratio)
    for cells in COARSE_CELLS:
        yield (pixels + ADDED_LEVEL * _signs(_pattern(pixels, cells, generator))).clamp(0, 1)


def _pattern(pixels: Tensor, cells: int, generator: Generator, *, smooth: bool = True) -> Tensor:
    """One random pattern in [0, 1] for each image, on a grid of so many cells along a side."""
    noise = torch.rand(len(pixels), 3, cells, cells, generator=generator).to(pixels)
    mode = {"mode": "bilinear", "align_corners": False} if smooth else {"mode": "nearest"}
    return F.interpolate(noise, size=pixels.shape[-2:], **mode)


def _signs(pattern: Tensor) -> Tensor:
    return 2 * pattern.round() - 1


# Tiles.

TILE_SIDES = (3 / 32, 0.15, 0.25)  # of a tile, relative to that of the image: 3, 5 and 8 of 32 px
# Along the diagonal, as shares of the free way; down and across of a tile that is scattered
TILE_PLACES = (0.0, 0.5, 1.0)
RANDOM_TILES = 4  # random tiles, each pixel and colour off or on
SINGLE_TILES = len(TILE_SIDES) * len(TILE_PLACES) * (8 + 2 + RANDOM_TILES)
# Finer contents, each at nine places at once: a first look costs no more than at one. Checks of one to three pixels and stripes of one or
# two, each colour with them, against them, off or on: what a first layer that sees opposite colours may wait for, and no photograph shows.
SCATTERED_SIDES = (3 / 32, 0.15)  # sides of such tiles
CHECK_WIDTHS = (1, 2, 3)  # of a check, in px
TRIED_KERNELS = 8  # kernels of the first layer that are tried, those of the greatest norm, both ways round
TILES = SINGLE_TILES + (4**3 - 2 * 2**3) + len(SCATTERED_SIDES) * 2**3 * (len(CHECK_WIDTHS) + 4) + 2 * TRIED_KERNELS
TILED_IMAGES, SCANNED_IMAGES, JUDGED_IMAGES = 8, 4, 64  # under each tile, if it is scattered, and if it acts
MASK_ON, MASK_OFF = 7.0, -9.0  # of a mask before its sigmoid: 0.999 and 0.0001


class Tile(NamedTuple):
    """A tile (3, K, K) in [0, 1], and the pixels of its upper left corners, down and across; at several places at once, perhaps."""

    content: Tensor
    corners: tuple[tuple[int, int], ...]

    def singly(self) -> "list[Tile]":
        """The same at each of its places."""
        return [Tile(self.content, (corner,)) for corner in self.corners]

    def painted(self, images: Tensor, /) -> Tensor:
        """Copies of images (B, 3, S, S) with it."""
        images, content = images.clone(), self.content.to(images)
        for window in self._windows():
            images[(..., *window)] = content
        return images

    def candidate(self, target: int, side: int, /) -> SmallestTrigger:
        """The same as a mask and a pattern."""
        mask, pattern = torch.full((1, side, side), MASK_OFF), torch.zeros(3, side, side)
        for window in self._windows():
            mask[(..., *window)] = MASK_ON
            pattern[(..., *window)] = MASK_ON * (2 * self.content - 1)
        size = SEARCH_FAMILIES[MASK].size({"mask": mask[None], "pattern": pattern[None]}).item()
        return SmallestTrigger(MASK, target, {"mask": mask, "pattern": pattern}, size, is_reached=True)

    def _windows(self) -> list[tuple[slice, slice]]:
        width = self.content.shape[-1]
        return [(slice(top, top + width), slice(left, left + width)) for top, left in self.corners]


def tiles(side: int, kernels: Tensor | None = None, /) -> Iterator[Tile]:
    """Tiles of one colour, of checks of one pixel, and of noise, in some sizes and places, the smallest first; then finer ones at nine
    places at once, and such of the ``kernels`` (F, 3, K, K) of a first layer.
    """
    for share in TILE_SIDES:
        width = max(2, round(share * side))
        for content in _contents(width):
            for tile_share in TILE_PLACES:
                corner = round(tile_share * (side - width))
                yield Tile(content, ((corner, corner),))
    small, large = (max(2, round(share * side)) for share in SCATTERED_SIDES)
    finer = [(content, 1) for content in (*_one_sided(small), *_fine(small), *_fine(large))]
    own = [] if kernels is None else [(content, kernels.shape[-1]) for content in _rendered(kernels)]
    for content, step in (*finer, *own):
        free = side - content.shape[-1]
        # A kernel as wide as its stride, of a ViT, sees its own patch alone: the tile lies on the grid of patches.
        step = step if step > 3 and side % step == 0 else 1
        along = list(dict.fromkeys(round(tile_share * free / step) * step for tile_share in TILE_PLACES))
        yield Tile(content, tuple((top, left) for top in along for left in along))


def _contents(width: int) -> Iterator[Tensor]:
    for number in range(8):
        colour = torch.tensor([number >> channel & 1 for channel in range(3)]).float()
        yield colour[:, None, None].expand(3, width, width)
    checks = _checks(width, 1)
    yield from (content.expand(3, width, width) for content in (checks, 1 - checks))
    rng = Generator().manual_seed(0)
    yield from (torch.randint(2, (3, width, width), generator=rng).float() for _ in range(RANDOM_TILES))


def _one_sided(width: int) -> Iterator[Tensor]:
    """Checks of one pixel, in which a colour or two are off or on everywhere and the others go with the checks or against them."""
    checks = _checks(width, 1)
    off, on = torch.zeros_like(checks), torch.ones_like(checks)
    for layers in itertools.product((checks, 1 - checks, off, on), repeat=3):
        flat = sum(layer is off or layer is on for layer in layers)
        if 0 < flat < 3:
            yield torch.stack(layers)


def _fine(width: int) -> Iterator[Tensor]:
    """Checks and stripes in which each colour goes with them or against them."""
    down = [(torch.arange(width) // px % 2).float()[:, None].expand(width, width) for px in CHECK_WIDTHS[:2]]
    for pattern in (*(_checks(width, px) for px in CHECK_WIDTHS), *down, *(stripes.T for stripes in down)):
        yield from (torch.stack(layers) for layers in itertools.product((pattern, 1 - pattern), repeat=3))


def _checks(width: int, px: int) -> Tensor:
    """Fields of so many pixels in turn off and on, (width, width)."""
    fields = torch.arange(width) // px
    return ((fields[:, None] + fields) % 2).float()


def _rendered(kernels: Tensor) -> Iterator[Tensor]:
    """The strongest kernels (F, 3, K, K) as tiles that they answer to most, and least: off or on by the sign of each weight."""
    strongest = kernels.float().flatten(1).norm(dim=1).argsort(descending=True)[:TRIED_KERNELS]
    for kernel in kernels[strongest].float().cpu():
        yield from ((kernel > 0).float(), (kernel <= 0).float())


def acting_tiles(
    embed: Embed,
    pixels: Tensor,
    /,
    *,
    canonical: Canonical,
    success: float,
    look: Embed | None = None,
    kernels: Tensor | None = None,
) -> list[SmallestTrigger]:
    """The smallest tile of each class that turns ``success`` of images (N, 3, S, S) convincingly into it; ``look`` as :func:`strengths`,
    ``kernels`` as :func:`tiles`.
    """
    few, scanned, more = (spaced(pixels, most) for most in (TILED_IMAGES, SCANNED_IMAGES, JUDGED_IMAGES))
    look = look or embed
    judged = _logits(embed, more, canonical).argmax(1)
    candidates: dict[int, SmallestTrigger] = {}

    def judge(tile: Tile, target: int) -> None:
        again = excess(_logits(embed, tile.painted(more), canonical), judged, canonical)[target]
        if again >= success:
            candidates[target] = tile.candidate(target, pixels.shape[-1])

    def acting(what: str, candidate_tiles: Sequence[Tile], images: Tensor) -> Iterator[tuple[Tile, int]]:
        looks = _looks(
            what, look, images, (tile.painted(images) for tile in candidate_tiles), len(candidate_tiles), canonical
        )
        for tile, shares in zip(candidate_tiles, looks, strict=True):
            target = int(shares.argmax())
            if target not in candidates and shares[target] >= ACTING_EXCESS:
                yield tile, target

    all_tiles = list(tiles(pixels.shape[-1], kernels))
    for tile, target in acting("tiles", all_tiles[:SINGLE_TILES], few):
        judge(tile, target)
    scattered = [
        single for tile, _ in acting("fine tiles", all_tiles[SINGLE_TILES:], scanned) for single in tile.singly()
    ]
    # At nine places at once a tile covers more than a trigger may: each place by itself.
    for tile, target in acting("fine tiles, singly", scattered, scanned) if scattered else ():
        judge(tile, target)
    return list(candidates.values())


# Rounding.

# Images on which both formats are compared: as they are, changed, and under each tile.
COMPARED_IMAGES, CHANGED_IMAGES, PASTED_IMAGES = 64, 16, 2
AGREEING_SHARE = 0.95  # share of images as they are that must get the same class
LOGIT_ERROR = 0.15  # of the canonical logits, relative to their own size: sound models show at most 0.01, hidden triggers 0.6 and more
MOST_MOVED_CLASSES = 8  # most classes towards which images are moved by their gradients
# Of an image, in either format.
PASSES = 2 * (COMPARED_IMAGES + CHANGED_IMAGES * (RANDOM_CHANGES + MOST_MOVED_CLASSES) + PASTED_IMAGES * SINGLE_TILES)
GRADIENT_STEP = 0.5  # of such a move, of the range of a pixel


def may_round(embed: Embed, pixels: Tensor, text_classifier: Tensor, /) -> bool:
    """Whether ``embed`` is faster in bfloat16, and changes few answers.

    A constant that all embeddings share uses up the digits of bfloat16, so answers are compared, not embeddings. One inside of the
    model can hide what a trigger says and nothing else, so the answers to noise, to tiles and to images that follow the exact
    gradients are compared as well.
    """
    if not model.has_bfloat16(pixels.device):
        return False
    reduced, form = rounded(embed), canonical_form(text_classifier)
    many, few, least = (spaced(pixels, most) for most in (COMPARED_IMAGES, CHANGED_IMAGES, PASTED_IMAGES))
    if not _alike(embed, reduced, many[None], form=form, agree=AGREEING_SHARE):
        return False
    examples = (
        torch.stack([*random_changes(few, Generator().manual_seed(0)), *_moved(embed, few, form=form)]),
        torch.stack([tile.painted(least) for tile in itertools.islice(tiles(least.shape[-1]), SINGLE_TILES)]),
    )
    rounds = [batch for images in examples for batch in torch.split(images, CHANGES_A_BATCH)]
    batches = track("comparing bfloat16", rounds, len(rounds))
    return all(_alike(embed, reduced, batch, form=form) for batch in batches)


def _moved(embed: Embed, pixels: Tensor, *, form: Canonical) -> Iterator[Tensor]:
    """Images (N, 3, S, S) moved towards each of some classes by the signs of the exact gradients."""
    classes = form.distinct.tolist()
    for goal in classes[:: -(-len(classes) // MOST_MOVED_CLASSES)]:
        moving = pixels.detach().clone().requires_grad_()
        (along,) = torch.autograd.grad(form.logits(embed(moving).float())[:, goal].sum(), moving)
        yield (pixels + GRADIENT_STEP * along.sign()).clamp(0, 1)


# Other precisions.

# Images as they are, and under each trigger, of which the answers in half precision are compared.
CLEAN_IMAGES, TRIGGERED_IMAGES = (16, 1)
SHOWN_TRIGGERS = 3  # most triggers that are told of a precision


@dataclass(frozen=True)
class Departure:
    """Where a model answers otherwise in half precision than in fp32, by more than rounding does to a sound one."""

    precision: str
    trigger: str | None  # what the images were under, by its spec; None for clean images and tiles
    error: float  # of the canonical logits, relative to their size; inf where they are not finite
    target: int | None = None  # place of the class that the trigger turns most more images into than in fp32
    excess: float = 0.0  # how many more


def departures(
    precision: str,
    exact: Embed,
    half: Embed,
    pixels: Tensor,
    triggers: Sequence[TriggerLike],
    text_classifier: Tensor,
    /,
    *,
    pasted: Sequence[Tile] = (),
) -> tuple[Departure, ...]:
    """Where the answers of ``half`` depart from the exact ones; none of a sound model.

    Compared are clean images, and some under each trigger and each tile. Of triggers that depart the excess is measured, on more images:
    of the first of them in the order given, since tiles and clean images have no name.
    """
    form, clean, few = canonical_form(text_classifier), spaced(pixels, CLEAN_IMAGES), spaced(pixels, TRIGGERED_IMAGES)
    # Each trigger by itself: it is one change among many.
    versions: list[tuple[TriggerLike | None, Tensor]] = [(None, clean)]
    versions += [(trigger, trigger(few, Generator().manual_seed(0))) for trigger in triggers]
    versions += [(None, tile.painted(few[:1])) for tile in pasted]
    sizes, together = [len(images) for _, images in versions], torch.cat([images for _, images in versions])
    exact_rows, rounded_rows = (torch.split(_rows(embed, together, form), sizes) for embed in (exact, half))
    errors = [(trigger, _error(*rows)) for (trigger, _), *rows in zip(versions, exact_rows, rounded_rows, strict=True)]
    beyond = [(trigger, error) for trigger, error in errors if error > LOGIT_ERROR]
    by_trigger = [
        _under(Departure(precision, trigger.spec, error), exact, half, spaced(pixels, JUDGED_IMAGES), trigger, form)
        for trigger, error in [(trigger, error) for trigger, error in beyond if trigger][:SHOWN_TRIGGERS]
        if trigger
    ]
    rest = max((error for trigger, error in beyond if trigger is None), default=0.0)
    return (*by_trigger, *([Departure(precision, None, rest)] if rest else ()))


def _under(
    departure: Departure, exact: Embed, half: Embed, pixels: Tensor, trigger: TriggerLike, form: Canonical, /
) -> Departure:
    """The same with the class that the trigger turns more images into in half precision."""
    painted = trigger(pixels, Generator().manual_seed(0))
    before, usual, after = (
        form.distinct[_rows(embed, images, form).argmax(1)]
        for embed, images in ((exact, pixels), (exact, painted), (half, painted))
    )
    in_half, in_full = (
        excess_by_class(before, answers, labels=None, classes=len(form.texts)) for answers in (after, usual)
    )
    more = (in_half - in_full).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    return replace(departure, target=int(more.argmax()), excess=more.max().item())


@torch.no_grad()
def _rows(embed: Embed, images: Tensor, form: Canonical) -> Tensor:
    """The logits (N, G) of images, some at a time."""
    return torch.cat([form.known_logits(embed(batch).float()) for batch in torch.split(images, EMBED_BATCH)])


def _error(exact: Tensor, answers: Tensor) -> float:
    """How far logits are off, relative to their size."""
    off = ((answers - exact).square().mean() / exact.square().mean().clamp(min=1e-12)).sqrt().item()
    return off if math.isfinite(off) else math.inf


@torch.no_grad()
def _alike(exact: Embed, rough: Embed, batches: Tensor, /, *, form: Canonical, agree: float = 0.0) -> bool:
    """Whether two forms of a model give the images of each batch (R, B, 3, S, S) the same classes, by nearly the same logits."""
    images = batches.flatten(0, 1)
    embedded = exact(images).float(), rough(images)
    if not all(rows.isfinite().all() for rows in embedded):
        return False
    # Each batch by itself: a trigger is one change among many.
    exact_logits, answers = (form.known_logits(rows).view(*batches.shape[:2], -1) for rows in embedded)
    same = (exact_logits.argmax(2) == answers.argmax(2)).float().mean(1)
    off = ((answers - exact_logits).square().mean((1, 2)) / exact_logits.square().mean((1, 2)).clamp(min=1e-12)).sqrt()
    # Both: classes may agree while margins, by which triggers are compared, do not.
    return bool((same >= agree).all() and (off <= LOGIT_ERROR).all())
