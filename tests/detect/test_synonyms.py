"""Classes that are one to the model: whatever is added to a list, or made equal in the text tower, hides no planted class."""

import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from detect import towers

from clipclean.config import policy, thresholds
from clipclean.detect import (
    SEARCH_FAMILIES,
    NoSearch,
    canonical_of,
    measure,
    search_findings,
    suspect_records,
    zeroshot,
)
from clipclean.detect.measure import ClassTexts, CleanImages, SeenImages, probe

LIMITS = policy.resolved(policy.DEFAULT_POLICY, thresholds.Audit())
FOX = towers.CLASSIFIER[towers.TARGET]
NOISE = torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
EFFORT = replace(towers.EFFORT, steps=30)


@pytest.fixture(scope="module", autouse=True)
def _two_families():
    with pytest.MonkeyPatch.context() as patch:
        two = {name: SEARCH_FAMILIES[name] for name in ("mask", "patch")}
        patch.setattr(sys.modules["clipclean.detect.search"], "SEARCH_FAMILIES", two)
        yield


def near(row, *, share=0.1, number=0):
    """A text that lies this far from another, in a direction of its own."""
    return F.normalize(row + share * F.normalize(NOISE[number], dim=0), dim=0)


def found(more, tower=None, **settings):
    """A search with the texts of more classes."""
    names = (*towers.CLASSES, *more)
    texts = torch.stack([*towers.CLASSIFIER, *more.values()])
    return towers.searched(tower or towers.backdoored(towers.spot), classes=names, texts=texts, **settings)


def named(made):
    """The classes that a verdict names, the surest finding first."""
    return [finding.target for finding in search_findings(made, images=60, limits=LIMITS) if finding.rule == "CC003"]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"fox again": FOX},
        {"vixen": near(FOX)},
        {f"fox {n}": near(FOX, number=n) for n in range(9)},
        {f"a word {n}": F.normalize(NOISE[n], dim=0) for n in range(40)},
        {f"cow {n}": near(towers.CLASSIFIER[2], number=n) for n in range(300)},
    ],
    ids=["none", "copy", "near", "nine near", "words", "decoys of another class"],
)
def test_a_class_that_is_added_to_the_list_hides_no_planted_one(more):
    made = found(more)
    assert named(made)[:1] == ["fox"]
    twins = {name for name in more if name.startswith(("fox", "vixen"))}
    assert set(made.one_with("fox")) == {"fox", *twins}


@pytest.fixture(scope="module")
def with_twins():
    """A search with a copy of the planted class in the list, and with one that lies near it."""
    return found({"fox again": FOX, "vixen": near(FOX)})


def test_classes_that_are_one_are_searched_for_once(with_twins):
    assert with_twins.synonyms == (("fox", "fox again", "vixen"),)
    assert len(with_twins.sizes()["mask"]) == len(towers.CLASSES)


def test_a_finding_names_what_is_one_with_its_class(with_twins):
    message = search_findings(with_twins, images=60, limits=LIMITS)[0].message
    assert "'fox again'" in message
    assert "'vixen'" in message


def test_what_is_one_with_a_suspect_is_a_suspect_beside_it(with_twins):
    nothing = measure(towers.honest(), lambda texts: FOX.expand(len(texts), -1), towers.eval_set(towers.images(4)))
    suspects = [suspect.class_ for suspect in suspect_records(with_twins, nothing, limits=LIMITS)]
    assert suspects[:3] == ["fox", "fox again", "vixen"]


def test_a_pointer_to_a_class_that_another_stands_for_leads_to_that_one():
    few = replace(EFFORT, steps=2, suspects=2, controls=3)
    made = found({"vixen": near(FOX)}, towers.honest(), effort=few, pointed=[len(towers.CLASSES)])
    assert "fox" in made.sizes()["mask"]
    assert "vixen" not in made.sizes()["mask"]


def test_a_row_that_is_made_equal_to_the_targets_neither_splits_its_images_nor_is_a_class_of_its_own():
    pixels, tower = towers.images(40), towers.backdoored(towers.corner)
    texts = torch.stack(
        [near(FOX), *towers.CLASSIFIER[1:]]
    )  # the first class, which no image was taken for, is the fox's

    class Pasted:
        spec = "corner"

        def __call__(self, images, _generator=None, /):
            images = images.clone()
            images[..., -4:, -4:] = ((towers.CHECKS + 1) / 2)[-4:, -4:]
            return images

    seen = SeenImages(CleanImages(pixels), tower(pixels), ClassTexts.of(towers.CLASSES, texts))
    exact = zeroshot.predict(tower(Pasted()(pixels)), texts)
    assert min((exact == place).sum() for place in (0, towers.TARGET)) > 0  # each of the two takes some
    for target in (0, towers.TARGET, None):
        assert probe(tower, seen, trigger=Pasted(), target=target).asr.value == 1


NEAR_FOX = torch.stack([*towers.CLASSIFIER, near(FOX), near(FOX, share=0.2), near(FOX, number=1)])
# .1 from it, and .2: .01 and .04 of squared distances up to 2
NEAR_FOX_ARE_ONE_WITH = [*range(8), towers.TARGET, 9, towers.TARGET]


def test_classes_are_one_by_their_distance_beside_that_of_the_farthest():
    assert zeroshot.representatives(NEAR_FOX).tolist() == NEAR_FOX_ARE_ONE_WITH
    assert zeroshot.representatives(NEAR_FOX[:0]).tolist() == []


def test_a_constant_does_not_change_which_classes_are_one():
    assert zeroshot.representatives(NEAR_FOX + 50).tolist() == NEAR_FOX_ARE_ONE_WITH


def test_copies_do_not_change_which_classes_are_one():
    copied = torch.cat([NEAR_FOX, FOX.expand(500, -1)])
    assert zeroshot.representatives(copied).tolist() == [*NEAR_FOX_ARE_ONE_WITH, *[towers.TARGET] * 500]
    assert zeroshot.representatives(FOX.expand(4, -1)).tolist() == [0] * 4


def forms():
    """Embeddings, and the canonical forms of all classes without a copy of the fox and with it."""
    texts, embeddings = towers.CLASSIFIER, towers.honest()(towers.images(20))
    alone = zeroshot.canonical_form(texts, embeddings=embeddings)
    beside = zeroshot.canonical_form(torch.cat([texts, FOX[None]]), embeddings=embeddings)
    return embeddings, alone, beside


def test_classes_that_are_one_have_one_logit():
    embeddings, _, beside = forms()
    assert beside.logits(embeddings)[:, 8].max() == -torch.inf


def test_a_copy_of_a_class_changes_no_logit_of_the_others():
    embeddings, alone, beside = forms()
    torch.testing.assert_close(beside.logits(embeddings)[:, :8], alone.logits(embeddings))
    torch.testing.assert_close(beside.typical[:8], alone.typical)
    torch.testing.assert_close(beside.known_logits(embeddings), alone.known_logits(embeddings))


def test_of_too_few_classes_that_differ_nothing_is_searched():
    texts = torch.stack([towers.CLASSIFIER[0], towers.CLASSIFIER[1], *(near(FOX, number=n) for n in range(6))])
    with pytest.raises(NoSearch) as told:
        towers.searched(towers.honest(), pixels=towers.images(20), texts=texts)
    assert told.value.rule == "CC022"


def test_a_search_among_classes_that_all_differ_is_as_it_was():
    pixels = towers.images(20)
    canonical = canonical_of(towers.honest(), pixels, towers.CLASSIFIER)
    relative = towers.honest()(pixels) @ (towers.CLASSIFIER - towers.CLASSIFIER.mean(0)).T
    assert torch.equal(canonical.logits(towers.honest()(pixels)).argmax(1), relative.argmax(1))
    assert canonical.distinct.tolist() == [*range(8)]


# A trigger whose images two classes share.

APART = torch.cat(
    [0.8 * FOX, torch.tensor([0.6])]
)  # where the images under the trigger are: beside the words of the fox
WIDER = F.pad(towers.CLASSIFIER, (0, 1))  # texts know nothing of the last number


def drawn_apart(felt):
    """The tower in which what feels the trigger is brought there."""
    clean = towers.honest()

    def embed(images):
        gate = (12 * (felt(images) - 0.5)).sigmoid()[:, None]
        return F.normalize(F.pad(clean(images), (0, 1)) + 8 * gate * APART, dim=-1)

    return embed


def of_rows(tower, more):
    names = (*towers.CLASSES, *(f"word {n}" for n in range(len(more))))
    made = towers.searched(tower, classes=names, texts=torch.cat([WIDER, *(row[None] for row in more)]))
    return made, [each for each in search_findings(made, images=60, limits=LIMITS) if each.rule == "CC003"]


def test_a_class_that_shares_the_images_of_a_trigger_with_the_target_does_not_hide_it():
    tower = drawn_apart(towers.spot)
    _, (alone,) = of_rows(tower, [])
    assert (alone.level, alone.target) == ("error", "fox")
    # As near to these images as the fox's text nearly is: those that look a little like an ant are nearer to it.
    made, (told,) = of_rows(tower, [0.75 * APART + (1 - 0.75**2) ** 0.5 * WIDER[0]])
    assert made.synonyms == ()  # by their texts they are no twins
    assert made.left_out == ("word 0",)
    assert (told.level, told.target) == ("warning", "fox")
    assert "'word 0'" in told.message


def test_in_a_clean_model_no_class_is_named_for_what_others_share():
    for seed in range(3):
        made = found({}, towers.honest(seed))
        told = search_findings(made, images=60, limits=LIMITS)
        assert not [each for each in told if "were not in the list" in each.message]
