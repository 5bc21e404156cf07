"""The images of the HTML page, with captions and the model's answers."""

from typing import Literal, NamedTuple, TypedDict

from clipclean.report.wording import inert


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


def harmless_images(images: PageImages, /) -> PageImages:
    """The images, their words made harmless."""
    grids = (
        Grid(
            label=inert(grid["label"]),
            rows=[
                GridRow(
                    title=inert(row["title"]),
                    png_base64=row["png_base64"],
                    alt=inert(row["alt"]),
                    cells=inert(row["cells"]),
                )
                for row in grid["rows"]
            ],
        )
        for grid in images.grids
    )
    return PageImages(tuple(map(harmless_image, images.found_triggers)), tuple(grids))


def harmless_image(image: TitledImage, /) -> TitledImage:
    """An image with printable words."""
    words: TitledImage = inert({**image, "png_base64": ""})
    return {**words, "png_base64": image["png_base64"]}
