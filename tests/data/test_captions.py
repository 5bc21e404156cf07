import random
from collections import Counter
from collections.abc import Callable, Sequence

from cases import each
from hypothesis import given
from hypothesis import strategies as st

from clipclean.data import caption_view
from clipclean.data.captions import deleted, inserted, replaced, swapped

WORDS = ["a", "small", "dog", "ran", "after", "small", "cats"]


def one_each(word: str) -> Sequence[str]:
    """A single synonym for "dog" and "small", so that only the choice of word is random."""
    return {"dog": ("hound",), "small": ("little",)}.get(word, ())


def shouted(word: str) -> Sequence[str]:
    return (word.upper() + "!", word.upper() + " again")


def nothing(word: str) -> Sequence[str]:
    return ()


for_any_draw = each("seed", range(20))


class Scripted(random.Random):
    """random() gives the listed numbers in turn."""

    def __init__(self, *numbers: float) -> None:
        super().__init__(0)
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)


@for_any_draw
def test_replacement_changes_one_distinct_word_wherever_it_occurs(seed: int) -> None:
    rng = random.Random(seed)
    assert replaced(WORDS, 1, rng=rng, synonyms=one_each) in (
        ["a", "small", "hound", "ran", "after", "small", "cats"],
        ["a", "little", "dog", "ran", "after", "little", "cats"],
    )


@for_any_draw
def test_replacement_of_all_that_has_synonyms_is_known(seed: int) -> None:
    rng = random.Random(seed)
    assert replaced(WORDS, 5, rng=rng, synonyms=one_each) == ["a", "little", "hound", "ran", "after", "little", "cats"]


@for_any_draw
def test_replacement_leaves_the_other_words(seed: int) -> None:
    rng = random.Random(seed)
    after = replaced(WORDS, 2, rng=rng, synonyms=shouted)
    assert len(after) == len(WORDS)
    assert len({old for old, new in zip(WORDS, after, strict=True) if old != new}) == 2


@for_any_draw
def test_punctuation_around_a_replaced_word_stays(seed: int) -> None:
    rng = random.Random(seed)
    words = ['"Small', "dog's", "(dog)", "2", "dog."]
    assert replaced(words, 2, rng=rng, synonyms=one_each) == ['"little', "dog's", "(hound)", "2", "hound."]


def test_words_are_looked_up_in_lower_case_and_whole() -> None:
    asked = []

    def listen(word: str) -> Sequence[str]:
        asked.append(word)
        return ()

    replaced(["“Top-Dog”", "D80,", "***", "2nd", "Émile!"], 9, rng=random.Random(0), synonyms=listen)
    assert sorted(asked) == ["2nd", "d80", "top-dog", "émile"]


@each("n", [1, 3, 7])
@for_any_draw
def test_insertion_adds_n_synonyms_and_keeps_the_rest_in_order(seed: int, n: int) -> None:
    rng = random.Random(seed)
    after = inserted(WORDS, n, rng=rng, synonyms=one_each)
    assert len(after) == len(WORDS) + n
    assert set(after) - set(WORDS) <= {"hound", "little"}
    assert [word for word in after if word not in ("hound", "little")] == WORDS


def test_insertion_reaches_every_place() -> None:
    places = {
        inserted(["dog", "x"], 1, rng=random.Random(seed), synonyms=one_each).index("hound") for seed in range(50)
    }
    assert places == {0, 1, 2}


@for_any_draw
def test_insertion_without_synonyms_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    assert inserted(WORDS, 3, rng=rng, synonyms=nothing) == WORDS


@for_any_draw
def test_a_swap_exchanges_two_places(seed: int) -> None:
    rng = random.Random(seed)
    words = list("abcdefgh")
    after = swapped(words, 1, rng=rng)
    assert sum(old != new for old, new in zip(words, after, strict=True)) == 2
    assert sorted(after) == words


@for_any_draw
def test_swaps_keep_the_multiset_of_words(seed: int) -> None:
    rng = random.Random(seed)
    assert Counter(swapped(WORDS, 5, rng=rng)) == Counter(WORDS)
    assert swapped(["alone"], 5, rng=rng) == ["alone"]


def test_deletion_drops_the_words_whose_draw_is_below_the_probability() -> None:
    # draws .05 and .099 are below .1
    assert deleted(list("abcd"), 0.1, rng=Scripted(0.5, 0.05, 0.1, 0.099)) == ["a", "c"]


@for_any_draw
def test_deletion_only_removes_and_leaves_one(seed: int) -> None:
    rng = random.Random(seed)
    rest = iter(WORDS)
    assert all(word in rest for word in deleted(WORDS, 0.5, rng=rng))  # a subsequence
    assert len(deleted(WORDS, 1.0, rng=rng)) == 1


def test_the_four_operations_are_equally_likely() -> None:
    rng = random.Random(0)
    caption = " ".join(f"w{i}" for i in range(40))
    seen: Counter[str] = Counter()
    for _ in range(2000):
        view = caption_view(caption, rng=rng, synonyms=shouted, rate=0.1).split(" ")
        if any(word.isupper() for word in view):
            seen["inserted" if {f"w{i}" for i in range(40)} <= set(view) else "replaced"] += 1
        else:
            seen["swapped" if len(view) == 40 and view != caption.split() else "deleted"] += 1
    # 500 each; five standard deviations of a binomial(2000, 1/4) are 97
    assert all(abs(seen[name] - 500) < 97 for name in ("replaced", "inserted", "swapped", "deleted")), seen


def test_the_share_of_words_is_the_rate() -> None:
    caption = " ".join(f"w{i}" for i in range(40))
    lengths = {
        len(caption_view(caption, rng=random.Random(seed), synonyms=lambda word: ("NEW",), rate=0.1).split())
        for seed in range(100)
    }
    assert max(lengths) == 40 + 4  # insertion of 0.1 * 40 words


def test_views_follow_the_generator_alone() -> None:
    def views(seed: int) -> list[str]:
        rng = random.Random(seed)
        return [caption_view(" ".join(WORDS), rng=rng, synonyms=shouted, rate=0.1) for _ in range(10)]

    assert views(1) == views(1)
    assert views(1) != views(2)
    assert len(set(views(1))) > 3  # drawn anew for each call


@each(
    "caption",
    [
        "",
        " ",
        "\n\t",
        "word",
        "7",
        "12 34",
        "...",
        "?! --",
        "🐶",
        "🐶 🐱 👩‍🚀",
        "狗在跑",
        "собака бежит",
        "كلب",
        "\x00",
        "\ud800 x",
        "a" * 10_000,
    ],
)
@each("synonyms", [shouted, nothing])
def test_odd_captions_have_views(caption: str, synonyms: Callable[[str], Sequence[str]]) -> None:
    for seed in range(20):
        view = caption_view(caption, rng=random.Random(seed), synonyms=synonyms, rate=0.1)
        assert bool(view) == bool(caption)


@given(st.text(), st.integers(0, 99), st.floats(0, 1), st.sampled_from([shouted, nothing, one_each]))
def test_any_caption_has_a_view_that_is_not_empty(
    caption: str, seed: int, rate: float, synonyms: Callable[[str], Sequence[str]]
) -> None:
    view = caption_view(caption, rng=random.Random(seed), synonyms=synonyms, rate=rate)
    assert bool(view) == bool(caption)


@given(st.lists(st.text(min_size=1).filter(lambda text: len(text.split()) == 1), min_size=1), st.integers(0, 99))
def test_without_synonyms_no_word_is_invented(words: list[str], seed: int) -> None:
    caption = " ".join(words)
    view = caption_view(caption, rng=random.Random(seed), synonyms=nothing, rate=0.3)
    assert not Counter(view.split()) - Counter(caption.split())


@for_any_draw
def test_rate_zero_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    assert caption_view("A  small dog", rng=rng, synonyms=shouted, rate=0) == "A  small dog"


def test_work_grows_with_the_caption_and_not_with_its_square() -> None:
    # 200,000 words, and a word with 400,000 punctuation marks: seconds if linear, hours if quadratic
    for caption in ("dog " * 200_000, "a" + "!" * 400_000 + "b"):
        for seed in range(4):
            caption_view(caption, rng=random.Random(seed), synonyms=shouted, rate=0.5)
