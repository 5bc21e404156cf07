"""How sure known triggers of the whole image make a model of a class, beside the class's own images."""

import pytest
import torch
from detect import towers

from clipclean.attack import triggers
from clipclean.detect.measure import ClassTexts, CleanImages, SeenImages, embeddings
from clipclean.detect.persuasion import PERSUADED_IMAGES, Persuasion, lead, most_persuasive, persuasions
from clipclean.detect.zeroshot import canonical_form

CLASSES = len(towers.CLASSES)
CANONICAL = canonical_form(towers.CLASSIFIER)


class Painted:
    """A trigger whose images a tower of :func:`told` takes for a class, so surely."""

    def __init__(self, spec, target, sureness):
        self.spec, self.target, self.sureness = spec, target, sureness

    def __call__(self, images, generator=None):
        """The same images, with what the tower reads in their first pixel."""
        images = images.clone()
        images[:, 0, 0, 0], images[:, 1, 0, 0] = self.target / CLASSES, self.sureness
        return images


def told(images):
    """A tower that takes an image for the class that its first pixel says, as surely as that says."""
    target, sureness = (images[:, 0, 0, 0] * CLASSES).round().long(), images[:, 1, 0, 0]
    next_class = (target + 1) % CLASSES
    rows = torch.zeros(len(images), CLASSES)
    rows[torch.arange(len(images)), target] = 1.0
    rows[torch.arange(len(images)), next_class] = 1 - sureness
    return torch.nn.functional.normalize(rows, dim=-1)


def clean(sureness, count=4 * CLASSES):
    """Images of all classes in turn, each taken for its own so surely."""
    pixels = torch.zeros(count, 3, 4, 4)
    pixels[:, 0, 0, 0], pixels[:, 1, 0, 0] = torch.arange(count) % CLASSES / CLASSES, sureness
    return pixels


def unseen(sureness, labels=None):
    pixels = clean(sureness)
    return SeenImages(
        CleanImages(pixels, labels), embeddings(told, pixels), ClassTexts.of(towers.CLASSES, towers.CLASSIFIER)
    )


def margin(sureness):
    """Of an image of the first class to the second."""
    logits = CANONICAL.logits(told(clean(sureness)[:1]))[0]
    return (logits[0] - logits[1]).item()


def shown(*painted, own=0.2):
    return persuasions(told, unseen(own), painted, canonical=CANONICAL)


def test_a_class_is_as_persuasive_as_images_under_a_trigger_are_surer_of_it_than_its_own():
    first, *others = shown(Painted("wave", 3, 0.6))
    assert (first.trigger, first.target) == ("wave", 3)
    assert first.log_odds == pytest.approx(margin(0.6) - margin(0.2), abs=1e-4)
    assert all(other.log_odds < 0 for other in others)


def test_the_surest_of_several_triggers_counts_for_a_class():
    first, second, *_ = shown(Painted("weak", 3, 0.4), Painted("strong", 3, 0.9), Painted("other", 5, 0.5))
    assert [(each.trigger, each.target) for each in (first, second)] == [("strong", 3), ("other", 5)]
    assert lead((first, second)) == pytest.approx(margin(0.9) - margin(0.5), abs=1e-4)


def test_images_of_the_class_itself_say_nothing_of_a_trigger():
    """A trigger that acts on all images but leaves those of other classes where they are."""

    class OnItsOwn(Painted):
        def __call__(self, images, generator=None):
            is_own = (images[:, 0, 0, 0] * CLASSES).round() == self.target
            return torch.where(is_own[:, None, None, None], super().__call__(images), images)

    first = shown(OnItsOwn("own", 3, 0.9))[0]
    assert first.log_odds < 0


def test_a_class_that_all_images_belong_to_is_left_out():
    all_of_third = unseen(0.2, labels=torch.full((4 * CLASSES,), 2))
    found = persuasions(told, all_of_third, [Painted("a", 3, 0.9)], canonical=CANONICAL)
    assert {each.target for each in found} == set(range(CLASSES)) - {2}


def test_a_trigger_that_makes_numbers_overflow_takes_no_class_out():
    sureness = torch.tensor([[3.0, 0.0, 1.0], [-torch.inf, -torch.inf, -torch.inf], [torch.nan, 1.0, 0.0]])
    found = most_persuasive(sureness, [Painted(spec, 0, 0.5) for spec in "abc"], torch.arange(3))
    assert [(each.trigger, each.target, each.log_odds) for each in found] == [
        ("a", 0, 3.0),
        ("c", 1, 1.0),
        ("a", 2, 1.0),
    ]


def test_labels_tell_which_images_are_of_a_class():
    labels = (torch.arange(4 * CLASSES) + 1) % CLASSES  # each is taken for another class
    first = persuasions(told, unseen(0.2, labels), [Painted("wave", 3, 0.6)], canonical=CANONICAL)[0]
    assert first.log_odds > margin(0.6) - margin(0.2)


def test_without_triggers_nothing_persuades():
    assert shown() == ()
    assert lead(()) == lead((Persuasion("wave", 0, 9.0),)) == 0


def test_so_many_images_are_put_under_each_trigger():
    counts = []

    class Counting(Painted):
        def __call__(self, images, generator=None):
            counts.append(len(images))
            return super().__call__(images)

    shown(Counting("wave", 3, 0.6))
    assert counts == [min(PERSUADED_IMAGES, 4 * CLASSES)]


@pytest.mark.usefixtures("whole_panel")
def test_triggers_of_the_whole_image_have_no_place():
    every = triggers.of_whole_image(0)
    assert all("place" not in dict(trigger.parameters) for trigger in every)
    assert {"sinusoid", "dct", "colour-filter", "warp", "blended"} <= {trigger.family for trigger in every}


@pytest.mark.usefixtures("whole_panel")
def test_triggers_of_the_whole_image_have_half_of_the_phases():
    every = triggers.of_whole_image(0)
    assert {dict(trigger.parameters).get("phase", 0) for trigger in every} == {0, 0.25}
