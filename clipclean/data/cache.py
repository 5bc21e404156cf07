"""Decoded pictures in memory, as many as fit."""

from collections.abc import Sequence
from threading import Lock

from torch import Tensor

from clipclean.data.clean_set import Pair
from clipclean.data.picture import decode
from clipclean.data.source import ImageSource, Limits


class DecodeCache:
    """Pictures by the number of their pair; each is decoded once while there is room, and anew where there is none.

    Nothing is thrown out for something newer: every epoch reads every picture once in a new order, and under that
    order the newest is no more likely to be wanted than any other. Pairs with the same picture share it. Threads may
    read side by side.

    Example:
        >>> cache = DecodeCache(clean.pairs, limits=limits, max_bytes=2_000_000_000)
        >>> cache[0].shape
        torch.Size([3, 480, 640])
    """

    def __init__(self, pairs: Sequence[Pair], /, *, limits: Limits, max_bytes: int) -> None:
        self._pairs = pairs
        self._limits = limits
        self._room = max_bytes  # bytes of pixels
        self._pictures: dict[ImageSource, Tensor] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, number: int, /) -> Tensor:
        """The picture, uint8 (3, H, W); shared, so it is not to be written to.

        Raises:
            RefusedInput: the file has changed since it was read, or never was usable.
        """
        source = self._pairs[number].image
        kept = self._pictures.get(source)
        if kept is not None:
            return kept
        decoded = decode(source, limits=self._limits)  # outside the lock: two threads may decode the same picture
        with self._lock:
            kept = self._pictures.get(source)
            if kept is None and decoded.nbytes <= self._room:
                self._pictures[source] = decoded
                self._room -= decoded.nbytes
        return decoded if kept is None else kept
