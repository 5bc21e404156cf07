"""The type of an objective, and a term against forgetting that any method can add."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from clipclean import model, train
from clipclean.config.recipe import Loss as Weights
from clipclean.train.loop import Batch, Loss
from clipclean.train.losses import squared_distance

Encode = Callable[[Tensor], Tensor]
Scale = Callable[[], Tensor]


@dataclass(frozen=True)
class Parts:
    """The model, and the references of its loss.

    Attributes:
        clip: the model, with encoders that may go part by part, or gather from several processes.
        original_images: the frozen image tower of the original, for methods that compare with it.
        original_tokens: the text tower, likewise.
        weights: of the loss terms.
        text_classifier: (K, D), the zero-shot classifier, for methods on labels.
    """

    clip: model.Clip
    original_images: Encode
    original_tokens: Encode
    weights: Weights
    text_classifier: Tensor | None


Objective = Callable[[Parts], train.Loss]


def preserving(loss: Loss, encode_images: Encode, original: Encode, /, *, weight: float) -> Loss:
    """``loss + weight * S`` with S the mean squared distance of clean images' embeddings to where the original had them.

    Args:
        loss: any method's, on batches with ``pixels``.
        encode_images: the trained model's image tower, as it will be used: in evaluation mode, with gradients.
        original: the frozen original, without gradients.
        weight: of the term; zero leaves the loss as it is.
    """
    if weight == 0:
        return loss

    def preserved(batch: Batch) -> dict[str, Tensor]:
        parts = loss(batch)
        pixels = batch.inputs["pixels"]
        moved = squared_distance(encode_images(pixels), original(pixels))
        return parts | {"loss": parts["loss"] + weight * moved, "preservation": moved}

    return preserved
