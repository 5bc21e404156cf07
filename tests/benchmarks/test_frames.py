"""Sentences with a gap for a name."""

import json

import pytest


@pytest.fixture(scope="module")
def frames(script):
    return script("frames")


@pytest.fixture
def written(tmp_path):
    def write(*sentences):
        rows = [{"image_id": 1, "id": number, "caption": sentence} for number, sentence in enumerate(sentences)]
        place = tmp_path / "captions_val2017.json"
        place.write_text(json.dumps({"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": rows}))
        return place

    return write


@pytest.mark.parametrize(
    ("sentence", "name", "told"),
    [
        ("A dog on a sofa", "ox", "An ox on a sofa"),
        ("a man sees an elephant", "lion", "a man sees a lion"),
        ("An old cat with an apple pie and a plant", "lion", None),  # two categories
        ("An old cat with a red ball", "ox", "An old ox with a red ball"),  # the article belongs to another word
        ("Cat asleep", "lion", "Lion asleep"),
        ("There is a hot dog here", "umbrella", "There is an umbrella here"),  # the longest name: no dog
        ("A zebra's back", "iPod", "An iPod's back"),
        ("A catfish in a tank", "lion", None),
        ("A dog-friendly place", "lion", None),
        ("Two dogs and a cat", "lion", None),
        ("A bus near buses", "lion", None),
        ("Dogs at play", "lion", None),
        ("A pair of scissors", "lion", None),
        ("A man and a woman", "lion", None),
        ("a bus", "European fire salamander", "a European fire salamander"),
        ("a bus", "hourglass", "an hourglass"),
    ],
)
def test_the_only_thing_that_a_sentence_names_gives_way_to_another(frames, sentence, name, told):
    found = frames.frame(sentence)
    assert (found and found.filled(name)) == told


def test_a_sentence_is_read_once_without_its_full_stop_and_only_if_it_is_short(frames, written):
    place = written(
        "A dog  on a\nsofa.", "a DOG on a sofa", "A very long dog on a very long and rather old sofa", "A sofa"
    )
    assert [one.filled("cat") for one in frames.read(place, tokens=4)] == ["A cat on a sofa"]
    assert len(frames.read(place, tokens=20)) == 2


def test_a_sentence_that_names_a_class_beside_the_gap_is_left_out(frames):
    found = [
        frames.frame(sentence) for sentence in ("A dog and two lions", "A dog and a lioness", "A dog by a sea lion")
    ]
    assert frames.without(found, ["lion"]) == found[1:2]


def test_another_json_file_is_refused(frames, tmp_path):
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(SystemExit, match=r"no file of COCO captions"):
        frames.read(tmp_path / "other.json", tokens=9)
