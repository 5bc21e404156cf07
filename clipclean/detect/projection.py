"""Embeddings projected to a plane: t-SNE keeps neighbours together, principal components keep distances."""

import warnings
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

MOST = 400  # embeddings that t-SNE places: its exact form takes about 2 s for so many on one core
PERPLEXITY = 30.0  # neighbours that each point keeps near; fewer where there are few points
ITERATIONS = 500


class Plane(NamedTuple):
    """The place of each embedding; ``explained`` has the shares of variance along the axes, for "pca" only."""

    method: Literal["pca", "tsne"]
    places: tuple[tuple[float, float], ...]
    explained: tuple[float, float] | None


def principal(embeddings: Tensor, /) -> Plane:
    """The plane of largest variance of embeddings (N, D).

    Distances in the plane are at most those between embeddings: points that are apart here are apart, points together may not
    be near.
    """
    from sklearn.decomposition import PCA  # takes a second to import

    points = embeddings.double().cpu()
    points = F.pad(points, (0, max(2 - points.shape[1], 0)))  # a plane, even for one dimension
    if len(points) < 2 or _is_one_place(points):
        return Plane("pca", ((0.0, 0.0),) * len(points), (0.0, 0.0))
    fitted = PCA(n_components=2, svd_solver="full")
    plane = torch.from_numpy(fitted.fit_transform(points.numpy()))
    # Signs of principal axes are arbitrary: the largest coordinate of each axis is made positive.
    axes = torch.from_numpy(fitted.components_)
    plane = plane * torch.sign(axes.gather(1, axes.abs().argmax(1, keepdim=True))).flatten()
    along, across = fitted.explained_variance_ratio_.tolist()
    return Plane("pca", _rounded(plane), (min(along, 1.0), min(across, 1.0)))


def neighbouring(embeddings: Tensor, /, *, seed: int) -> Plane | None:
    """t-SNE of at most ``MOST`` embeddings (N, D); None for fewer than ten, or if all are equal.

    The exact form, without the approximation by trees: it takes the same time for every set of one size, and is reproducible.
    Source: van der Maaten and Hinton 2008, https://jmlr.org/papers/v9/vandermaaten08a.html.
    """
    from sklearn.manifold import TSNE  # takes a second to import

    points = embeddings.double().cpu()
    if not 10 <= len(points) <= MOST or points.shape[1] < 2 or _is_one_place(points):
        return None
    fitted = TSNE(
        # As the authors' code demands: three times the perplexity is no more than the number of other points.
        perplexity=min(PERPLEXITY, (len(points) - 1) / 3),
        max_iter=ITERATIONS,
        # A start by principal components: where groups come to lie does not hang on chance.
        init="pca",
        learning_rate="auto",
        method="exact",
        # numpy takes no larger seed.
        random_state=seed % 2**32,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # equal points have distances of zero, which is fine
        plane = torch.from_numpy(fitted.fit_transform(points.numpy()))
    return Plane("tsne", _rounded(plane), None) if bool(plane.isfinite().all()) else None


def _is_one_place(points: Tensor) -> bool:
    return bool((points - points[0]).abs().max() < 1e-9)


def _rounded(plane: Tensor) -> tuple[tuple[float, float], ...]:
    return tuple((round(x, 5), round(y, 5)) for x, y in plane.tolist())
