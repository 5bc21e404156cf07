"""The losses of ``cleanclip`` and its control ``mmcl`` on one batch."""

import torch
from torch import Tensor

from clipclean.methods.objective import Encode, Parts, Scale
from clipclean.train.loop import Batch, Loss
from clipclean.train.losses import clip_loss, self_supervised_loss


def objective(parts: Parts, /) -> Loss:
    """The loss of ``cleanclip``, and of ``mmcl``, whose second weight is zero."""
    clip, weights = parts.clip, parts.weights
    return cleanclip(
        clip.encode_images,
        clip.encode_tokens,
        clip.logit_scale,
        clip_weight=weights.clip_weight,
        self_supervised_weight=weights.self_supervised_weight,
    )


def cleanclip(
    encode_images: Encode,
    encode_tokens: Encode,
    scale: Scale,
    /,
    *,
    clip_weight: float,
    self_supervised_weight: float,
) -> Loss:
    """``clip_weight * L_CLIP + self_supervised_weight * L_SS`` on batches of pairs and their second views.

    The batch has ``pixels``, ``tokens`` and, unless the second weight is zero, ``pixel_views`` and ``token_views``.
    Originals and views go through each tower together, so that batch normalisation sees both, as in the reference.
    With a zero second weight this is L_CLIP alone, the paper's control ("MMCL").
    """

    def loss(batch: Batch) -> dict[str, Tensor]:
        factor = scale()
        if self_supervised_weight == 0:
            across = clip_loss(encode_images(batch.inputs["pixels"]), encode_tokens(batch.inputs["tokens"]), factor)
            return {"loss": clip_weight * across, "clip": across}
        # In one batch: two passes would move the running statistics twice, and normalise originals and views apart.
        images, image_views = encode_images(torch.cat([batch.inputs["pixels"], batch.inputs["pixel_views"]])).chunk(2)
        texts, text_views = encode_tokens(torch.cat([batch.inputs["tokens"], batch.inputs["token_views"]])).chunk(2)
        across = clip_loss(images, texts, factor)
        within = self_supervised_loss(images, image_views, texts, text_views, factor)
        # L_CLIP alone leaves most of a backdoor (0.551 of 0.907 on the tiny model); the second term breaks the tie between
        # trigger and caption, and costs accuracy as its weight grows (docs/experiments.md, "What costs accuracy in cleaning").
        total = clip_weight * across + self_supervised_weight * within
        return {"loss": total, "clip": across, "self_supervised": within}

    return loss
