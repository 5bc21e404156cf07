"""Witnesses of three classes, told by the channel that is brightest; a trigger paints the image in one colour."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from clipclean.detect import EvalSet, Suspect, witness
from clipclean.findings import finding

CLASSES = ("red", "green", "blue")
LIMIT = 3.5


@dataclass(frozen=True)
class Paint:
    """Everything becomes this channel."""

    spec: str
    channel: int

    def __call__(self, images, generator=None, /):
        made = torch.zeros_like(images)
        made[:, self.channel] = 1
        return made


GREEN, BLUE = Paint("found:colour,class=green", 1), Paint("found:mask,class=green", 2)


def images(side=8):
    """Six of each class."""
    made = torch.zeros(18, 3, side, side)
    made[torch.arange(18), torch.arange(18) % 3] = 0.7
    return made


def embed(pixels, side=4):
    assert pixels.shape[-1] == side
    return torch.nn.functional.normalize(pixels.mean((2, 3)), dim=1)


def asked(triggers, tower=embed, side=4, labels=True):
    shown = EvalSet(
        pixels=images(),
        labels=torch.arange(18) % 3 if labels else None,
        captions=None,
        classes=CLASSES,
        templates=("{}",),
        suspicions=(),
        panel=(),
        knn=0,
        batch_size=5,
    )
    return witness.testify(
        tower,
        torch.eye(3),
        shown,
        side=side,
        name="other.pt",
        architecture="RN50",
        triggers=[(trigger, "green", 1.0) for trigger in triggers],
    )


def test_a_witness_sees_triggered_images_at_its_own_size():
    made = asked([GREEN, BLUE])
    assert (made.accuracy.hits, made.accuracy.n) == (18, 18)
    assert made.moved == {GREEN.spec}  # images painted green are green to anyone; blue ones are no green ones
    assert (made.probes[GREEN.spec].asr.hits, made.probes[GREEN.spec].asr.n) == (12, 12)
    assert made.probes[BLUE.spec].asr.hits == 0
    assert [row["moved"] for row in made.record().as_json()["triggers"]] == [True, False]


def test_without_labels_its_accuracy_is_unknown():
    assert asked([GREEN], labels=False).accuracy.n == 0
    assert asked([GREEN], labels=False).moved == {GREEN.spec}


def test_less_than_half_of_the_excess_is_no_move():
    def stubborn(pixels):  # takes the middle of what is there for what it is, and is moved by a quarter of the images
        found = embed(pixels)
        found[len(found) // 4 :] = torch.eye(3)[0]
        return found

    assert asked([GREEN], tower=stubborn).moved == frozenset()


def test_sizes_stay_in_range_and_the_same_side_stays_as_it_is():
    one = torch.rand(2, 3, 8, 8)
    assert witness.resized(one, 8) is one
    larger = witness.resized((one > 0.5).float(), 13)
    assert larger.shape == (2, 3, 13, 13)
    assert 0 <= larger.min() <= larger.max() <= 1


# What is made of it.


def hit(trigger, family):
    return SimpleNamespace(candidate=SimpleNamespace(family=family), found=trigger, probe=SimpleNamespace(excess=1.0))


def suspect(**pieces):
    known = {"colour": GREEN, "mask": BLUE}
    hits = tuple(hit(known[family], family) for family in pieces if family in known)
    strength = SimpleNamespace(trigger="panel", excess=0.9) if "panel" in pieces else None
    return Suspect("green", pieces, hits, strength, is_beside=True)


def heard(accused, *triggers, level="error"):
    found = finding("CC003", "A trigger was found.", level=level, target="green")
    made = witness.heard(found, accused, (), [asked(triggers)], limit=LIMIT)
    return made.level, made.message


def test_a_class_is_downgraded_where_too_little_is_left_without_natural_triggers():
    level, words = heard(suspect(colour=4.0, mask=3.0), GREEN, BLUE)
    assert level == "warning"
    assert "too: it looks like that class" in words
    assert "too little evidence is left to fail" in words


def test_a_class_fails_still_where_enough_is_left():
    level, words = heard(suspect(colour=4.0, mask=3.6), GREEN, BLUE)
    assert level == "error"
    assert "it looks like that class" in words


def test_a_trigger_that_does_not_move_a_witness_is_said_to_prove_nothing():
    level, words = heard(suspect(mask=4.0), BLUE)
    assert level == "error"
    assert "which proves nothing" in words


def test_what_a_warning_says_stays_a_warning():
    assert heard(suspect(mask=3.0), BLUE, level="warning")[0] == "warning"
    assert heard(suspect(colour=3.0), GREEN, level="warning")[0] == "warning"


@pytest.mark.parametrize(("score", "expected"), [(4.0, 0.0), (0.0, 0.0)])
def test_what_is_left_without_the_only_trigger_is_nothing(score, expected):
    assert witness.left(suspect(colour=score), (), [asked([GREEN])]) == expected


def test_triggers_of_the_panel_are_tried_too():
    accused, panel = suspect(panel=4.0), (Paint("panel", 1), Paint("other", 0))
    assert [trigger.spec for trigger, _, _ in witness.triggers_of(accused, panel).values()] == ["panel"]
