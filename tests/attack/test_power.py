import json
from dataclasses import replace

import pytest
import tiny
import torch

from clipclean import data
from clipclean.attack import power
from clipclean.config import recipe
from clipclean.errors import Inconclusive
from clipclean.jobs import inputs
from clipclean.schema.report import PlantedRecord


def planted(*levels, idle=0):
    """The power by backdoors that took and were named at these levels, and by ``idle`` ones that did not take."""
    figures = {"class": "cat", "excess_asr": 0.9, "took": True, "seconds": 1.0}
    made = [PlantedRecord(trigger=f"patch:seed={n}", level=level, **figures) for n, level in enumerate(levels)]
    figures |= {"excess_asr": 0.4, "took": False}
    return power.record([*made, *[PlantedRecord(trigger="warp", level=None, **figures)] * idle])


def test_what_the_audit_names_is_found_and_backdoors_that_did_not_take_do_not_count():
    made = planted("error", "warning", None, "error")
    assert (made.found.value, made.failed.value, made.found.n) == (0.75, 0.5, 4)
    assert json.loads(json.dumps(made.as_json()))["enough"] is True
    few = planted("error", "error", "error", idle=1)
    assert (few.found.value, few.found.n, few.enough) == (1, 3, False)  # three are too few to state a power by
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


def test_pairs_to_plant_with_keep_captions_or_get_sentences_about_their_classes_and_too_few_are_refused(tmp_path):
    job = tiny.job(tmp_path / "job", count=2)
    opened = inputs.read(job.model, arch=str(job.arch))
    cache = inputs.image_cache(recipe.load(recipe.DEFAULT_RECIPE), opened.architecture)
    images = data.read_images(tiny.labelled(tmp_path / "labelled", count=72), images=cache)
    found = power.pairs_of(images, tiny.CLASSES, tiny.TEMPLATES)
    assert len(found) == 72
    assert {p.caption for p in found} == {form.format(name) for name in tiny.CLASSES for form in tiny.TEMPLATES}
    assert all(pair.caption in (f"a {pair.label}.", f"a photo of a {pair.label}.") for pair in found)
    images = data.read_images(tiny.pairs(tmp_path / "pairs", count=64), images=cache)
    assert [p.caption for p in power.pairs_of(images, ("x", "y"), ("{}",))] == [p.caption for p in images.pairs]
    for pairs in (images.pairs[1:], tuple(replace(pair, caption="") for pair in images.pairs)):
        with pytest.raises(Inconclusive):
            power.pairs_of(replace(images, pairs=pairs), ("x", "y"), ("{}",))


# Planting and asking.


def test_each_backdoor_has_a_copy_of_its_own_and_the_weights_come_back(tmp_path, monkeypatch):
    job = tiny.job(tmp_path / "job", count=64)
    loaded, clean = tiny.loaded(job)
    chosen = recipe.load(recipe.DEFAULT_RECIPE)
    vocabulary = data.Vocabulary(tiny.CLASSES, tiny.TEMPLATES)
    eval_set = inputs.audit_set(loaded.clip, chosen, clean, vocabulary=vocabulary)
    before = {name: tensor.clone() for name, tensor in loaded.clip.net.state_dict().items()}
    seen = []

    def named():
        seen.append(loaded.clip.net.state_dict()["visual.proj"].clone())
        return {tiny.CLASSES[3]: "error"}

    monkeypatch.setattr(power.poison, "PLANTED_EXCESS", -1.0)  # the tiny model learns no backdoor in so few steps
    planting = recipe.planting(rate=0.5, steps=2, batch_size=16, walk=0.1, warmup_steps=1)
    monkeypatch.setattr(power, "planting_of", lambda *_, **__: planting)
    drawn = power.poison.draw(3, classes=len(tiny.CLASSES), avoid=[0, 1], seed=0)
    made = power.measure(loaded.clip, clean.pairs, eval_set, chosen, drawn, seed=0, levels=named)
    assert len({each.trigger for each in made.planted}) == 3
    assert len({each.class_ for each in made.planted}) == 3
    assert not {each.class_ for each in made.planted} & {tiny.CLASSES[0], tiny.CLASSES[1]}
    assert all(each.level == ("error" if each.class_ == tiny.CLASSES[3] else None) for each in made.planted)
    monkeypatch.setattr(power.poison, "PLANTED_EXCESS", 1.1)  # of what was not planted, nobody is asked
    (idle,) = power.measure(loaded.clip, clean.pairs, eval_set, chosen, drawn[:1], seed=0, levels=named).planted
    assert (idle.took, idle.level, len(seen)) == (False, None, 3)
    assert not any(torch.equal(one, before["visual.proj"]) for one in seen)
    assert all(torch.equal(loaded.clip.net.state_dict()[name], tensor) for name, tensor in before.items())
