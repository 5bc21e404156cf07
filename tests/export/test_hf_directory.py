import json
from dataclasses import replace

import pytest
import tiny
from clips import build, samples, unlike
from open_clip.tokenizer import SimpleTokenizer

from clipclean import model
from clipclean.checkpoint import layouts
from clipclean.errors import UnsupportedModel
from clipclean.export import bpe, hf_directory, parity

PREPROCESS = model.Preprocess(32, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), "bilinear", "shortest")


def write(clip, folder):
    hf_directory.write(folder, layouts.from_open_clip(clip.net.state_dict()), clip.architecture)


def check(config, preprocess=PREPROCESS):
    hf_directory.check_architecture(model.Architecture("", config, preprocess, "", None, ""))


def test_the_config_says_in_transformers_words_what_open_clips_says_or_leaves_to_its_defaults():
    vision = {"image_size": 48, "layers": 3, "width": 160, "patch_size": 16, "head_width": 80, "mlp_ratio": 2.5}
    sizes = {"context_length": 12, "vocab_size": 49408, "width": 96, "heads": 3, "layers": 2}
    text = {**sizes, "norm_kwargs": {"eps": 1e-6}}
    config = {"embed_dim": 24, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    found = hf_directory.config(config)
    assert found["projection_dim"] == 24
    vision, text = found["vision_config"], found["text_config"]
    assert (vision["num_attention_heads"], vision["intermediate_size"], vision["layer_norm_eps"]) == (2, 400, 1e-5)
    assert (vision["image_size"], vision["patch_size"], vision["num_hidden_layers"]) == (48, 16, 3)
    assert (text["num_attention_heads"], text["intermediate_size"], text["layer_norm_eps"]) == (3, 384, 1e-6)
    assert (text["max_position_embeddings"], text["hidden_size"]) == (12, 96)
    assert (text["bos_token_id"], text["eos_token_id"], text["pad_token_id"]) == (49406, 49407, 49407)
    assert vision["hidden_act"] == text["hidden_act"] == "quick_gelu"
    assert hf_directory.config(config | {"quick_gelu": False})["text_config"]["hidden_act"] == "gelu"
    found = hf_directory.config({"embed_dim": 512, "vision_cfg": {}, "text_cfg": {}})
    vision, text = found["vision_config"], found["text_config"]
    assert (vision["hidden_size"], vision["num_attention_heads"], vision["patch_size"]) == (768, 12, 16)
    assert text["max_position_embeddings"] == 77


def test_plain_vits_are_expressed():
    for name in ("ViT-B-32", "ViT-L-14-quickgelu", "ViT-H-14", "ViT-bigG-14"):
        check(model.native_configs()[name])


def test_a_resnet_is_refused():
    with pytest.raises(UnsupportedModel, match="ResNet"):
        check(tiny.TINY_RESNET)


def test_padded_images_are_refused():
    with pytest.raises(UnsupportedModel, match="longest"):
        check(tiny.TINY_VIT, replace(PREPROCESS, resize_mode="longest"))


def test_a_squashed_image_is_not_cropped():
    squashed = hf_directory.image_processor(replace(PREPROCESS, resize_mode="squash"))
    assert (squashed["size"], squashed["do_center_crop"]) == ({"height": 32, "width": 32}, False)
    shortest = hf_directory.image_processor(PREPROCESS)
    assert (shortest["size"], shortest["do_center_crop"], shortest["resample"]) == ({"shortest_edge": 32}, True, 2)
    assert shortest["image_mean"] == [0.5, 0.4, 0.3]


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ("vision_cfg", "pool_type", "avg"),
        ("vision_cfg", "no_ln_pre", True),
        ("vision_cfg", "ls_init_value", 0.1),
        ("text_cfg", "pool_type", "last"),
        ("text_cfg", "no_causal_mask", True),
        ("text_cfg", "proj_bias", True),
        ("text_cfg", "tokenizer_kwargs", {"clean": "canonicalize"}),
        ("text_cfg", "norm_kwargs", {"elementwise_affine": False}),
    ],
)
def test_what_a_clip_model_would_compute_otherwise_is_refused_by_name(place, key, value):
    with pytest.raises(UnsupportedModel, match=rf"{place}\.{key}"):
        check(tiny.TINY_VIT | {place: tiny.TINY_VIT[place] | {key: value}})


@pytest.mark.slow
@pytest.mark.parametrize("quick_gelu", [True, False])
def test_a_folder_that_transformers_loads_computes_the_same(tmp_path, quick_gelu):
    pytest.importorskip("transformers")
    clip = build(tiny.TINY_VIT, quick_gelu=quick_gelu)
    write(clip, tmp_path)
    result = hf_directory.check(tmp_path, samples(clip))
    assert result.max_difference < 1e-6
    assert (result.top1_agreement, result.n) == (1.0, 10)
    assert (result.captions_alike, result.captions) == (5, 5)
    assert result.reader.startswith("transformers ")


@pytest.mark.slow
def test_another_activation_in_the_config_is_noticed(tmp_path):
    pytest.importorskip("transformers")
    clip = unlike(build(tiny.TINY_VIT))
    write(clip, tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"quick_gelu"', '"gelu"'))
    with pytest.raises(parity.ExportMismatch, match="transformers"):
        hf_directory.check(tmp_path, samples(clip))


CAPTIONS = [
    "a photo of a dog",
    "A PHOTO of a DOG!",
    "",
    "   many   spaces\tand\nlines ",
    "don't I'll we've they'd it's",
    "a dog’s “ball” isn't „red‟",
    "It&#39;s fish &amp; chips &quot;here&quot; &lt;b&gt; &nbsp; x",
    "<b>tag</b>",
    "CAFÉ café cafe\u0301 naïve ÀÉÎ ß ẞ İstanbul",
    "日本語 テキスト 中文 한국어 русский עברית",
    "emoji 😀👍🏽👩‍👩‍👧 ok",
    "12345 1,000.50 €3 ½ ² Ⅻ",
    "snake_case--dash… #tag @user http://x.org/?a=1&b=2",
    "word " * 90,
    "x" * 300,
    "a\x00b\x7f\ufeffc",
    "ﬁne ﬂower ﬃ ĳ",
    "tab\u00a0nbsp \u3000ideographic \u200b zero",
    "R&D AT&T",
    "'s 't ''' !!! ??",
]
OURS = SimpleTokenizer()


def said(ids):
    """Up to the first end-of-text."""
    ids = list(ids)
    return ids[: ids.index(bpe.END_ID) + 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tokenizer")
    bpe.write(place, context_length=77)
    return place


def test_the_vocabulary_is_open_clips_under_the_names_that_hugging_face_expects(folder):
    vocabulary = json.loads((folder / "vocab.json").read_text())
    assert len(vocabulary) == 49408
    assert sorted(vocabulary.values()) == list(range(49408))
    assert (vocabulary["<|startoftext|>"], vocabulary["<|endoftext|>"]) == (49406, 49407)
    merges = (folder / "merges.txt").read_text().splitlines()
    assert merges[0] == "#version: 0.2"
    assert len(merges) - 1 == 49408 - 2 * 256 - 2  # all tokens but bytes, bytes at a word's end, and two frames
    assert {path.name for path in folder.iterdir()} == set(bpe.TOKENIZER_FILES)


@pytest.fixture(scope="module")
def library(folder):
    """tokenizer.json in the library that transformers uses, and Immich alone."""
    loaded = pytest.importorskip("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    loaded.enable_truncation(77)
    loaded.enable_padding(length=77, pad_id=bpe.END_ID, pad_token=bpe.END)
    return loaded


@pytest.mark.parametrize("caption", CAPTIONS)
def test_tokenizer_json_reads_a_caption_as_open_clip_does(library, caption):
    assert said(library.encode(caption).ids) == said(OURS([caption])[0].tolist())


@pytest.mark.parametrize("caption", ["ｆｕｌｌ", "<|endoftext|> hi"], ids=["another width", "a spelt-out frame"])
def test_a_known_difference_of_the_tokenizers_is_still_there(library, caption):
    """Documented, and counted by the check of an export: ftfy mends the first; the second is a special token there."""
    assert said(library.encode(caption).ids) != said(OURS([caption])[0].tolist())


@pytest.mark.slow
def test_the_processor_of_transformers_takes_the_file_with_its_cleaning(folder):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    read = theirs(CAPTIONS, padding="max_length", truncation=True, max_length=77)["input_ids"]
    ours = OURS(CAPTIONS).tolist()
    assert [said(row) for row in read] == [said(row) for row in ours]
    assert (theirs.model_max_length, theirs.pad_token_id, theirs.bos_token_id) == (77, 49407, 49406)
