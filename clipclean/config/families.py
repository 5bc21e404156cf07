"""The trigger families of the search as plain values: what reports and recipes say of them, without PyTorch.

``clipclean.detect.families`` adds to each what it paints. A new family is an entry in both.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownFamily:
    """One kind of trigger.

    Attributes:
        words: its description for users.
        said: a phrase for its size, with ``{}`` for the share in per cent.
        is_general: whether it can paint any pattern. Such a trigger exists for every class, so sizes compare; a family of few
            parameters holds natural triggers of some classes (stripes of a pole) and none of others.
        is_local: whether it changes a part of the image and leaves the rest as it is.
    """

    words: str
    said: str
    is_general: bool
    is_local: bool = False


FAMILIES: dict[str, KnownFamily] = {
    "mask": KnownFamily("fixed mask and pattern", "covers {} of the image", is_general=True, is_local=True),
    "patch": KnownFamily("patch at random places", "covers {} of the image", is_general=True, is_local=True),
    "blend": KnownFamily("pattern blended into the whole image", "weighs {}", is_general=True),
    "additive": KnownFamily("faint pattern over the whole image", "changes a pixel by at most {}", is_general=True),
    "wave": KnownFamily("one wave, of some frequency and direction", "changes a pixel by at most {}", is_general=False),
}
