import json

import numpy as np
import pytest
import tiny
import torch
from open_clip.model import CLIP

from clipclean import data, detect, model
from clipclean.config import recipe
from clipclean.errors import Inconclusive, RefusedInput, UnsupportedModel, UsageError
from clipclean.jobs import inputs
from clipclean.train.loader import Samples

RECIPE = recipe.load("cleanclip@tiny")


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job")


def clean(job):
    return inputs.load(job.model, job.data, RECIPE, arch=str(job.arch), device="cpu")[1]


def load(job, *, arch=None):
    return inputs.load(job.model, job.data, RECIPE, arch=arch, device="cpu")[0]


# Devices.


def test_a_device_that_is_not_there_is_refused_and_none_is_taken_for_another(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for is_there, known, refused in (
        (False, "cpu", ("cuda", "cuda:1", "mps")),
        (True, "cuda:0", ("cuda:2", "mps", "cuda:x")),
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=is_there: there)
        assert inputs.device_of("auto") == known
        for asked in refused:
            with pytest.raises(UsageError, match=asked):
                inputs.device_of(asked)
    assert inputs.device_of("cuda:1") == "cuda:1"


# From a file to a model.


def test_weights_come_back_as_they_were_stored(job):
    tested = load(job, arch=str(job.arch))
    stored = tiny.state_dict(tiny.SMALL_VIT)
    assert tested.weights().keys() == stored.keys()
    assert all(torch.equal(tested.weights()[name], stored[name]) for name in stored)


def test_a_resnet_is_laid_out_channels_last_from_the_start_and_says_what_it_says_in_rows(tmp_path):
    job = tiny.job(tmp_path / "resnet", config=tiny.TINY_RESNET)
    clip = load(job, arch=str(job.arch)).clip
    kernels = [p for p in clip.net.visual.parameters() if p.ndim == 4 and p.shape[2] > 1]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    pixels = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    shown = clip.embed_images(pixels)
    clip.net.to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(shown, clip.embed_images(pixels), atol=1e-5, rtol=0)


def test_a_wrong_architecture_is_refused_before_anything_is_built(job):
    with pytest.raises(UnsupportedModel, match=r"do not fit ViT-B-32.*by --arch"):
        inputs.read(job.model, arch="ViT-B-32")
    with pytest.raises(UsageError, match="Did you mean ViT-B-32"):
        inputs.read(job.model, arch="ViT-B32")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RefusedInput, match="there is no such file"):
        inputs.read(tmp_path / "none.pt", arch=None)


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_the_activation_is_measured_on_the_clean_pairs(job, quick_gelu):
    tiny.fit_to_pairs(job, quick_gelu=quick_gelu)
    found = load(job).clip.architecture
    assert found.quick_gelu is quick_gelu
    assert found.activation_how.startswith("measured on clean pairs: ")
    assert inputs.read(job.model, arch=None).architecture.quick_gelu is None  # the file alone does not tell


def test_where_the_pairs_do_not_tell_the_activation_gelu_is_taken_and_told(job):
    found = load(job)  # random weights
    assert found.clip.architecture.quick_gelu is False
    assert model.UNDECIDED in found.file.notes


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_what_the_user_says_of_the_activation_wins_over_the_pairs(job, quick_gelu):
    tiny.fit_to_pairs(job, quick_gelu=not quick_gelu)
    tiny.written(job.arch, json.dumps(tiny.SMALL_VIT | {"quick_gelu": quick_gelu}))
    assert load(job, arch=str(job.arch)).clip.architecture.quick_gelu is quick_gelu


def test_late_pairs_are_read_only_where_the_activation_is_not_told_and_then_once(job):
    tiny.fit_to_pairs(job, quick_gelu=True)
    told, untold = (inputs.read(job.model, arch=arch) for arch in (str(job.arch), None))
    cache = inputs.image_cache(RECIPE, told.architecture)
    missing = inputs.late_pairs(job.folder / "missing", cache)
    assert inputs.build(told, missing, device="cpu").clip.architecture.quick_gelu is True
    with pytest.raises(RefusedInput, match="missing"):
        inputs.build(untold, missing, device="cpu")
    pairs = inputs.late_pairs(job.data, cache)
    assert inputs.build(untold, pairs, device="cpu").clip.architecture.quick_gelu is True
    assert pairs() is pairs()


def test_images_are_stacked_at_the_models_size(job):
    pairs = clean(job).pairs[:3]
    pixels = detect.stack([pair.image for pair in pairs])
    assert pixels.shape == (3, 3, 16, 16)
    corner = np.asarray(tiny.image(0))[0, 0] / 255  # ground, whatever the size
    torch.testing.assert_close(pixels[0, :, 0, 0].double(), torch.from_numpy(corner), atol=0.01, rtol=0)


# Words and suspicions.


def test_the_words_are_imagenets_and_open_clips_where_the_user_gives_none():
    words = inputs.words(None, None)
    assert (len(words.classes), len(words.templates)) == (1000, 7)
    assert words.classes[:2] == ("tench", "goldfish")
    assert all(template.count("{}") == 1 for template in words.templates)
    assert "a photo of the small {}." in words.templates


def test_the_users_words_are_taken_as_they_are(job):
    words = inputs.words(job.classes, job.templates)
    assert (words.classes, words.templates) == (tiny.CLASSES, tiny.TEMPLATES)


def test_names_that_are_one_to_the_tokenizer_are_refused():
    with pytest.raises(UsageError, match="'Strawberry', 'STRAWBERRY'"):
        inputs.words(["lemon", "Strawberry", "STRAWBERRY", "straw berry"], None)


def test_a_class_is_found_by_its_name_and_an_unknown_one_gets_near_names():
    assert inputs.class_number("blue circle", tiny.CLASSES) == tiny.CLASSES.index("blue circle")
    with pytest.raises(UsageError, match=r"'blue circel' is not in the vocabulary of 12.*Did you mean 'blue circle'"):
        inputs.class_number("blue circel", tiny.CLASSES)
    with pytest.raises(UsageError, match="Give your own list by --classes FILE"):
        inputs.class_number("zebra", tiny.CLASSES)


def test_suspicions_are_triggers_with_the_place_of_their_target():
    words = inputs.Words(tiny.CLASSES, tiny.TEMPLATES)
    named = inputs.suspicions(["patch", "warp:seed=3"], "green circle", words)
    assert [(trigger.family, target) for trigger, target in named] == [("patch", 4), ("warp", 4)]
    assert inputs.suspicions(["patch"], None, words)[0][1] is None
    assert inputs.suspicions([], None, words) == ()
    with pytest.raises(UsageError, match="no trigger family 'pach'"):
        inputs.suspicions(["pach"], None, words)


def test_a_target_without_a_trigger_is_refused():
    with pytest.raises(UsageError, match="--target 'red square' without --trigger"):
        inputs.suspicions([], "red square", inputs.Words(tiny.CLASSES, tiny.TEMPLATES))


# What is measured on.


def evidence(job, *, changes=None, shown=None, **given):
    shown = shown or Samples(clean(job).pairs, None)
    values = {
        "vocabulary": inputs.words(job.classes, job.templates),
        "named": (),
        "panel": False,
    }
    chosen = recipe.override(RECIPE, changes or [])
    return inputs.eval_set(load(job, arch=str(job.arch)).clip, chosen, shown, **(values | given))


def test_without_labels_the_held_out_pairs_measure_with_their_captions(job):
    found = evidence(job)
    assert found.labels is None
    assert found.captions == tuple(pair.caption for pair in clean(job).pairs)
    assert found.pixels.shape == (48, 3, 16, 16)
    assert (found.knn, found.panel) == (RECIPE.audit.knn, ())


def test_labelled_images_measure_where_there_are_some(job, tmp_path):
    images = inputs.image_cache(RECIPE, load(job, arch=str(job.arch)).clip.architecture)
    found = data.labelled(tiny.labelled(tmp_path / "labelled", count=24), images=images, classes=tiny.CLASSES)
    measured_on = evidence(job, shown=Samples(found.pairs, found.labels))
    assert measured_on.captions is None
    assert torch.equal(measured_on.labels, found.labels)
    assert measured_on.knn == 2  # two images a class: ten votes could never agree on one


def test_no_more_images_are_taken_than_the_recipe_says_and_always_the_same(job):
    changes = ["audit.images=7"]
    first, again = evidence(job, changes=changes), evidence(job, changes=changes)
    assert len(first.pixels) == len(first.captions) == 7
    assert first.captions == again.captions
    every = evidence(job)
    for place, caption in enumerate(first.captions):
        assert any(
            torch.equal(first.pixels[place], pixels) and caption == other
            for pixels, other in zip(every.pixels, every.captions, strict=True)
        )


def test_the_panel_is_measured_where_it_is_asked_for(job, whole_panel):
    found = evidence(job, panel=True)
    assert (len(found.panel), len(found.grid)) == (31, 262)


def test_fewer_than_two_images_decide_nothing(job):
    with pytest.raises(Inconclusive, match=r"1 image\(s\) to measure on.*--eval-data"):
        evidence(job, shown=Samples(clean(job).pairs[:1], None))


@pytest.mark.parametrize(
    ("labels", "most", "votes"),
    [([0, 0, 0, 1, 1, 1], 10, 3), ([0] * 20 + [1] * 20, 10, 10), ([0, 1, 2], 10, 1), ([5, 5, 9, 9], 1, 1)],
)
def test_no_more_neighbours_vote_than_a_class_has_images(labels, most, votes):
    assert inputs.neighbours(torch.tensor(labels), most) == votes


def test_copies_of_one_image_are_one_piece_of_evidence(job):
    pairs = clean(job).pairs
    found = evidence(job, shown=Samples([*pairs[:3], *pairs[:2], *pairs[:3]], None))
    assert found.pixels.shape[0] == 3
    assert found.captions == tuple(pair.caption for pair in pairs[:3])
    with pytest.raises(Inconclusive, match="copies of one"):
        evidence(job, shown=Samples([pairs[0]] * 200, None))


# Modules in memory.


def replaced(net):
    for part in net.visual.modules():
        if isinstance(part, torch.nn.GELU):
            part.forward = torch.nn.functional.silu


EDITS = {
    "hook": lambda net: net.visual.register_forward_hook(lambda *_: None),
    "method": lambda net: setattr(net, "encode_image", lambda pixels, **_: pixels.flatten(1)[:, :64]),
    "activation": replaced,
    "mask": lambda net: net.attn_mask.zero_(),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_module_that_answers_unlike_its_weights_is_refused(edit):
    torch.manual_seed(0)
    net = CLIP(**tiny.SMALL_VIT)
    assert inputs.read(net, arch=None).architecture.name
    EDITS[edit](net)
    with pytest.raises(UnsupportedModel):
        inputs.read(net, arch=None)


def test_another_epsilon_of_a_batch_norm_is_refused():
    torch.manual_seed(0)
    net = CLIP(**tiny.TINY_RESNET)
    assert inputs.read(net, arch=None).architecture.name
    net.visual.bn1.eps = 0.5
    with pytest.raises(UnsupportedModel):
        inputs.read(net, arch=None)
