import torch
import torch.nn.functional as F

from clipclean.methods.losses import Parts, Weights, cleanclip
from clipclean.train import Batch, clip_loss, self_supervised_loss


def _batch(*, views: bool) -> Batch:
    draw = torch.Generator().manual_seed(0)
    names = ("pixels", "tokens", "pixel_views", "token_views")[: 4 if views else 2]
    return Batch({name: torch.randn(6, 8, generator=draw) for name in names}, tuple("abcdef"))


def _encode(x: torch.Tensor) -> torch.Tensor:
    return F.normalize(x, dim=1)


def _loss(batch: Batch, clip_weight: float, weight: float) -> dict[str, torch.Tensor]:
    scale = torch.tensor(7.0)
    weights = Weights(clip_weight=clip_weight, self_supervised_weight=weight)
    return cleanclip(Parts(_encode, _encode, lambda: scale, weights))(batch)


def test_the_step_equals_the_weighted_sum_of_both_losses_on_fixed_embeddings():
    batch = _batch(views=True)
    a, b, c, d = (F.normalize(batch.inputs[k], dim=1) for k in ("pixels", "pixel_views", "tokens", "token_views"))
    scale = torch.tensor(7.0)
    expected = 0.5 * clip_loss(a, c, scale) + 4 * self_supervised_loss(a, b, c, d, scale)
    torch.testing.assert_close(_loss(batch, 0.5, 4.0)["loss"], expected, atol=1e-5, rtol=0)


def test_originals_and_views_go_through_each_tower_together():
    sizes = []

    def encode(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return F.normalize(x, dim=1)

    scale = torch.tensor(1.0)
    cleanclip(Parts(encode, encode, lambda: scale, Weights()))(_batch(views=True))
    assert sizes == [12, 12]
