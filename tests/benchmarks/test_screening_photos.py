"""Captions of photographs among which poisoned pairs are hidden."""

import random

import pytest
import torch


@pytest.fixture(scope="module")
def frames(script):
    return script("frames")


@pytest.fixture(scope="module")
def screening_photos(script):
    return script("screening_photos")


@pytest.fixture
def photos(script):
    names, label = [["lion", "king of beasts"], ["goose"]], torch.tensor([0, 1] * 30)
    return script("photos").Photos(names, [""] * 60, label, torch.zeros(60), torch.zeros(60, 3, 2, 2))


def sentences(frames, count):
    return [frames.frame(f"A dog with number {number}") for number in range(count)]


def test_natural_captions_have_the_names_of_the_templates_and_each_sentence_once(
    frames, screening_photos, photos, monkeypatch
):
    monkeypatch.setattr(screening_photos, "HIDDEN", (3,))
    numbers = list(range(60))
    named, templates, none_left = screening_photos.captioned(photos, [0, 1], numbers, None)
    same, natural, spare = screening_photos.captioned(photos, [0, 1], numbers, sentences(frames, 63))
    assert named == same
    assert {"lion", "king of beasts", "goose"} == set(named)
    assert all(name in one and name in other for name, one, other in zip(named, templates, natural, strict=True))
    assert not none_left
    hidden = screening_photos.poisoned_captions(natural[:3], {"target": "goose"}, "templates", spare)
    assert all(caption.startswith("A goose with number") for caption in hidden)
    ends = [caption.split()[-1] for caption in natural + hidden]
    assert sorted(ends, key=int) == [str(number) for number in range(63)]


def test_templates_are_drawn_as_before_there_were_natural_captions(screening_photos, photos):
    rng = random.Random(13)
    before = [photos.caption(int(photos.label[k]), rng) for k in range(60)]
    assert screening_photos.captioned(photos, [0, 1], list(range(60)), None)[1] == before


def test_too_few_sentences_are_refused(frames, screening_photos, photos):
    with pytest.raises(SystemExit, match=r"^60 sentences are left for 110 captions"):
        screening_photos.captioned(photos, [0, 1], list(range(60)), sentences(frames, 60))


def test_an_appended_caption_keeps_the_pairs_own(screening_photos):
    assert screening_photos.poisoned_captions(["A dog"], {"target": "ox"}, "appended", []) == ["A dog, ox"]


def test_the_table_tells_the_kinds_of_captions_apart(screening_photos):
    counts = {"top": [0, 80], "auto": [0, 4], "trusted": [0, 40]}
    cases = ["none", *(f"{form} {count}" for form in screening_photos.FORMS for count in screening_photos.HIDDEN)]
    old = {"entry": {"name": "victim", "trigger": "patch:size=0.2"}} | dict.fromkeys(cases, counts)
    rows = screening_photos.table([old | {"captions": "natural"}, old]).splitlines()[2:]
    assert [row.split(" | ")[2] for row in rows] == ["templates"] * 5 + ["natural"] * 5
    assert [row.split(" | ")[3] for row in rows[:5]] == ["–", *["like the set's"] * 2, *["appended"] * 2]
