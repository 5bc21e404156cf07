"""Where drawings and maps put their points, worked by hand; shares in words; example images."""

import base64
import io
import math
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from report import searches
from report.parsed import Parsed
from sklearn.decomposition import PCA

from clipclean import detect, progress
from clipclean.attack import triggers
from clipclean.report import charts as of_charts
from clipclean.report import example_images, wording
from clipclean.report.example_images import TSNE_POINTS, neighbouring, principal

charts = Parsed(of_charts)


def points(*places):
    return [{"x": x, "y": y, "kind": kind} for kind, x, y in places]


def centres(cloud):
    return [(float(x), float(y)) for x, y in re.findall(r"M(-?[\d.]+) (-?[\d.]+)", cloud.path)]


def drawn(*places, **more):
    return charts.embedding_map({"method": "pca", "trigger": "t", "points": points(*places)} | more)


PLACES = [
    # 94 units for 2 across, 54 for 1 up: the smaller scale is 47 for both axes; the middle is (50, 30), and up is up
    ([("clean", 0.0, 0.0), ("clean", 2.0, 1.0)], [(3.0, 53.5), (97.0, 6.5)]),
    ([("clean", 1, 1)], [(50.0, 30.0)]),
    ([("clean", 1, 1), ("triggered", 1, 1)], [(50.0, 30.0)]),
    ([("clean", -(2.0**62), 0.0), ("clean", 2.0**62, 0.0)], [(3.0, 30.0), (97.0, 30.0)]),
]
HARDLY_APART = [("clean", -1e-320, 0.0), ("clean", 1e-320, 0.0)]


@pytest.mark.parametrize(("places", "expected"), PLACES)
def test_points_lie_where_the_numbers_say(places, expected):
    assert centres(drawn(*places).clouds[0]) == expected


@pytest.mark.parametrize("places", [*(places for places, _ in PLACES), HARDLY_APART])
def test_points_lie_inside_the_map(places):
    shown = centres(drawn(*places).clouds[0])
    assert all(0 <= value <= 100 for centre in shown for value in centre)


def clouds_of_three_kinds():
    return drawn(("target", 0, 0), ("triggered", 1, 0), ("clean", 0, 1), ("clean", 1, 1)).clouds


def test_a_map_counts_the_points_of_each_kind():
    counts = [(cloud.kind, cloud.n) for cloud in clouds_of_three_kinds()]
    assert counts == [("clean", 2), ("triggered", 1), ("target", 1)]


def test_each_kind_of_point_has_a_shape_of_its_own():
    paths = [cloud.path for cloud in clouds_of_three_kinds()]
    assert len({re.sub(r"M[-\d.]+ [-\d.]+", "", path.split("z")[0]) for path in paths}) == 3


def test_a_map_says_how_far_triggered_images_lie_apart_beside_clean_ones():
    # clean: both 2 from their centre; triggered: both 1
    shown = drawn(("clean", -2, 0), ("clean", 2, 0), ("triggered", 5, -1), ("triggered", 5, 1))
    assert "0.50 times" in shown.summary
    assert " times" not in drawn(("clean", 1, 1)).summary


def test_of_many_points_a_map_draws_the_same_share_of_each_kind():
    shown = drawn(*[("clean", i % 50, i) for i in range(5000)], *[("triggered", i, 1) for i in range(100)])
    assert [cloud.n for cloud in shown.clouds] == [5000, 100]
    # 600 * 5000 / 5100 and 600 * 100 / 5100, rounded down
    assert [len(centres(cloud)) for cloud in shown.clouds] == [588, 11]


def test_without_points_there_is_no_map():
    assert charts.embedding_map(None) is drawn() is None


def test_only_axes_of_principal_components_say_what_they_explain():
    projection = searches.projection()
    assert "41.0 % and 12.0 %" in charts.embedding_map(projection).axes
    assert "%" not in charts.embedding_map(projection | {"method": "tsne", "explained": None}).axes


def test_a_line_leads_from_each_image_to_its_triggered_copy():
    shown = drawn(("clean", 0, 0), ("target", 0, 1), ("triggered", 2, 0), ("triggered", 2, 1))
    # the scale is 47: from x = 3 to x = 97, the first pair below the second
    assert shown.moves == "M3.00 53.50L97.00 53.50M3.00 6.50L97.00 6.50"


def test_no_line_is_drawn_where_copies_are_not_as_many_as_images():
    assert drawn(("clean", 0, 0), ("triggered", 1, 0), ("triggered", 2, 0)).moves == ""


def long_label_at_the_edge():
    placed = points(("clean", 0, 0), ("text", 2, 1))
    placed[1]["label"] = "x" * 100
    (label,) = drawn(method="tsne", points=placed).texts
    return label


def test_a_long_text_on_a_map_is_cut():
    assert long_label_at_the_edge().text == "x" * 24


def test_a_text_at_the_edge_of_a_map_ends_at_its_point():
    label = long_label_at_the_edge()
    assert (label.anchor, float(label.x) < 97) == ("end", True)


def loss(*values):
    return charts.curve([{"step": 5 * i, "loss": value, "lr": 0.1} for i, value in enumerate(values)], "")[0]


def test_a_curve_lies_where_the_numbers_say():
    shown = loss(4.0, 2.0, 1.0)
    # levels 0 to 4 by 1: 4 is the top, 2 the middle, 1 three quarters down
    assert [value for value, _ in shown.levels] == ["0", "1", "2", "3", "4"]
    assert shown.lines[0].points == "0.00,0.00 50.00,50.00 100.00,75.00"


def test_a_curve_of_zeros_has_a_scale():
    assert len(loss(0.0, 0.0, 0.0).levels) >= 2


def logged(*steps):
    return [{"step": step, "loss": 1.0, "lr": 0.1, "angle_lost": 2.0, "a<b": 1.0, "by": "x"} for step in steps]


def test_no_curve_is_drawn_of_fewer_than_three_steps():
    one = [{"step": 5, "loss": 1.0, "lr": 0.1}]
    assert charts.curve([], "") == charts.curve(one, "") == charts.curve(one * 2, "") == []
    assert charts.curve(logged(0, 5), "") == []


def test_each_loss_of_a_method_has_a_curve_by_its_name():
    assert [line.name for line in charts.curve(logged(0, 5, 9), "")[0].lines] == ["Total loss", "Angle lost"]


def test_a_long_curve_is_thinned_between_its_ends():
    places = loss(*[1.0] * 5000).lines[0].points.split()
    assert len(places) == charts.MAX_POINTS
    assert (places[0][:5], places[-1][:7]) == ("0.00,", "100.00,")


def sizes_of(made):
    return charts.sizes(made["measurements"]["search"]["found"])


def test_sizes_of_a_family_share_a_scale():
    # mask and patch: the greatest is 14 % of the reference, so the scale ends at 20 %
    mask, patch, lemon, warp = sizes_of(searches.backdoored())
    assert (mask.top, patch.top, lemon.top, warp.top) == ("20 %", "20 %", "20 %", "50 %")


def test_sizes_lie_where_the_numbers_say():
    mask, patch, lemon, warp = sizes_of(searches.backdoored())
    # of a scale that ends at 20 %: 0.021 / 0.2 = 10.5 %
    assert (mask.length, patch.length, lemon.length, warp.length) == ("10.50%", "17.00%", "52.00%", "84.00%")
    assert (mask.low, mask.width, mask.median) == ("45.00%", "25.00%", "55.00%")
    assert (warp.low, warp.width, warp.median) == (None, None, None)


def test_a_size_that_is_not_known_has_no_length():
    (unknown,) = sizes_of(searches.poor())
    assert (unknown.length, unknown.low) == ("0.00%", None)


def test_a_share_is_never_rounded_into_a_certainty():
    shares = (0.9712, 0.0, 1.0, 0.0004, 0.9997, -0.012, -0.0001, None, math.nan)
    told = ["97.1 %", "0.0 %", "100.0 %", "<0.1 %", ">99.9 %", "−1.2 %", ">−0.1 %", "–", "–"]
    assert [wording.percent(share) for share in shares] == told


def test_the_plane_is_that_of_the_largest_variance_a_line_or_one_place():
    found = principal(torch.tensor([[0.0, 5.0, 3.0], [0.0, 5.0, -3.0], [1.0, 5.0, 0.0], [-1.0, 5.0, 0.0]]))
    assert (found.method, found.points) == ("pca", ((3, 0), (-3, 0), (0, 1), (0, -1)))
    assert found.explained == pytest.approx([18 / 20, 2 / 20])
    found = principal(torch.tensor([[1.0], [-1.0], [1.0], [1.0]]))
    assert [y for _, y in found.points] == [0, 0, 0, 0]
    assert found.explained == pytest.approx([1, 0])
    found = principal(torch.ones(4, 3))
    assert (set(found.points), found.explained) == ({(0, 0)}, (0, 0))
    assert neighbouring(torch.ones(40, 3), seed=0) is None


def test_the_plane_is_that_of_another_implementation():
    points = torch.randn(50, 7, generator=torch.Generator().manual_seed(2)) * torch.arange(1.0, 8.0)
    projection = PCA(n_components=2, svd_solver="full")
    expected, plane = projection.fit_transform(points.double().numpy()), principal(points)
    assert np.asarray(plane.points) == pytest.approx(expected, abs=1e-4)
    assert plane.explained == pytest.approx(projection.explained_variance_ratio_)


def test_without_scikit_learn_a_run_says_that_it_lacks_the_map_of_neighbours(monkeypatch):
    for name in ("sklearn", "sklearn.manifold"):
        monkeypatch.setitem(sys.modules, name, None)
    messages = []
    with progress.heard(progress.Listener(words=messages.append)):
        assert neighbouring(two_groups(), seed=0) is None
    assert [message for message in messages if "scikit-learn" in message]
    assert principal(two_groups()).points


def two_groups():
    rng = torch.Generator().manual_seed(0)
    near, far = torch.randn(20, 8, generator=rng) * 0.05, torch.randn(20, 8, generator=rng) * 0.05
    return torch.cat([near + torch.eye(8)[0], far + torch.eye(8)[1]])


def test_neighbours_stay_together_on_their_map():
    places = torch.tensor(neighbouring(two_groups(), seed=0).points)
    centres = places[:20].mean(0), places[20:].mean(0)
    own = torch.cdist(places, torch.stack(centres))
    assert (own[:20].argmin(1) == 0).all()
    assert (own[20:].argmin(1) == 1).all()


def test_a_map_of_neighbours_is_the_same_for_one_seed():
    assert neighbouring(two_groups(), seed=3) == neighbouring(two_groups(), seed=3)


@pytest.mark.parametrize("count", [9, TSNE_POINTS + 1])
def test_too_few_or_too_many_points_have_no_map_of_neighbours(count):
    assert neighbouring(torch.randn(count, 4, generator=torch.Generator().manual_seed(0)), seed=0) is None


PLANES = {"principal": example_images.principal, "neighbouring": example_images.neighbouring}  # others have stand-ins


@pytest.fixture(autouse=True)
def _as_for_users(monkeypatch):
    for name, plane in PLANES.items():
        monkeypatch.setattr(example_images, name, plane)


class Planted:
    """Says "bright" of bright images, "target" of every image whose first pixel is white, else "dark"."""

    def logit_scale(self) -> torch.Tensor:
        return torch.tensor(2.0)

    def embed_images(self, pixels: torch.Tensor, /) -> torch.Tensor:
        said = (pixels.mean(dim=(1, 2, 3)) > 0.5).long()
        said[pixels[:, :, 0, 0].mean(1) > 0.99] = 2
        return torch.eye(3)[said]


class Cured(Planted):
    def embed_images(self, pixels: torch.Tensor, /) -> torch.Tensor:
        return torch.eye(3)[(pixels.mean(dim=(1, 2, 3)) > 0.5).long()]


THREE = detect.ClassTexts.of(("dark", "bright", "target"), torch.eye(3))


def _images() -> detect.CleanImages:
    pixels = torch.cat([torch.full((4, 3, 8, 8), 0.2), torch.full((4, 3, 8, 8), 0.8)])
    return detect.CleanImages(pixels, torch.tensor([0, 0, 2, 0, 1, 1, 1, 1]))


class WhiteCorner:
    spec = "corner"

    def __call__(self, images: torch.Tensor, generator: object = None, /) -> torch.Tensor:
        images = images.clone()
        images[:, :, 0, 0] = 1
        return images


def _look(model: Planted, seed: int = 0) -> example_images.ModelImages:
    look = example_images.Look(model, _images(), THREE, WhiteCorner(), 2, seed)
    return example_images.ModelImages(look.examples(), look.maps())


def test_the_models_answers_are_shown_for_images_that_the_seed_draws():
    # seven images are not of the target class, and six of them are drawn
    shown = _look(Planted()).examples
    assert len(shown) == example_images.EXAMPLES
    said = [[row.cells[0].answers[0].name for row in one.rows] for one in shown]
    answers = {(one.label, *names) for one, names in zip(shown, said, strict=True)}
    assert answers == {("dark", "dark", "target"), ("bright", "bright", "target")}
    # one similarity of 1 and two of 0, at a scale of 2: e^2 / (e^2 + 2)
    assert shown[0].rows[0].cells[0].answers[0].score == pytest.approx(7.389056 / 9.389056)
    of_target = replace(_images(), labels=torch.full((8,), 2))
    assert example_images.Look(Planted(), of_target, THREE, triggers.parse("patch"), 2, 0).examples() == ()
    assert _look(Planted(), 1).examples == _look(Planted(), 1).examples
    assert len({tuple(one.label for one in _look(Planted(), seed).examples) for seed in range(4)}) > 1


def test_a_grid_shows_both_images_on_either_side_of_a_cleaning():
    clean, triggered = example_images.grids(_look(Planted()), _look(Cured())).grids[0].rows
    assert [cell.when for cell in clean.cells] == ["before", "after"]
    assert [[cell.mark for cell in row.cells] for row in (clean, triggered)] == [["right"] * 2, ["target", "right"]]


def test_the_triggered_copy_of_a_grid_is_a_small_picture_with_the_trigger():
    _, triggered = example_images.grids(_look(Planted()), _look(Cured())).grids[0].rows
    image = Image.open(io.BytesIO(base64.b64decode(triggered.png_base64)))
    assert image.size == (example_images.IMAGE_SIDE, example_images.IMAGE_SIDE)
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_both_maps_have_every_kind_of_point():
    maps = _look(Planted()).maps
    kinds = [point.kind for point in maps["projection"].points]
    assert kinds == ["clean", "clean", "target", *["clean"] * 5, *["triggered"] * 8, *["text"] * 3]
    assert [point.label for point in maps["projection"].points[16:]] == ["target", "dark", "bright"]
    assert (maps["projection"].method, maps["tsne"].method) == ("pca", "tsne")
    assert len(maps["tsne"].points) == 19
