"""Feature preservation: a term against forgetting that any method can add."""

from torch import Tensor

from clipclean.methods.objective import Encode
from clipclean.train.loop import Batch, Loss
from clipclean.train.losses import squared_distance


def preserving(loss: Loss, encode_images: Encode, original: Encode, /, *, weight: float) -> Loss:
    """``loss + weight * S`` with S the mean squared distance of clean pictures' embeddings to where the original had them.

    Args:
        loss: any method's, on batches with ``pixels``.
        encode_images: the model that is trained, as it will be used: in evaluation mode, with gradients.
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
