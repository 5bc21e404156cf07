import json
from dataclasses import replace

import pytest
import tiny
import torch

from clipclean import data
from clipclean.attack import power
from clipclean.config import recipe
from clipclean.errors import Inconclusive
from clipclean.jobs import measured_images, opening
from clipclean.schema.report import PlantedRecord


def planted(*levels, idle=0):
    """The power by backdoors that took and were named at these levels, and by ``idle`` ones that did not take."""
    figures = {"class": "cat", "excess_asr": 0.9, "took": True, "seconds": 1.0}
    made = [PlantedRecord(trigger=f"patch:seed={n}", level=level, **figures) for n, level in enumerate(levels)]
    figures |= {"excess_asr": 0.4, "took": False}
    return power.record([*made, *[PlantedRecord(trigger="warp", level=None, **figures)] * idle])


def test_what_the_audit_names_is_found():
    record = planted("error", "warning", None, "error")
    assert (record.found.value, record.failed.value, record.found.n) == (0.75, 0.5, 4)
    assert json.loads(json.dumps(record.as_json()))["enough"] is True


def test_backdoors_that_did_not_take_do_not_count():
    record = planted("error", "error", "error", idle=1)
    assert (record.found.value, record.found.n, record.enough) == (1, 3, False)  # three are too few to state a power by


def test_the_finding_says_how_sure_the_power_is():
    words = power.power_finding(planted("error", None, "error", "error")).message
    assert all(word in words for word in ("3 of 4", "30 to 95 %", "patch:seed=1"))  # Wilson: 0.301 to 0.954


@pytest.mark.parametrize(
    ("levels", "level"),
    [
        (["error"] * 4, "note"),
        (["error", "error", "warning", None], "note"),
        (["error", "error", None, None], "warning"),
        ([None] * 6, "warning"),
        ([], "warning"),
    ],
)
def test_only_nearly_all_found_of_enough_is_a_note(levels, level):
    found = power.power_finding(planted(*levels))
    assert (found.rule, found.level) == ("CC008", level)


# The pairs to plant with.


@pytest.fixture(scope="module")
def tiny_cache(tmp_path_factory):
    """For images in the size of a tiny model."""
    job = tiny.job(tmp_path_factory.mktemp("power") / "job", count=2)
    opened = opening.read(job.model, arch=str(job.arch))
    return measured_images.image_cache(recipe.load(recipe.DEFAULT_RECIPE), opened.architecture)


@pytest.fixture
def captioned(tmp_path, tiny_cache):
    """As many pairs as are needed."""
    return data.read_images(tiny.pairs(tmp_path / "pairs", count=64), images=tiny_cache)


def test_labelled_images_to_plant_with_get_sentences_about_their_classes(tmp_path, tiny_cache):
    images = data.read_images(tiny.labelled(tmp_path / "labelled", count=72), images=tiny_cache)
    pairs = power.pairs_of(images, tiny.CLASSES, tiny.TEMPLATES)
    assert len(pairs) == 72
    assert {p.caption for p in pairs} == {form.format(name) for name in tiny.CLASSES for form in tiny.TEMPLATES}
    assert all(pair.caption in (f"a {pair.label}.", f"a photo of a {pair.label}.") for pair in pairs)


def test_pairs_to_plant_with_keep_their_captions(captioned):
    pairs = power.pairs_of(captioned, ("x", "y"), ("{}",))
    assert [pair.caption for pair in pairs] == [pair.caption for pair in captioned.pairs]


def test_too_few_pairs_to_plant_with_are_inconclusive(captioned):
    for pairs in (captioned.pairs[1:], tuple(replace(pair, caption="") for pair in captioned.pairs)):
        with pytest.raises(Inconclusive):
            power.pairs_of(replace(captioned, pairs=pairs), ("x", "y"), ("{}",))


# Planting and asking.


@pytest.fixture
def weakly_planted(monkeypatch):
    """Plantings of two steps: the tiny model learns no backdoor in so few."""
    planting = recipe.planting(rate=0.5, steps=2, batch_size=16, walk=0.1, warmup_steps=1)
    monkeypatch.setattr(power, "planting_of", lambda *_, **__: planting)


def ready(folder):
    """A model to plant in, pairs, and images to measure on."""
    loaded, clean = tiny.loaded(tiny.job(folder / "job", count=64))
    chosen, vocabulary = recipe.load(recipe.DEFAULT_RECIPE), data.Vocabulary(tiny.CLASSES, tiny.TEMPLATES)
    return loaded, clean, measured_images.audit_set(loaded.clip, chosen, clean, vocabulary=vocabulary), chosen


@pytest.mark.usefixtures("weakly_planted")
@pytest.mark.parametrize(("least_excess", "count"), [(-1.0, 4), (1.1, 6)])
def test_for_one_that_does_not_take_another_is_planted(tmp_path, monkeypatch, least_excess, count):
    loaded, clean, eval_set, chosen = ready(tmp_path)
    monkeypatch.setattr(power.poison, "PLANTED_EXCESS", least_excess)
    drawn = power.test_backdoors_of(classes=len(tiny.CLASSES), avoid=[], seed=0)
    record = power.measure(loaded.clip, clean.pairs, eval_set, chosen, drawn, seed=0, levels=dict)
    assert len(record.planted) == min(count, len(tiny.CLASSES))


@pytest.mark.usefixtures("weakly_planted")
def test_each_backdoor_is_planted_in_a_copy_of_its_own(tmp_path, monkeypatch):
    loaded, clean, eval_set, chosen = ready(tmp_path)
    before = {name: tensor.clone() for name, tensor in loaded.clip.net.state_dict().items()}
    projections = []

    def named():
        projections.append(loaded.clip.net.state_dict()["visual.proj"].clone())
        return {tiny.CLASSES[3]: "error"}

    monkeypatch.setattr(power.poison, "PLANTED_EXCESS", -1.0)
    drawn = power.poison.draw(3, classes=len(tiny.CLASSES), avoid=[0, 1], seed=0)
    record = power.measure(loaded.clip, clean.pairs, eval_set, chosen, drawn, seed=0, levels=named)
    assert len({each.trigger for each in record.planted}) == 3
    assert len({each.class_ for each in record.planted}) == 3
    assert not {each.class_ for each in record.planted} & {tiny.CLASSES[0], tiny.CLASSES[1]}
    assert all(each.level == ("error" if each.class_ == tiny.CLASSES[3] else None) for each in record.planted)
    monkeypatch.setattr(power.poison, "PLANTED_EXCESS", 1.1)  # of what was not planted, nobody is asked
    (idle,) = power.measure(loaded.clip, clean.pairs, eval_set, chosen, drawn[:1], seed=0, levels=named).planted
    assert (idle.took, idle.level, len(projections)) == (False, None, 3)
    assert not any(torch.equal(one, before["visual.proj"]) for one in projections)
    assert all(torch.equal(loaded.clip.net.state_dict()[name], tensor) for name, tensor in before.items())
