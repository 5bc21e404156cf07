"""Perturb and Recover: pushes all embeddings away from the poisoned model's, while it matches images and captions."""

import torch
from torch import Tensor

from clipclean.methods.objective import Encode, Parts, Scale
from clipclean.train.loop import Batch, Loss
from clipclean.train.losses import clip_loss, squared_distance


def objective(parts: Parts, /) -> Loss:
    """The loss of ``par``."""
    clip, weights = parts.clip, parts.weights
    return par(
        clip.encode_images,
        clip.encode_tokens,
        clip.logit_scale,
        original_images=parts.original_images,
        original_tokens=parts.original_tokens,
        clip_weight=weights.clip_weight,
        push_weight=weights.push_weight,
        push_limit=weights.push_limit,
    )


def par(
    encode_images: Encode,
    encode_tokens: Encode,
    scale: Scale,
    /,
    *,
    original_images: Encode,
    original_tokens: Encode,
    clip_weight: float,
    push_weight: float,
    push_limit: float,
) -> Loss:
    """``clip_weight * L_CLIP - push_weight * (S_images + S_texts)`` on batches of perturbed pixels and tokens.

    S is the mean squared distance, in [0, 4], of a tower's embeddings to those that the frozen original gives the same
    inputs. A term that has passed ``push_limit`` is left out of this step: there it would only grow.

    Source: Perturb and Recover (arXiv 2412.00727), written from the paper.
    """

    def loss(batch: Batch) -> dict[str, Tensor]:
        # The push ignores captions; the matching restores what the pairs teach. The rest, such as a backdoor, stays lost.
        pixels, tokens = batch.inputs["pixels"], batch.inputs["tokens"]
        images, texts = encode_images(pixels), encode_tokens(tokens)
        across = clip_loss(images, texts, scale())
        moved = [squared_distance(images, original_images(pixels)), squared_distance(texts, original_tokens(tokens))]
        # Zeroed, not clamped: a clamp's gradient is zero as well, but its value would remain in the recorded loss.
        pushed = sum((torch.where(s > push_limit, torch.zeros_like(s), s) for s in moved), torch.zeros_like(across))
        total = clip_weight * across - push_weight * pushed
        return {"loss": total, "clip": across, "image_push": moved[0], "text_push": moved[1]}

    return loss
