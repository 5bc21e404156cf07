import json

import pytest
from open_clip.tokenizer import SimpleTokenizer

from clipclean.export import bpe

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
    assert {path.name for path in folder.iterdir()} == set(bpe.FILES)


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


def test_the_known_differences_are_characters_of_other_widths_and_spelt_out_frames(library):
    """Documented, and counted by the check of an export: ftfy mends the first; the second is a special token there."""
    for caption in ("ｆｕｌｌ", "<|endoftext|> hi"):
        assert said(library.encode(caption).ids) != said(OURS([caption])[0].tolist())


@pytest.mark.slow
def test_the_processor_of_transformers_takes_the_file_with_its_cleaning(folder):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    read = theirs(CAPTIONS, padding="max_length", truncation=True, max_length=77)["input_ids"]
    ours = OURS(CAPTIONS).tolist()
    assert [said(row) for row in read] == [said(row) for row in ours]
    assert (theirs.model_max_length, theirs.pad_token_id, theirs.bos_token_id) == (77, 49407, 49406)
