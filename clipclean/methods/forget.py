"""Feature-preserving unlearning: triggered pictures back to where the original put the clean ones."""

from torch import Tensor

from clipclean.methods.objective import Encode
from clipclean.train.loop import Batch, Loss
from clipclean.train.losses import squared_distance


def forgetting(encode_images: Encode, original: Encode, /, *, preserve_weight: float, restore_weight: float) -> Loss:
    """``preserve_weight * |f(x) - f0(x)|² + restore_weight * (|f(x + t) - f0(x)|² + |f(x + t') - f0(x)|²)``, f0 the original.

    Batches have ``pixels`` and the same pictures under two triggers, ``newest`` and ``earlier``. No captions and no labels
    are needed; what the original said of clean pictures is all that is asked for.
    """

    def loss(batch: Batch) -> dict[str, Tensor]:
        wanted = original(batch.inputs["pixels"])
        clean, newest, earlier = (encode_images(batch.inputs[name]) for name in ("pixels", "newest", "earlier"))
        moved = squared_distance(clean, wanted)
        left = squared_distance(newest, wanted) + squared_distance(earlier, wanted)
        total = preserve_weight * moved + restore_weight * left
        return {"loss": total, "preservation": moved, "restoration": left / 2}

    return loss
