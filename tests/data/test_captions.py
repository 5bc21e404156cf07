"""Second views of captions, and the synonyms that they are made of."""

import os
import random
import zipfile
from collections import Counter
from importlib import resources

import processes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipclean.data import caption_view, dictionary, synonyms
from clipclean.data.captions import delete_words, insert_synonyms, replace_words, swap_words
from clipclean.errors import RefusedInput

WORDS = ["a", "small", "dog", "ran", "after", "small", "cats"]
draws = st.integers(0, 2**32).map(random.Random)


def one_each(word):
    """A single synonym for "dog" and "small", so that only the choice of word is random."""
    return {"dog": ("hound",), "small": ("little",)}.get(word, ())


def shouted(word):
    return (word.upper() + "!", word.upper() + " again")


def nothing(word):
    return ()


@given(draws)
def test_replacement_changes_distinct_words_wherever_they_occur(rng):
    assert replace_words(WORDS, 1, rng=rng, synonyms=one_each) in (
        ["a", "small", "hound", "ran", "after", "small", "cats"],
        ["a", "little", "dog", "ran", "after", "little", "cats"],
    )
    assert replace_words(WORDS, 5, rng=rng, synonyms=one_each) == [
        "a",
        "little",
        "hound",
        "ran",
        "after",
        "little",
        "cats",
    ]
    after = replace_words(WORDS, 2, rng=rng, synonyms=shouted)
    assert len({old for old, new in zip(WORDS, after, strict=True) if old != new}) == 2
    quoted = ['"Small', "dog's", "(dog)", "2", "dog."]  # punctuation around a word stays
    assert replace_words(quoted, 2, rng=rng, synonyms=one_each) == ['"little', "dog's", "(hound)", "2", "hound."]


def test_replacement_reaches_every_word_in_lower_case():
    found = {tuple(replace_words(WORDS, 1, rng=random.Random(seed), synonyms=one_each)) for seed in range(50)}
    assert len(found) == 2
    asked = []
    words = ["“Top-Dog”", "D80,", "***", "2nd", "Émile!"]
    replace_words(words, 9, rng=random.Random(0), synonyms=lambda word: asked.append(word) or ())
    assert sorted(asked) == ["2nd", "d80", "top-dog", "émile"]


def test_insertion_reaches_every_place():
    found = (insert_synonyms(["dog", "x"], 1, rng=random.Random(seed), synonyms=one_each) for seed in range(50))
    assert {words.index("hound") for words in found} == {0, 1, 2}


@given(draws, st.integers(1, 7))
def test_insertion_adds_n_synonyms_among_the_words(rng, n):
    after = insert_synonyms(WORDS, n, rng=rng, synonyms=one_each)
    assert len(after) == len(WORDS) + n
    assert set(after) - set(WORDS) <= {"hound", "little"}
    assert [word for word in after if word not in ("hound", "little")] == WORDS


@given(draws, st.integers(1, 7))
def test_insertion_without_synonyms_changes_nothing(rng, n):
    assert insert_synonyms(WORDS, n, rng=rng, synonyms=nothing) == WORDS


@given(draws)
def test_a_swap_exchanges_two_places(rng):
    after = swap_words(list("abcdefgh"), 1, rng=rng)
    assert sum(old != new for old, new in zip("abcdefgh", after, strict=True)) == 2
    assert sorted(after) == list("abcdefgh")


@given(draws)
def test_several_swaps_keep_the_words(rng):
    assert Counter(swap_words(WORDS, 5, rng=rng)) == Counter(WORDS)
    assert swap_words(["alone"], 5, rng=rng) == ["alone"]


def test_a_deletion_drops_the_words_whose_draw_is_below_its_probability():
    assert delete_words(list("abcd"), 0.1, rng=Scripted()) == ["a", "c"]  # draws .05 and .099 are below .1


@given(draws)
def test_a_deletion_keeps_the_order_of_words(rng):
    rest = iter(WORDS)
    assert all(word in rest for word in delete_words(WORDS, 0.5, rng=rng))  # a subsequence


@given(draws)
def test_a_deletion_leaves_one_word(rng):
    assert len(delete_words(WORDS, 1.0, rng=rng)) == 1


class Scripted(random.Random):
    """random() gives the listed numbers in turn."""

    def __init__(self):
        super().__init__()
        self.numbers = [0.5, 0.05, 0.1, 0.099]

    def random(self):
        return self.numbers.pop(0)


def test_views_follow_the_generator_alone():
    def views(seed):
        rng = random.Random(seed)
        return [caption_view(" ".join(WORDS), rng=rng, synonyms=shouted, rate=0.1) for _ in range(10)]

    assert views(1) == views(1) != views(2)
    assert len(set(views(1))) > 3  # drawn anew for each call


def test_the_four_operations_are_equally_likely():
    rng, words = random.Random(0), [f"w{i}" for i in range(40)]
    seen, lengths = Counter(), set()
    for _ in range(2000):
        view = caption_view(" ".join(words), rng=rng, synonyms=lambda word: ("NEW",), rate=0.1).split(" ")
        lengths.add(len(view))
        if "NEW" in view:
            seen["inserted" if {*words} <= set(view) else "replaced"] += 1
        else:
            seen["swapped" if len(view) == 40 and view != words else "deleted"] += 1
    # 500 each; five standard deviations of a binomial(2000, 1/4) are 97
    assert all(abs(seen[name] - 500) < 97 for name in ("replaced", "inserted", "swapped", "deleted")), seen
    assert max(lengths) == 40 + 4  # insertion of 0.1 * 40 words


ODD = ["", " ", "\n\t", "word", "7", "12 34", "...", "?! --", "🐶", "🐶 🐱 👩‍🚀", "狗在跑", "собака бежит", "كلب"]
ODD += ["\x00", "\ud800 x", "a" * 1000]


@given(st.sampled_from(ODD) | st.text(), draws, st.floats(0, 1), st.sampled_from([shouted, nothing, one_each]))
def test_any_caption_has_a_view_of_its_own_words(caption, rng, rate, synonyms):
    view = caption_view(caption, rng=rng, synonyms=synonyms, rate=rate)
    assert bool(view) == bool(caption)
    assert synonyms is not nothing or not Counter(view.split()) - Counter(caption.split())
    assert caption_view("A  small dog", rng=rng, synonyms=synonyms, rate=0) == "A  small dog"


@pytest.mark.parametrize("caption", ["dog " * 50_000, "a" + "!" * 100_000 + "b"], ids=["words", "punctuation"])
def test_work_is_linear_in_the_length_of_a_caption(caption):
    for seed in range(4):  # seconds if linear, hours if quadratic
        caption_view(caption, rng=random.Random(seed), synonyms=shouted, rate=0.5)


# Synonyms of the bundled WordNet 3.0.


SOME = {  # of the synonyms of a word
    "car": {"auto", "automobile", "machine", "cable car"},  # car.n.01 and car.n.04
    **{"dogs": {"domestic dog"}, "geese": {"goose"}, "running": {"run"}, "Photographs": {"picture"}},
    **{"better": {"good"}, "t-shirt": {"tee shirt"}, "CAR": {"auto"}},
    **{word: set() for word in ("run", "pretty", "France", "two", "century")},
}


@pytest.mark.parametrize(("word", "some"), SOME.items(), ids=SOME)
def test_synonyms_of_a_word_are_those_of_its_base(word, some):
    names = synonyms(word)
    assert names
    assert some <= set(names)


@pytest.mark.parametrize("word", SOME)
def test_synonyms_are_distinct_in_the_order_of_the_alphabet(word):
    names = synonyms(word)
    assert list(names) == sorted(set(names))


@pytest.mark.parametrize("word", SOME)
def test_synonyms_are_of_lower_case_letters(word):
    assert all(part.isalpha() and part.islower() for name in synonyms(word) for part in name.split(" "))


@pytest.mark.parametrize("word", SOME)
def test_a_word_is_no_synonym_of_its_own(word):
    assert word.lower().replace("-", " ") not in synonyms(word)


@pytest.mark.parametrize("word", SOME)
def test_a_hypernym_is_no_synonym(word):
    assert "motor vehicle" not in synonyms(word)


NONE = ["", "the", "The", "zxqv", "b", "42", "2nd", "d80", "domestic_dog", "domestic dog", "-", "--", "*", "狗", "café"]


@pytest.mark.parametrize("word", [*NONE, "\x00", "a" * 9999], ids=lambda word: ascii(word[:20]))
def test_what_is_no_english_content_word_has_no_synonyms(word):
    assert synonyms(word) == ()


def test_the_licence_of_wordnet_is_beside_it():
    licence = resources.files("clipclean.data") / "wordnet" / "LICENSE.wordnet"
    assert "WordNet 3.0 Copyright 2006 by Princeton University." in licence.read_text("utf-8")


@pytest.mark.parametrize("content", [None, b"", b"PK\x05\x06" + bytes(18)], ids=["missing", "empty", "another"])
def test_a_damaged_installation_is_refused(content, tmp_path, monkeypatch):
    (tmp_path / "wordnet").mkdir()
    if content is not None:
        (tmp_path / "wordnet" / "wordnet.zip").write_bytes(content)
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises(RefusedInput):
        dictionary.read()


PROBE = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from clipclean.data import synonyms
assert "nltk" not in sys.modules
start = threading.Barrier(4)
with ThreadPoolExecutor(4) as pool:
    found = set(pool.map(lambda _: (start.wait(), synonyms("car"))[1], range(4)))
print(*found.pop(), sep=",")
assert not found
"""


@pytest.mark.slow
@pytest.mark.parametrize("home", ["/nonexistent", ""])
def test_nltks_own_data_is_neither_read_nor_written_by_any_thread(home, tmp_path):
    corpora = tmp_path / "corpora"
    corpora.mkdir()
    with zipfile.ZipFile(corpora / "wordnet.zip", "w") as decoy:
        decoy.writestr("wordnet/index.noun", "no WordNet at all")
        decoy.writestr("wordnet/index.sense", "nonsense")
    before = sorted(tmp_path.rglob("*"))
    nltk = {"HOME": home, "NLTK_DATA": f"{tmp_path}{os.pathsep}~nobody{os.pathsep}/nonexistent"}
    run = processes.python("-B", "-c", PROBE, cwd=tmp_path, env=nltk)
    assert (run.returncode, run.stdout.strip()) == (0, ",".join(synonyms("car"))), run.stderr
    assert sorted(tmp_path.rglob("*")) == before
