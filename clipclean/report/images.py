"""The images of a page, with captions and the model's answers."""

from typing import Literal, NamedTuple

from clipclean.report.wording import Png


class TitledImage(NamedTuple):
    """A PNG image with a title and a caption; ``alt`` describes it for screen readers."""

    title: str
    caption: str
    png_base64: Png
    alt: str


class Answer(NamedTuple):
    """A class that the model takes an image for, and how sure it is, in [0, 1]."""

    name: str
    score: float


class Answered(NamedTuple):
    """The model's answers to one image, before or after cleaning; ``mark`` judges the first of them."""

    when: str
    answers: tuple[Answer, ...]
    mark: Literal["right", "wrong", "target", ""]


class GridRow(NamedTuple):
    """One image, and the answers before and after."""

    title: str
    png_base64: Png
    alt: str
    cells: tuple[Answered, ...]


class Grid(NamedTuple):
    """One example: an image and its triggered copy; ``label`` is empty where it is not known."""

    label: str
    rows: tuple[GridRow, ...]


class PageImages(NamedTuple):
    """The images of a page: images of a trigger by itself, and examples."""

    found_triggers: tuple[TitledImage, ...] = ()
    grids: tuple[Grid, ...] = ()


NONE = PageImages()
