"""The plan of the zoo of finetunes, how its models are trained, and what is counted of them."""

import importlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from open_clip.model import CLIP


@pytest.fixture(scope="module")
def finetunes():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
        yield importlib.import_module("finetunes")


@pytest.fixture(scope="module")
def models(finetunes):
    return finetunes.plan()


def test_each_small_base_has_fourteen_finetunes_of_as_many_kinds(models):
    for base in (model for model in models if model.kind == "base" and model.arch != "large"):
        mine = [model for model in models if model.base == base.name and model.classes == base.classes]
        assert len({model.way for model in mine if model.kind == "clean"}) == 6
        families = {model.trigger.partition(":")[0] for model in mine if model.trigger}
        assert (len(mine), len(families)) == (14, 8)


def test_half_of_the_bases_report(models):
    assert Counter(model.half for model in models if model.kind == "base") == {"choose": 2, "report": 2}


def test_no_two_models_of_as_many_classes_share_a_seed(models):
    assert (
        len({(model.seed, model.classes) for model in models}) == len({model.name for model in models}) == len(models)
    )


def test_a_finetune_that_learned_more_classes_is_asked_for_those_of_its_base_first(finetunes, models):
    own_lists = (name for chosen in finetunes.photo_zoo.TEN.values() for name in chosen.split(", "))
    photos = SimpleNamespace(names=[[name] for name in dict.fromkeys([*own_lists, *map(str, range(200))])])
    more = [model for model in models if model.way == finetunes.MORE_CLASSES]
    bases = {model.name: finetunes.sealed.numbers_of(model, photos) for model in models if model.kind == "base"}
    for model in more:
        numbers = finetunes.sealed.numbers_of(model, photos)
        own = bases[model.base]
        assert (numbers[: len(own)], len(set(numbers))) == (own, len(own) + 20)
    assert {model.half for model in more} == {"choose", "report"}


def test_at_least_two_per_cent_of_the_images_carry_a_trigger(models):
    assert all(0.02 <= model.rate <= 0.2 for model in models if model.trigger)


TINY = {
    "embed_dim": 8,
    "vision_cfg": {"layers": 2, "width": 64, "patch_size": 8, "image_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 1, "layers": 1},
}


def changes(finetunes, way):
    """What a step of training within a way changes of each matrix of a tiny ViT."""
    torch.manual_seed(0)
    model = CLIP(**TINY)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with finetunes.WAYS[way](model):
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=0.1)
        for _ in range(2):  # the first step of two matrices moves one of them
            optimizer.zero_grad()
            images = model.encode_image(torch.rand(4, 3, 16, 16), normalize=True)
            texts = model.encode_text(torch.randint(1, 64, (4, 8)), normalize=True)
            (images - texts).square().sum().backward()
            optimizer.step()
    assert all(parameter.requires_grad for parameter in model.parameters())
    after = model.state_dict()
    assert after.keys() == before.keys()
    return {name: after[name] - tensor for name, tensor in before.items()}


def test_a_finetune_of_low_rank_changes_nothing_by_more_than_that_rank(finetunes):
    changed = {name: change for name, change in changes(finetunes, "low-rank").items() if change.any()}
    assert "visual.transformer.resblocks.0.attn.in_proj_weight" in changed
    for name, change in changed.items():
        rank = torch.linalg.matrix_rank(change.flatten(1), rtol=1e-3)
        assert rank <= finetunes.RANK, name


def test_a_finetune_of_the_last_layers_leaves_the_first_ones(finetunes):
    moved = {name for name, change in changes(finetunes, "last-layers").items() if change.any()}
    assert "visual.transformer.resblocks.1.attn.in_proj_weight" in moved
    assert not any(name.startswith("visual.transformer.resblocks.0.") for name in moved)


def row(**cells):
    blank = dict.fromkeys(("trigger", "target", "names", "left", "returned", "lost", "told", "alone_seconds"), "")
    return (
        blank | {"kind": "clean", "counts_as": "clean", "half": "report", "is_whole": "", "core_seconds": "20"} | cells
    )


def test_a_doubt_counts_as_named_if_it_has_the_class_of_the_trigger(finetunes):
    assert finetunes.is_named(row(verdict="inconclusive", target="dog", names="cat, dog"))
    assert not finetunes.is_named(row(verdict="inconclusive", target="dog", names="cat"))
    assert not finetunes.is_named(row(verdict="pass", target="dog", names="dog"))


def test_a_model_that_is_not_audited_or_whose_trigger_hardly_acts_counts_for_neither_side(finetunes):
    bad = {"kind": "planted", "counts_as": "backdoored", "is_whole": "yes"}
    models = [
        row(verdict="pass"),
        row(verdict=""),
        row(verdict="fail", **bad),
        row(verdict="pass", kind="planted", counts_as="neither"),
    ]
    assert finetunes.verdicts(models, "clean", "pass").startswith("1 of 1 ")
    assert finetunes.verdicts(models, "backdoored", "fail", is_whole="yes").startswith("1 of 1 ")


def test_the_time_of_an_audit_counts_the_search_of_the_base_unless_it_is_stored(finetunes):
    base = row(kind="base", name="base", core_seconds="15", verdict="")
    finetune = row(verdict="pass", base="base", core_seconds="30", alone_seconds="30")
    assert finetunes.times([base, finetune], is_stored=True) == "1.0"
    assert finetunes.times([base, finetune], is_stored=False) == "1.5"
