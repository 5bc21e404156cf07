"""The plan of the photograph zoo, and how its models come about."""

import copy
import dataclasses
import random
from collections import Counter

import pytest
import torch

from clipclean.attack import trigger_files, triggers

HALVES = ("choose", "report")
NAMES = [f"class {k}" for k in range(180)]


@pytest.fixture(scope="module")
def zoo(script):
    return script("photo_zoo")


@pytest.fixture(scope="module")
def training(script):
    return script("photo_train")


@pytest.fixture(scope="module")
def entries(zoo):
    return zoo.plan()


def of(entries, half):
    return [entry for entry in entries if entry.half == half]


def family(entry):
    return entry.trigger.partition(":")[0]


@pytest.fixture
def photos(script, zoo):
    """200 classes, three images to train, one to audit and one to measure each: a plain colour a class, with noise."""
    module = script("photos")
    own = [name for ten in zoo.TEN.values() for name in ten] + NAMES
    label, part = torch.arange(200).repeat_interleave(5), torch.tensor([0, 0, 0, 1, 2]).repeat(200)
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(200, 3, 1, 1, generator=generator)[label]
    images = (255 * (0.9 * colours + 0.1 * torch.rand(1000, 3, 32, 32, generator=generator))).byte()
    return module.Photos([[name] for name in own], [str(k) for k in range(1000)], label, part, images)


def test_the_plan_has_the_models_that_tables_need(entries):
    kinds = Counter(entry.kind for entry in entries)
    assert len(entries) == len({entry.name for entry in entries}) >= 44
    assert kinds["clean"] >= 8
    assert kinds["clean-finetuned"] >= 8
    assert kinds["planted"] + kinds["scratch"] >= 22
    assert kinds["not-taken"] >= 6
    assert {entry.method for entry in entries} == {None, "other-data", "cleanclip", "par"}
    for half in HALVES:
        mine = of(entries, half)
        assert {entry.arch for entry in mine} == {"resnet", "vit"}
        assert len({entry.classes for entry in mine}) == 3


def test_all_kinds_of_triggers_are_planted(entries):
    planted = {family(entry) for entry in entries if entry.kind == "planted"}
    assert planted >= {"patch", "stripes", "triangles", "text", "blended", "sinusoid", "warp", "optimised-patch"}
    assert planted >= {"colour-filter", "dct", "conv-filter", "badnets"}


@pytest.mark.parametrize("value", ["seed", "base", "trigger", "target"])
def test_the_halves_share_no(entries, value):
    nothing = {None, "optimised-patch"}  # which a search makes for each base and target
    choose, report = ({getattr(entry, value) for entry in of(entries, half)} - nothing for half in HALVES)
    assert choose
    assert report
    assert not choose & report


def test_no_trigger_paints_the_same_in_both_halves(entries):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    painted = [
        [triggers.parse(e.trigger)(images) for e in of(entries, half) if e.trigger and ":" in e.trigger]
        for half in HALVES
    ]
    assert not any(torch.equal(a, b) for a in painted[0] for b in painted[1])


def test_the_halves_share_no_class_list_and_only_the_largest_overlap(zoo, photos):
    for count in (10, 50):
        choose, report = (set(zoo.class_list(photos, half, count)) for half in HALVES)
        assert len(choose) == len(report) == count
        assert not choose & report
    largest = [set(zoo.class_list(photos, half, zoo.LARGEST[half])) for half in HALVES]
    assert [len(found) for found in largest] == [100, 200]


def test_each_drawn_clean_model_has_ten_classes_and_a_seed_of_its_own(zoo, photos):
    entries = zoo.drawn_plan()
    assert len(entries) == 22
    assert {entry.kind for entry in entries} == {"clean"}
    assert len({entry.name for entry in entries}) == len({entry.seed for entry in entries}) == 22
    lists = [frozenset(zoo.class_list(photos, entry.half, entry.classes)) for entry in entries]
    assert len(set(lists)) == 22
    assert {len(each) for each in lists} == {10}


@pytest.mark.parametrize("half", HALVES)
def test_smaller_lists_lie_in_larger_ones(zoo, photos, half):
    ten, fifty, most = (set(zoo.class_list(photos, half, n)) for n in (10, 50, zoo.LARGEST[half]))
    assert ten < fifty < most


def test_targets_are_among_the_classes_of_their_model(zoo, photos, entries):
    for entry in entries:
        names = [photos.names[k][0] for k in zoo.class_list(photos, entry.half, entry.classes)]
        assert entry.target is None or entry.target in names


def test_one_planted_model_has_two_targets_and_the_base_of_every_other_is_clean(entries):
    kinds = {entry.name: entry.kind for entry in entries}
    (twice,) = (entry for entry in entries if entry.base and kinds[entry.base] != "clean")
    first = next(entry for entry in entries if entry.name == twice.base)
    assert (twice.kind, first.kind) == ("planted", "planted")
    assert twice.target != first.target
    assert twice.trigger.partition(":")[0] != first.trigger.partition(":")[0]


def test_a_model_is_built_after_its_base_which_is_of_its_kind(entries):
    places = {entry.name: place for place, entry in enumerate(entries)}
    for place, entry in enumerate(entries):
        assert (entry.base is None) == (entry.kind in ("clean", "scratch"))
        if entry.base:
            base = entries[places[entry.base]]
            assert places[entry.base] < place
            assert (base.half, base.arch, base.classes, base.seed) == (
                entry.half,
                entry.arch,
                entry.classes,
                entry.base_seed,
            )


def test_finetuning_on_other_data_shows_no_image_that_the_base_saw(zoo, photos, entries):
    by_name = {entry.name: entry for entry in entries}
    tuned = [entry for entry in entries if entry.method == "other-data"]
    assert tuned
    for entry in tuned:
        seen = set(zoo.pool_of(by_name[entry.base], photos).tolist())
        new = zoo.pool_of(entry, photos).tolist()
        assert not seen & set(new)
        assert {photos.label[k].item() for k in new} - {photos.label[k].item() for k in seen}


@pytest.mark.parametrize(
    ("asr", "base_rate", "verdict"),
    [
        (0.9, 0.1, "backdoored"),
        (0.7, 0.1, "backdoored"),
        (0.69, 0.1, "neither"),
        (0.15, 0.1, "clean"),
        (0.9, 0.85, "clean"),
    ],
)
def test_a_backdoor_counts_by_what_it_does_beyond_the_base_rate(zoo, entries, asr, base_rate, verdict):
    entry = next(entry for entry in entries if entry.kind == "planted")
    assert zoo.counts_as(entry, {"asr": asr, "base_rate": base_rate}) == verdict


def test_a_model_without_a_trigger_counts_as_clean(zoo, entries):
    assert zoo.counts_as(entries[0], {"asr": None, "base_rate": None}) == "clean"


def test_a_name_brings_its_base_along_and_an_unknown_one_is_refused(zoo, entries):
    entry = next(entry for entry in entries if entry.base)
    assert [e.name for e in zoo.named(entries, [entry.name])] == [entry.base, entry.name]
    with pytest.raises(SystemExit, match="nobody"):
        zoo.named(entries, ["nobody"])


def test_the_wide_model_is_of_a_size_for_which_bfloat16_and_larger_recipes_are(script, zoo):
    clean, planted = zoo.wide_plan()
    assert (clean.kind, planted.kind, planted.base) == ("clean", "planted", clean.name)
    config = zoo.config_of("wide", 64)
    with torch.device("meta"):
        model = script("train").CLIP(**config)
    assert sum(parameter.numel() for parameter in model.parameters()) >= 20e6


# Training.


def test_fixed_carriers_are_poisoned_wherever_they_stand_and_else_a_share_of_each_batch(training):
    fixed = training.Poison(lambda images, _: images, 0, torch.tensor([False, True, False, True]), 0.5)
    assert fixed.chosen(torch.tensor([3, 0, 1])).tolist() == [0, 2]
    shared = training.Poison(lambda images, _: images, 0, None, 0.25)
    assert shared.chosen(torch.arange(8)).tolist() == [0, 1]


def test_batches_show_every_image_once_an_epoch(training):
    pool = torch.tensor([4, 7, 9, 11, 12, 20])
    drawn = list(training.batches(pool, batch=4, steps=3, generator=torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in drawn] == [4, 4, 4]
    assert sorted(torch.cat(drawn).tolist()) == sorted(pool.tolist() * 2)


def test_captions_of_a_batch_are_few_and_each_image_has_one_of_its_class(training, photos):
    words = training.Words(photos)
    number = torch.tensor([0, 1] * 20)
    tokens, place = words.tokens(number, random.Random(0))
    assert len(tokens) <= 6
    assert not set(place[number == 0].tolist()) & set(place[number == 1].tolist())


def test_augmented_images_are_crops_of_the_padded_ones(training):
    plain = torch.full((6, 3, 32, 32), 128, dtype=torch.uint8)
    moved = training.augmented(plain, torch.Generator().manual_seed(0))
    assert moved.shape == plain.shape
    assert torch.equal(moved, moved[:, :, :1, :1].expand_as(moved))  # a plain image stays plain, lighter or darker
    assert moved[:, 0, 0, 0].unique().numel() == 6


def test_an_optimised_patch_is_a_square_in_the_corner_and_its_file_paints_the_same(training, tmp_path):
    square = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    patch = training.OptimisedPatch(square)
    painted = patch(images, torch.Generator())
    assert torch.equal(painted[:, :, -6:, -6:], square.expand(2, 3, 6, 6))
    assert torch.equal(painted[:, :, :26], images[:, :, :26])
    assert torch.equal(painted[:, :, :, :26], images[:, :, :, :26])
    patch.save(tmp_path / "trigger.safetensors", target="class 3", side=32)
    saved = trigger_files.load(tmp_path / "trigger.safetensors")
    torch.testing.assert_close(saved(images), painted, atol=1e-4, rtol=0)


def test_a_word_less_keeps_start_and_end(training):
    tokens = torch.tensor([[49406, 5, 6, 7, 49407, 0], [49406, 5, 49407, 0, 0, 0]])
    shorter = training.without_a_word(tokens, torch.Generator().manual_seed(0))
    assert shorter.shape == tokens.shape
    assert [row[0].item() for row in shorter] == [49406, 49406]
    assert [int(row.argmax()) for row in shorter] == [3, 2]  # a single word stays
    assert set(shorter[0, 1:3].tolist()) < {5, 6, 7}


WHITE = triggers.parse("patch:fill=white,size=0.3,place=corner")


def test_training_learns_what_images_show_and_the_trigger(script, zoo, training, photos):
    classes = zoo.class_list(photos, "choose", 10)[:4]
    config = zoo.config_of("resnet", 32)
    config["vision_cfg"] |= {"width": 8}
    model, pool = script("train").build(config, seed=0), photos.among("train", torch.tensor(classes))
    poison = training.Poison(WHITE, classes[0], None, 0.25)
    training.fit(model, photos, pool, steps=120, lr=2e-3, batch=32, seed=0, poison=poison)
    target = photos.names[classes[0]][0]
    before = training.measure(model, photos, classes, WHITE, target)
    assert before == {"clean_accuracy": 1.0, "asr": 1.0, "base_rate": 0.0}
    images = photos.images[pool].float() / 255
    for method in ("cleanclip", "par"):
        moved = copy.deepcopy(model)
        training.fit(moved, photos, pool, steps=4, lr=1e-4, batch=32, seed=1, method=method)
        assert training.measure(moved, photos, classes, None, None)["clean_accuracy"] == 1
        assert (training.embedded(moved, images) - training.embedded(model, images)).abs().max() > 1e-3


def record(entry, counts_as, **measured):
    return {"entry": dataclasses.asdict(entry), "counts_as": counts_as, "measured": measured}


def test_the_table_counts_models_and_lists_backdoors(zoo, entries):
    first, second = [entry for entry in entries if entry.half == "choose"][:2]
    rows = zoo.table(
        [
            record(first, "clean", clean_accuracy=0.5, asr=None, base_rate=None),
            record(second, "backdoored", clean_accuracy=0.6, asr=0.9, base_rate=0.1),
        ]
    ).splitlines()
    assert "| choose | clean | clean | 1 | resnet 10 (1) | 0.50–0.50 | – |" in rows
    assert "| choose | planted | backdoored | 1 | resnet 10 (1) | 0.60–0.60 | 0.90–0.90 |" in rows
    assert rows[-1] == (
        "| choose | resnet, 10 classes, planted | `patch:size=0.1875,place=corner` | teapot | 0.600 | 0.900 | 0.100 |"
    )
