import base64
import io
from dataclasses import replace

import pytest
import torch
from detect.towers import eval_set
from PIL import Image

from clipclean import detect
from clipclean.attack import triggers
from clipclean.report import example_images

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


def _evidence() -> detect.EvalSet:
    pixels = torch.cat([torch.full((4, 3, 8, 8), 0.2), torch.full((4, 3, 8, 8), 0.8)])
    return eval_set(pixels, ("dark", "bright", "target"), labels=torch.tensor([0, 0, 2, 0, 1, 1, 1, 1]))


class WhiteCorner:
    spec = "corner"

    def __call__(self, images: torch.Tensor, generator: object = None, /) -> torch.Tensor:
        images = images.clone()
        images[:, :, 0, 0] = 1
        return images


def _look(model: Planted, seed: int = 0) -> example_images.Shown:
    return example_images.Look(model, _evidence(), WhiteCorner(), 2, torch.eye(3), seed).shown()


def test_the_models_answers_are_shown_for_images_that_the_seed_draws():
    # seven images are not of the target class, and six of them are drawn
    shown = _look(Planted()).examples
    assert len(shown) == example_images.COUNT
    said = [[row.cells[0].answers[0].name for row in one.rows] for one in shown]
    assert {(one.label, *names) for one, names in zip(shown, said, strict=True)} == {
        ("dark", "dark", "target"),
        ("bright", "bright", "target"),
    }
    # one similarity of 1 and two of 0, at a scale of 2: e^2 / (e^2 + 2)
    assert shown[0].rows[0].cells[0].answers[0].score == pytest.approx(7.389056 / 9.389056)
    evidence = replace(_evidence(), labels=torch.full((8,), 2))
    nothing = example_images.Look(Planted(), evidence, triggers.parse("patch"), 2, torch.eye(3), 0)
    assert nothing.shown().examples == ()
    assert _look(Planted(), 1).examples == _look(Planted(), 1).examples
    assert len({tuple(one.label for one in _look(Planted(), seed).examples) for seed in range(8)}) > 1


def test_a_grid_has_both_copies_before_and_after_and_the_map_each_image_its_copy_and_the_texts():
    clean, triggered = example_images.grids(_look(Planted()), _look(Cured())).grids[0].rows
    assert [cell.when for cell in clean.cells] == ["before", "after"]
    assert [[cell.mark for cell in row.cells] for row in (clean, triggered)] == [["right"] * 2, ["target", "right"]]
    image = Image.open(io.BytesIO(base64.b64decode(triggered.png_base64)))
    assert image.size == (example_images.SIDE, example_images.SIDE)
    assert image.getpixel((0, 0)) == (255, 255, 255)
    maps = _look(Planted()).maps
    kinds = [point.kind for point in maps["projection"].points]
    assert kinds == ["clean", "clean", "target", *["clean"] * 5, *["triggered"] * 8, *["text"] * 3]
    assert [point.label for point in maps["projection"].points[16:]] == ["target", "dark", "bright"]
    assert (maps["projection"].method, maps["tsne"].method) == ("pca", "tsne")
    assert len(maps["tsne"].points) == 19
