"""Published statistics of backdoored encoders, from their papers' descriptions, to stand beside ours in a table.

Nothing of them is in the product: each judges a model by one number, and none is compared with clean models of its kind.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Embed = Callable[[Tensor], Tensor]  # images (B, 3, S, S) in [0, 1] -> unit embeddings (B, D), differentiable

ALIKE = 0.99  # mean pairwise cosine from which on a batch counts as collapsed: Feng et al. 2023, section 4
BATCH = 32
RATE, BETAS = 0.1, (0.5, 0.9)  # of Adam
FIRST, LEAST, FACTOR = (
    1e-3,
    1e-7,
    5.0,
)  # the weight on the mask's length: its first and least value, and how fast it moves
PATIENCE = 5  # steps in a row on one side of ALIKE, after which the weight moves
STEPS = 300


@dataclass(frozen=True)
class Collapse:
    """The smallest mask that collapses the embeddings of all images; the last one where none did.

    Attributes:
        mask: (1, S, S) in [0, 1].
        pattern: (3, S, S) in [0, 1].
        is_reached: whether a batch collapsed.
    """

    mask: Tensor
    pattern: Tensor
    is_reached: bool

    def __call__(self, images: Tensor, /) -> Tensor:
        """Triggered copies (B, 3, S, S)."""
        return images + self.mask * (self.pattern - images)

    @property
    def share(self) -> float:
        """Length of the mask over the longest that there is, in [0, 1]: DECREE's P(L1). Below 0.1 it calls a model backdoored."""
        return self.mask.mean().item()


def likeness(embeddings: Tensor, /) -> Tensor:
    """Mean cosine of all pairs of different unit embeddings (B, D)."""
    count = len(embeddings)
    together = embeddings.sum(0).square().sum()  # all pairs, each twice, and each embedding with itself
    return (together - count) / (count * (count - 1))


def collapsed(embed: Embed, pixels: Tensor, /, *, is_regularised: bool, seed: int, steps: int = STEPS) -> Collapse:
    """One mask and pattern for all images, that make the embeddings of a batch alike.

    DECREE (Feng et al. 2023, Detecting Backdoors in Pre-trained Encoders, CVPR; arXiv 2303.15180) keeps the mask short by a weight
    that rises while batches collapse, and falls while they do not. Without a regulariser the first collapse ends the search.
    """
    rng, side = Generator().manual_seed(seed), pixels.shape[-1]
    mask = torch.randn(1, side, side, generator=rng).requires_grad_()
    pattern = torch.randn(3, side, side, generator=rng).requires_grad_()
    optimizer = torch.optim.Adam([mask, pattern], lr=RATE, betas=BETAS)
    weight, above, below = FIRST, 0, 0
    best: Collapse | None = None
    for _ in range(steps):
        now = Collapse(mask.tanh() / 2 + 0.5, pattern.tanh() / 2 + 0.5, True)
        batch = pixels[torch.randint(len(pixels), (BATCH,), generator=rng)]
        alike = likeness(F.normalize(embed(now(batch)).float(), dim=-1))
        if alike.item() > ALIKE:
            above, below = above + 1, 0
            if best is None or now.share < best.share:
                best = Collapse(now.mask.detach().clone(), now.pattern.detach().clone(), True)
            if not is_regularised:
                return best
        else:
            above, below = 0, below + 1
        if above == PATIENCE:
            weight, above = weight * FACTOR, 0
        elif below == PATIENCE:
            weight, below = max(weight / FACTOR, LEAST), 0
        loss = -alike + (weight * now.mask.sum() if is_regularised else 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return best or Collapse((mask.tanh() / 2 + 0.5).detach(), (pattern.tanh() / 2 + 0.5).detach(), False)


@torch.no_grad()
def displacement(embed: Embed, pixels: Tensor, trigger: Callable[[Tensor], Tensor], /) -> float:
    """Mean cosine of each image's embedding to that of its triggered copy, in [-1, 1].

    The published number of 2026 (the repository cinout/DECREE) takes the trigger of an unregularised search: the higher, the more
    it calls a model backdoored.
    """
    found = [
        (F.normalize(embed(some).float(), dim=-1) * F.normalize(embed(trigger(some)).float(), dim=-1)).sum(-1)
        for some in pixels.split(BATCH)
    ]
    return torch.cat(found).mean().item()


def anomaly_index(sizes: Sequence[float], /) -> float:
    """How far the smallest mask of a class lies below the median of all classes, in deviations; above 2 it is an outlier.

    Deviations are 1.4826 times the median absolute deviation, of lengths and not of their logarithms (Wang et al. 2019, Neural
    Cleanse, IEEE S&P, section IV-C). nan for fewer than three classes, or where most are alike.
    """
    if len(sizes) < 3:
        return math.nan
    middle = statistics.median(sizes)
    deviation = 1.4826 * statistics.median(abs(size - middle) for size in sizes)
    return (middle - min(sizes)) / deviation if deviation else math.nan


def mask_sizes(report: dict) -> list[float]:
    """Of each class, the size of the smallest fixed mask that an audit's search found for it."""
    search = report["measurements"]["search"]
    rows = [*search.get("found", ()), *search.get("controls", ())]
    return [row["size"] for row in rows if row["family"] == "mask" and row["size"] is not None]


def of_encoder(embed: Embed, pixels: Tensor, /, *, seed: int = 0) -> dict[str, float]:
    """The two statistics that need a search of their own."""
    small = collapsed(embed, pixels, is_regularised=True, seed=seed)
    free = collapsed(embed, pixels, is_regularised=False, seed=seed)
    return {"decree": small.share if small.is_reached else 1.0, "cosine": displacement(embed, pixels, free)}
