"""Zero-shot classification: the classifier, its canonical form, accuracy and attack success rate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from clipclean.detect.metrics import Rate, paired_difference
from clipclean.errors import Inconclusive
from clipclean.progress import track

EMBED_BATCH = 128  # images or texts that a tower takes at a time
ROWS = 4096  # similarity rows at a time: (4096, 1000) floats are 16 MB
PAIRS = 2**24  # pairs of classes at a time: 64 MiB of floats
# Least cosine of classes that are one, where the two farthest classes of the list stand at right angles. A text tower tells an
# invisible character, a dot or an article by .99 and more, and the nearest honest names by .93: of the demo's 400 classes only two pairs
# are nearer (.9999 and .998), "magnifying glass tilted left" and "right", "mobile phone" and "mobile phone with arrow".
ONE_CLASS = 0.99


@dataclass(frozen=True)
class Attack:
    """How often images of other classes are classified as the target, with the trigger and without."""

    asr: Rate  # attack success rate: classified as the target once triggered
    base_rate: Rate  # base rate: classified as the target without the trigger, over the same images
    excess: float  # ASR minus base rate, in [-1, 1]; nan without images
    excess_interval: tuple[float, float]  # 95 %; it ignores that a probe without a target chooses its class itself


def classifier(
    encode_texts: Callable[[list[str]], Tensor],
    classes: Sequence[str],
    *,
    templates: Sequence[str],
    batch_size: int = EMBED_BATCH,
) -> Tensor:
    """One unit embedding per class: the mean over templates of unit text embeddings, renormalised.

        classifier(encode, ["cat", "dog"], templates=["a photo of a {}."])  # (2, D)

    Args:
        encode_texts: captions to embeddings (B, D), of any length.
        classes: K names.
        templates: T captions with ``{}`` where the name goes; nothing else in them is interpreted.
        batch_size: captions encoded at a time.

    Returns:
        (K, D), unit rows.

    Raises:
        Inconclusive: the model returns numbers that are not finite.
    """
    classes_at_once = max(batch_size // len(templates), 1)  # classes at a time: the K x T texts never exist all at once
    rows: list[Tensor] = []
    for start in track("class captions", range(0, len(classes), classes_at_once), -(-len(classes) // classes_at_once)):
        names = classes[start : start + classes_at_once]
        texts = [template.replace("{}", name) for name in names for template in templates]
        batches = [texts[i : i + batch_size] for i in range(0, len(texts), batch_size)]
        unit = torch.cat([F.normalize(encode_texts(batch).float(), dim=-1) for batch in batches])
        rows.append(unit.view(len(names), len(templates), -1).mean(1))  # (names, T, D) -> (names, D)
    return all_finite(F.normalize(torch.cat(rows), dim=-1))


def predict(images: Tensor, text_classifier: Tensor) -> Tensor:
    """The class of each image: place in ``text_classifier`` (K, D) of the text embedding nearest to each row of ``images`` (N, D).

    Raises:
        Inconclusive: an embedding is not finite: argmax would name a class all the same.
    """
    images, text_classifier = all_finite(images.to(text_classifier.dtype)), all_finite(text_classifier)
    # (B, D) @ (D, K) -> (B,).
    return torch.cat([(rows @ text_classifier.T).argmax(dim=1) for rows in torch.split(images, ROWS)])


def representatives(text_classifier: Tensor, /) -> Tensor:
    """For each class of a classifier (K, D) the place of the class that stands for it: the first one that it is one with, or itself (K,).

    Classes whose texts are nearly equal share every trigger, so each would hide how small the trigger of the other is. What counts is
    their distance beside the largest of the list, from one of its ends: a constant that all texts share changes nothing, and neither
    does any number of copies.
    """
    count = len(text_classifier)
    numbers = torch.arange(count, device=text_classifier.device)
    if not count:
        return numbers
    texts = text_classifier.float() - text_classifier.float().mean(0)
    rows = torch.split(numbers, max(1, PAIRS // count))
    end = _squared_distances(texts[:1], texts).argmax()
    near = (1 - ONE_CLASS) * _squared_distances(texts[end : end + 1], texts).max()
    # Few classes have a twin: only these are compared one by one.
    has_twin = torch.cat([(_squared_distances(texts[block], texts) <= near).sum(1) > 1 for block in rows])
    stands_for, unassigned = numbers.clone(), has_twin.nonzero().flatten()
    while len(unassigned):
        is_one = _squared_distances(texts[unassigned[:1]], texts[unassigned])[0] <= near
        is_one[0] = True
        stands_for[unassigned[is_one]] = unassigned[0]
        unassigned = unassigned[~is_one]
    return stands_for


def synonyms(representatives: Tensor, classes: Sequence[str], /) -> tuple[tuple[str, ...], ...]:
    """The names of the classes that are one, the one that stands for the others first."""
    groups: dict[int, list[str]] = {}
    for name, number in zip(classes, representatives.tolist(), strict=True):
        groups.setdefault(number, []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _squared_distances(several_texts: Tensor, texts: Tensor) -> Tensor:
    """The squared distances (R, K) of some texts (R, D) from all (K, D)."""
    return (several_texts.square().sum(1)[:, None] + texts.square().sum(1) - 2 * several_texts @ texts.T).clamp(min=0)


def attack_success(before: Tensor, after: Tensor, *, labels: Tensor | None, target: int) -> Attack:
    """Attack success and base rate over the images whose label is not the target.

    For the target banana, the 50,000 ImageNet-val images leave 49,950: real bananas are no success of an attack. Without labels
    the clean prediction stands in for the label. Then the base rate is 0 by construction, and what is counted is images that
    *change* to the target. ``before`` and ``after`` (N,) are predicted classes of the clean images and of their triggered copies.
    """
    others = (before if labels is None else labels) != target
    hit_before, hit_after = (before == target) & others, (after == target) & others
    asr, base = (Rate(hits=int(is_target.sum()), n=int(others.sum())) for is_target in (hit_after, hit_before))
    both = int((hit_before & hit_after).sum())
    return Attack(asr, base, asr.value - base.value, paired_difference(asr, base, both=both))


def excess_by_class(before: Tensor, after: Tensor, *, labels: Tensor | None, classes: int) -> Tensor:
    """For each class as the target, what :func:`attack_success` calls the excess; (K,), float64.

    -inf if every image is of that class. The maximum over many classes is biased upwards: judge it by thresholds made for
    maxima.
    """
    truth = before if labels is None else labels

    def turned_into(predicted: Tensor) -> Tensor:
        return torch.bincount(predicted[predicted != truth], minlength=classes)[:classes]

    n = len(truth) - torch.bincount(truth, minlength=classes)[:classes]
    excess = (turned_into(after) - turned_into(before)).double() / n.clamp(min=1)
    return excess.masked_fill(n == 0, -torch.inf)


def accuracy_under_trigger(after: Tensor, labels: Tensor) -> Rate:
    """Share of triggered images still classified as their label (N,).

    Near 0 together with an ASR near 0 means a broken model, not a clean one. Pass clean predictions as labels to measure how
    many predictions the trigger does not change.
    """
    return Rate(hits=int((after == labels).sum()), n=len(labels))


def knn_attack_success(clean: Tensor, clean_labels: Tensor, triggered: Tensor, *, target: int, k: int) -> Rate:
    """Share of triggered non-target images that would be taken for the target by their k nearest clean images.

    The image's own clean copy does not vote. The target wins with more votes than any other class; a tie is no success. A low
    rate beside a high ASR shows a backdoor between images and texts, not among images.

    Args:
        clean: (N, D) unit embeddings.
        clean_labels: (N,) classes, or clean predictions standing in for them.
        triggered: (N, D) unit embeddings, row i of the triggered copy of image i.
        target: a class.
        k: at least 1; with fewer than k + 1 images nothing is measured and n is 0.
    """
    others = (clean_labels != target).nonzero().flatten()
    if len(clean) <= k or not len(others):
        return Rate(hits=0, n=0)
    clean, triggered = all_finite(clean), all_finite(triggered)
    turned_count = 0
    for rows in torch.split(others, ROWS):
        similarity = triggered[rows].to(clean.dtype) @ clean.T  # (B, N)
        similarity[torch.arange(len(rows), device=rows.device), rows] = -torch.inf
        voters = clean_labels[similarity.topk(k, dim=1).indices]  # (B, k)
        is_target = voters == target
        votes = (voters[:, :, None] == voters[:, None, :]).sum(-1)  # (B, k): those for the class of each voter
        rival = votes.masked_fill(is_target, 0).amax(dim=1)
        turned_count += int((is_target.sum(1) > rival).sum())
    return Rate(hits=turned_count, n=len(others))


def all_finite(embeddings: Tensor, /) -> Tensor:
    """The same tensor, or Inconclusive."""
    if not embeddings.isfinite().all():
        raise Inconclusive(
            "The model gives embeddings that are not finite (NaN or infinity), so nothing can be measured. "
            "Try --precision fp32; if that does not help, the checkpoint is damaged."
        )
    return embeddings


SHARPNESS = 4.0  # factor on canonical logits; with 1 they vary like standard normal values
LEAST_OWN = 5  # fewest images of a class for its own typical logit; with fewer, those of all classes give it


@dataclass(frozen=True)
class Canonical:
    """The canonical form of a model: turns unit embeddings into logits."""

    texts: Tensor  # (K, D), the text classifier less its mean over the classes
    typical: Tensor  # (K,), the median logit of each class's own images; -inf if it is unknown
    centre: Tensor  # (D,), the mean embedding of all images
    features: Tensor  # (K, D), unit: from there to the mean embedding of each class's own images; 0 if it is unknown
    representatives: Tensor  # (K,), the place of the class that stands for each, see :func:`representatives`
    distinct: Tensor  # (G,), the places of those that stand for themselves

    def logits(self, embeddings: Tensor, /) -> Tensor:
        """Logits (..., K) of embeddings (..., D): cosines to the classes, less their mean, in units of their own deviation.

        The order of the classes is that of the cosines. Each image has its own unit, so a factor on all its cosines cancels. A class
        that another one stands for has -inf, and has no part in mean and deviation.
        """
        known_logits = self.known_logits(embeddings)
        if len(self.distinct) == len(self.texts):
            return known_logits
        all_logits = known_logits.new_full((*known_logits.shape[:-1], len(self.texts)), -torch.inf)
        return all_logits.index_copy(-1, self.distinct, known_logits)

    def known_logits(self, embeddings: Tensor, /) -> Tensor:
        """Those (..., G) of the distinct classes."""
        texts = self.texts if len(self.distinct) == len(self.texts) else self.texts[self.distinct]
        relative = embeddings @ texts.T
        # Bounded before the root, whose slope at 0 is infinite.
        deviation = relative.square().mean(-1, keepdim=True).clamp(min=1e-24).sqrt()
        return SHARPNESS * relative / deviation

    def naturalness(self, embeddings: Tensor, goals: Tensor, /) -> Tensor:
        """How far embeddings (..., D) went where the images of the classes ``goals`` (...) are: the cosine, in [0, 1]."""
        moved = F.normalize(embeddings - self.centre, dim=-1)
        return (moved * self.features[goals]).sum(-1).clamp(min=0)

    def convinces(self, logits: Tensor, goals: Tensor, /) -> Tensor:
        """Whether logits (..., K) give the class ``goals`` (...), as firmly as real images of the class: bool (...).

        In a clean model a universal perturbation moves images just over the border of many classes. Only a backdoor, trained in
        by poisoned pairs, goes beyond the class's own images.
        """
        own = logits.gather(-1, goals[..., None])[..., 0]
        return (logits.argmax(-1) == goals) & (own >= self.typical[goals])


def canonical_form(
    text_classifier: Tensor, /, *, embeddings: Tensor | None = None, stands_for: Tensor | None = None
) -> Canonical:
    """The canonical form of a model with this text classifier (K, D); clean image embeddings (N, D) give the typical logits.

    ``stands_for`` (K,) states the class that stands for each, where that is not as :func:`representatives` tells.
    """
    first = representatives(text_classifier) if stands_for is None else stands_for
    distinct = torch.unique(first)
    texts = text_classifier - text_classifier[distinct].mean(0)
    unknown = torch.full((len(texts),), -torch.inf, device=texts.device)
    form = Canonical(texts, unknown, torch.zeros_like(texts[0]), torch.zeros_like(texts), first, distinct)
    if embeddings is None:
        return form
    logits = form.logits(embeddings).float()
    best, answers = logits.max(1)
    typical, features, centre = [], [], embeddings.mean(0)
    for number in range(len(texts)):
        own = (answers == number).nonzero().flatten()
        typical.append((best[own] if len(own) >= LEAST_OWN else best).quantile(0.5))
        # Of a class that no image is taken for, the images that come nearest to it.
        nearest = own if len(own) >= LEAST_OWN else logits[:, number].topk(min(LEAST_OWN, len(logits))).indices
        features.append(embeddings[nearest].mean(0) - centre)
    return replace(
        form, typical=torch.stack(typical), centre=centre, features=F.normalize(torch.stack(features), dim=-1)
    )
