"""Example images and embedding maps of a model under one trigger."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from clipclean import detect, model
from clipclean.report.images import Answer, Cell, Grid, GridRow, PageImages, TitledImage
from clipclean.report.wording import Png
from clipclean.schema.report import PointRecord, ProjectionRecord

COUNT = 6  # example images
TOP = 3  # answers of the model that are shown of each
AVERAGED = 64  # images that the map of changes is an average over
SIDE = 144  # px on the page; smaller images are enlarged without smoothing, so that the trigger can be seen
MAPPED = 150  # clean images on a map, and as many triggered ones
TEXTS = 10  # class texts on a map


@dataclass(frozen=True)
class ExampleImage:
    """One image and its triggered copy, with the model's answers to each; ``label`` is empty where it is not known."""

    clean: Tensor  # (3, S, S) in [0, 1]
    triggered: Tensor
    label: str
    target: str
    of_clean: list[Answer]  # most probable first
    of_triggered: list[Answer]


@dataclass(frozen=True)
class Shown:
    """Example images and maps of a model before or after cleaning; ``maps`` are entries of the report's ``measurements``."""

    examples: tuple[ExampleImage, ...] = ()
    maps: Mapping[str, ProjectionRecord] = field(default_factory=dict)


def look(
    clip: model.Clip,
    evidence: detect.EvalSet,
    trigger: detect.TriggerLike,
    target: int | None,
    /,
    *,
    text_classifier: Tensor,
    seed: int,
) -> Shown:
    """Images drawn at random by the seed, and maps of their embeddings, clean and under a trigger.

    Args:
        clip: the model.
        evidence: images, with labels where there are some.
        trigger: what is put on the images.
        target: place of the class that it leads to; None where that is not known.
        text_classifier: (K, D), the zero-shot classifier.
        seed: decides which images are drawn.
    """
    asked = _Asked(clip, evidence, trigger, target, text_classifier, seed)
    with torch.no_grad():
        return Shown(tuple(_examples(asked)), _maps(asked))


class _Asked(NamedTuple):
    """The arguments of ``look``."""

    clip: model.Clip
    evidence: detect.EvalSet
    trigger: detect.TriggerLike
    target: int | None
    text_classifier: Tensor
    seed: int

    def drawn(self, some: Tensor, most: int) -> Tensor:
        """So many of some places, at random."""
        return some[torch.randperm(len(some), generator=torch.Generator().manual_seed(self.seed))[:most]]

    def triggered(self, pixels: Tensor) -> Tensor:
        """Images under the trigger."""
        return self.trigger(pixels, torch.Generator().manual_seed(0))


def _examples(asked: _Asked) -> list[ExampleImage]:
    """Images that are not of the target class: those show whether the trigger acts."""
    evidence, target = asked.evidence, asked.target
    others = torch.arange(len(evidence.pixels))
    if evidence.labels is not None and target is not None:
        others = others[evidence.labels.cpu() != target]
    drawn = asked.drawn(others, COUNT)
    if not len(drawn):
        return []
    pixels = evidence.pixels[drawn]
    triggered = asked.triggered(pixels)
    answers = [_answers(asked, some) for some in (pixels, triggered)]
    labels = (
        [""] * len(drawn) if evidence.labels is None else [evidence.classes[i] for i in evidence.labels[drawn].tolist()]
    )
    name = "" if target is None else evidence.classes[target]
    return [
        ExampleImage(a, b, label, name, of_a, of_b)
        for a, b, label, of_a, of_b in zip(pixels, triggered, labels, *answers, strict=True)
    ]


def _answers(asked: _Asked, pixels: Tensor) -> list[list[Answer]]:
    """The model's classes for each image, most probable first, by the softmax over all classes at its own scale."""
    similarity = asked.clip.embed_images(pixels).float() @ asked.text_classifier.float().T  # (B, K)
    classes = asked.evidence.classes
    scores, places = (similarity * asked.clip.logit_scale().item()).softmax(1).topk(min(TOP, len(classes)), dim=1)
    return [
        [Answer(name=classes[place], score=score) for place, score in zip(row, of_row, strict=True)]
        for row, of_row in zip(places.tolist(), scores.tolist(), strict=True)
    ]


def _maps(asked: _Asked) -> dict[str, ProjectionRecord]:
    """``projection`` and ``tsne``: clean images, then the same under the trigger, then texts of the classes most predicted."""
    evidence, target, classifier = asked.evidence, asked.target, asked.text_classifier
    chosen = asked.drawn(torch.arange(len(evidence.pixels)), MAPPED).sort().values
    pixels = evidence.pixels[chosen]
    clean, triggered = (
        torch.cat([asked.clip.embed_images(part) for part in torch.split(some, evidence.batch_size)])
        for some in (pixels, asked.triggered(pixels))
    )
    own = torch.zeros(len(pixels), dtype=torch.bool)
    if evidence.labels is not None and target is not None:
        own = evidence.labels[chosen].cpu() == target
    predicted = detect.predict(clean, classifier).flatten().bincount(minlength=len(evidence.classes))
    named = list(dict.fromkeys([*([] if target is None else [target]), *predicted.argsort(descending=True).tolist()]))
    places = named[: min(TEXTS, len(named))]
    together = torch.cat([clean.float(), triggered.float(), classifier[places].to(clean.device).float()])
    kinds = ["target" if is_own else "clean" for is_own in own.tolist()]
    marks: list[dict[str, str]] = [{"kind": kind} for kind in (*kinds, *["triggered"] * len(pixels))]
    marks += [{"kind": "text", "label": evidence.classes[place]} for place in places]
    planes = {"projection": detect.principal(together), "tsne": detect.neighbouring(together, seed=asked.seed)}
    made = {}
    for key, plane in planes.items():
        if plane is not None:
            points = ({"x": x, "y": y, **mark} for (x, y), mark in zip(plane.places, marks, strict=True))
            shown = tuple(PointRecord.model_validate(point) for point in points)
            explained = {"explained": plane.explained} if plane.explained else {}
            made[key] = ProjectionRecord(method=plane.method, trigger=asked.trigger.spec, points=shown, **explained)
    return made


def grids(before: Shown, after: Shown, /) -> PageImages:
    """The example images of a cleaning: each clean and triggered, before and after."""
    return PageImages(
        grids=tuple(
            _grid(old, (("before", old.of_clean, old.of_triggered), ("after", new.of_clean, new.of_triggered)))
            for old, new in zip(before.examples, after.examples, strict=True)
        )
    )


def audited(shown: Shown, found_triggers: Sequence[TitledImage], /) -> PageImages:
    """The images of an audit: each without and with the found trigger, and the trigger by itself."""
    return PageImages(
        tuple(found_triggers), tuple(_grid(each, (("", each.of_clean, each.of_triggered),)) for each in shown.examples)
    )


def _grid(example: ExampleImage, sides: Sequence[tuple[str, list[Answer], list[Answer]]]) -> Grid:
    label, rows = example.label, []
    for place, image in enumerate((example.clean, example.triggered)):
        title = "With the trigger" if place else "Without the trigger"
        cells = [_cell(when, answers[place], example) for when, *answers in sides]
        alt = f"An image of {label}, {title.lower()}." if label else f"The image {title.lower()}."
        rows.append(GridRow(title=title, png_base64=_png(image), alt=alt, cells=cells))
    return Grid(label=label, rows=rows)


def _cell(when: str, answers: list[Answer], example: ExampleImage) -> Cell:
    """The model's answer; ``mark`` says whether it is correct, or the class that the trigger leads to."""
    first = answers[0]["name"]
    mark: Literal["right", "wrong", "target", ""] = "wrong" if example.label else ""
    if first == example.target:
        mark = "target"
    elif example.label and first == example.label:
        mark = "right"
    return Cell(when=when, answers=answers, mark=mark)


def trigger_alone(found: detect.InvertedTrigger, pixels: Tensor, /) -> list[TitledImage]:
    """The effect of a found trigger on a black and a white image, and on images on average."""
    side = pixels.shape[-1]
    black, white = torch.zeros(1, 3, side, side), torch.ones(1, 3, side, side)
    some = pixels[:AVERAGED]
    change = (found(some) - some).abs().mean((0, 1))  # (S, S)
    change = (change / change.max().clamp(min=1e-6)).expand(3, -1, -1)
    on_plain = "What the trigger paints on a black and on a white image."
    where = "An image, and beside it the mean change of each pixel over images: white is the largest."
    shown = (
        ("On black and on white", found(black)[0], found(white)[0], on_plain),
        ("Where it changes images", pixels[0], change, where),
    )
    return [
        TitledImage(title=title, caption=caption, png_base64=_png(left, right), alt=caption)
        for title, left, right, caption in shown
    ]


def _png(*images: Tensor) -> Png:
    """Images (3, S, S) side by side."""
    return _encoded((torch.cat(images, dim=2) * 255).round().byte(), (SIDE * len(images), SIDE))


def thumbnail(image: Tensor, /) -> Png:
    """A decoded image, uint8 (3, H, W), as a base64-encoded PNG with a longer side of ``SIDE`` px."""
    height, width = image.shape[1:]
    scale = SIDE / max(height, width)
    return _encoded(image, (max(1, round(width * scale)), max(1, round(height * scale))))


def _encoded(pixels: Tensor, size: tuple[int, int]) -> Png:
    """uint8 (3, H, W) as a PNG of this size, in base64."""
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())
    filtered = Image.Resampling.NEAREST if image.height < size[1] else Image.Resampling.LANCZOS
    image = image.resize(size, filtered)
    encoded = io.BytesIO()
    image.save(encoded, "PNG", optimize=True)
    return Png(base64.b64encode(encoded.getvalue()).decode())
