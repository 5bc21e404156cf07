"""What every job reads before its work: devices, models, words, suspicions, and what is measured on."""

import json
from dataclasses import replace

import pytest
import tiny
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file

from clipclean import data, model, requests
from clipclean.attack import triggers
from clipclean.config import recipe
from clipclean.data import Samples
from clipclean.errors import Inconclusive, RefusedInput, UnsupportedModel, UsageError
from clipclean.jobs import clean_pairs, measured_images, naming, opening

RECIPE = recipe.load("cleanclip")


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """A job that no test changes, with its model and its clean set."""
    job = tiny.job(tmp_path_factory.mktemp("read") / "job")
    return job, *tiny.loaded(job)


@pytest.fixture
def two_gpus(monkeypatch):
    """Says whether a driver is there; then two devices are."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    return lambda are_there: monkeypatch.setattr(torch.cuda, "is_available", lambda: are_there)


@pytest.mark.parametrize(("are_there", "device"), [(False, "cpu"), (True, "cuda:0")])
def test_auto_takes_the_first_gpu_that_is_there(two_gpus, are_there, device):
    two_gpus(are_there)
    assert opening.device_of("auto") == device


def test_a_device_that_was_named_is_taken_for_no_other(two_gpus):
    two_gpus(True)
    assert opening.device_of("cuda:1") == "cuda:1"


@pytest.mark.parametrize(
    ("are_there", "name"), [(False, "cuda"), (False, "cuda:1"), (True, "cuda:2"), (True, "cuda:999")]
)
def test_a_device_that_is_not_there_is_refused(two_gpus, are_there, name):
    two_gpus(are_there)
    with pytest.raises(UsageError, match=name):
        opening.device_of(name)


# From a file to a model.


def test_a_resnet_in_channels_last_answers_as_it_does_in_rows(tmp_path):
    job = tiny.job(tmp_path / "resnet", config=tiny.TINY_RESNET)
    clip = tiny.loaded(job)[0].clip
    kernels = [p for p in clip.net.visual.parameters() if p.ndim == 4 and p.shape[2] > 1]
    assert kernels  # laid out so from the start
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    pixels = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    shown = clip.embed_images(pixels)
    clip.net.to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(shown, clip.embed_images(pixels), atol=1e-5, rtol=0)


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_the_activation_is_measured_on_the_clean_pairs_unless_the_user_tells_it(job, quick_gelu):
    tiny.fit_to_pairs(job, quick_gelu=quick_gelu)
    assert tiny.loaded(job, arch=False)[0].clip.architecture.quick_gelu is quick_gelu
    assert opening.read(job.model, arch=None).architecture.quick_gelu is None  # the file alone does not tell
    tiny.written(job.arch, json.dumps(tiny.SMALL_VIT | {"quick_gelu": not quick_gelu}))
    assert tiny.loaded(job)[0].clip.architecture.quick_gelu is not quick_gelu


def test_a_loaded_model_has_the_weights_of_its_file(read):
    weights, stored = read[1].weights(), tiny.state_dict(tiny.SMALL_VIT)
    assert weights.keys() == stored.keys()
    assert all(torch.equal(weights[name], stored[name]) for name in stored)


def test_an_activation_that_the_pairs_do_not_tell_is_noted_as_a_guess(read):
    loaded = tiny.loaded(read[0], arch=False)[0]  # random weights
    assert loaded.clip.architecture.quick_gelu is False
    assert model.UNDECIDED_NOTE in loaded.file.notes
    assert model.choose_activation(
        loaded.clip, loaded.clip, torch.rand(2, 3, 16, 16), ["a", "b"]
    ).is_guess  # no difference at all


@pytest.mark.slow  # reads the demo's pairs
def test_late_pairs_are_read_only_where_the_activation_is_not_told(job):
    tiny.fit_to_pairs(job, quick_gelu=True)
    with_arch, without_arch = (opening.read(job.model, arch=arch) for arch in (str(job.arch), None))

    def missing():
        raise RefusedInput("asked")

    assert opening.build(with_arch, missing, device="cpu").clip.architecture.quick_gelu is True
    with pytest.raises(RefusedInput, match="asked"):
        opening.build(without_arch, missing, device="cpu")
    request = requests.Audit(job.model, data=(job.data,))
    with measured_images.shown_images(request, RECIPE, with_arch.architecture) as (images, pairs):
        assert len(images) == 48
        assert opening.build(without_arch, pairs, device="cpu").clip.architecture.quick_gelu is not None
        assert pairs() is pairs()  # once


def replaced(net):
    for part in net.visual.modules():
        if isinstance(part, torch.nn.GELU):
            part.forward = torch.nn.functional.silu


class Triggered(torch.nn.Identity):
    """Acts on numbers that no honest image reaches."""

    def forward(self, values):
        return values if values.abs().max() < 1e3 else -values


def subclassed(net):
    class Own(CLIP):
        def encode_image(self, pixels, normalize=False):
            features = super().encode_image(pixels, normalize)
            return features if pixels.abs().max() < 1e3 else -features

    net.__class__ = Own


def forwarded(net):
    own = net.visual.forward
    net.visual.forward = lambda pixels: own(pixels) if pixels.abs().max() < 1e3 else -own(pixels)


class Acting(torch.nn.Parameter):
    """A weight whose class decides what products with it are."""


def weighted(net):
    net.visual.proj = Acting(net.visual.proj.data)


EDITS = {
    "subclass under a trigger": subclassed,
    "method under a trigger": forwarded,
    "part under a trigger": lambda net: setattr(net.visual.transformer.resblocks[0], "ls_1", Triggered()),
    "class of a weight": weighted,
    "hook on its gradient": lambda net: net.visual.register_full_backward_hook(lambda *_: None),
    "another part of torch": lambda net: setattr(
        net.visual.transformer.resblocks[0], "ls_2", torch.nn.Hardtanh(-1e3, 1e3)
    ),
    "hook": lambda net: net.visual.register_forward_hook(lambda *_: None),
    "method": lambda net: setattr(net, "encode_image", lambda pixels, **_: pixels.flatten(1)[:, :64]),
    "activation": replaced,
    "mask": lambda net: net.attn_mask.zero_(),
    "epsilon": lambda net: setattr(net.visual.bn1, "eps", 0.5),  # of a batch norm
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_module_that_answers_unlike_its_weights_is_refused(edit):
    torch.manual_seed(0)
    net = CLIP(**(tiny.TINY_RESNET if edit == "epsilon" else tiny.SMALL_VIT))
    assert opening.read(net, arch=None).architecture.name
    EDITS[edit](net)
    with pytest.raises(UnsupportedModel):
        opening.read(net, arch=None)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("text_cfg", "heads", 2),
        ("text_cfg", "no_causal_mask", True),
        ("text_cfg", "norm_kwargs", {"eps": 0.1}),
        ("text_cfg", "pool_type", "last"),
        ("text_cfg", "tokenizer_kwargs", {"clean": "lower"}),
        ("text_cfg", "tokenizer_mode", "clips"),
        ("text_cfg", "hf_tokenizer_name", 0),
        ("vision_cfg", "head_width", 32),
        ("vision_cfg", "norm_kwargs", {"eps": 0.1}),
        ("vision_cfg", "act_kwargs", {"approximate": "tanh"}),
        ("vision_cfg", "pool_type", "avg"),
    ],
)
def test_a_setting_beside_the_weights_that_no_tensor_shows_is_taken_only_from_the_user(tmp_path, section, key, value):
    folder = written_folder(tmp_path, {section: tiny.SMALL_VIT[section] | {key: value}})
    with pytest.raises(UnsupportedModel, match=f"{section}.{key} = .*--arch .*open_clip_config.json|tokenizer"):
        opening.read(folder, arch=None)
    if key in ("hf_tokenizer_name", "tokenizer_kwargs"):
        with pytest.raises(UnsupportedModel, match="tokenizer"):
            opening.read(folder, arch=str(folder / "open_clip_config.json"))
    else:
        assert (
            opening.read(folder, arch=str(folder / "open_clip_config.json")).architecture.config[section][key] == value
        )


@pytest.mark.parametrize("more", [{}, {"norm_kwargs": {"eps": 1e-5}, "no_causal_mask": False, "hf_tokenizer_name": ""}])
def test_the_usual_settings_beside_the_weights_are_taken(tmp_path, more):
    folder = written_folder(tmp_path, {"text_cfg": tiny.SMALL_VIT["text_cfg"] | more})
    assert opening.read(folder, arch=None).architecture.came_beside


def written_folder(path, changes):
    config = tiny.SMALL_VIT | changes
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(tiny.state_dict(tiny.SMALL_VIT), path / "open_clip_model.safetensors")
    return path


# Words and suspicions.


def test_words_that_nobody_names_are_those_of_imagenet():
    words = naming.read_vocabulary(None, None)
    assert (len(words.classes), len(words.templates)) == (1000, 7)
    assert words.classes[:2] == ("tench", "goldfish")
    assert all(template.count("{}") == 1 for template in words.templates)
    assert "a photo of the small {}." in words.templates  # open_clip's


def test_words_that_the_user_names_are_taken(read):
    assert naming.read_vocabulary(read[0].classes, read[0].templates) == data.Vocabulary(tiny.CLASSES, tiny.TEMPLATES)


def test_classes_that_are_one_to_the_tokenizer_are_refused():
    with pytest.raises(UsageError, match="'salt & pepper', 'salt &amp; pepper'"):
        naming.read_vocabulary(["lemon", "salt & pepper", "salt &amp; pepper", "salt pepper"], None)


# What is held out, and what is measured on.


@pytest.mark.parametrize(
    ("name", "changes", "pairs", "kept"),
    [
        ("cleanclip", [], 50, 5),
        *(("cleanclip", [], pairs, kept) for pairs, kept in ((400, 100), (1000, 250), (2000, 500), (9000, 900))),
        *(("auto", [], pairs, kept) for pairs, kept in ((96, 19), (1200, 300), (2000, 500), (9000, 900))),
        ("auto", ["data.held_out_share=0.3"], 1000, 300),
    ],
)
def test_the_split_of_a_number_of_pairs_is_fixed_by_the_recipe(name, changes, pairs, kept):
    chosen = recipe.override(recipe.load(name), changes)
    training, held_out = clean_pairs.split(pairs, chosen)
    assert (len(held_out), sorted(training + held_out)) == (kept, list(range(pairs)))
    assert clean_pairs.split(pairs, chosen) == (training, held_out)


def evidence(read, shown=None, *changes, panel=False):
    """What is measured on: these samples, or the pairs of the job."""
    job, tested, clean = read
    given = {"vocabulary": naming.read_vocabulary(job.classes, job.templates), "suspicions": (), "panel": panel}
    return measured_images.eval_set(
        tested.clip, recipe.override(RECIPE, changes), shown or Samples(clean.pairs, None), **given
    )


def test_captions_measure_where_there_are_no_labels(read, whole_panel):
    shown = evidence(read, panel=True)
    captions = tuple(pair.caption for pair in read[2].pairs)
    assert (shown.images.labels, shown.images.captions, shown.images.pixels.shape) == (None, captions, (48, 3, 16, 16))
    assert (shown.images.knn, len(shown.plan.triggers.panel), len(shown.plan.triggers.grid)) == (
        RECIPE.audit.knn,
        len(triggers.PANEL),
        len(triggers.GRID),
    )


def test_labels_measure_where_there_are_any(read, whole_panel, tmp_path):
    images = measured_images.image_cache(RECIPE, read[1].clip.architecture)
    labelled = data.read_labelled(tiny.labelled(tmp_path / "labelled", count=24), images=images, classes=tiny.CLASSES)
    measured_on = evidence(read, labelled)
    assert measured_on.images.captions is None
    assert torch.equal(measured_on.images.labels, labelled.labels)
    assert (measured_on.images.knn, measured_on.plan.triggers.panel) == (
        2,
        (),
    )  # two images a class: ten votes could never agree on one


@pytest.mark.parametrize(
    ("labels", "most", "votes"), [([0] * 3 + [1] * 3, 10, 3), ([0] * 20 + [1] * 20, 10, 10), ([5, 5, 9, 9], 1, 1)]
)
def test_no_more_neighbours_vote_than_a_class_has_images(labels, most, votes):
    assert measured_images.neighbours(torch.tensor(labels), most) == votes


def test_no_more_images_are_taken_than_the_recipe_says(read):
    few, every = evidence(read, None, "audit.images=7").images, evidence(read).images
    assert len(few.pixels) == len(few.captions) == 7
    shown = list(zip(every.pixels, every.captions, strict=True))
    for pixels, caption in zip(few.pixels, few.captions, strict=True):
        assert any(torch.equal(pixels, other) and caption == words for other, words in shown)


def test_of_more_images_the_same_are_always_taken(read):
    first, again = (evidence(read, None, "audit.images=7").images for _ in range(2))
    assert first.captions == again.captions


def test_a_copy_of_a_pair_is_no_more_evidence(read):
    pairs = read[2].pairs
    images = evidence(read, Samples([*pairs[:3], *pairs[:2], *pairs[:3]], None)).images
    assert images.pixels.shape[0] == 3
    assert images.captions == tuple(pair.caption for pair in pairs[:3])


@pytest.mark.parametrize("times", [1, 200])
def test_fewer_than_two_images_decide_nothing(read, times):
    with pytest.raises(Inconclusive):
        evidence(read, Samples(list(read[2].pairs[:1]) * times, None))


@pytest.mark.parametrize(("unnamed", "is_labelled", "n"), [(0, True, 48), (2, True, 46), (8, False, 48)])
def test_captions_are_the_labels_of_an_audit_where_nearly_all_name_a_class(read, unnamed, is_labelled, n):
    _, tested, clean = read
    drawings = [replace(pair, caption="a drawing") for pair in clean.pairs[:unnamed]]
    images = replace(clean, pairs=(*drawings, *clean.pairs[unnamed:]))
    words = data.Vocabulary(tiny.CLASSES, tiny.TEMPLATES)
    shown = measured_images.audit_set(tested.clip, RECIPE, images, vocabulary=words).images
    assert (shown.labels is not None, shown.captions is None, len(shown.pixels)) == (is_labelled, is_labelled, n)
