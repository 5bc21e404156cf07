"""The loss of each method on one batch: ``LOSSES`` for those that train on pairs, ``unlearning_loss`` for ``unlearn``; and a term against forgetting
that any of the first can add.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clipclean import model
from clipclean.config.methods import METHODS
from clipclean.config.methods import Loss as LossWeights
from clipclean.train.loop import Batch, LossFunction
from clipclean.train.losses import clip_loss, self_supervised_loss, squared_distance, squared_distances
from clipclean.train.memory import Encode, MicroBatches


@dataclass(frozen=True)
class LossInputs:
    """What a loss is made of."""

    images: Encode  # the image tower, which may go part by part, or gather from several processes
    tokens: Encode  # the text tower, likewise
    scale: Callable[[], Tensor]  # the factor on cosines
    weights: LossWeights  # of the loss terms
    original: tuple[Encode, Encode] | None = None  # the frozen towers of the original, for losses that compare with it
    text_classifier: Tensor | None = None  # (K, D), the zero-shot classifier, for losses on labels
    used: Encode | None = None  # the image tower as it will be used: in evaluation mode, with gradients


def cleanclip(parts: LossInputs, /) -> LossFunction:
    """``clip_weight * L_CLIP + self_supervised_weight * L_SS`` on batches of pairs and their second views.

    The batch has ``pixels``, ``tokens`` and, unless the second weight is zero, ``pixel_views`` and ``token_views``.
    Originals and views go through each tower together, so that batch normalisation sees both, as in the reference.
    With a zero second weight this is L_CLIP alone, the paper's control ("MMCL").
    """
    weights = parts.weights

    def loss(batch: Batch) -> dict[str, Tensor]:
        factor, batch_inputs = parts.scale(), batch.inputs
        if weights.self_supervised_weight == 0:
            across = clip_loss(parts.images(batch_inputs["pixels"]), parts.tokens(batch_inputs["tokens"]), factor)
            return {"loss": weights.clip_weight * across, "clip": across}
        # In one batch: two passes would move the running statistics twice, and normalise originals and views apart.
        images, image_views = parts.images(torch.cat([batch_inputs["pixels"], batch_inputs["pixel_views"]])).chunk(2)
        texts, text_views = parts.tokens(torch.cat([batch_inputs["tokens"], batch_inputs["token_views"]])).chunk(2)
        across = clip_loss(images, texts, factor)
        within = self_supervised_loss(images, image_views, texts, text_views, factor)
        total = weights.clip_weight * across + weights.self_supervised_weight * within
        return {"loss": total, "clip": across, "self_supervised": within}

    return loss


def par(parts: LossInputs, /) -> LossFunction:
    """``clip_weight * L_CLIP - push_weight * (S_images + S_texts)`` on batches of perturbed pixels and tokens.

    S is the mean squared distance, in [0, 4], of a tower's embeddings to those that the frozen original gives the same
    inputs. A term that has passed ``push_limit`` is left out of this step: there it would only grow.

    Source: Perturb and Recover (arXiv 2412.00727), written from the paper.
    """
    weights = parts.weights
    assert parts.original is not None  # noqa: S101 # METHODS says that it is kept
    original_images, original_tokens = parts.original

    def loss(batch: Batch) -> dict[str, Tensor]:
        # The push ignores captions; the matching restores what the pairs teach. The rest, such as a backdoor, stays lost.
        pixels, tokens = batch.inputs["pixels"], batch.inputs["tokens"]
        images, texts = parts.images(pixels), parts.tokens(tokens)
        across = clip_loss(images, texts, parts.scale())
        moved = [squared_distance(images, original_images(pixels)), squared_distance(texts, original_tokens(tokens))]
        # Zeroed, not clamped: a clamp's gradient is zero as well, but its value would remain in the recorded loss.
        near = (torch.where(s > weights.push_limit, torch.zeros_like(s), s) for s in moved)
        total = weights.clip_weight * across - weights.push_weight * sum(near, torch.zeros_like(across))
        return {"loss": total, "clip": across, "image_push": moved[0], "text_push": moved[1]}

    return loss


def supervised(parts: LossInputs, /) -> LossFunction:
    """Cross-entropy of images with ``labels`` over a frozen linear head, the zero-shot classifier (K, D).

    With a trained head, images could drift away from their texts, whose tower does not move. A frozen head of class texts keeps
    the result a CLIP instead of a mere classifier; it knows only the classes of the labels.

    Source: CleanCLIP (Bansal et al. 2023, arXiv 2303.03323), its finetuning on labelled images; the head is ours.
    """
    head = parts.text_classifier
    assert head is not None  # noqa: S101 # the caller has the labels, and so the classes

    def loss(batch: Batch) -> dict[str, Tensor]:
        images = parts.images(batch.inputs["pixels"])
        with torch.autocast(images.device.type, enabled=False):
            # The temperature is detached: it belongs to the pairing of images and texts, and no texts are trained here.
            logits = parts.scale().detach() * images.float() @ head.T  # (B, D) @ (D, K) -> (B, K)
        return {"loss": F.cross_entropy(logits, batch.inputs["labels"].to(logits.device, non_blocking=True))}

    return loss


def distill(parts: LossInputs, /) -> LossFunction:
    """``preserve_weight * |f(x) - f0(x)|² + 2 * restore_weight * |f(x') - f0(x)|²``, x' the image x changed as a whole.

    The batch has ``pixels`` and the same images ``disturbed``. The original sees clean images alone, where no trigger acts.
    """
    assert parts.original is not None  # noqa: S101 # METHODS says that it is kept
    assert parts.used is not None  # noqa: S101
    own = unlearning_loss(parts.used, parts.original[0], parts.weights)

    def loss(batch: Batch) -> dict[str, Tensor]:
        return own(Batch({name: batch.inputs[name] for name in ("pixels", "disturbed")}, batch.keys))

    return loss


LOSSES: dict[str, Callable[[LossInputs], LossFunction]] = {
    "cleanclip": cleanclip,
    "mmcl": cleanclip,  # its second weight is zero
    "par": par,
    "supervised": supervised,
    "distill": distill,
}


def objective(
    clip: model.Clip,
    method: str,
    weights: LossWeights,
    /,
    *,
    text_classifier: Tensor | None,
    micro: MicroBatches,
    parallel: Callable[[Encode], Encode] = lambda encode: encode,
) -> LossFunction:
    """The loss of a method on a whole batch, of which each process encodes its share, part by part.

    Args:
        clip: the model before its first step; a frozen copy is kept if the loss compares with it.
        method: its name.
        weights: of its terms.
        text_classifier: (K, D), the zero-shot classifier, for methods on labels.
        micro: how many pairs go through a tower of the model at once.
        parallel: encodes what all processes have, so that every loss is that of the whole batch.
    """
    # The copy takes the memory of a model, so it is made only where the loss looks at it.
    looks_back = METHODS[method].keeps_original or weights.preserve_weight
    original = model.frozen_copy(clip) if looks_back else clip

    # Preservation compares what users get: in training mode a ResNet normalises by the batch, and would differ from the frozen
    # original even before the first step.
    def as_used(pixels: Tensor) -> Tensor:
        with model.evaluating(clip.net):
            return clip.encode_images(pixels)

    images, tokens, used = (
        parallel(micro.over(encode)) for encode in (clip.encode_images, clip.encode_tokens, as_used)
    )
    original_images, original_tokens = (parallel(encode) for encode in (original.encode_images, original.encode_tokens))
    own = LOSSES[method](
        LossInputs(images, tokens, clip.logit_scale, weights, (original_images, original_tokens), text_classifier, used)
    )
    if METHODS[method].disturbs:  # its own loss preserves, by one pass of the original
        return own
    return preserving(own, used, original_images, weight=weights.preserve_weight)


def preserving(loss: LossFunction, encode_images: Encode, original: Encode, /, *, weight: float) -> LossFunction:
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


def section_name(copies: str, section: int, /) -> str:
    """The name of the distance of one section of triggered copies."""
    return f"{copies}/{section}"


def unlearning_loss(
    encode_images: Encode, original: Encode, weights: LossWeights, /, *, sections: int = 0, base: Encode | None = None
) -> LossFunction:
    """``preserve_weight * |f(x) - f0(x)|² + 2 * restore_weight * mean |f(x + t) - g(x, t)|²``, f0 the original.

    g(x, t) is f0(x): a trigger shall change nothing. With a ``base`` b it is f0(x) + b(x + t) - b(x) at unit length: a trigger shall
    change what it changes in the model that this one was finetuned from, so that what is natural to both is left alone.

    Batches have ``pixels`` and the same images under triggers, ``newest``, or in two copies, ``earlier`` as well, of which the mean is
    taken, or under none. No captions and no labels are needed, only the original's embeddings of clean images. A batch is
    dealt out to ``sections`` in turn, image by image. The mean distance of each section of each copy is among the losses, by its
    :func:`section_name`.
    """

    def loss(batch: Batch) -> dict[str, Tensor]:
        pixels = batch.inputs["pixels"]
        with torch.no_grad():  # of teachers, whose weights may have gradients: a base is a model like any other
            aims = dict.fromkeys(batch.inputs, original(pixels))
            if base is not None:
                base_clean, unmoved = aims["pixels"], base(pixels)
                for name, view in batch.inputs.items():
                    if name != "pixels":
                        aims[name] = F.normalize(base_clean + base(view) - unmoved, dim=-1)
        # Towards the original's clean embeddings rather than away from the target: nothing else is known to be right about them.
        moved = {name: squared_distances(encode_images(view), aims[name]) for name, view in batch.inputs.items()}
        clean = moved.pop("pixels").mean()
        left = (
            torch.stack([distances.mean() for distances in moved.values()]).mean() if moved else torch.zeros_like(clean)
        )
        total = weights.preserve_weight * clean + 2 * weights.restore_weight * left
        by_section = {
            section_name(name, section): distances[section::sections].detach().mean()
            for name, distances in moved.items()
            for section in range(sections)
        }
        return {"loss": total, "preservation": clean, "restoration": left} | by_section

    return loss
