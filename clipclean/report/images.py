"""The images of the HTML page, with captions and the model's answers."""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypedDict

from clipclean.report.wording import inert

_PNG = re.compile(r"iVBORw0KGgo[A-Za-z0-9+/]+={0,2}")


class TitledImage(TypedDict):
    """A PNG image with a title and a caption; ``alt`` describes it for screen readers."""

    title: str
    caption: str
    png_base64: str
    alt: str


class Answer(TypedDict):
    """A class that the model takes an image for, and how sure it is, in [0, 1]."""

    name: str
    score: float


class Cell(TypedDict):
    """The model's answers to one image, before or after cleaning; ``mark`` judges the first of them."""

    when: str
    answers: list[Answer]
    mark: Literal["right", "wrong", "target", ""]


class GridRow(TypedDict):
    """One image, and the answers before and after."""

    title: str
    png_base64: str
    alt: str
    cells: list[Cell]


class Grid(TypedDict):
    """One example: an image and its triggered copy, each before and after; ``label`` is empty where it is not known."""

    label: str
    rows: list[GridRow]


class PageImages(NamedTuple):
    """The images of a page: images of a trigger by itself, and examples."""

    found_triggers: tuple[TitledImage, ...] = ()
    grids: tuple[Grid, ...] = ()


def checked(images: PageImages, /) -> PageImages:
    """The images, their words made harmless.

    Raises:
        ValueError: one is not a base64-encoded PNG.
    """
    for title, png in _pngs(images):
        if not _PNG.fullmatch(png):
            raise ValueError(f"The image {title!r} is not a base64-encoded PNG.")
    return PageImages(tuple(map(harmless_image, images.found_triggers)), tuple(map(_harmless_grid, images.grids)))


def harmless_image(image: TitledImage, /) -> TitledImage:
    """An image with printable words; raises ValueError where it is not a base64-encoded PNG."""
    if not _PNG.fullmatch(image["png_base64"]):
        raise ValueError(f"The image {image['title']!r} is not a base64-encoded PNG.")
    words: TitledImage = inert({**image, "png_base64": ""})
    return {**words, "png_base64": image["png_base64"]}


def _harmless_grid(grid: Grid) -> Grid:
    rows = [{**row, "png_base64": ""} for row in grid["rows"]]
    words: Grid = inert({"label": grid["label"], "rows": rows})
    for shown, row in zip(words["rows"], grid["rows"], strict=True):
        shown["png_base64"] = row["png_base64"]
    return words


def _pngs(images: PageImages) -> Iterator[tuple[str, str]]:
    for image in images.found_triggers:
        yield image["title"], image["png_base64"]
    for grid in images.grids:
        for row in grid["rows"]:
            yield row["title"], row["png_base64"]
