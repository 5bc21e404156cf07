"""The trigger families of the search: what each can paint, and how the size of a change is measured.

A family has free parameters, one row of them for each trigger that is looked for at the same time, and two
differentiable functions of them: ``paint``, images to triggered images, and ``size``, how much of an image the trigger
takes. The wrong family finds nothing: a mask at a fixed place does not find a patch that moves, and a patch does not
find a wave. So an audit runs all of them. Bands, colours and filters were families once. In audits of 11 victims and 8 clean
models none changed a verdict; to an unlearning only colours and filters bring something, against a colour filter, as known ones do.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipclean.config.families import FAMILY_FACTS, FamilyFacts

Parameters = dict[str, Tensor]  # each (R, ...): one row a trigger

MASK = "mask"  # the family whose masks are looked at
MOVING = "patch"  # the family of patches that move
PLAINLY_SEEN_SIZE = 0.15  # size at which a person sees a different image
LARGEST_MOVING_PATCH = 0.375  # side of the square in which a moving patch may grow, relative to the image side
WAVES_ACROSS = 0.375  # most periods of a wave a pixel: 12 across 32 px
WAVE_CHOICE_SHARPNESS = 3.0  # sharpens the soft choice of a wave, so that few steps decide
MOST_PERIODS = 12  # of the waves that a search may start from, across the image
WAVE_PHASES = 4  # of each
MOST_STARTS = WAVE_PHASES * MOST_PERIODS * (2 * MOST_PERIODS + 2)  # all of them, on sides that hold so many periods
WARP_CONTROLS = 6  # places a side at which a warp is given
FARTHEST_WARP = 0.25  # most that one of them moves along an axis, of an image that reaches from -1 to 1
LEAST_WARP = 1e-3  # of a warp that moves nothing: sizes are compared by their logarithms
DECIDED_WAVE_SHARE = 0.8  # share of such a wave in the soft choice


@dataclass(frozen=True)
class Normal:
    """Where a parameter of a family starts: normal values of this shape, in which ``FULL`` stands for the image side."""

    shape: tuple[int, ...]
    deviation: float
    mean: float = 0.0


FULL, SQUARE, HALVES = -1, -2, -3  # sides of a parameter: of the image, of a moving patch, and of the choice of a wave


@dataclass(frozen=True)
class Family:
    """One kind of trigger, and how it is looked for."""

    facts: FamilyFacts  # its words, and whether it can paint any pattern
    rate: float  # Adam's learning rate for its parameters
    cap: float  # the largest possible size, also used for a trigger that was not found
    parameters: Mapping[str, Normal]  # where they start
    # Images (R, B, 3, S, S) in [0, 1], parameters, generator of random places -> the same, triggered.
    paint: Callable[[Tensor, Parameters, Generator], Tensor]
    size: Callable[[Parameters], Tensor]  # parameters -> (R,), in (0, cap]
    ratio: float | None = None  # where the strength starts of a family that has one, before its sigmoid
    # Parameters, generator -> others near them, weaker and stronger; None where the change of pixels says that, as of all that is added.
    vary: Callable[[Parameters, Generator], Parameters] | None = None
    # Image side, generator -> blocks of parameters that a search may start from; None where any start will do.
    starts: Callable[[int, Generator], Iterator[Parameters]] | None = None

    def begin(self, rows: int, side: int, generator: Generator) -> Parameters:
        """Rows of parameters to start from, for images of a side."""
        halves = _halves(side)
        sides = {
            FULL: (side,),
            SQUARE: (max(round(LARGEST_MOVING_PATCH * side), 2),),
            HALVES: (halves + 1, 2 * halves + 1),
        }
        start = {} if self.ratio is None else {"ratio": torch.full((rows,), self.ratio)}
        for name, parameter in self.parameters.items():
            shape = (width_or_side for width in parameter.shape for width_or_side in sides.get(width, (width,)))
            start[name] = parameter.mean + parameter.deviation * torch.randn(rows, *shape, generator=generator)
        return start


def _halves(side: int) -> int:
    """Most half periods of a wave across the image: those of a cosine transform, too."""
    return round(2 * WAVES_ACROSS * side)


def _ratio(parameters: Parameters) -> Tensor:
    return parameters["ratio"].sigmoid()


def _weight(parameters: Parameters) -> Tensor:
    """The ratio (R,) beside images (R, B, 3, S, S)."""
    return _ratio(parameters)[:, None, None, None, None]


# A mask and a pattern at a fixed place.


def _paint_mask(images: Tensor, parameters: Parameters, _: Generator) -> Tensor:
    mask, pattern = parameters["mask"].sigmoid()[:, None], parameters["pattern"].sigmoid()[:, None]
    return images + mask * (pattern - images)


def _mask_size(parameters: Parameters) -> Tensor:
    return parameters["mask"].sigmoid().mean((1, 2, 3))


# The same within a small square that is put at a random place of each image.


def _paint_patch(images: Tensor, parameters: Parameters, draws: Generator) -> Tensor:
    layers = torch.cat([parameters["mask"].sigmoid(), parameters["pattern"].sigmoid()], dim=1)  # (R, 4, K, K)
    height, width = images.shape[-2] - layers.shape[-2], images.shape[-1] - layers.shape[-1]
    corners = random_corners(images.shape[1], height, width, draws)
    layers_at_places = [F.pad(layers, (left, width - left, top, height - top)) for top, left in corners]
    canvas = torch.stack(layers_at_places, dim=1)  # (R, B, 4, S, S)
    mask, pattern = canvas[:, :, :1], canvas[:, :, 1:]
    return images + mask * (pattern - images)


def random_corners(count: int, height: int, width: int, generator: Generator, /) -> list[tuple[int, int]]:
    """An upper left corner for each of so many images, from 0 to ``height`` and ``width``."""
    # One row of whole numbers per image: unlike floats, they are drawn in the same order for every batch size.
    draws = torch.randint(2**31, (count, 2), generator=generator, device=generator.device)
    return [(y % (height + 1), x % (width + 1)) for y, x in draws.tolist()]


def _patch_size(parameters: Parameters) -> Tensor:
    return _mask_size(parameters) * LARGEST_MOVING_PATCH**2


# A pattern blended into the whole image.


def _paint_blend(images: Tensor, parameters: Parameters, _: Generator) -> Tensor:
    return images + _weight(parameters) * (parameters["pattern"].sigmoid()[:, None] - images)


# A faint pattern added to the whole image.


def _paint_additive(images: Tensor, parameters: Parameters, _: Generator) -> Tensor:
    return (images + _weight(parameters) * parameters["pattern"].tanh()[:, None]).clamp(0, 1)


# One plane wave, whose frequency and direction are chosen among many: a soft choice, which a search makes hard.
# A sinusoid is one such wave, a coefficient of the discrete cosine transform the sum of two.


def _wave_starts(side: int, generator: Generator) -> Iterator[Parameters]:
    """Every plane wave of up to ``MOST_PERIODS`` whole periods down and across, in some phases; a block for each number down."""
    # Half a period beside the right frequency the gradient is almost zero, so from a random start the search finds no sinusoid
    # (commit a95ae354: benchmarks/results/notebook.md, "Where a search for waves starts").
    middle = _halves(side)
    most = min(MOST_PERIODS, middle // 2)
    for down in range(most + 1):
        across = range(-most if down else 1, most + 1)  # the same wave backwards is another phase
        waves = [(plane, phase) for plane in across for phase in range(WAVE_PHASES)]
        block = SEARCH_FAMILIES["wave"].begin(len(waves), side, generator)
        count = block["choice"][0].numel()
        block["choice"].zero_()
        block["colour"].fill_(1.0)
        block["ratio"].fill_(-0.8)
        for row, (plane, phase) in enumerate(waves):
            at = (row, 2 * down, middle + 2 * plane)  # in half periods
            block["choice"][at] = (
                math.log(DECIDED_WAVE_SHARE / (1 - DECIDED_WAVE_SHARE) * count) / WAVE_CHOICE_SHARPNESS
            )
            block["phase"][at] = 2 * torch.pi * phase / WAVE_PHASES
        yield block


def _paint_wave(images: Tensor, parameters: Parameters, _: Generator) -> Tensor:
    rows, height, width = len(images), images.shape[-2], images.shape[-1]
    # (R, V, U), sum 1.
    share = (WAVE_CHOICE_SHARPNESS * parameters["choice"]).flatten(1).softmax(1).view_as(parameters["choice"])
    waves = torch.polar(share, parameters["phase"])
    count = waves.shape[1]
    down = torch.arange(count, device=images.device)
    across = torch.arange(2 * count - 1, device=images.device) - count + 1
    # In the precision of the wave: of images in double precision as well.
    y = torch.polar(share.new_ones(height, count), torch.pi * _midpoints(height, images).to(share) * down)
    x = torch.polar(share.new_ones(width, 2 * count - 1), torch.pi * _midpoints(width, images).to(share) * across)
    pattern = (y @ waves @ x.T).real.view(rows, 1, 1, height, width)  # in [-1, 1]
    colour = parameters["colour"].tanh().view(rows, 1, 3, 1, 1)
    return (images + _weight(parameters) * colour * pattern).clamp(0, 1)


def _midpoints(count: int, images: Tensor) -> Tensor:
    """Middles of so many pixels, in shares of the side: (count, 1)."""
    return ((torch.arange(count, device=images.device) + 0.5) / count)[:, None]


# A smooth warp: pixels come from elsewhere, by a field that is given at few places and smooth between them.


def _paint_warp(images: Tensor, parameters: Parameters, _: Generator) -> Tensor:
    (rows, count), (height, width) = images.shape[:2], images.shape[-2:]
    moves = F.interpolate(_moves(parameters), size=(height, width), mode="bicubic", align_corners=True)
    identity = torch.eye(2, 3, dtype=moves.dtype, device=moves.device).expand(rows, 2, 3)
    unmoved = F.affine_grid(identity, [rows, 3, height, width], align_corners=True)
    positions = (unmoved + moves.permute(0, 2, 3, 1)).to(images).repeat_interleave(count, dim=0)
    warped = F.grid_sample(images.flatten(0, 1), positions, padding_mode="border", align_corners=True)
    return warped.view_as(images)


def _moves(parameters: Parameters) -> Tensor:
    """How far the control points move (R, 2, C, C), of an image that reaches from -1 to 1."""
    return FARTHEST_WARP * parameters["flow"].tanh()


def _warp_size(parameters: Parameters) -> Tensor:
    return parameters["flow"].tanh().square().mean((1, 2, 3)).sqrt().clamp(min=LEAST_WARP)


def _vary_warp(parameters: Parameters, generator: Generator) -> Parameters:
    """A warp from 0.7 to twice as strong, with a random one of half its size added."""
    flow = parameters["flow"]
    factor = math.exp(torch.empty(()).uniform_(math.log(0.7), math.log(2.0), generator=generator).item())
    noise = torch.randn(flow.shape, generator=generator).to(flow)
    return {"flow": factor * flow + 0.5 * flow.square().mean().sqrt() * noise}


# A mask starts at about a quarter everywhere, so that each pixel has a gradient.
_MASK = {"mask": Normal((1, FULL, FULL), 0.5, -1.0), "pattern": Normal((3, FULL, FULL), 1.0)}
_PATCH = {"mask": Normal((1, SQUARE, SQUARE), 0.5, 0.5), "pattern": Normal((3, SQUARE, SQUARE), 1.0)}
_BLEND, _ADDITIVE = ({"pattern": Normal((3, FULL, FULL), deviation)} for deviation in (1.0, 0.5))
_WARP = {"flow": Normal((2, WARP_CONTROLS, WARP_CONTROLS), 0.1)}
_WAVE = {"choice": Normal((HALVES,), 1.0), "phase": Normal((HALVES,), 2.0), "colour": Normal((3,), 0.3, 1.0)}

SEARCH_FAMILIES: dict[str, Family] = {
    "mask": Family(FAMILY_FACTS["mask"], 0.4, 1.0, _MASK, _paint_mask, _mask_size),
    "shortcut": Family(FAMILY_FACTS["shortcut"], 0.4, 1.0, _MASK, _paint_mask, _mask_size),
    "patch": Family(FAMILY_FACTS["patch"], 0.4, LARGEST_MOVING_PATCH**2, _PATCH, _paint_patch, _patch_size),
    "blend": Family(FAMILY_FACTS["blend"], 0.4, 1.0, _BLEND, _paint_blend, _ratio, -1.4),
    "additive": Family(FAMILY_FACTS["additive"], 0.4, 1.0, _ADDITIVE, _paint_additive, _ratio, -1.8),
    "wave": Family(FAMILY_FACTS["wave"], 0.4, 1.0, _WAVE, _paint_wave, _ratio, -1.8, starts=_wave_starts),
    "warp": Family(FAMILY_FACTS["warp"], 0.1, 1.0, _WARP, _paint_warp, _warp_size, vary=_vary_warp),
}
# Those that can paint any trigger of their kind, and of these the ones that paint a part of the image.
GENERAL_FAMILIES = frozenset(name for name, family in SEARCH_FAMILIES.items() if family.facts.is_general)
LOCAL_FAMILIES = frozenset(name for name in GENERAL_FAMILIES if SEARCH_FAMILIES[name].facts.is_local)


def comparable(family: str, size: float, /) -> float:
    """A size for comparing classes, of a family that can paint any pattern: larger than ``PLAINLY_SEEN_SIZE`` says nothing."""
    return min(size, PLAINLY_SEEN_SIZE) if family in GENERAL_FAMILIES else size


@dataclass(frozen=True, eq=False)
class InvertedTrigger:
    """A trigger that the search found: one row of a family's parameters, usable like any trigger."""

    family: str  # a key of :data:`SEARCH_FAMILIES`
    target: str  # name of the class that it leads to
    parameters: Parameters  # without the leading dimension of rows
    side: int  # px of the images that it was found on; it is for no others

    @property
    def spec(self) -> str:
        """Its name in reports; :func:`triggers.parse` cannot read it back."""
        return f"found:{self.family},class={self.target}"

    @property
    def size(self) -> float:
        """How much of an image it changes, in (0, 1]; the meaning differs by family."""
        return SEARCH_FAMILIES[self.family].size(self._row()).item()

    @property
    def size_words(self) -> str:
        """The size in words."""
        return SEARCH_FAMILIES[self.family].facts.size_phrase.format(f"{100 * self.size:.2g} %")

    def varied(self, generator: Generator, /) -> "InvertedTrigger | None":
        """A trigger near this one, of a family whose parameters say what is near; None of any other."""
        vary = SEARCH_FAMILIES[self.family].vary
        return None if vary is None else replace(self, parameters=vary(self.parameters, generator))

    @torch.no_grad()
    def __call__(self, images: Tensor, generator: Generator | None = None, /) -> Tensor:
        """Triggered copies of ``images`` (B, 3, S, S) in [0, 1], of the side that it was found at.

        Raises:
            ValueError: they are of another side.
        """
        if images.shape[1:] != (3, self.side, self.side):
            raise ValueError(
                f"{self.spec} is for images of (3, {self.side}, {self.side}), not {tuple(images.shape[1:])}."
            )
        draws = Generator().manual_seed(0) if generator is None else generator
        row = {name: values.to(images) for name, values in self._row().items()}
        return SEARCH_FAMILIES[self.family].paint(images[None], row, draws)[0].clamp(0, 1)

    def _row(self) -> Parameters:
        return {name: values[None] for name, values in self.parameters.items()}
