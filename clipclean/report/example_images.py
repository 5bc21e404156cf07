"""Example images and embedding maps of a model under one trigger."""

import base64
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from clipclean import detect, model
from clipclean.progress import say
from clipclean.report.document import Answer, Answered, Grid, GridRow, PageImages, TitledImage
from clipclean.report.wording import Png
from clipclean.schema.report import PointRecord, ProjectionRecord

EXAMPLES = 6  # example images
SHOWN_ANSWERS = 3  # answers of the model that are shown of each
AVERAGED_IMAGES = 64  # images that the map of changes is an average over
IMAGE_SIDE = 144  # px on the page; smaller images are enlarged without smoothing, so that the trigger can be seen
MAPPED_IMAGES = 150  # clean images on a map, and as many triggered ones
MAPPED_TEXTS = 10  # class texts on a map
TSNE_POINTS = 400  # embeddings that t-SNE places: its exact form takes about 2 s for so many on one core
TSNE_PERPLEXITY = 30.0  # neighbours that each point keeps near; fewer where there are few points
TSNE_ITERATIONS = 500


@dataclass(frozen=True)
class ModelImages:
    """Example images and maps of one model; ``maps`` are entries of the report's ``measurements``."""

    examples: tuple[Grid, ...] = ()
    maps: Mapping[str, ProjectionRecord] = field(default_factory=dict)


class Look(NamedTuple):
    """Images drawn at random by the seed, clean and under a trigger."""

    clip: model.Clip
    images: detect.CleanImages  # with labels where there are some
    classes: detect.ClassTexts
    trigger: detect.TriggerLike  # what is put on the images
    target: int | None  # place of the class that it leads to; None where that is not known
    seed: int  # decides which images are drawn

    @torch.no_grad()
    def examples(self) -> tuple[Grid, ...]:
        """Images with the model's answers, not of the target class: those show whether the trigger acts."""
        labels, classes = self.images.labels, self.classes.names
        rows_shown = torch.arange(len(self.images))
        if labels is not None and self.target is not None:
            rows_shown = rows_shown[labels.cpu() != self.target]
        sample = self._sample(rows_shown, EXAMPLES)
        if not len(sample):
            return ()
        clean = self.images.pixels[sample]
        sides = [("Without the trigger", clean), ("With the trigger", self._triggered(clean))]
        answers = [self._answers(pixels) for _, pixels in sides]
        target = "" if self.target is None else classes[self.target]
        grids = []
        for number, image_row in enumerate(sample):
            label = "" if labels is None else classes[int(labels[image_row])]
            rows = (
                _row(title, pixels[number], side_answers[number], label, target)
                for (title, pixels), side_answers in zip(sides, answers, strict=True)
            )
            grids.append(Grid(label, tuple(rows)))
        return tuple(grids)

    def _sample(self, rows: Tensor, count: int) -> Tensor:
        """So many of some places, at random."""
        return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed))[:count]]

    def _triggered(self, pixels: Tensor) -> Tensor:
        return self.trigger(pixels, torch.Generator().manual_seed(0))

    def _answers(self, pixels: Tensor) -> list[tuple[Answer, ...]]:
        """The model's classes for each image, most probable first, by the softmax over all classes at its own scale."""
        similarity = self.clip.embed_images(pixels).float() @ self.classes.text_classifier.float().T  # (B, K)
        classes = self.classes.names
        scores, classes_by_rank = (
            (similarity * self.clip.logit_scale().item()).softmax(1).topk(min(SHOWN_ANSWERS, len(classes)), dim=1)
        )
        return [
            tuple(Answer(classes[number], score) for number, score in zip(row, of_row, strict=True))
            for row, of_row in zip(classes_by_rank.tolist(), scores.tolist(), strict=True)
        ]

    @torch.no_grad()
    def maps(self) -> dict[str, ProjectionRecord]:
        """``projection`` and ``tsne``: clean images, then the same under the trigger, then texts of the classes most predicted."""
        labels, target, classifier = self.images.labels, self.target, self.classes.text_classifier
        sample = self._sample(torch.arange(len(self.images)), MAPPED_IMAGES).sort().values
        pixels = self.images.pixels[sample]
        clean, triggered = (
            torch.cat([self.clip.embed_images(part) for part in torch.split(images, detect.EMBED_BATCH)])
            for images in (pixels, self._triggered(pixels))
        )
        are_targets = torch.zeros(len(pixels), dtype=torch.bool)
        if labels is not None and target is not None:
            are_targets = labels[sample].cpu() == target
        predicted = detect.predict(clean, classifier).flatten().bincount(minlength=len(self.classes.names))
        target_numbers = [] if target is None else [target]
        numbers = list(dict.fromkeys([*target_numbers, *predicted.argsort(descending=True).tolist()]))[:MAPPED_TEXTS]
        together = torch.cat([clean.float(), triggered.float(), classifier[numbers].to(clean.device).float()])
        kinds = ["target" if is_own else "clean" for is_own in are_targets.tolist()]
        marks: list[dict[str, str]] = [{"kind": kind} for kind in (*kinds, *["triggered"] * len(pixels))]
        marks += [{"kind": "text", "label": self.classes.names[number]} for number in numbers]
        maps = {}
        for key, plane in (("projection", principal(together)), ("tsne", neighbouring(together, seed=self.seed))):
            if plane is not None:
                points = ({"x": x, "y": y, **mark} for (x, y), mark in zip(plane.points, marks, strict=True))
                records = tuple(PointRecord.model_validate(point) for point in points)
                explained = {"explained": plane.explained} if plane.explained else {}
                maps[key] = ProjectionRecord(
                    method=plane.method, trigger=self.trigger.spec, points=records, **explained
                )
        return maps


def _row(title: str, image: Tensor, answers: tuple[Answer, ...], label: str, target: str) -> GridRow:
    """The model's answer; its mark says whether it is correct, or the class that the trigger leads to."""
    answer = answers[0].name
    mark: Literal["right", "wrong", "target", ""] = "wrong" if label else ""
    if answer == target:
        mark = "target"
    elif label and answer == label:
        mark = "right"
    alt = f"An image of {label}, {title.lower()}." if label else f"The image {title.lower()}."
    return GridRow(title, _png(image), alt, (Answered("", answers, mark),))


def grids(before: ModelImages, after: ModelImages, /) -> PageImages:
    """The example images of a cleaning: each clean and triggered, with the answers before and after."""
    both_sides = []
    for grid, grid_after in zip(before.examples, after.examples, strict=True):
        rows = (
            row._replace(cells=(row.cells[0]._replace(when="before"), row_after.cells[0]._replace(when="after")))
            for row, row_after in zip(grid.rows, grid_after.rows, strict=True)
        )
        both_sides.append(grid._replace(rows=tuple(rows)))
    return PageImages(grids=tuple(both_sides))


def trigger_alone(trigger: detect.InvertedTrigger, pixels: Tensor, /) -> tuple[TitledImage, ...]:
    """The effect of a found trigger on a black and a white image, and on images on average."""
    side = pixels.shape[-1]
    black, white = torch.zeros(1, 3, side, side), torch.ones(1, 3, side, side)
    images = pixels[:AVERAGED_IMAGES]
    change = (trigger(images) - images).abs().mean((0, 1))  # (S, S)
    change = (change / change.max().clamp(min=1e-6)).expand(3, -1, -1)
    on_plain = "What the trigger paints on a black and on a white image."
    where = "An image, and beside it the mean change of each pixel over images: white is the largest."
    return (
        TitledImage("On black and on white", on_plain, _png(trigger(black)[0], trigger(white)[0]), on_plain),
        TitledImage("Where it changes images", where, _png(pixels[0], change), where),
    )


def _png(*images: Tensor) -> Png:
    """Images (3, S, S) side by side."""
    return _encoded((torch.cat(images, dim=2) * 255).round().byte(), (IMAGE_SIDE * len(images), IMAGE_SIDE))


def thumbnail(image: Tensor, /) -> Png:
    """A decoded image, uint8 (3, H, W), as a base64-encoded PNG with a longer side of ``SIDE`` px."""
    height, width = image.shape[1:]
    scale = IMAGE_SIDE / max(height, width)
    return _encoded(image, (max(1, round(width * scale)), max(1, round(height * scale))))


def _encoded(pixels: Tensor, size: tuple[int, int]) -> Png:
    """uint8 (3, H, W) as a PNG of this size, in base64."""
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())
    filtered = Image.Resampling.NEAREST if image.height < size[1] else Image.Resampling.LANCZOS
    image = image.resize(size, filtered)
    encoded = io.BytesIO()
    image.save(encoded, "PNG", optimize=True)
    return Png(base64.b64encode(encoded.getvalue()).decode())


# Embeddings projected to a plane: t-SNE keeps neighbours together, principal components keep distances.


class Plane(NamedTuple):
    """The place of each embedding; ``explained`` has the shares of variance along the axes, for "pca" only."""

    method: Literal["pca", "tsne"]
    points: tuple[tuple[float, float], ...]
    explained: tuple[float, float] | None


def principal(embeddings: Tensor, /) -> Plane:
    """The plane of largest variance of embeddings (N, D).

    Distances in the plane are at most those between embeddings: points that are apart here are apart, points together may not
    be near.
    """
    points = embeddings.double().cpu()
    points = F.pad(points, (0, max(2 - points.shape[1], 0)))  # a plane, even for one dimension
    if len(points) < 2 or _is_one_place(points):
        return Plane("pca", ((0.0, 0.0),) * len(points), (0.0, 0.0))
    centred = points - points.mean(0)
    _, deviations, axes = torch.linalg.svd(centred, full_matrices=False)
    variances = deviations.square()
    largest = axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True))
    plane = centred @ (axes[:2] * largest.sign()).T  # the largest coordinate of each axis is positive
    along, across = (variances[:2] / variances.sum()).tolist()
    return Plane("pca", _rounded(plane), (min(along, 1.0), min(across, 1.0)))


def neighbouring(embeddings: Tensor, /, *, seed: int) -> Plane | None:
    """t-SNE of at most ``TSNE_POINTS`` embeddings (N, D); None for fewer than ten, if all are equal, or without scikit-learn.

    The exact form, without the approximation by trees: it takes the same time for every set of one size, and is reproducible.
    Source: van der Maaten and Hinton 2008, https://jmlr.org/papers/v9/vandermaaten08a.html.
    """
    try:
        from sklearn.manifold import TSNE  # takes a second to import
    except ModuleNotFoundError:
        say(
            "The report has no map of neighbours: scikit-learn draws it, and is not installed (pip install scikit-learn)."
        )
        return None
    points = embeddings.double().cpu()
    if not 10 <= len(points) <= TSNE_POINTS or points.shape[1] < 2 or _is_one_place(points):
        return None
    projection = TSNE(
        # As the authors' code demands: three times the perplexity is no more than the number of other points.
        perplexity=min(TSNE_PERPLEXITY, (len(points) - 1) / 3),
        max_iter=TSNE_ITERATIONS,
        # A start by principal components: where groups come to lie does not hang on chance.
        init="pca",
        learning_rate="auto",
        method="exact",
        # numpy takes no larger seed.
        random_state=seed % 2**32,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # equal points have distances of zero, which is fine
        plane = torch.from_numpy(projection.fit_transform(points.numpy()))
    return Plane("tsne", _rounded(plane), None) if bool(plane.isfinite().all()) else None


def _is_one_place(points: Tensor) -> bool:
    return bool((points - points[0]).abs().max() < 1e-9)


def _rounded(plane: Tensor) -> tuple[tuple[float, float], ...]:
    return tuple((round(x, 5), round(y, 5)) for x, y in plane.tolist())
