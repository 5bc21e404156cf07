"""What a model is measured on."""

from dataclasses import replace

import pytest
import tiny
import torch

from clipclean import data
from clipclean.attack import triggers
from clipclean.config import recipe
from clipclean.data import Samples
from clipclean.errors import Inconclusive
from clipclean.jobs import measured_images, naming

RECIPE = recipe.load("cleanclip")


def evidence(read, shown=None, *changes, panel=False):
    """What is measured on: these samples, or the pairs of the job."""
    job, tested, clean = read
    given = {"vocabulary": naming.read_vocabulary(job.classes, job.templates), "suspicions": (), "panel": panel}
    return measured_images.eval_set(
        tested.clip, recipe.override(RECIPE, changes), shown or Samples(clean.pairs, None), **given
    )


def test_captions_measure_where_there_are_no_labels(read, whole_panel):
    shown = evidence(read, panel=True)
    captions = tuple(pair.caption for pair in read[2].pairs)
    assert (shown.images.labels, shown.images.captions, shown.images.pixels.shape) == (None, captions, (48, 3, 16, 16))
    assert (shown.images.knn, len(shown.plan.triggers.panel), len(shown.plan.triggers.grid)) == (
        RECIPE.audit.knn,
        len(triggers.PANEL),
        len(triggers.GRID),
    )


def test_labels_measure_where_there_are_any(read, whole_panel, tmp_path):
    images = measured_images.image_cache(RECIPE, read[1].clip.architecture)
    labelled = data.read_labelled(tiny.labelled(tmp_path / "labelled", count=24), images=images, classes=tiny.CLASSES)
    measured_on = evidence(read, labelled)
    assert measured_on.images.captions is None
    assert torch.equal(measured_on.images.labels, labelled.labels)
    assert (measured_on.images.knn, measured_on.plan.triggers.panel) == (
        2,
        (),
    )  # two images a class: ten votes could never agree on one


@pytest.mark.parametrize(
    ("labels", "most", "votes"), [([0] * 3 + [1] * 3, 10, 3), ([0] * 20 + [1] * 20, 10, 10), ([5, 5, 9, 9], 1, 1)]
)
def test_no_more_neighbours_vote_than_a_class_has_images(labels, most, votes):
    assert measured_images.neighbours(torch.tensor(labels), most) == votes


def test_no_more_images_are_taken_than_the_recipe_says(read):
    few, every = evidence(read, None, "audit.images=7").images, evidence(read).images
    assert len(few.pixels) == len(few.captions) == 7
    shown = list(zip(every.pixels, every.captions, strict=True))
    for pixels, caption in zip(few.pixels, few.captions, strict=True):
        assert any(torch.equal(pixels, other) and caption == words for other, words in shown)


def test_of_more_images_the_same_are_always_taken(read):
    first, again = (evidence(read, None, "audit.images=7").images for _ in range(2))
    assert first.captions == again.captions


def test_a_copy_of_a_pair_is_no_more_evidence(read):
    pairs = read[2].pairs
    images = evidence(read, Samples([*pairs[:3], *pairs[:2], *pairs[:3]], None)).images
    assert images.pixels.shape[0] == 3
    assert images.captions == tuple(pair.caption for pair in pairs[:3])


@pytest.mark.parametrize("times", [1, 200])
def test_fewer_than_two_images_decide_nothing(read, times):
    with pytest.raises(Inconclusive):
        evidence(read, Samples(list(read[2].pairs[:1]) * times, None))


@pytest.mark.parametrize(("unnamed", "is_labelled", "n"), [(0, True, 48), (2, True, 46), (8, False, 48)])
def test_captions_are_the_labels_of_an_audit_where_nearly_all_name_a_class(read, unnamed, is_labelled, n):
    _, tested, clean = read
    drawings = [replace(pair, caption="a drawing") for pair in clean.pairs[:unnamed]]
    images = replace(clean, pairs=(*drawings, *clean.pairs[unnamed:]))
    words = data.Vocabulary(tiny.CLASSES, tiny.TEMPLATES)
    shown = measured_images.audit_set(tested.clip, RECIPE, images, vocabulary=words).images
    assert (shown.labels is not None, shown.captions is None, len(shown.pixels)) == (is_labelled, is_labelled, n)


def test_some_pairs_are_from_all_over_the_set(read):
    _, captions = measured_images.spaced(read[2], 4)
    count = len(read[2].pairs)
    assert captions == [read[2].pairs[number * count // 4].caption for number in range(4)]
