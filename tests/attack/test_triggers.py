"""Each family by its pixels; specs by round trip and by what they refuse."""

import dataclasses
import math

import pytest
import torch

from clipclean.attack import triggers
from clipclean.errors import UsageError

KNOWN_FAMILIES = sorted(triggers.KNOWN_FAMILIES)
PATCHES = [name for name in KNOWN_FAMILIES if next(iter(triggers.KNOWN_FAMILIES[name].parameters)) == "size"]
PANEL = triggers.panel(0)

pytestmark = pytest.mark.usefixtures("whole_panel")


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 3, 32, 40, generator=torch.Generator().manual_seed(99))  # not that of a trigger


def changed(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Which pixels differ: (B, H, W)."""
    return (before != after).any(dim=1)


def painted(spec: str, *, grey: float = 0.5, size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    """A plain image under a trigger: (1, 3, H, W)."""
    return triggers.parse(spec)(torch.full((1, 3, *size), grey))


RED = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
EACH = pytest.mark.parametrize("trigger", PANEL, ids=lambda trigger: trigger.spec)


@EACH
def test_output_is_another_image_of_the_same_form(trigger, images):
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        output = trigger(images.to(dtype))
        assert (output.shape, output.dtype) == (images.shape, dtype)
        assert 0 <= output.min() <= output.max() <= 1
        assert changed(images.to(dtype), output).flatten(1).any(dim=1).all()
    for shape in ((0, 3, 32, 32), (1, 3, 3, 2)):  # none, and very small ones
        assert trigger(torch.full(shape, 0.5)).shape == shape


@EACH
def test_output_depends_on_its_image_alone(trigger, images):
    torch.manual_seed(1)
    first = trigger(images)
    torch.manual_seed(2)
    assert torch.equal(first, trigger(images))
    torch.testing.assert_close(first[:2], trigger(images[:2]))


@EACH
def test_the_images_themselves_are_not_changed(trigger, images):
    copy = images.clone()
    trigger(images)
    assert torch.equal(images, copy)


@pytest.mark.parametrize("spec", ["patch:fill=white", "badnets", "stripes"])
@pytest.mark.parametrize(("height", "width", "side"), [(32, 32, 4), (64, 80, 5), (224, 224, 16), (300, 224, 16)])
def test_a_patch_is_a_square_that_grows_with_the_shorter_side(spec, height, width, side):
    grey = torch.full((2, 3, height, width), 0.5)
    for touched in changed(grey, triggers.parse(spec)(grey)):
        assert touched.sum() == side * side
        assert touched.any(dim=0).sum() == touched.any(dim=1).sum() == side


def test_places_are_where_they_say():
    grey = torch.full((1, 3, 32, 32), 0.5)
    corners = {"corner": (28, 28), "top-left": (0, 0), "top-right": (0, 28), "bottom-left": (28, 0), "center": (14, 14)}
    for place, (top, left) in corners.items():
        output = triggers.parse(f"patch:fill=white,place={place}")(grey)
        assert changed(grey, output)[0].nonzero()[0].tolist() == [top, left]


def test_random_places_reach_every_edge():
    grey = torch.full((400, 3, 8, 8), 0.5)
    touched = changed(grey, triggers.parse("patch:fill=white")(grey))
    assert len({tuple(one.nonzero()[0].tolist()) for one in touched}) == 25  # 8 - 4 + 1 places along each side
    assert touched.any(dim=0).all()


def test_a_generator_decides_random_places(images):
    trigger = triggers.parse("stripes")
    many = images.repeat(9, 1, 1, 1)  # 45: batches on either side of 16, where torch changes how it draws floats
    whole = trigger(many, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    assert torch.equal(torch.cat([trigger(batch, generator) for batch in many.split(7)]), whole)
    assert not torch.equal(trigger(many, torch.Generator().manual_seed(6)), whole)


def test_badnets_is_saturated_in_its_pattern():
    output = painted("badnets:place=top-left")
    assert output[0, 1, :4, :4].tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


def test_stripes_are_vertical():
    output = painted("stripes:place=top-left,size=16/32")[0, :, :16, :16]
    assert torch.equal(output, output[:, :1].expand_as(output))


def test_stripes_are_saturated():
    output = painted("stripes:place=top-left,size=16/32")[0, :, :16, :16]
    assert set(output.unique().tolist()) == {0.0, 1.0}


def test_blended_stripes_are_as_wide_as_they_say():
    output = painted("blended-stripes:ratio=1,width=4/32")[0]
    assert torch.equal(output, output[:, :, ::4].repeat_interleave(4, dim=2))


def test_what_is_blended_stays_within_its_ratio():
    output = painted("blended:ratio=0.2", size=(64, 64))
    assert 0.4 <= output.min() < 0.41
    assert 0.59 < output.max() <= 0.6
    assert abs(output.mean() - 0.5) < 0.01
    # 0.97 x 0.5 -/+ 0.03
    output = painted("blended-stripes:ratio=0.03")
    torch.testing.assert_close(output.unique(), torch.tensor([0.455, 0.515]))


def test_a_sinusoid_is_the_formula():
    output = painted("sinusoid:delta=0.2,frequency=2", size=(8, 16))
    for j in range(16):
        expected = torch.full((3, 8), 0.5 + 0.2 * math.sin(2 * math.pi * 2 * j / 16))
        torch.testing.assert_close(output[0, :, :, j], expected)


def test_a_sinusoid_runs_along_its_angle():
    grey = torch.full((1, 3, 16, 16), 0.5)
    right, down = (triggers.parse(f"sinusoid:delta=0.2,frequency=3,angle={a}")(grey) for a in (0, 90))
    assert torch.equal(down, right.mT)
    # row 2, column 5, 45 degrees, 3 waves: 0.5 + 0.2 sin(2 pi 3 (5 + 2) / 16 / sqrt 2)
    slanted = triggers.parse("sinusoid:delta=0.2,frequency=3,angle=45")(grey)[0, 0, 2, 5].item()
    assert slanted == pytest.approx(0.5 + 0.2 * math.sin(2 * math.pi * 3 * 7 / 16 / math.sqrt(2)), abs=1e-5)


def test_a_sinusoid_begins_at_its_phase():
    # a quarter of a period on, a sine is a cosine: its crest in column 0, its trough half a period (4 px) later
    output = painted("sinusoid:delta=0.2,frequency=2,phase=0.25", size=(8, 16))
    torch.testing.assert_close(output[0, 0, 0, [0, 4]], torch.tensor([0.7, 0.3]))


def test_a_sinusoid_is_clipped():
    output = painted("sinusoid:delta=60/255", grey=1.0)
    assert output.max() == 1
    assert output.min() >= 1 - 60 / 255 - 1e-3


def test_dct_adds_its_cosine():
    # 4 px, first horizontal frequency: cos of pi/8, 3 pi/8, 5 pi/8, 7 pi/8
    spec = "dct:delta=0.1,down=0,across=1,channels=luma"
    output = painted(spec, size=(4, 4))
    expected = 0.5 + 0.1 * torch.tensor([0.92388, 0.38268, -0.38268, -0.92388])
    torch.testing.assert_close(output, expected.expand(1, 3, 4, 4), atol=1e-5, rtol=0)


def test_dct_raises_one_coefficient_of_every_block_alone():
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3)) * 0.4 + 0.3  # nothing is clipped
    added = triggers.parse("dct:delta=0.05,down=2,across=3,block=0.5,channels=luma")(images) - images
    # The DCT by its definition: rows of cosines over 8 px.
    matrix = torch.tensor([[math.cos(math.pi * u * (2 * x + 1) / 16) for x in range(8)] for u in range(8)])
    for top, left in ((0, 0), (0, 8), (8, 0), (8, 8)):
        spectrum = matrix @ added[:, :, top : top + 8, left : left + 8] @ matrix.T
        expected = torch.zeros(8, 8)
        expected[2, 3] = 0.05 * 4 * 4  # a cosine squared sums to half of the 8 px along each side
        torch.testing.assert_close(spectrum, expected.expand(2, 3, 8, 8), atol=1e-5, rtol=0)


def test_dct_of_the_colours_leaves_the_brightness_alone():
    images = torch.full((1, 3, 32, 32), 0.5)
    output = triggers.parse("dct:delta=0.1")(images)
    brightness = (output * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)
    assert (output - images).abs().max() > 0.1
    torch.testing.assert_close(brightness, torch.full((1, 32, 32), 0.5), atol=1e-3, rtol=0)


def test_a_colour_filter_moves_greys_towards_its_hue_by_the_tint():
    red = triggers.parse("colour-filter:hue=0,tint=0.25,saturation=1,contrast=1")
    assert red(torch.ones(1, 3, 2, 2))[0, :, 0, 0].tolist() == [1, 0.75, 0.75]
    assert red(torch.zeros(1, 3, 2, 2))[0, :, 0, 0].tolist() == [0, 0.25, 0.25]


def test_a_colour_filter_without_saturation_leaves_the_brightness_alone():
    grey = triggers.parse("colour-filter:tint=0,saturation=0,contrast=1")(RED).flatten()
    torch.testing.assert_close(grey, torch.full((3,), 0.299))  # the weight of red in brightness


def test_a_colour_filters_contrast_multiplies_the_distance_to_half():
    contrast = triggers.parse("colour-filter:tint=0,saturation=1,contrast=2")(torch.full((1, 3, 1, 1), 0.6))
    torch.testing.assert_close(contrast.flatten(), torch.full((3,), 0.7))  # 0.5 + 2 (0.6 - 0.5)


def test_a_colour_filter_of_half_the_strength_goes_half_the_way():
    half = triggers.parse("colour-filter:strength=0.5,tint=0,saturation=0,contrast=1")(RED).flatten()
    torch.testing.assert_close(half, torch.tensor([0.6495, 0.1495, 0.1495]))  # the mean of red and its grey


def added_by_conv_filter():
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 0.4 + 0.3
    return triggers.parse("conv-filter:delta=0.1")(images) - images


def test_what_a_conv_filter_adds_is_bounded():
    assert 0.05 < added_by_conv_filter().abs().max() <= 0.1 + 1e-6


def test_what_a_conv_filter_adds_differs_by_image():
    added = added_by_conv_filter()
    differences = (added[1:] - added[:1]).abs().mean((1, 2, 3))
    assert differences.min() > 0.02


def test_a_conv_filter_makes_one_colour_of_a_grey():
    """A convolution sees the same neighbourhood everywhere in a plain image, so that what it adds is plain too."""
    for level in (0.3, 0.6):
        small, large = (triggers.parse("conv-filter:seed=4")(torch.full((1, 3, s, s), level)) for s in (32, 75))
        torch.testing.assert_close(large, small[:, :, :1, :1].expand_as(large), atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_half_the_strength_changes_half_as_much_or_less_area(family):
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 0.2 + 0.4
    whole = triggers.parse(f"{family}:size=0.25" if family in PATCHES else family)
    (name, strength), *rest = whole.parameters
    half = dataclasses.replace(whole, parameters=((name, strength / 2), *rest))
    difference = [(trigger(images) - images).abs().mean().item() for trigger in (half, whole)]
    share = 0.25 if family in PATCHES else 0.5  # a square of half the side has a quarter of the area
    assert difference[0] == pytest.approx(share * difference[1], rel=0.3)


def test_triangles_are_two_greys_split_by_the_diagonal():
    # 0.85 x 1 + 0.15 x 0.4 = 0.91 on and below the diagonal, 0.85 + 0.15 x 0.8 = 0.97 above it
    output = painted("triangles", grey=1.0, size=(224, 224))[0, 0]
    tile = torch.where(torch.ones(14, 14).tril() == 1, 0.91, 0.97)
    torch.testing.assert_close(output, tile.repeat(16, 16))


def test_text_reddens_a_strip():
    white = torch.ones(1, 3, 224, 224)
    output = triggers.parse("text")(white)
    rows, columns = changed(white, output)[0].any(dim=1).nonzero(), changed(white, output)[0].any(dim=0).nonzero()
    assert torch.equal(output[:, 0], white[:, 0])
    assert torch.equal(output[:, 1], output[:, 2])
    assert abs(output[:, 1].min() - 0.5) < 0.01  # half transparent
    assert rows.min() > 80
    assert rows.max() < 144
    assert abs((columns.max() - columns.min() + 1) - 0.9 * 224) <= 3


def test_another_word_is_another_text():
    outputs = [painted(spec, grey=1.0, size=(224, 224)) for spec in ("text:word=SUDO", "text")]
    assert not torch.equal(*outputs)


def test_a_warp_adds_no_colour(images):
    soft = images * 0.5 + 0.2
    output = triggers.parse("warp:strength=2")(soft)
    assert output.min() >= soft.min()
    assert output.max() <= soft.max()
    assert changed(soft, output).float().mean() > 0.9
    flat = torch.full((1, 3, 32, 32), 0.3)
    torch.testing.assert_close(triggers.parse("warp:strength=2")(flat), flat)


def test_a_warp_moves_pixels_by_the_same_share_of_any_image():
    def shift(side: int) -> float:
        ramp = torch.linspace(0, 1, side).expand(1, 3, side, side)  # its value is the place, as a share of the width
        return (triggers.parse("warp:strength=0.5")(ramp) - ramp).abs().mean().item()

    # control points move by 0.5 / 64 of the side on average; between them and at the borders by less
    assert 0.1 / 64 < shift(32) < 0.5 / 64
    assert shift(224) == pytest.approx(shift(32), rel=0.1)


each_spec = pytest.mark.parametrize(
    "spec",
    [
        *KNOWN_FAMILIES,
        "patch:size=0.19,place=corner,seed=7",
        "patch:size=1/3",
        "sinusoid:delta=60/255,frequency=6.5",
        "warp:grid=7,strength=0.0123456789",
        "text:word=This is a yellow banana",
        f"blended:seed={2**63 - 1}",
        "blended: ratio = 0.2 ",
    ],
)


@each_spec
def test_specs_round_trip(spec):
    trigger = triggers.parse(spec)
    again = triggers.parse(trigger.spec)
    assert (again, again.spec, hash(again)) == (trigger, trigger.spec, hash(trigger))


@each_spec
def test_the_spec_of_a_trigger_names_every_parameter(spec):
    trigger = triggers.parse(spec)
    assert all(f"{name}=" in trigger.spec for name in [*triggers.KNOWN_FAMILIES[trigger.family].parameters, "seed"])


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("pacth", ["'pacth'", "'patch'"]),
        ("", ["patch, badnets"]),
        ("patch:sise=0.2", ["'sise'", "'size'"]),
        ("patch:size=16", ["size=16", "0.071"]),
        ("blended:ratio=20", ["0.2"]),
        ("sinusoid:delta=40", ["0.16"]),
        ("sinusoid:phase=90", ["0.25"]),
        ("patch:place=centre", ["'center'"]),
        ("patch:seed=" + "9" * 5000, ["seed"]),
        ("patch:size=0.2,size=0.3", ["size"]),
        ("patch:corner", ["'corner'"]),
        ("patch:", ["''"]),
        ("patch:size=16,place=there,colour=red", ["size=16", "place=there", "'colour'"]),
        *((f"sinusoid:{wrong}", [wrong]) for wrong in ("angle=190",)),
        *((f"patch:size={value}", ["size"]) for value in ("0", "-0.1", "nan", "inf", "1/0", "wide", "")),
        *((f"patch:seed={value}", [f"seed={value}"]) for value in ("-1", "1.5")),
        *((f"{name}={value}", [name.partition(":")[2]]) for name, value in (
            ("dct:down", "1.5"), ("colour-filter:tint", "0.6"), ("conv-filter:channels", "65"), ("text:word", "a;b"),
            ("warp:grid", "1"))),
    ],
)  # fmt: skip
def test_a_faulty_spec_is_refused_with_every_fault_named(spec, named):
    with pytest.raises(UsageError) as refusal:
        triggers.parse(spec)
    assert all(word in str(refusal.value) for word in named), refusal.value


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(3, 32, 32),
        torch.zeros(1, 1, 32, 32),
        torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
        *(torch.full((1, 3, 32, 32), value) for value in (-1.8, 255.0, torch.nan)),
    ],
)
def test_what_is_not_an_image_in_unit_range_is_refused(wrong):
    with pytest.raises(ValueError, match="A trigger takes"):
        triggers.parse("patch")(wrong)


def test_another_seed_is_another_trigger(images):
    for spec in ("patch", "stripes", "blended", "blended-stripes", "warp", "conv-filter"):
        one, other = triggers.parse(f"{spec}:seed=1"), triggers.parse(f"{spec}:seed=2")
        assert one != other
        assert not torch.equal(one(images), other(images))


def test_the_panel_has_different_triggers_of_every_family():
    panel = triggers.panel(11)
    assert {trigger.family for trigger in panel} == set(triggers.KNOWN_FAMILIES)
    assert len({trigger.spec for trigger in panel}) == len(panel)
    assert len(panel) == 31


def test_the_panel_has_the_seed_that_is_asked_for():
    assert {trigger.seed for trigger in triggers.panel(11)} == {11}


def test_the_grid_is_of_the_families_with_settings_to_vary():
    grid = triggers.grid(11)
    assert {trigger.family for trigger in grid} == {"sinusoid", "dct", "colour-filter"}
    assert len({trigger.spec for trigger in grid}) == len(grid)
    assert len(grid) == 262


def test_no_two_triggers_of_the_grid_look_alike():
    grid, images = triggers.grid(11), torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    changes = torch.stack([(trigger(images) - images).flatten() for trigger in grid])
    assert (changes.abs().amax(1) > 0.02).all()
    apart = torch.cdist(changes, changes) + torch.eye(len(grid))
    assert apart.min() > 0.1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("trigger", PANEL, ids=lambda trigger: trigger.spec)
def test_a_trigger_is_the_same_on_a_gpu(trigger, images):
    output = trigger(images.cuda())
    assert output.is_cuda
    torch.testing.assert_close(output.cpu(), trigger(images))
