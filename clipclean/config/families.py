"""``FAMILY_FACTS``: the kinds of trigger that a search looks for, as reports, recipes and estimates know them, without PyTorch.

A further family is an entry here, one of ``detect.families.SEARCH_FAMILIES``, which paints it, and its unit in ``calibration.json``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class FamilyFacts:
    """One kind of trigger, as reports and recipes tell it; ``clipclean.detect.families`` adds what it paints."""

    words: str  # its description for users
    size_phrase: str  # a phrase for its size, with ``{}`` for the share in per cent
    # Whether it can paint any pattern. Such a trigger exists for every class, so sizes compare; a family of few parameters holds
    # natural triggers of some classes (stripes of a pole) and none of others.
    is_general: bool
    is_local: bool = False  # whether it changes a part of the image and leaves the rest as it is
    # Whether it shall show nothing of a class's images. It paints what another family does, which is searched without a target for it.
    is_apart: bool = False
    # Whether it shows what no other family comes near, so that it is searched even where nothing else does.
    is_unlike: bool = False
    # Where a search towards a class takes another level of success, or more steps, than the effort says.
    success: float | None = None
    steps: int = 1  # times those of the effort
    vain_share: float | None = None  # of these, after which it ends where no class came near; None: it never does
    counts: float = 1.0  # share of the least excess of a found trigger from which one of this family counts


FAMILY_FACTS: dict[str, FamilyFacts] = {
    "mask": FamilyFacts("fixed mask and pattern", "covers {} of the image", is_general=True, is_local=True),
    "shortcut": FamilyFacts(
        "shortcut (a mask without the looks of the class)",
        "covers {} of the image",
        is_general=True,
        is_local=True,
        is_apart=True,
    ),
    "patch": FamilyFacts("patch at random places", "covers {} of the image", is_general=True, is_local=True),
    "blend": FamilyFacts("pattern blended into the whole image", "weighs {}", is_general=True),
    "additive": FamilyFacts("faint pattern over the whole image", "changes a pixel by at most {}", is_general=True),
    "wave": FamilyFacts("one wave, of some frequency and direction", "changes a pixel by at most {}", is_general=False),
    # Planted warps turn 0.7 of the images at most, and a found one 0.36 to 0.5 of unseen ones, where 0.16 is the most in a clean model. By fewer
    # steps none is found; at a success of 0.5 three of 26 clean models have a natural one, at 0.55 none.
    "warp": FamilyFacts(
        "smooth warp of the whole image",
        "moves pixels by {} of the largest warp",
        is_general=False,
        is_unlike=True,
        success=0.55,
        steps=3,
        vain_share=0.5,
        counts=0.5,
    ),
}
