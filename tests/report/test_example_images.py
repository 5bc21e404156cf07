import base64
import io
from dataclasses import replace

import pytest
import torch
from PIL import Image

from clipclean import detect
from clipclean.attack import triggers
from clipclean.report import example_images


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


def _white_corner(images: torch.Tensor, generator: object = None, /) -> torch.Tensor:
    images = images.clone()
    images[:, :, 0, 0] = 1
    return images


def _evidence() -> detect.EvalSet:
    pixels = torch.cat([torch.full((4, 3, 8, 8), 0.2), torch.full((4, 3, 8, 8), 0.8)])
    return detect.EvalSet(
        pixels=pixels,
        labels=torch.tensor([0, 0, 2, 0, 1, 1, 1, 1]),
        captions=None,
        classes=("dark", "bright", "target"),
        templates=("{}",),
        suspicions=(),
        panel=(),
        knn=1,
        batch_size=4,
    )


class WhiteCorner:
    spec = "corner"

    def __call__(self, images: torch.Tensor, generator: object = None, /) -> torch.Tensor:
        return _white_corner(images)


def _look(model: Planted, seed: int = 0) -> example_images.Shown:
    return example_images.look(model, _evidence(), WhiteCorner(), 2, text_classifier=torch.eye(3), seed=seed)


def test_the_models_answers_are_shown_for_drawn_images_of_other_classes():
    # seven images are not of the target class, and six of them are drawn
    shown = _look(Planted()).examples
    assert len(shown) == example_images.COUNT
    assert {(one.label, one.of_clean[0]["name"]) for one in shown} == {("dark", "dark"), ("bright", "bright")}
    assert {one.of_triggered[0]["name"] for one in shown} == {"target"}
    # one similarity of 1 and two of 0, at a scale of 2: e^2 / (e^2 + 2)
    assert shown[0].of_clean[0]["score"] == pytest.approx(7.389056 / 9.389056)
    evidence = replace(_evidence(), labels=torch.full((8,), 2))
    look = example_images.look(Planted(), evidence, triggers.parse("patch"), 2, text_classifier=torch.eye(3), seed=0)
    assert look.examples == ()


def test_the_seed_decides_which_images_are_drawn():
    def drawn(seed):
        return [float(one.clean.mean()) for one in _look(Planted(), seed).examples]

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(8)}) > 1


def test_a_grid_has_both_copies_before_and_after_with_right_and_wrong_marked():
    grid = example_images.grids(_look(Planted()), _look(Cured())).grids[0]
    clean, triggered = grid["rows"]
    assert [cell["when"] for cell in clean["cells"]] == ["before", "after"]
    assert [cell["mark"] for cell in clean["cells"]] == ["right", "right"]
    assert [cell["mark"] for cell in triggered["cells"]] == ["target", "right"]
    image = Image.open(io.BytesIO(base64.b64decode(triggered["png_base64"])))
    assert image.size == (example_images.SIDE, example_images.SIDE)
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_the_map_has_each_image_its_triggered_copy_and_the_texts_of_classes():
    maps = _look(Planted()).maps
    kinds = [point.kind for point in maps["projection"].points]
    assert kinds == ["clean", "clean", "target", *["clean"] * 5, *["triggered"] * 8, *["text"] * 3]
    assert [point.label for point in maps["projection"].points[16:]] == ["target", "dark", "bright"]
    assert (maps["projection"].method, maps["tsne"].method) == ("pca", "tsne")
    assert len(maps["tsne"].points) == 19
