"""The cleaning methods as plain values: one entry per method, which every other place reads, and the weights of their losses.

A new method is its entry here, its weight in ``Loss`` and in the ``ADDED_LATER_KEYS`` of that (else the digests of all recipes change, and
with them what their evidence is of), its loss in ``LOSSES`` of ``clipclean/methods/losses.py``, a recipe, and the schema of recipes. Nothing
here needs torch.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from clipclean.config.yaml_file import Section, field


@dataclass(frozen=True)
class Method:
    """One method."""

    says: str  # what it does, for help and documentation
    needs_captions: bool = False  # whether it trains on image-caption pairs
    needs_labels: bool = False  # whether it trains on labels
    uses_classes: bool = True  # whether the class list decides what it does
    moves: Literal["model", "image tower"] = "model"
    views: Literal["needed", "unused", "own"] = "unused"  # second views; own: each step of a sequence has its own loss
    keeps_original: bool = False  # whether its loss looks back at the model as it was
    perturbs: bool = False  # whether its images are perturbed
    disturbs: bool = False  # whether each image is shown changed as a whole, beside the image itself
    searches: bool = False  # whether it searches for triggers, and then works in rounds instead of epochs
    chooses: bool = False  # whether it chooses among other recipes, and has no steps of its own


METHODS: dict[str, Method] = {
    "cleanclip": Method(
        "the image-caption loss and the self-supervised loss", needs_captions=True, uses_classes=False, views="needed"
    ),
    "mmcl": Method("the image-caption loss alone, a control", needs_captions=True, uses_classes=False),
    "par": Method(
        "the image-caption loss, while it pushes all embeddings away from the original's",
        needs_captions=True,
        uses_classes=False,
        keeps_original=True,
        perturbs=True,
    ),
    "supervised": Method("finetunes the image tower on labelled images", needs_labels=True, moves="image tower"),
    "distill": Method(
        "the model sees images through random waves, blends, colours and warps as the original sees them without",
        uses_classes=False,
        moves="image tower",
        keeps_original=True,
        disturbs=True,
    ),
    "unlearn": Method("searches for triggers, and trains the model to ignore them", moves="image tower", searches=True),
    "auto": Method(
        "tries recipes from gentle to harsh, on the triggers that its audit found or on test backdoors in a copy, until one leaves "
        "nothing open",
        needs_captions=True,
        views="own",
        chooses=True,
    ),
}

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(sorted(METHODS))]  # what a recipe may name: an entry, and nothing beside it

_weight = partial(field, unit="weight")


class Loss(Section):
    """The weights of the loss terms; a method uses its own and `preserve_weight`."""

    clip_weight: float = _weight(1.0, "Lambda 1, the weight of the image-caption loss.", gt=0, le=100)
    self_supervised_weight: float = _weight(
        1.0,
        "Lambda 2, the weight of the self-supervised loss, which ties each image and caption to its second view.",
        ge=0,
        le=100,
    )
    preserve_weight: float = _weight(
        0.0,
        "Weight of the squared distance of clean images' embeddings to the original's, against forgetting.",
        ge=0,
        le=1000,
    )
    restore_weight: float = _weight(
        0.5,
        "unlearn, distill: weight of the squared distance of triggered, or changed, images' embeddings to the original's clean ones.",
        gt=0,
        le=1000,
    )
    push_weight: float = _weight(
        0.5, "par: weight of the squared distances of embeddings to the original's, which par increases.", gt=0, le=100
    )
    push_limit: float = field(2.15, "par: mean squared distance up to which it pushes.", gt=0, le=4)
