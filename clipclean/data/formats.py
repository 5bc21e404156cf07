"""The kinds of file with images in them; a further data format is an entry here, and a module that reads it."""

from typing import NamedTuple


class Container(NamedTuple):
    """A kind of file that holds images."""

    words: str  # for users
    module: str  # of this package, whose ``read`` takes kind, paths, what is wanted, and a scratch folder
    mark: bytes | None  # that tells it, ``at`` a byte; None of one whose suffix alone does
    at: int = 0
    is_told_by_name: bool = True  # whether its suffix is enough

    def tells(self, head: bytes, /) -> bool:
        """Whether the first bytes of a file are of this kind."""
        return self.mark is not None and head[self.at :].startswith(self.mark)


CONTAINERS = {  # by their suffixes; of several in one folder the first is read
    "tar": Container("tar shards ('shards/*.tar')", "shards", b"ustar", at=257),
    "arrow": Container("a folder saved by datasets", "arrow", b"ARROW1"),
    "parquet": Container("Parquet", "arrow", b"PAR1", is_told_by_name=False),
}
_LAST, *_OTHERS = (container.words for container in CONTAINERS.values())
READABLE_FORMATS = f"a folder, CSV, JSON, COCO captions, {', '.join(reversed(_OTHERS))}, or {_LAST}"
