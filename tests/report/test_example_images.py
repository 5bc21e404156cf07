import base64
import io
from dataclasses import replace

import torch
from PIL import Image

from clipclean import detect
from clipclean.attack import triggers
from clipclean.report import example_images


class Planted:
    """Says "bright" of bright pictures, "target" of every picture whose first pixel is white, else "dark"."""

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


def _evidence() -> detect.Evidence:
    pixels = torch.cat([torch.full((4, 3, 8, 8), 0.2), torch.full((4, 3, 8, 8), 0.8)])
    return detect.Evidence(
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


def _look(model: Planted) -> list[example_images.Exhibit]:
    return example_images.look(model, _evidence(), _white_corner, 2, bank=torch.eye(3))


def test_what_the_model_says_is_shown_with_and_without_the_trigger():
    said = [(one.said_of_clean, one.said_of_triggered) for one in _look(Planted())]
    assert said == [("dark", "target")] * 3 + [("bright", "target")] * 3


def test_pictures_of_the_target_class_are_left_out():
    assert len(_look(Planted())) == example_images.COUNT  # of eight pictures one is of the target class


def test_a_picture_tells_before_and_after_in_words_and_shows_both_copies():
    (first, *_) = example_images.pictures(_look(Planted()), _look(Cured()))
    assert first["title"] == "target → dark"
    assert first["caption"] == "Without the trigger: dark before, dark after. With it: target before, dark after."
    image = Image.open(io.BytesIO(base64.b64decode(first["png_base64"])))
    assert image.size == (2 * example_images.SIDE, example_images.SIDE)
    assert image.getpixel((0, 0)) == (51, 51, 51)
    assert image.getpixel((example_images.SIDE, 0)) == (255, 255, 255)


def test_with_pictures_of_the_target_class_only_there_is_nothing_to_show():
    evidence = replace(_evidence(), labels=torch.full((8,), 2))
    assert example_images.look(Planted(), evidence, triggers.parse("patch"), 2, bank=torch.eye(3)) == []
