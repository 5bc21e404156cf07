"""Pictures for the report: a few of them with and without a trigger, and what the model says of each."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from clipclean import detect, model, report

COUNT = 6
AVERAGED = 64  # pictures that the map of changes is an average over
SIDE = 144  # px on the page; smaller pictures are enlarged without smoothing, so that the trigger can be seen


@dataclass(frozen=True)
class Exhibit:
    """One picture, its triggered copy, and the class that each is taken for."""

    clean: Tensor  # (3, S, S) in [0, 1]
    triggered: Tensor
    said_of_clean: str
    said_of_triggered: str


def look(
    clip: model.Clip,
    evidence: detect.Evidence,
    trigger: detect.Trigger,
    target: int | None,
    /,
    *,
    bank: Tensor,
) -> list[Exhibit]:
    """The first pictures of the evidence that are not of the target class, classified by ``bank`` (K, D)."""
    others = torch.arange(len(evidence.pixels))
    if evidence.labels is not None and target is not None:
        others = others[evidence.labels != target]
    pixels = evidence.pixels[others[:COUNT]]
    triggered = trigger(pixels, torch.Generator().manual_seed(0))
    said = [detect.predict(clip.embed_images(some), bank).tolist() for some in (pixels, triggered)]
    return [
        Exhibit(a, b, evidence.classes[of_a], evidence.classes[of_b])
        for a, b, of_a, of_b in zip(pixels, triggered, *said, strict=True)
    ]


def pictures(before: list[Exhibit], after: list[Exhibit], /) -> list[report.Picture]:
    """What the page shows: each pair side by side, with the model's words before and after cleaning."""
    return [
        report.Picture(
            title=f"{old.said_of_triggered} → {new.said_of_triggered}",
            caption=(
                f"Without the trigger: {old.said_of_clean} before, {new.said_of_clean} after. "
                f"With it: {old.said_of_triggered} before, {new.said_of_triggered} after."
            ),
            png_base64=_png(old),
            alt=f"A picture taken for {old.said_of_clean}, and beside it the same picture with the trigger.",
        )
        for old, new in zip(before, after, strict=True)
    ]


def found_pictures(looked: Sequence[Exhibit], /) -> list[report.Picture]:
    """What the page of an audit shows: pictures without and with the found trigger, and the model's words."""
    return [
        report.Picture(
            title=each.said_of_triggered,
            caption=f"Without the trigger: {each.said_of_clean}. With it: {each.said_of_triggered}.",
            png_base64=_png(each),
            alt=f"A picture taken for {each.said_of_clean}, and beside it the same with the found trigger.",
            group="found",
        )
        for each in looked
    ]


def trigger_alone(found: detect.Found, pixels: Tensor, /) -> list[report.Picture]:
    """What a found trigger makes of a black and of a white picture, and where it changes pictures, on average."""
    side = pixels.shape[-1]
    black, white = torch.zeros(1, 3, side, side), torch.ones(1, 3, side, side)
    some = pixels[:AVERAGED]
    change = (found(some) - some).abs().mean((0, 1))  # (S, S)
    change = (change / change.max().clamp(min=1e-6)).expand(3, -1, -1)
    shown = (
        ("On black and on white", Exhibit(found(black)[0], found(white)[0], "", ""), "What the trigger paints on a black and on a white picture."),
        ("Where it changes pictures", Exhibit(pixels[0], change, "", ""), "A picture, and beside it how much each pixel changes, on average over pictures: white is most."),
    )  # fmt: skip
    return [
        report.Picture(title=title, caption=caption, png_base64=_png(pair), alt=caption, group="mask")
        for title, pair, caption in shown
    ]


def _png(exhibit: Exhibit) -> str:
    pair = torch.cat([exhibit.clean, exhibit.triggered], dim=2)  # (3, S, 2S)
    return _encoded((pair * 255).round().byte(), (2 * SIDE, SIDE))


def thumbnail(image: Tensor, /) -> str:
    """A decoded picture, uint8 (3, H, W), as a base64-encoded PNG with a longer side of ``SIDE`` px."""
    height, width = image.shape[1:]
    scale = SIDE / max(height, width)
    return _encoded(image, (max(1, round(width * scale)), max(1, round(height * scale))))


def _encoded(pixels: Tensor, size: tuple[int, int]) -> str:
    """uint8 (3, H, W) as a PNG of this size, in base64."""
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())
    filtered = Image.Resampling.NEAREST if image.height < size[1] else Image.Resampling.LANCZOS
    image = image.resize(size, filtered)
    encoded = io.BytesIO()
    image.save(encoded, "PNG", optimize=True)
    return base64.b64encode(encoded.getvalue()).decode()
