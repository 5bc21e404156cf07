"""What the loss of a method is made from."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from clipclean import model, train
from clipclean.config.recipe import Loss as Weights

Encode = Callable[[Tensor], Tensor]
Scale = Callable[[], Tensor]


@dataclass(frozen=True)
class Parts:
    """The model, and what a loss compares it with.

    Attributes:
        clip: the model, with encoders that go part by part, or gather from several processes, where that is asked for.
        original: a frozen copy from before the first step, for methods that look back at it; else the model itself.
        weights: of the loss terms.
        text_classifier: (K, D), the zero-shot classifier, for methods on labels.
    """

    clip: model.Clip
    original: model.Clip
    weights: Weights
    text_classifier: Tensor | None


Objective = Callable[[Parts], train.Loss]
