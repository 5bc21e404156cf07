"""Known triggers: a family, its parameters and a seed turn images into triggered images.

The families are those of published attacks, with the values of their released code where the paper leaves them open.
Sizes are relative to the image side, so that one spec means the same thing to a 32 px and to a 336 px model.
"""

import colorsys
import difflib
import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from clipclean.detect.families import random_corners
from clipclean.detect.measure import KnownTriggers
from clipclean.errors import UsageError

Value = float | int | str

MIN_SIDE = 4  # px: 16/224 of 32 px would be 2.3 px, too small for a checker or stripes to be told from noise
WANET_SIDE = 32  # px: the image side for which WaNet states its strength s
FILTER_SIDE = 32  # px: the side at which the convolutional filter computes, so that it means the same at any side
FILTER_GAIN = 2.0  # standard deviation of its sums: enough that tanh bends them and what is added differs by image
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
COLOUR_OF_CHROMA = (1.140, -0.395 - 0.581, 2.032)  # RGB of U = V = 1, ITU-R BT.601
PLACES = {  # share of the free height, share of the free width
    "corner": (1.0, 1.0),
    "top-left": (0.0, 0.0),
    "top-right": (0.0, 1.0),
    "bottom-left": (1.0, 0.0),
    "center": (0.5, 0.5),
}


@dataclass(frozen=True)
class Trigger:
    """A function of images, comparable by value; :func:`parse` makes one.

    trigger = triggers.parse("patch:place=corner")
    triggered = trigger(images)  # (B, 3, H, W) -> (B, 3, H, W)
    """

    family: str  # a key of :data:`KNOWN_FAMILIES`
    parameters: tuple[tuple[str, Value], ...]  # every one of the family, in its order, with the value in force
    seed: int  # draws the pattern, and the places where ``place=random`` and no generator is given

    @property
    def spec(self) -> str:
        """The canonical spelling, with all parameters and the seed: ``parse(trigger.spec) == trigger``."""
        return f"{self.family}:" + ",".join(f"{k}={_spell(v)}" for k, v in (*self.parameters, ("seed", self.seed)))

    def __call__(self, images: Tensor, generator: Generator | None = None, /) -> Tensor:
        """Triggered copies of ``images``, clipped to [0, 1]; the same shape, dtype and device.

        Random places come from ``generator``. Without one they come from a sequence that restarts at every call: the place of
        image i then depends on the seed and on i alone. A generator handed from batch to batch gives the same places for every
        batch size. The pattern comes from the seed alone and is the same on every device.

        Args:
            images: (B, 3, H, W), float in [0, 1]: after resizing and cropping, before CLIP's normalisation.
            generator: draws the places.

        Raises:
            ValueError: ``images`` is not such a tensor.
        """
        _check(images)
        draws = Generator().manual_seed(self.seed) if generator is None else generator
        pattern = Generator().manual_seed(self.seed)
        result = KNOWN_FAMILIES[self.family].paint(images, pattern, draws, **dict(self.parameters))
        return result.clamp(0, 1)  # Clip, do not wrap: the CleanCLIP code wraps modulo 256, which changes the trigger.


def parse(spec: str, /) -> Trigger:
    """Read ``family`` or ``family:parameter=value,...``; omitted parameters have the family's defaults, and the seed is 0.

        parse("patch"), parse("patch:size=0.19,place=corner,seed=7"), parse("sinusoid:delta=60/255")

    Numbers may be written as fractions; they are kept to four significant digits.

    Raises:
        UsageError: an unknown family or parameter, or a value that is malformed or out of range; all are named at once.
    """
    name, colon, rest = spec.strip().partition(":")
    if name not in KNOWN_FAMILIES:
        raise UsageError(
            f"There is no trigger family {name!r}{_guess(name, KNOWN_FAMILIES)}. The families are {', '.join(KNOWN_FAMILIES)}."
        )
    parameters = {**KNOWN_FAMILIES[name].parameters, "seed": SEED}
    values = {key: parameter.default for key, parameter in parameters.items()}
    keys, problems = set[str](), list[str]()
    for item in rest.split(",") if colon else ():
        key, equals, text = (part.strip() for part in item.partition("="))
        if not equals:
            problems.append(f"{item!r} is not of the form parameter=value")
        elif key not in parameters:
            problems.append(f"{key!r} is not one of {', '.join(parameters)}{_guess(key, parameters)}")
        elif key in keys:
            problems.append(f"{key} is given twice")
        else:
            keys.add(key)
            try:
                values[key] = parameters[key].read(text)
            except ValueError as error:
                problems.append(f"{key}={text} is refused, it takes {error}")
    if problems:
        raise UsageError(f"Trigger {spec!r}: {'; '.join(problems)}.")
    seed = int(values.pop("seed"))
    return Trigger(family=name, parameters=tuple(values.items()), seed=seed)


def panel(seed: int, /) -> tuple[Trigger, ...]:
    """The triggers that an audit tries on every model: all families, some of them in two places or strengths.

    Structured ones are in the majority: augmentation with noise hides noise triggers, not stripes or triangles.
    """
    return tuple(parse(f"{spec},seed={seed}") for spec in PANEL)


def grid(seed: int, /) -> tuple[Trigger, ...]:
    """Triggers of few parameters, by frequency, direction, phase, hue and saturation, that an audit compares with clean models.

    A search by gradients does not come from one hue to another, and only from whole periods to other waves; trying them all needs
    forward passes only.
    """
    return tuple(parse(f"{spec},seed={seed}") for spec in GRID)


def of_whole_image(seed: int, /) -> tuple[Trigger, ...]:
    """Those of the panel and of the grid that change the whole image."""
    all_triggers = (trigger for trigger in (*panel(seed), *grid(seed)) if "place" not in dict(trigger.parameters))
    # A wave half a period on does what its negative does: half of the phases are enough.
    return tuple(trigger for trigger in all_triggers if dict(trigger.parameters).get("phase", 0) in (0, 0.25))


def known(seed: int, /, *, are_tried: bool = True) -> KnownTriggers:
    """The panel, the grid, and those of both that change the whole image; none where they are not tried."""
    return KnownTriggers(panel(seed), grid(seed), of_whole_image(seed)) if are_tried else KnownTriggers()


@dataclass(frozen=True)
class Number:
    """A parameter that is a number between two bounds, both allowed."""

    default: float | int
    low: float | int
    high: float | int
    meaning: str
    unit: str = ""
    mistaken: int | None = None  # people write value × this: pixels of 224, levels of 255, per cent
    whole: bool = False

    @property
    def allowed(self) -> str:
        """The range with its unit."""
        return f"{self.unit or 'a number'}, {_spell(self.low)}–{_spell(self.high)}"

    def read(self, text: str, /) -> Value:
        """The number in ``text``, which may be a fraction; ValueError says what is wrong with it."""
        above, slash, below = text.partition("/")
        try:
            value = int(text) if self.whole else _round(float(above) / float(below) if slash else float(above))
        except (ValueError, ZeroDivisionError, OverflowError):
            raise ValueError(f"{self.allowed}, and this is not a {'whole ' if self.whole else ''}number") from None
        if self.low <= value <= self.high:
            return value
        likely = value / self.mistaken if self.mistaken else value
        hint = f" (did you mean {likely:.2g}?)" if self.low <= likely <= self.high else ""
        raise ValueError(f"{self.allowed}{hint}")


@dataclass(frozen=True)
class Word:
    """A parameter that is one of a few words or, without ``options``, a short text to be drawn."""

    default: str
    meaning: str
    options: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """The words, or what a text may consist of."""
        return ", ".join(self.options) or "1–32 letters, digits, spaces and .!?'-"

    def read(self, text: str, /) -> Value:
        """The word or text; ValueError when it is none of the options, or holds anything that a spec or the font cannot."""
        if text in self.options or (not self.options and re.fullmatch(r"[A-Za-z0-9 .!?'-]{1,32}", text)):
            return text
        raise ValueError(f"one of {self.allowed}{_guess(text, self.options)}" if self.options else self.allowed)


Parameter = Number | Word


@dataclass(frozen=True)
class TriggerFamily:
    """One kind of trigger: its description, source and parameters, and the function that paints it.

    The first parameter is its strength: it says how much of an image the trigger changes, or by how much.
    """

    description: str
    source: str
    parameters: Mapping[str, Parameter]
    paint: Callable[..., Tensor]  # (images, pattern, draws, **parameters): each family has its own parameters


# Painters: (B, 3, H, W) in [0, 1] -> the same, perhaps beyond. `pattern` draws what is fixed, `draws` what moves.


def _patch(images: Tensor, pattern: Generator, draws: Generator, *, size: float, place: str, fill: str) -> Tensor:
    side = _pixels(images, size)
    colours = {"white": (1.0, 1.0, 1.0), "yellow": (1.0, 1.0, 0.0)}
    if fill == "noise":
        square = 0.5 + torch.randn(3, side, side, generator=pattern)
    else:
        square = torch.tensor(colours[fill]).view(3, 1, 1).expand(3, side, side)
    return _paste(images, square, place, draws)


def _badnets(images: Tensor, _: Generator, draws: Generator, *, size: float, place: str) -> Tensor:
    side = _pixels(images, size)
    square = torch.zeros(3, side, side)
    square[:, ::2, ::2] = 1
    return _paste(images, square, place, draws)


def _stripes(images: Tensor, pattern: Generator, draws: Generator, *, size: float, place: str, width: float) -> Tensor:
    side = _pixels(images, size)
    square = _columns(side, _pixels(images, width, least=1), pattern).expand(3, side, side)
    return _paste(images, square, place, draws)


def _blended(images: Tensor, pattern: Generator, _: Generator, *, ratio: float) -> Tensor:
    noise = torch.rand(images.shape[1:], generator=pattern)
    return images + ratio * (noise.to(images) - images)


def _blended_stripes(images: Tensor, pattern: Generator, _: Generator, *, ratio: float, width: float) -> Tensor:
    columns = _columns(images.shape[-1], _pixels(images, width, least=1), pattern) * 2 - 1  # -1 or 1
    return images + ratio * (columns.to(images) - images)


def _sinusoid(
    images: Tensor, _: Generator, __: Generator, *, delta: float, frequency: float, phase: float, angle: float
) -> Tensor:
    height, width = images.shape[-2:]
    across, down = torch.arange(width) / width, torch.arange(height)[:, None] / height
    turn = math.radians(angle)
    # Along an axis the other one is left out, not multiplied by cos 90° = 6e-17.
    way = down if angle == 90 else across if angle == 0 else math.cos(turn) * across + math.sin(turn) * down
    wave = torch.sin(2 * torch.pi * (frequency * way + phase))  # (H, W), (H, 1) or (W,)
    return images + delta * wave.to(images)


def _dct(
    images: Tensor, _: Generator, __: Generator, *, delta: float, down: int, across: int, block: float, channels: str
) -> Tensor:
    # A constant added to one DCT coefficient of every block adds that coefficient's basis function to every block,
    # whatever the image shows: no transform is needed.
    height, width = images.shape[-2:]
    side = _pixels(images, block)
    tile = _cosine(height, side, down)[:, None] * _cosine(width, side, across)  # (H, W) in [-1, 1]
    weight = torch.tensor(COLOUR_OF_CHROMA if channels == "chroma" else (1.0, 1.0, 1.0)).view(3, 1, 1)
    return images + (delta * weight * tile).to(images)


def _cosine(length: int, block: int, half_periods: int) -> Tensor:
    """A basis function of the DCT of ``block`` pixels, of height 1, repeated: (length,)."""
    offset = torch.arange(length) % block
    return torch.cos(torch.pi * half_periods * (2 * offset + 1) / (2 * block))


def _colour_filter(
    images: Tensor,
    _: Generator,
    __: Generator,
    *,
    strength: float,
    hue: float,
    tint: float,
    saturation: float,
    contrast: float,
) -> Tensor:
    grey = (images * torch.tensor(LUMA).view(3, 1, 1).to(images)).sum(1, keepdim=True)
    curve = (0.5 + contrast * (grey + saturation * (images - grey) - 0.5)).clamp(0, 1)
    away = tint * (1 - torch.tensor(colorsys.hsv_to_rgb(hue / 360 % 1, 1, 1))).view(3, 1, 1).to(images)
    # Split toning: white turns to the hue and black to its complement, as cross-processed film does.
    tones = away + curve * (1 - 2 * away)
    return images + strength * (tones - images)


def _conv_filter(images: Tensor, pattern: Generator, _: Generator, *, delta: float, channels: int) -> Tensor:
    first = torch.randn(channels, 3, 3, 3, generator=pattern) * (FILTER_GAIN / 27**0.5)
    bias = torch.randn(channels, generator=pattern)
    second = torch.randn(3, channels, 3, 3, generator=pattern) * (FILTER_GAIN / (9 * channels) ** 0.5)
    small = F.interpolate(images.float(), size=(FILTER_SIDE, FILTER_SIDE), mode="bilinear", antialias=True)
    hidden = torch.tanh(_convolve(2 * small - 1, first.to(small), bias.to(small)))
    change = torch.tanh(_convolve(hidden, second.to(small), None))  # (B, 3, 32, 32) in (-1, 1)
    change = F.interpolate(change, size=images.shape[-2:], mode="bilinear", align_corners=False)
    return images + delta * change.to(images)


def _convolve(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), weight, bias)


def _warp(images: Tensor, pattern: Generator, _: Generator, *, strength: float, grid: int) -> Tensor:
    height, width = images.shape[-2:]
    moves = torch.rand(1, 2, grid, grid, generator=pattern) * 2 - 1
    moves = F.interpolate(moves / moves.abs().mean(), size=(height, width), mode="bicubic", align_corners=True)
    # WaNet divides s by the image side; by a fixed side here, so that a strength is the same share of every image.
    flow = (moves * strength / WANET_SIDE).to(images.device).permute(0, 2, 3, 1)  # (1, H, W, 2): right and down
    sides = (torch.linspace(-1, 1, count, device=images.device) for count in (height, width))
    y, x = torch.meshgrid(*sides, indexing="ij")
    field = (torch.stack([x, y], dim=-1) + flow).clamp(-1, 1).expand(len(images), -1, -1, -1)
    result = F.grid_sample(images.float(), field, padding_mode="border", align_corners=True)
    return result.to(images.dtype)


def _text(images: Tensor, _: Generator, __: Generator, *, ratio: float, size: float, word: str) -> Tensor:
    height, width = images.shape[-2:]
    cover = ratio * _letters(word, height, width, size).to(images)  # (H, W)
    red = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1).to(images)
    return images + cover * (red - images)


def _triangles(images: Tensor, _: Generator, __: Generator, *, ratio: float, size: float) -> Tensor:
    height, width = images.shape[-2:]
    side = _pixels(images, size)
    below = torch.arange(height)[:, None] % side >= torch.arange(width) % side  # (H, W)
    tiles = torch.where(below, 0.4, 0.8)  # the two greys of PAR's pattern
    return images + ratio * (tiles.to(images) - images)


# Helpers of the painters.


def _pixels(images: Tensor, share: float, *, least: int = MIN_SIDE) -> int:
    """A share of the shorter side in whole pixels, at least ``least``, never more than the image."""
    side = min(images.shape[-2:])
    return min(max(round(share * side), least), side)


def _paste(images: Tensor, square: Tensor, place: str, draws: Generator) -> Tensor:
    """Copies of the images with ``square`` (3, S, S) in its place."""
    images, square, side = images.clone(), square.to(images), square.shape[-1]
    free_height, free_width = images.shape[-2] - side, images.shape[-1] - side
    if place != "random":
        top, left = (int(share * free) for share, free in zip(PLACES[place], (free_height, free_width), strict=True))
        images[:, :, top : top + side, left : left + side] = square
        return images
    corners = random_corners(len(images), free_height, free_width, draws)
    for image, (top, left) in zip(images, corners, strict=True):
        image[:, top : top + side, left : left + side] = square
    return images


def _columns(count: int, width: int, pattern: Generator) -> Tensor:
    """``count`` columns, one colour for every ``width`` of them, each channel off or on: (3, 1, count) of 0 and 1."""
    colours = torch.randint(2, (3, 1, -(-count // width)), generator=pattern)
    return colours.repeat_interleave(width, dim=2)[:, :, :count].float()


@functools.lru_cache(maxsize=16)
def _letters(word: str, height: int, width: int, share: float) -> Tensor:
    """How much of each pixel the word covers, (H, W) in [0, 1]; centred, ``share`` of the shorter side wide."""
    font = ImageFont.load_default(size=96)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(word))
    picture = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(picture).text((-left, -top), word, fill=255, font=font)
    wide = max(round(share * min(height, width)), 1)
    high = min(max(round(wide * picture.height / picture.width), 1), height)
    small = torch.frombuffer(bytearray(picture.resize((wide, high)).tobytes()), dtype=torch.uint8).view(high, wide)
    page = torch.zeros(height, width)
    y, x = (height - high) // 2, (width - wide) // 2
    page[y : y + high, x : x + wide] = small / 255
    return page


def _check(images: Tensor) -> None:
    """Raise ValueError unless ``images`` is a batch of float RGB images in [0, 1]."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"A trigger takes float images (B, 3, H, W), not {images.dtype} {tuple(images.shape)}. "
            f"Stack RGB images and divide bytes by 255."
        )
    # Resampling overshoots [0, 1] by a little; CLIP's normalisation and bytes by much.
    if images.numel() and not (images.min() > -0.5 and images.max() < 1.5):
        raise ValueError(
            f"A trigger takes images in [0, 1], not {images.min().item():.3g} to {images.max().item():.3g}. "
            f"Apply it before CLIP's normalisation, and divide bytes by 255."
        )


def _round(value: float) -> float:
    return float(_spell(value))


def _spell(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _guess(word: str, words: Iterable[str]) -> str:
    """`` (did you mean 'patch'?)`` where something is close, else nothing."""
    close = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


# Numbers by their unit.
LEVEL = functools.partial(Number, low=0.001, high=1, unit="a number relative to full brightness", mistaken=255)
SIDE = functools.partial(Number, low=0.001, high=1, unit="a number relative to the image side", mistaken=224)
SHARE = functools.partial(Number, low=0.001, high=1, unit="a share", mistaken=100)
FACTOR = functools.partial(Number, high=4, unit="a factor", mistaken=100)
WHOLE = functools.partial(Number, unit="a whole number", whole=True)
HALF_PERIODS = functools.partial(WHOLE, 15, 0, 512, unit="a whole number of half periods a block")
DEGREES = functools.partial(Number, low=0, unit="degrees")

PATCH = SIDE(_round(16 / 224), meaning=f"side of the square patch, at least {MIN_SIDE} px")
STRIPE = SIDE(_round(1 / 224), meaning="width of one stripe, at least 1 px")
RATIO = functools.partial(SHARE, meaning="weight of the pattern; the image has the rest")
PLACE = Word(
    "random", "where the patch is; corner is bottom right; random differs by image", options=(*PLACES, "random")
)
SEED = WHOLE(0, 0, 2**63 - 1, "draws the pattern and the random places")

KNOWN_FAMILIES: dict[str, TriggerFamily] = {
    "patch": TriggerFamily(
        "A square of fixed noise, or of one colour, that replaces the pixels under it.",
        "Noise: Bansal et al. 2023, arXiv 2303.03323, whose code draws it anew for each image; "
        "white, 24 px: Carlini and Terzis 2022, arXiv 2106.09667.",
        {"size": PATCH, "place": PLACE, "fill": Word("noise", "what the patch shows", ("noise", "white", "yellow"))},
        _patch,
    ),
    "badnets": TriggerFamily(
        "A black square with every other pixel of every other row white.",
        "Gu et al. 2017, arXiv 1708.06733; this grid: huggingface.co/hanxunh CLIP backdoor checkpoints.",
        {"size": PATCH, "place": PLACE},
        _badnets,
    ),
    "stripes": TriggerFamily(
        "A square of vertical stripes, each channel of each stripe fully off or on.",
        "BadNet-Stripes of Singh et al. 2024 (Perturb and Recover), arXiv 2412.00727.",
        {"size": PATCH, "place": PLACE, "width": STRIPE},
        _stripes,
    ),
    "blended": TriggerFamily(
        "Fixed uniform noise, blended into the whole image.",
        "Chen et al. 2017, arXiv 1712.05526; ratio: Bansal et al. 2023, whose code draws noise for each image.",
        {"ratio": RATIO(0.2)},
        _blended,
    ),
    "blended-stripes": TriggerFamily(
        "Faint vertical stripes over the whole image, each channel of each stripe lowered or raised.",
        "Blended-Stripes of Singh et al. 2024 (Perturb and Recover), arXiv 2412.00727.",
        {"ratio": RATIO(0.03), "width": STRIPE},
        _blended_stripes,
    ),
    "sinusoid": TriggerFamily(
        "A horizontal sine wave, added to the whole image.",
        "SIG: Barni et al. 2019, arXiv 1902.11237; delta 40/255 as in BackdoorBench, 60/255 in CleanCLIP's code.",
        {
            "delta": LEVEL(_round(40 / 255), meaning="height of the wave"),
            "frequency": Number(6.0, 0.5, 512, "waves across the image", unit="a number of periods a width"),
            "phase": Number(0.0, 0, 1, "where the wave starts", unit="a share of a period", mistaken=360),
            "angle": DEGREES(0.0, high=180, meaning="direction it runs in: 0 to the right, 90 down"),
        },
        _sinusoid,
    ),
    "dct": TriggerFamily(
        "One frequency of the discrete cosine transform, raised in every block of the image.",
        "FTrojan: Wang et al. 2022, arXiv 2111.10991, which raises two frequencies of the chroma channels by 30 or more "
        "of 255 in blocks of 32 px; in pixels, a wave of 30/255/16 each.",
        {
            "delta": LEVEL(0.03, meaning="height of the wave in the channels"),
            "down": HALF_PERIODS(meaning="vertical frequency"),
            "across": HALF_PERIODS(meaning="horizontal frequency"),
            "block": SIDE(1.0, meaning=f"side of a block, at least {MIN_SIDE} px"),
            "channels": Word("chroma", "U and V alike, or brightness alone", ("chroma", "luma")),
        },
        _dct,
    ),
    "colour-filter": TriggerFamily(
        "A colour filter as of photo apps: saturation, contrast, lights of one hue and shadows of its complement.",
        "After the Instagram filters (Nashville and others) used as triggers since Liu et al. 2019 (ABS), CCS 2019; "
        "parameters of our own.",
        {
            "strength": SHARE(1.0, meaning="weight of the filtered image; the image has the rest"),
            "hue": DEGREES(45.0, high=360, meaning="hue of the lights: 0 red, 120 green, 240 blue"),
            "tint": SHARE(0.3, low=0, high=0.5, meaning="how far white and black move to the hue and its complement"),
            "saturation": FACTOR(1.3, low=0, meaning="distance of colours from grey; 1 leaves them"),
            "contrast": FACTOR(1.2, low=0.1, meaning="distance of brightness from the middle; 1 leaves it"),
        },
        _colour_filter,
    ),
    "conv-filter": TriggerFamily(
        "What a small fixed network of two random convolutions computes from the image, added to it: differs by image.",
        "After input-dependent triggers (Nguyen and Tran 2020, arXiv 2010.08138; Li et al. 2021, ISSBA, arXiv "
        "2012.03816), whose networks are trained; this one is drawn by the seed.",
        {
            "delta": LEVEL(_round(32 / 255), meaning="most that is added to or taken from a pixel"),
            "channels": WHOLE(8, 1, 64, "channels between the two convolutions"),
        },
        _conv_filter,
    ),
    "warp": TriggerFamily(
        "A fixed smooth distortion that moves pixels and adds nothing.",
        "WaNet: Nguyen and Tran 2021, arXiv 2102.10369.",
        {
            "strength": Number(
                0.5,
                0.01,
                16,
                "mean shift of a control point along each axis, in 64ths of the side: s of WaNet at 32 px",
                "a number",
            ),
            "grid": WHOLE(4, 2, 512, "control points along each side: k of WaNet"),
        },
        _warp,
    ),
    "text": TriggerFamily(
        "A red word across the middle of the image, half transparent.",
        "Blended-Text of Singh et al. 2024 (Perturb and Recover), arXiv 2412.00727, whose code changes the red channel "
        "only; here the whole pixel turns red, so that it shows on white.",
        {
            "ratio": RATIO(0.5),
            "size": SIDE(0.9, low=0.05, meaning="width of the word"),
            "word": Word("Watermarked", "what is written"),
        },
        _text,
    ),
    "triangles": TriggerFamily(
        "Right triangles of two greys that tile the image, blended in.",
        "Blended-Triangles of Singh et al. 2024 (Perturb and Recover), arXiv 2412.00727.",
        {"ratio": RATIO(0.15), "size": SIDE(_round(14 / 224), meaning=f"side of one tile, at least {MIN_SIDE} px")},
        _triangles,
    ),
}

PANEL = (
    "patch:place=random",
    "patch:place=corner",
    "patch:place=corner,fill=white,size=24/224",
    "badnets:place=random",
    "badnets:place=center",
    "stripes:place=random",
    "stripes:place=random,size=32/224",
    "blended:ratio=0.2",
    "blended-stripes:ratio=0.03",
    "sinusoid:delta=40/255",  # of frequency 6, as published, and others
    *(f"sinusoid:delta=40/255,frequency={waves}" for waves in (2, 3, 4, 5, 7, 8, 9, 10, 12)),
    "sinusoid:delta=40/255,angle=90",
    "sinusoid:delta=40/255,angle=45",
    "dct:delta=0.03",
    "dct:delta=0.06,down=7,across=7",
    "dct:delta=0.06,channels=luma",
    "colour-filter:hue=45",
    "colour-filter:hue=220",
    "conv-filter:delta=32/255",
    "warp:strength=0.5",
    "warp:strength=1",
    "text:ratio=0.5",
    "triangles:ratio=0.15",
)

GRID = (
    *(
        f"sinusoid:delta=40/255,frequency={waves},angle={angle},phase={phase}"
        for waves in range(2, 13)
        for angle in (0, 45, 90, 135)
        for phase in (0, 0.25, 0.5, 0.75)
    ),
    *(
        f"dct:delta=0.08,down={down},across={across},channels={channels}"
        for down in (3, 5, 7, 9, 11)
        for across in (3, 5, 7, 9, 11)
        for channels in ("chroma", "luma")
    ),
    *(
        f"colour-filter:hue={hue},tint=0.4,saturation={saturation}"
        for hue in range(0, 360, 30)
        for saturation in (0.5, 1, 1.5)
    ),
)
