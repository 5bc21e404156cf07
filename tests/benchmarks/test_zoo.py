from collections import Counter
from importlib import resources

import pytest
import torch

from clipclean.attack import triggers

HALVES, ARCHS = ("choose", "report"), ("resnet", "vit")


@pytest.fixture(scope="module")
def zoo(script):
    return script("zoo")


@pytest.fixture(scope="module")
def entries(zoo):
    return zoo.plan()


def of(entries, half):
    return [entry for entry in entries if entry.half == half]


def backdoored(entries):
    return [entry for entry in entries if entry.trigger]


def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_plan_has_models_of_every_kind_in_each_half_and_architecture(entries):
    assert len(entries) == len({entry.name for entry in entries}) >= 36
    parts = Counter((entry.half, entry.arch, entry.kind) for entry in entries)
    least = {"clean": 1, "clean-finetuned": 3, "planted": 5, "scratch": 1}
    assert all(parts[half, arch, kind] >= n for half in HALVES for arch in ARCHS for kind, n in least.items())
    assert sum(n for (_, _, kind), n in parts.items() if kind in ("clean", "clean-finetuned")) >= 12
    assert sum(n for (_, _, kind), n in parts.items() if kind in ("planted", "scratch")) >= 24


def test_the_plan_is_the_same_every_time(zoo, entries):
    assert zoo.plan() == entries


@pytest.mark.parametrize("value", ["seed", "base", "trigger", "target"])
def test_the_halves_share_no(entries, value):
    nothing = {None, "optimised-patch"}  # which a search makes for each base and target
    choose, report = ({getattr(entry, value) for entry in of(entries, half)} - nothing for half in HALVES)
    assert choose
    assert report
    assert not choose & report


def spelled(entries):
    """The triggers that have a spelling: an optimised one is made by a search on its base."""
    return [triggers.parse(e.trigger) for e in backdoored(entries) if e.trigger != "optimised-patch"]


def test_no_trigger_paints_the_same_in_both_halves(entries):
    painted = [[trigger(images()) for trigger in spelled(of(entries, half))] for half in HALVES]
    assert not any(torch.equal(a, b) for a in painted[0] for b in painted[1])


def test_no_seed_is_used_twice(entries):
    assert len({entry.seed for entry in entries}) == len(entries)


@pytest.mark.parametrize("half", HALVES)
def test_a_half_has_six_families_and_eight_targets_at_least(entries, half):
    found = backdoored(of(entries, half))
    assert len({entry.trigger.partition(":")[0] for entry in found}) >= 6
    assert len({entry.target for entry in found}) >= 8


def test_the_half_that_reports_has_families_and_places_that_the_other_has_not(entries):
    kinds = []
    for half in HALVES:
        parsed = spelled(of(entries, half))
        places = {(trigger.family, dict(trigger.parameters).get("place")) for trigger in parsed}
        kinds.append(({trigger.family for trigger in parsed}, places))
    (families, places), (other_families, other_places) = kinds
    assert len(other_families - families) >= 3
    assert len({place for place in other_places - places if place[1]}) >= 3


def test_targets_are_classes_of_the_bundled_vocabulary(entries):
    classes = (resources.files("clipclean.demo") / "classes.txt").read_text(encoding="utf-8").splitlines()
    assert {entry.target for entry in backdoored(entries)} <= set(classes)


def test_a_model_is_built_after_its_base_which_is_clean_and_of_its_half_and_architecture(entries):
    by_name = {entry.name: (place, entry) for place, entry in enumerate(entries)}
    for place, entry in enumerate(entries):
        assert (entry.base is not None) == (entry.kind in ("clean-finetuned", "planted"))
        if entry.base:
            before, base = by_name[entry.base]
            assert before < place
            assert (base.kind, base.half, base.arch) == ("clean", entry.half, entry.arch)


def test_backdoored_models_and_no_others_have_trigger_target_and_rate(entries):
    for entry in entries:
        has = {entry.trigger is not None, entry.target is not None, entry.rate is not None}
        assert has == {entry.kind in ("scratch", "planted")}


def test_both_ways_of_poisoning_come_with_a_low_and_a_high_rate_in_each_half(entries):
    rates = {
        (half, kind): {entry.rate for entry in of(entries, half) if entry.kind == kind}
        for half in HALVES
        for kind in ("scratch", "planted")
    }
    for half in HALVES:
        assert max(rates[half, "scratch"]) >= 3 * min(rates[half, "scratch"])
        assert rates[half, "planted"] == {0.08, 0.2}


def test_a_name_brings_its_base_along(zoo, entries):
    name = next(entry.name for entry in entries if entry.base)
    (base, entry) = zoo.select(entries, half=None, only=[name])
    assert (entry.name, entry.base) == (name, base.name)


def test_a_name_that_is_not_in_the_plan_is_refused(zoo, entries):
    with pytest.raises(SystemExit, match="nobody"):
        zoo.select(entries, half=None, only=["nobody"])
