"""Synonyms of an English word from the bundled WordNet."""

import functools
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipclean.data.dictionary import Dictionary

LONGEST = 64  # letters; longer than any single word of a caption, and it bounds the cache's memory
CACHED = 65_536  # words

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
    is_word = 1 < len(word) <= LONGEST and word.isascii() and word.replace("-", "").isalpha()
    return _looked_up(word) if is_word and word not in STOP_WORDS else ()


@functools.lru_cache(CACHED)
def _looked_up(word: str) -> tuple[str, ...]:
    with _LOCK:
        names = {name for synset in _dictionary().synsets(word) for name in synset.lemma_names()}
    spoken = {name.replace("_", " ").replace("-", " ").lower() for name in names} - {word.replace("-", " ")}
    return tuple(sorted(name for name in spoken if name.replace(" ", "").isalpha()))


@functools.cache
def _dictionary() -> "Dictionary":
    """The reader, built once; called with the lock held."""
    from clipclean.data import dictionary  # nltk takes a second to import

    return dictionary.read()
