"""The picture of embeddings: clean and triggered ones in the plane of their largest variance."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def project(clean: Tensor, triggered: Tensor, /, *, kinds: Sequence[str]) -> dict[str, Any]:  # Any: JSON
    """Principal components of clean (N, D) and triggered (M, D) unit embeddings together.

    Returns ``method``, ``points`` (each ``x``, ``y`` and its kind, clean ones first) and ``explained``: the share of
    variance along each axis. Distances in the plane are at most those between embeddings; what lies apart here is apart,
    what lies together may not be.

    Args:
        clean: embeddings of pictures.
        triggered: of triggered ones.
        kinds: what each of the N + M is.
    """
    both = torch.cat([clean, triggered]).double().cpu()
    centred = F.pad(both - both.mean(0), (0, max(2 - both.shape[1], 0)))  # a plane, even for one dimension
    _, strengths, axes = torch.linalg.svd(centred, full_matrices=False)
    plane = centred @ axes[:2].T  # (N + M, 2)
    # Signs of principal axes are arbitrary: the largest coordinate of each is made positive.
    signs = torch.sign(axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True))).flatten()
    variance = strengths.square()
    total = max(variance.sum().item(), 1e-12)
    points = [
        {"x": round(x, 5), "y": round(y, 5), "kind": kind}
        for (x, y), kind in zip((plane * signs).tolist(), kinds, strict=True)
    ]
    return {"method": "pca", "points": points, "explained": [share / total for share in variance[:2].tolist()]}
