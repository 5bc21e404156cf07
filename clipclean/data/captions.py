"""The augmented view of a caption: one of EDA's four operations, with synonyms from the bundled WordNet."""

import functools
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipclean.data.dictionary import Dictionary


def caption_view(caption: str, /, *, rng: random.Random, synonyms: Callable[[str], Sequence[str]], rate: float) -> str:
    """The caption after one of EDA's operations: synonym replacement, insertion, swap or deletion, equally likely.

    Every call draws anew, where the reference code augments a caption once for the whole run. The reference also
    lower-cases and strips everything but the letters a to z, which fails on captions without any and loses "2 dogs".
    Here digits, punctuation, case and other scripts stay: CLIP's tokenizer lower-cases, and keeps the rest apart.
    A word is what stands between white space; its synonym is looked up in lower case without the punctuation around
    it, and takes its place between that punctuation. White space becomes single spaces.

    Any text is safe: a caption that an operation cannot change (one word, no synonyms) comes back as it is, and a
    caption that is not empty never becomes empty.

    Args:
        caption: any text.
        rng: the only source of randomness.
        synonyms: the synonyms of a lower-case word, in a fixed order; empty for a stop word or an unknown one.
        rate: EDA's alpha in [0, 1]: the share of words to change, at least one; a word is deleted with this
            probability. 0 changes nothing.

    Source: Wei and Zou, 2019, arXiv 1901.11196, section 2; one operation a caption as in Bansal et al., 2023,
    arXiv 2303.03323.

    Example:
        >>> caption_view("A dog.", rng=random.Random(0), synonyms=lambda word: (), rate=0.1)
        'A dog.'
    """
    words = caption.split()
    if not words or rate == 0:
        return caption
    n = max(1, int(rate * len(words)))
    operations: tuple[Callable[[], list[str]], ...] = (
        lambda: replace_words(words, n, rng=rng, synonyms=synonyms),
        lambda: insert_synonyms(words, n, rng=rng, synonyms=synonyms),
        lambda: swap_words(words, n, rng=rng),
        lambda: delete_words(words, rate, rng=rng),
    )
    return " ".join(rng.choice(operations)())


def replace_words(
    words: list[str], n: int, /, *, rng: random.Random, synonyms: Callable[[str], Sequence[str]]
) -> list[str]:
    """The words with up to ``n`` distinct ones, wherever they occur, replaced by a random synonym."""
    replacements = {core: rng.choice(names) for core, names in islice(_replaceable(words, rng, synonyms), n)}
    parts = [_parts(word) for word in words]
    return [before + replacements.get(core.lower(), core) + after for before, core, after in parts]


def insert_synonyms(
    words: list[str], n: int, /, *, rng: random.Random, synonyms: Callable[[str], Sequence[str]]
) -> list[str]:
    """The words with ``n`` synonyms of random words among them put in at random places; none if no word has any."""
    sources = [names for _, names in islice(_replaceable(words, rng, synonyms), n)]
    if not sources:
        return words
    # Places are drawn beforehand: inserting one by one is quadratic in the length of the caption.
    additions: defaultdict[int, list[str]] = defaultdict(list)
    for _ in range(n):
        additions[rng.randint(0, len(words))].append(rng.choice(rng.choice(sources)))
    return [word for number in range(len(words) + 1) for word in (*additions[number], *words[number : number + 1])]


def swap_words(words: list[str], n: int, /, *, rng: random.Random) -> list[str]:
    """The words after ``n`` times two at random places changed places."""
    if len(words) < 2:
        return words
    result = words.copy()
    for _ in range(n):
        first, second = rng.sample(range(len(words)), 2)
        result[first], result[second] = result[second], result[first]
    return result


def delete_words(words: list[str], probability: float, /, *, rng: random.Random) -> list[str]:
    """The words that are left when each is deleted with ``probability``; a random one if none would be left."""
    return [word for word in words if rng.random() >= probability] or [rng.choice(words)]


def _replaceable(
    words: list[str], rng: random.Random, synonyms: Callable[[str], Sequence[str]]
) -> Iterator[tuple[str, Sequence[str]]]:
    """Distinct lower-case words in random order, each with its synonyms, if any; looked up lazily."""
    distinct = list(dict.fromkeys(core.lower() for _, core, _ in map(_parts, words) if core))
    rng.shuffle(distinct)
    for core in distinct:
        if names := synonyms(core):
            yield core, names


def _parts(word: str) -> tuple[str, str, str]:
    """Leading punctuation, what stands between, trailing punctuation: ``'"dogs,'`` is ``"``, ``dogs`` and ``,``."""
    # Two scans from the ends, not a regular expression: that backtracks on long runs of punctuation.
    start = next((i for i, character in enumerate(word) if character.isalnum()), len(word))
    stop = next((i for i in range(len(word), start, -1) if word[i - 1].isalnum()), start)
    return word[:start], word[start:stop], word[stop:]


LONGEST_WORD = 64  # letters; longer than any single word of a caption, and it bounds the cache's memory
CACHE_SIZE = 65_536  # words

# EDA's list: Wei and Zou, 2019, code/eda.py of jasonwei20/eda_nlp.
STOP_WORDS = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it
    its itself they them their theirs themselves what which who whom this that these those am is are was were be been
    being have has had having do does did doing a an the and but if or because as until while of at by for with about
    against between into through during before after above below to from up down in out on off over under again
    further then once here there when where why how all any both each few more most other some such no nor not only own
    same so than too very s t can will just don should now
    """.split()  # noqa: SIM905 - a list literal would take a line for each word
)

# nltk's reader seeks in shared streams, so a lookup must not meet another one, nor the loading.
_LOCK = threading.Lock()


def synonyms(word: str, /) -> tuple[str, ...]:
    """Lower-case synonyms of ``word`` in all its WordNet senses, sorted; empty for a stop word or an unknown one.

    Inflected forms are looked up by their base ("dogs" by "dog"). A synonym can be several words ("motorcar",
    "railway car"); hyphens become spaces, and names with anything but letters are left out, as is the word itself.
    Single letters and words with digits have no synonyms: WordNet would read "b" as a vitamin.

    The first call takes about two seconds, most of it nltk's import; threads may call it side by side.

    Raises:
        RefusedInput: the installation lacks the bundled WordNet, or it was changed.

    Example:
        >>> synonyms("car")
        ('auto', 'automobile', 'cable car', 'elevator car', 'gondola', 'machine', 'motorcar', 'railcar', ...)
    """
    word = word.lower()
    is_word = 1 < len(word) <= LONGEST_WORD and word.isascii() and word.replace("-", "").isalpha()
    return _lookup(word) if is_word and word not in STOP_WORDS else ()


@functools.lru_cache(CACHE_SIZE)
def _lookup(word: str) -> tuple[str, ...]:
    with _LOCK:
        names = {name for synset in _dictionary().synsets(word) for name in synset.lemma_names()}
    phrases = {name.replace("_", " ").replace("-", " ").lower() for name in names} - {word.replace("-", " ")}
    return tuple(sorted(name for name in phrases if name.replace(" ", "").isalpha()))


def names_of(name: str, /) -> tuple[str, ...]:
    """Other names of the thing that ``name`` means most often, of those that mean it most often, too; lower case, sorted.

    A crane is the bird to some and the machine to others: a name that means several things is only taken for the first.

    Example:
        >>> names_of("goldfish")
        ('carassius auratus',)
    """
    with _LOCK:
        thing = _meaning(name)
        names = thing.lemma_names() if thing else ()
        return tuple(
            sorted(lemma.replace("_", " ").replace("-", " ").lower() for lemma in names if _meaning(lemma) == thing)
        )


@functools.lru_cache(CACHE_SIZE)
def singular(word: str, /) -> str:
    """The base of an English noun in the plural ("wolves" is "wolf"); the word itself where there is none."""
    with _LOCK:
        return _dictionary().morphy(word, "n") or word


def _meaning(name: str) -> Any:  # Any: nltk is untyped
    """The most frequent thing that a name stands for, or None; called with the lock held."""
    return next(iter(_dictionary().synsets(name.replace(" ", "_"), "n")), None)


@functools.cache
def _dictionary() -> "Dictionary":
    """The reader, built once; called with the lock held."""
    from clipclean.data import dictionary  # nltk takes a second to import

    return dictionary.read()
