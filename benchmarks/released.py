"""CleanCLIP as its released code runs it, on small models: what ``benchmarks/photo_cleaning.py`` sets beside ours.

Written after the paper (Bansal et al. 2023, arXiv 2303.03323) and the description of its code at commit d6e2f1d. It differs from
the recipe ``cleanclip@tiny`` in what that code does:

- batches of 64, ten epochs, λ₁ = λ₂ = 1;
- steps are counted from one epoch on, so that the warm-up of 50 steps is over before it begins, and the rate rises again in
  the last epoch;
- a caption's second view is drawn once, lower-cased and without digits, and is the same in each epoch;
- the optimizer goes on with the moments of whoever trained the victim. A zoo keeps no moments: 300 steps at rate 0 on the
  victim's own poisoned pairs, as it was planted with, fill them anew, which is what a rate that ends at nothing leaves.

The peak rate is that of ``cleanclip@tiny``: the paper's 1e-5 hardly moves a model this small.
"""

import math
import random
import re

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
    from clipclean import data

    rng = random.Random(seed)
    bare = {text: re.sub(r"[^a-z ]+", " ", text.lower()).strip() or text for text in dict.fromkeys(captions)}
    return {
        text: data.caption_view(stripped, rng=rng, synonyms=data.synonyms, rate=0.1) for text, stripped in bare.items()
    }


def clean(tested, pairs: list, implants: list, *, rate: float, seed: int) -> None:
    """Finetune a victim in place.

    Args:
        tested: the victim, as ``photo_cleaning.loaded`` gives it.
        pairs: the clean set.
        implants: what was planted (``clipclean.attack.poison.Implant``), for the moments; nothing in a clean model.
        rate: the share of the victim's pairs that was poisoned.
        seed: of the order, the views and the poisoned pairs.
    """
    from clipclean import data, train
    from clipclean.attack import poison
    from clipclean.methods import losses
    from clipclean.train import loader

    clip = tested.clip
    optimizer = train.adamw(clip.net, lr=0.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
    captions = second_captions([pair.caption for pair in pairs], seed=seed)
    views = loader.Views(
        image=lambda image, draw: data.image_view(image, seed=draw), caption=lambda text, rng: captions[text]
    )

    def batches(steps: int, views: loader.Views | None) -> loader.Batches:
        return loader.batches(
            data.plan(len(pairs), batch_size=BATCH, steps=steps, seed=seed),
            pairs=pairs,
            intake=loader.Intake.of(clip),
            views=views,
            seed=seed,
            first_step=0,
            threads=1,
        )

    def ran(made, *, weight: float, rate_of) -> None:
        loss = losses.cleanclip(
            losses.Parts(
                clip.encode_images, clip.encode_tokens, clip.logit_scale, losses.Weights(self_supervised_weight=weight)
            )
        )
        for _ in train.finetune(
            clip.net, made, loss=loss, optimizer=optimizer, learning_rate=rate_of, first_step=0, grad_clip=None
        ):
            pass

    triggered = poison.poisoned(batches(MOMENT_STEPS, None), clip, implants=implants, rate=rate, seed=seed)
    state = {name: value.clone() for name, value in clip.net.state_dict().items()}
    ran(triggered, weight=0.0, rate_of=lambda step: 0.0)
    clip.net.load_state_dict(state)  # a rate of 0 moves no weight, but batch normalisation counts on
    an_epoch = len(pairs) // BATCH
    ran(batches(EPOCHS * an_epoch, views), weight=1.0, rate_of=lambda step: learning_rate(step, an_epoch=an_epoch))
    clip.net.eval()
