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

VIEW_SCALE = 2  # short side of the images for second views, in sides of the model's input
SPARE_SCALE = 1.25  # times that: below it making an image smaller takes longer than it is worth


class DecodedImage(NamedTuple):
    """One image as a run needs it; all of it uint8 in [0, 255], from one decode."""

    fitted: Tensor  # (3, S, S), the model's input
    # (3, H, W), the source of second views: the whole image, its short side at most SPARE_SCALE * VIEW_SCALE * S; None if not needed
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
        self._images: dict[ImageSource, DecodedImage] = {}
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
            self._keep(source, self._decode(data, self._fit, views=self._views))

    def get(self, source: ImageSource, /, *, views: bool) -> DecodedImage:
        """The image; shared, so it is not to be written to.

        Raises:
            RefusedInput: the file has changed since it was read, or never was usable.
        """
        image = self._images.get(source)
        if image is not None and (image.large is not None or not views):
            return image
        assert self._fit is not None  # noqa: S101 # data that no model sees are never fitted
        with _as_refused(source):
            data = source.load(max_bytes=self.limits.max_bytes)
            return self._keep(source, self._decode(data, self._fit, views=views or self._views))

    def _decode(self, data: bytes, fit: Fit, /, *, views: bool) -> DecodedImage:
        min_side = VIEW_SCALE * fit.side
        image = codec.decode(data, max_pixels=self.limits.max_pixels, min_side=min_side)
        is_near = min(image.shape[-2:]) <= SPARE_SCALE * min_side
        large = (image if is_near else codec.shrink(image, short_side=min_side)) if views else None
        return DecodedImage(fit.apply(image), large)

    def _keep(self, source: ImageSource, image: DecodedImage, /) -> DecodedImage:
        """Keep the image of a source and return the kept one; two threads may have decoded the same image."""
        with self._lock:
            present = self._images.get(source)
            if present is not None and (present.large is not None or image.large is None):
                return present
            extra_bytes = image.nbytes - (present.nbytes if present else 0)
            if extra_bytes <= self._room:
                self._images[source] = image
                self._room -= extra_bytes
        return image


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
            return codec.decode(self.load(), max_pixels=self.cache.limits.max_pixels, min_side=None)

    def fitted(self) -> Tensor:
        """The model's input, uint8 (3, S, S); raises RefusedInput."""
        return self.cache.get(self.source, views=False).fitted

    def decoded(self, *, views: bool) -> DecodedImage:
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
