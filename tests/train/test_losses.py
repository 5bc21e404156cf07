import math

import torch
import torch.nn.functional as F

from clipclean.train import clip_loss, self_supervised_loss


def _unit(seed: int, n: int = 5, d: int = 7) -> torch.Tensor:
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


def test_two_orthogonal_pairs_at_scale_ln_2_lose_ln_1_5():
    eye = torch.eye(2)
    # rows of the softmax are (2/3, 1/3)  ->  -ln(2/3) = ln 1.5 in both directions
    torch.testing.assert_close(clip_loss(eye, eye, torch.tensor(math.log(2))), torch.tensor(math.log(1.5)))


def test_clip_loss_is_symmetric_in_its_modalities():
    images, texts, scale = _unit(0), _unit(1), torch.tensor(10.0)
    torch.testing.assert_close(clip_loss(images, texts, scale), clip_loss(texts, images, scale))


def test_losses_do_not_depend_on_the_order_of_the_batch():
    a, b, c, d = (_unit(k) for k in range(4))
    order, scale = torch.tensor([3, 0, 4, 1, 2]), torch.tensor(5.0)
    torch.testing.assert_close(clip_loss(a, c, scale), clip_loss(a[order], c[order], scale))
    torch.testing.assert_close(
        self_supervised_loss(a, b, c, d, scale),
        self_supervised_loss(a[order], b[order], c[order], d[order], scale),
    )


def test_both_losses_equal_the_papers_formulas_written_out_as_sums():
    """Bansal et al. 2023, equations 1 and 2, as nested loops over exp and log: no softmax, no matrix product."""
    images, image_views, texts, text_views = (_unit(k) for k in range(4))
    n, tau = len(images), 0.07

    def similar(a: torch.Tensor, b: torch.Tensor) -> float:
        return math.exp(sum(float(x) * float(y) for x, y in zip(a, b, strict=True)) / tau)

    def find(queries: torch.Tensor, keys: torch.Tensor) -> float:
        return sum(
            math.log(similar(queries[i], keys[i]) / sum(similar(queries[i], keys[k]) for k in range(n)))
            for i in range(n)
        )

    across = -(find(images, texts) + find(texts, images)) / (2 * n)
    within = -(find(images, image_views) + find(texts, text_views)) / (2 * n)
    scale = torch.tensor(1 / tau, dtype=torch.float64)
    assert abs(float(clip_loss(images, texts, scale)) - across) < 1e-5
    assert abs(float(self_supervised_loss(images, image_views, texts, text_views, scale)) - within) < 1e-5
    # the in-modal loss is one-directional: views as queries give another number
    assert abs(float(self_supervised_loss(image_views, images, text_views, texts, scale)) - within) > 1e-3
