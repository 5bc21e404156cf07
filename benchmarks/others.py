"""Cleaning methods of others, written from their papers, for ``benchmarks/photo_cleaning.py``.

- ``clp``: channels of a convolution with its normalisation whose Lipschitz bound stands out are set to zero; no data
  (Zheng, Tang, Li, Liu 2022, arXiv 2208.03111). ViTs have no such layers.
- ``fine-pruning``: channels that clean images leave idle are set to zero as long as accuracy allows, then L_CLIP alone
  (Liu, Dolan-Gavitt, Garg 2018, arXiv 1805.12185).
- ``invertune``: the class that a trigger is found for most easily, one longer inversion towards it, and the last
  stage tuned so that triggered activations come back to the clean ones (after InverTune, arXiv 2506.12411). Its loss weights,
  updates and images are those of the paper and its code's README; the rates are those of models this small, and the
  class is found by inversion, where the paper takes that of an adversarial perturbation.
- ``released``: CleanCLIP as its released code runs it, after the paper (Bansal et al. 2023, arXiv 2303.03323) and the description
  of its code at commit d6e2f1d. The peak rate suits a model this small: the paper's 1e-5 hardly moves a model this small. What
  that code does otherwise than the recipe: batches of 64, ten epochs, λ₁ = λ₂ = 1; steps are counted from one epoch on, so that the
  warm-up of 50 steps is over before it begins, and the rate rises again in the last epoch; a caption's second view is drawn once,
  lower-cased and without digits, and is the same in each epoch; the optimizer goes on with the moments of whoever trained the victim. A
  zoo keeps no moments: 300 steps at rate 0 on the victim's own poisoned pairs fill them anew, which is what a rate that ends at nothing leaves.
"""

import copy
import math
import random
import re
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from photo_zoo import stepped
from torch import Generator, Tensor, nn

from clipclean import data, train
from clipclean.attack import poison
from clipclean.config.recipe import Train
from clipclean.methods import losses
from clipclean.train import loader

LIPSCHITZ_DEVIATIONS = 3.0  # u of CLP
PRUNED_AT_ONCE, ACCURACY_GIVEN = 0.1, 0.04  # of fine-pruning: share of channels; accuracy that may go
IMAGES, PROBE_STEPS, STEPS = 64, 20, 200  # of an inversion: mixed classes, and never more steps than the paper's
TEMPERATURE, TARGET_WEIGHT, MASK_WEIGHT = 0.07, 5.0, 0.01
MASK_LR = 0.1
TUNING_STEPS, TUNING_LR, TUNING_BATCH = 200, 2e-4, 64
GUIDED = 0.2  # share of activations, those that the trigger changes most, that are brought back
SUCCESS = 0.7  # of an inverted trigger: with less the method has failed, and changes nothing


def clp(clip, pixels: Tensor, labels: Tensor, classifier: Tensor, *, seed: int) -> str:
    """Prune by Lipschitz bounds; returns what was done."""
    pruned = 0
    for convolution, norm in normalised(clip.net.visual):
        scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        rows = convolution.weight.detach().flatten(2) * scale[:, None, None]  # (out, in, k * k)
        bound = torch.linalg.matrix_norm(rows, ord=2)  # (out,)
        outside = bound > bound.mean() + LIPSCHITZ_DEVIATIONS * bound.std()
        silence(norm, outside)
        pruned += int(outside.sum())
    return f"{pruned} channels pruned"


def normalised(tower: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution with the batch normalisation that follows it by name."""
    modules = dict(tower.named_modules())
    for name, module in modules.items():
        if isinstance(module, nn.BatchNorm2d):
            before = modules.get(name.replace("bn", "conv"))
            if name.rpartition(".")[2] == "1" and "downsample" in name:
                before = modules.get(f"{name.rpartition('.')[0]}.0")
            if isinstance(before, nn.Conv2d):
                yield before, module


def silence(layer: nn.BatchNorm2d | nn.Linear, channels: Tensor) -> None:
    """Make channels output zero, which are numbers, or bool (C,)."""
    with torch.no_grad():
        layer.weight[channels] = 0
        layer.bias[channels] = 0


def prune(clip, pixels: Tensor, labels: Tensor, classifier: Tensor, *, seed: int) -> str:
    """The pruning of fine-pruning; the caller finetunes afterwards. Of a ViT, inner units of the last block's MLP."""
    tower = clip.net.visual
    layer = tower.layer4[-1].bn2 if hasattr(tower, "layer4") else tower.transformer.resblocks[-1].mlp.c_fc
    active = activity(clip, layer, pixels)
    accuracy = accuracy_of(clip, pixels, labels, classifier)
    order, pruned = active.argsort(), 0
    at_once = max(1, round(PRUNED_AT_ONCE * len(order)))
    while pruned + at_once < len(order):
        kept = copy.deepcopy(layer.state_dict())
        silence(layer, order[: pruned + at_once])
        if accuracy_of(clip, pixels, labels, classifier) < accuracy - ACCURACY_GIVEN:
            layer.load_state_dict(kept)
            break
        pruned += at_once
    return f"{pruned} of {len(order)} channels pruned"


def activity(clip, layer: nn.Module, pixels: Tensor) -> Tensor:
    """Mean positive output (C,) of a layer over clean images."""
    seen = []

    def note(_: nn.Module, __: object, out: Tensor) -> None:
        rows = out.flatten(2).mean(2) if isinstance(layer, nn.BatchNorm2d) else out.flatten(0, -2)
        seen.append(rows.relu().mean(0))

    with layer.register_forward_hook(note):
        for part in pixels.split(256):
            clip.embed_images(part)
    return torch.stack(seen).mean(0)


def accuracy_of(clip, pixels: Tensor, labels: Tensor, classifier: Tensor) -> float:
    answers = torch.cat([(clip.embed_images(part) @ classifier.T).argmax(1) for part in pixels.split(256)])
    return (answers == labels).float().mean().item()


def invertune(clip, pixels: Tensor, labels: Tensor, classifier: Tensor, *, seed: int) -> str:
    """Find the class and the trigger, and tune the last stage; where no trigger succeeds nothing is changed."""
    generator = Generator().manual_seed(seed)
    clip.net.eval().requires_grad_(False)
    every = range(len(classifier))
    probes = [inverted(clip, pixels, classifier, k, steps=PROBE_STEPS, generator=generator) for k in every]
    target = min(every, key=lambda k: probes[k][2])
    mask, pattern, _ = inverted(clip, pixels, classifier, target, steps=STEPS, generator=generator)
    others = pixels[labels != target][:512]
    shown = others * (1 - mask) + pattern * mask
    success = accuracy_of(clip, shown, torch.full((len(shown),), target), classifier)
    clip.net.requires_grad_(True)
    if success < SUCCESS:
        return f"class {target}: the inverted trigger succeeds on {success:.2f} only, so nothing is tuned"
    tune(clip, pixels, mask, pattern, generator=generator)
    return f"class {target}: the inverted trigger succeeds on {success:.2f}"


def inverted(
    clip, pixels: Tensor, classifier: Tensor, target: int, *, steps: int, generator: Generator
) -> tuple[Tensor, Tensor, float]:
    """A mask (1, S, S) and a pattern (3, S, S) in [0, 1], and the last loss."""
    side = pixels.shape[-1]
    mask = torch.full((1, side, side), -2.0).requires_grad_()
    pattern = torch.randn(3, side, side, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([mask, pattern], lr=MASK_LR)
    value = 0.0
    for _ in range(steps):
        some = pixels[torch.randint(len(pixels), (IMAGES,), generator=generator)]
        shown = some * (1 - mask.sigmoid()) + pattern.sigmoid() * mask.sigmoid()
        logits = clip.encode_images(shown) @ classifier.T / TEMPERATURE
        loss = TARGET_WEIGHT * F.cross_entropy(logits, torch.full((IMAGES,), target))
        loss = loss + MASK_WEIGHT * mask.sigmoid().sum()
        stepped(optimizer, loss)
        value = loss.item()
    return mask.sigmoid().detach(), pattern.sigmoid().detach(), value


def last_stage(tower: Any) -> nn.Module:
    """What is tuned, and whose output is looked at."""
    return tower.layer4 if hasattr(tower, "layer4") else tower.transformer.resblocks[-1]


def tune(clip, pixels: Tensor, mask: Tensor, pattern: Tensor, *, generator: Generator) -> None:
    """Bring the activations that the trigger changes most back to the original's clean ones, and keep the clean ones."""
    original = copy.deepcopy(clip.net).eval().requires_grad_(False)
    stage, frozen = last_stage(clip.net.visual), last_stage(original.visual)
    clip.net.eval().requires_grad_(False)
    stage.requires_grad_(True)
    optimizer = torch.optim.AdamW(stage.parameters(), lr=TUNING_LR, weight_decay=0.0)

    def outputs(net: nn.Module, layer: nn.Module, shown: Tensor) -> tuple[Tensor, Tensor]:
        seen: list[Tensor] = []
        with layer.register_forward_hook(lambda _, __, out: seen.append(out)):
            return F.normalize(net.encode_image(clip.normalise(shown)).float(), dim=-1), seen

    for _ in range(TUNING_STEPS):
        some = pixels[torch.randint(len(pixels), (TUNING_BATCH,), generator=generator)]
        shown = some * (1 - mask) + pattern * mask
        with torch.no_grad():
            clean, (wanted,) = outputs(original, frozen, some)
            _, (poisoned,) = outputs(original, frozen, shown)
            moved = (poisoned - wanted).abs().mean(0)
            guided = moved >= moved.flatten().quantile(1 - GUIDED)
        kept, _ = outputs(clip.net, stage, some)
        restored, (found,) = outputs(clip.net, stage, shown)
        scale = wanted.pow(2).mean()
        loss = (
            ((found - wanted) * guided).pow(2).sum() / (guided.sum() * len(some) * scale)
            + (restored - clean).pow(2).sum(1).mean()
            + 2 * (kept - clean).pow(2).sum(1).mean()
        )
        stepped(optimizer, loss)
    clip.net.requires_grad_(True)


METHODS = {"clp": clp, "fine-pruning": prune, "invertune": invertune}
EPOCHS, BATCH, WARMUP, RATE = 10, 64, 50, 1.2e-3
MOMENT_STEPS = 300


def learning_rate(step: int, *, an_epoch: int) -> float:
    """Of the code's own count of steps, whose epochs are numbered from 1 (linear warm-up, then a cosine)."""
    counted, total = step + an_epoch, an_epoch * EPOCHS
    if counted < WARMUP:
        return RATE * (counted + 1) / WARMUP
    return RATE * 0.5 * (1 + math.cos(math.pi * (counted - WARMUP) / (total - WARMUP)))


def second_captions(captions: list[str], *, seed: int) -> dict[str, str]:
    """One view of each caption, for the whole run."""
    rng = random.Random(seed)
    bare = {text: re.sub(r"[^a-z ]+", " ", text.lower()).strip() or text for text in dict.fromkeys(captions)}
    return {
        text: data.caption_view(stripped, rng=rng, synonyms=data.synonyms, rate=0.1) for text, stripped in bare.items()
    }


def released(tested, pairs: list, implants: list, *, rate: float, seed: int) -> None:
    """Finetune a victim, as ``photo_cleaning.loaded`` gives it, in place; for the moments it is told what was planted at which rate."""
    clip, run = tested.clip, train.Run(seed, "fp32")
    optimizer = train.adamw(clip.net, Train().model_copy(update={"lr": 0.0}))
    captions = second_captions([pair.caption for pair in pairs], seed=seed)
    views = loader.Views(lambda image, draw: data.image_view(image, seed=draw), lambda text, rng: captions[text])

    def batches(steps: int, views: loader.Views | None) -> loader.Batches:
        plan, given = data.plan(len(pairs), batch_size=BATCH, steps=steps, seed=seed), {"first_step": 0, "threads": 1}
        return loader.batches(plan, pairs=pairs, clip=clip, run=run, views=views, **given)

    def ran(made, *, weight: float, rate_of) -> None:
        weights = losses.LossWeights(self_supervised_weight=weight)
        loss = losses.cleanclip(losses.LossInputs(clip.encode_images, clip.encode_tokens, clip.logit_scale, weights))
        for step, batch in enumerate(made):  # each by itself: the rates are those of the released code
            how = Train().model_copy(update={"lr": rate_of(step), "warmup_steps": 0})
            list(train.fit(clip.net, [batch], how, loss=loss, optimizer=optimizer, total=1, precision="fp32"))

    triggered = poison.poisoned(batches(MOMENT_STEPS, None), clip, implants=implants, rate=rate, run=run)
    state = {name: value.clone() for name, value in clip.net.state_dict().items()}
    ran(triggered, weight=0.0, rate_of=lambda step: 0.0)
    clip.net.load_state_dict(state)  # a rate of 0 moves no weight, but batch normalisation counts on
    an_epoch = len(pairs) // BATCH
    ran(batches(EPOCHS * an_epoch, views), weight=1.0, rate_of=lambda step: learning_rate(step, an_epoch=an_epoch))
    clip.net.eval()
