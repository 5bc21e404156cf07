"""The images of a run: read limits, resizing for the model, and the cache of decoded images."""

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from clipclean.data import image as codec
from clipclean.data.sample import ImageSource, ReadLimits, Unusable
from clipclean.errors import RefusedInput

DETAIL = 2  # short side of the images for second views, in sides of the model's input
SPARE = 1.25  # times that: below it making an image smaller takes longer than it is worth


class Decoded(NamedTuple):
    """One image as a run needs it; all of it uint8 in [0, 255], from one decode."""

    fitted: Tensor  # (3, S, S), the model's input
    # (3, H, W), the source of second views: the whole image, its short side at most SPARE * DETAIL * S; None if not needed
    large: Tensor | None

    @property
    def nbytes(self) -> int:
        """Of the pixels."""
        return self.fitted.nbytes + (0 if self.large is None else self.large.nbytes)


@dataclass(frozen=True)
class Fit:
    """How an image becomes a model's input: ``apply`` takes uint8 (3, H, W) to uint8 (3, ``side``, ``side``)."""

    side: int
    apply: Callable[[Tensor], Tensor]


class ImageCache:
    """Decoded images by their source. Each is decoded once as long as there is room, else again each time.

    It is filled while the data are read, which decodes every image anyway. Screening, measuring, unlearning, planting and
    training take from it what is there; so it also carries the limits that every later read obeys.

    What is shown depends on the image's bytes alone, not on what else is kept: a run that goes on after a break sees what it
    would have seen. Nothing is thrown out for something newer: every epoch reads every image once in a new order, and under
    that order the newest is no more likely to be wanted than any other. Pairs with the same image share it. Threads may read
    side by side.

    Large images are kept at twice the model's side, so that more of them fit: of 12 megapixels, 36 MB of pixels, 1 MB is left
    for a model of 224 px. A JPEG of such a size is also scaled down while it is decoded, never below that. What is at most a
    quarter larger than that is kept as it is.

    Args:
        limits: what is refused unread.
        fit: the model's input; None for data that no model will see: nothing is kept then.
        max_bytes: room, in bytes of pixels.
        views: whether second views will be made, so that what they are made from is worth keeping.

    Example:
        >>> images = ImageCache(limits, fit=clip.architecture.fit, max_bytes=10**9)
        >>> read(Path("clean"), images=images).pairs[0].image.fitted().shape
        torch.Size([3, 224, 224])
    """

    def __init__(
        self, limits: ReadLimits, /, *, fit: Fit | None = None, max_bytes: int = 0, views: bool = False
    ) -> None:
        self.limits = limits
        self._fit = fit
        self._room = max_bytes if fit else 0
        self._views = views
        self._kept: dict[ImageSource, Decoded] = {}
        self._lock = Lock()

    def scratch(self) -> Path:
        """A new empty folder for copies of images; it is removed with the last image of the data."""
        folder = Path(tempfile.mkdtemp(prefix="clipclean-data-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def admit(self, source: ImageSource, data: bytes, /) -> None:
        """Check that encoded bytes decode, and keep the image if there is room.

        Raises:
            Unusable: with the reason.
        """
        if self._fit is None or self._room < 3 * self._fit.side**2:
            codec.check(data, max_pixels=self.limits.max_pixels)
        else:
            self._keep(source, self._made(data, self._fit, views=self._views))

    def get(self, source: ImageSource, /, *, views: bool) -> Decoded:
        """The image; shared, so it is not to be written to.

        Raises:
            RefusedInput: the file has changed since it was read, or never was usable.
        """
        kept = self._kept.get(source)
        if kept is not None and (kept.large is not None or not views):
            return kept
        assert self._fit is not None  # noqa: S101 # data that no model sees are never fitted
        with _as_refused(source):
            data = source.load(max_bytes=self.limits.max_bytes)
            return self._keep(source, self._made(data, self._fit, views=views or self._views))

    def _made(self, data: bytes, fit: Fit, /, *, views: bool) -> Decoded:
        enough = DETAIL * fit.side
        whole = codec.decoded(data, max_pixels=self.limits.max_pixels, enough=enough)
        is_near = min(whole.shape[-2:]) <= SPARE * enough
        large = (whole if is_near else codec.reduced(whole, short_side=enough)) if views else None
        return Decoded(fit.apply(whole), large)

    def _keep(self, source: ImageSource, made: Decoded, /) -> Decoded:
        """Keep the image of a source and return the kept one; two threads may have decoded the same image."""
        with self._lock:
            kept = self._kept.get(source)
            if kept is not None and (kept.large is not None or made.large is None):
                return kept
            more = made.nbytes - (kept.nbytes if kept else 0)
            if more <= self._room:
                self._kept[source] = made
                self._room -= more
        return made


@dataclass(frozen=True)
class Image:
    """One image of a data set: where its encoded bytes lie, and the cache that decodes it."""

    source: ImageSource
    cache: ImageCache = field(compare=False, repr=False)

    @property
    def is_file(self) -> bool:
        """Whether a file of the user's is this image and nothing else."""
        return self.source.offset == 0  # copies from tables begin behind a head

    def load(self) -> bytes:
        """The encoded bytes, read anew on each call; raises RefusedInput where they changed."""
        with _as_refused(self.source):
            return self.source.load(max_bytes=self.cache.limits.max_bytes)

    def decode(self) -> Tensor:
        """Uint8 (3, H, W) in full detail, decoded anew; raises RefusedInput."""
        with _as_refused(self.source):
            return codec.decoded(self.load(), max_pixels=self.cache.limits.max_pixels, enough=None)

    def fitted(self) -> Tensor:
        """The model's input, uint8 (3, S, S); raises RefusedInput."""
        return self.cache.get(self.source, views=False).fitted

    def decoded(self, *, views: bool) -> Decoded:
        """The same, and the source of second views; raises RefusedInput."""
        return self.cache.get(self.source, views=views)


def stack(images: Sequence[Image], /) -> Tensor:
    """The model's input of some images: uint8 (N, 3, S, S)."""
    return torch.stack([image.fitted() for image in images])


@contextlib.contextmanager
def _as_refused(source: ImageSource, /) -> Iterator[None]:
    """Within, an image that was usable when the data were read, and is not any more, is refused by name."""
    try:
        yield
    except Unusable as error:
        raise RefusedInput(
            f"{source} cannot be used as an image: {error}. Remove it from the data, or put a sound file in its place."
        ) from error
