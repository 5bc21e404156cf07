"""Supervised finetuning of the image tower on labelled images: the CleanCLIP paper's second method."""

import torch
import torch.nn.functional as F
from torch import Tensor

from clipclean.methods.objective import Encode, Parts, Scale
from clipclean.train.loop import Batch, Loss


def objective(parts: Parts, /) -> Loss:
    """The loss of ``supervised``."""
    assert parts.text_classifier is not None  # noqa: S101 # the caller has the labels, and so the classes
    return supervised(parts.clip.encode_images, parts.clip.logit_scale, text_classifier=parts.text_classifier)


def supervised(encode_images: Encode, scale: Scale, /, *, text_classifier: Tensor) -> Loss:
    """Cross-entropy of images with ``labels`` over a frozen linear head, the zero-shot classifier (K, D).

    With a trained head, images could drift away from their texts, whose tower does not move. A frozen head of class texts keeps
    the result a CLIP instead of a mere classifier; it knows only the classes of the labels.

    Source: CleanCLIP (Bansal et al. 2023, arXiv 2303.03323), its finetuning on labelled images; the head is ours.
    """

    def loss(batch: Batch) -> dict[str, Tensor]:
        images = encode_images(batch.inputs["pixels"])
        with torch.autocast(images.device.type, enabled=False):
            # The temperature is detached: it belongs to the pairing of images and texts, and no texts are trained here.
            logits = scale().detach() * images.float() @ text_classifier.T  # (B, D) @ (D, K) -> (B, K)
        return {"loss": F.cross_entropy(logits, batch.inputs["labels"].to(logits.device))}

    return loss
