"""Class names, caption templates, and labelled images."""

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clipclean import progress, untrusted
from clipclean.data.cache import ImageCache
from clipclean.data.captions import names_of, singular
from clipclean.data.dataset import CleanSet, Pair, read_images
from clipclean.data.sample import UTF8, caption, reason, some_lines
from clipclean.errors import RefusedInput, UnusableTexts
from clipclean.schema.report import VocabularyRecord
from clipclean.untrusted import plural, printable

_FILE_BYTES = 10_000_000
_MOST_CLASSES = 50_000  # ImageNet-21k has 21,843; each is embedded once a template
_MOST_TEMPLATES = 1_000  # OpenAI's ImageNet set has 80
_NAMES_SHOWN = 10  # names that a message quotes
# Characters that a font shows nothing for, beside those of Unicode's category Cf: joiners, fillers, vowels that are inherent, and
# selectors of variants.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


@dataclass(frozen=True)
class Vocabulary:
    """The class vocabulary and its templates."""

    classes: tuple[str, ...]
    templates: tuple[str, ...]

    @property
    def default_note(self) -> str:
        """The classes that are taken where the user names none."""
        first, second, *_, last = self.classes
        return (
            f"The {len(self.classes):,} class names of ImageNet are used ({first}, {second}, …, {last}), and a backdoor towards another "
            "class appears under one of these, or not at all."
        )

    def record(self, *, is_given: bool) -> VocabularyRecord:
        """The report's ``vocabulary``; ``is_given`` is whether the user named the classes."""
        return VocabularyRecord(given=is_given, classes=self.classes, templates=self.templates)


def read_classes(source: Path | Sequence[str], /) -> list[str]:
    """Class names: those given, or of a file, one a line; blank lines and lines that start with # are comments.

    Characters that nobody sees are left out, and that is said: with them a name would be another class to the model, and the same to a reader.

    Raises:
        UnusableTexts: fewer than two names, more than 50,000, or a name twice, whatever its case, its width and its blanks.
        RefusedInput: the file is missing, unreadable, longer than 10 MB or not UTF-8.
    """
    source_name = _source_name(source, "the list of classes")
    names_and_lines = [(name, line) for line in _lines(source) if (name := visible(caption(line)))]
    names = [name for name, _ in names_and_lines]
    if cut := [name for name, line in names_and_lines if name != " ".join(line.split())]:
        progress.say(
            f"{source_name}: {plural(len(cut), 'class name')} held characters that cannot be seen; they are left out: "
            f"{untrusted.first_few(cut)}."
        )
    spellings: dict[str, list[str]] = {}
    for name in names:
        spellings.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    if duplicates := [" and ".join(dict.fromkeys(map(repr, group))) for group in spellings.values() if len(group) > 1]:
        raise UnusableTexts(
            f"{source_name} names {', '.join(duplicates[:_NAMES_SHOWN])} more than once: the classes could not be "
            "told apart. Capitals, blanks and characters that cannot be seen make no difference. Leave each name in once."
        )
    if len(names) > _MOST_CLASSES:
        raise UnusableTexts(
            f"{source_name} names {len(names):,} classes; {_MOST_CLASSES:,} are the most. Leave some out."
        )
    if len(names) < 2:
        raise UnusableTexts(
            f"{source_name} holds {plural(len(names), 'class name')}; a classifier needs two at least. One name a line."
        )
    return names


def visible(name: str, /) -> str:
    r"""A name without the characters that nobody sees, and its white space collapsed.

    Example:
        >>> visible("straw\u200bberry")
        'strawberry'
    """
    characters = (char for char in _UNSEEN.sub("", name) if unicodedata.category(char) != "Cf")
    return " ".join("".join(characters).split())


def read_templates(source: Path | Sequence[str], /) -> list[str]:
    """Caption templates, given or one a line, each with one ``{}`` for the class name; ``{c}`` is read as ``{}``.

    Blank lines and lines that start with # are comments.

    Raises:
        UnusableTexts: no templates, or lines without exactly one placeholder or with other braces; names them all.
        RefusedInput: the file is missing, unreadable, longer than 10 MB or not UTF-8.

    Example:
        >>> read_templates(path)  # a file with the line "a photo of a {c}."
        ['a photo of a {}.']
    """
    source_name = _source_name(source, "the list of templates")
    templates = [caption(line).replace("{c}", "{}") for line in _lines(source)]
    faulty = [line for line in templates if line.count("{}") != 1 or {"{", "}"} & set(line.replace("{}", ""))]
    if faulty or not templates:
        problems = some_lines([printable(line[:80]) for line in faulty]) or " It holds none."
        raise UnusableTexts(
            f"{source_name}: a template is a line with one {{}} where the class name goes, such as "
            f"'a photo of a {{}}.'{problems}"
        )
    if len(templates) > _MOST_TEMPLATES:
        raise UnusableTexts(f"{source_name} holds {len(templates):,} templates; {_MOST_TEMPLATES:,} are the most.")
    return templates


def _source_name(source: Path | Sequence[str], name: str) -> str:
    return printable(source) if isinstance(source, Path) else name


def _lines(source: Path | Sequence[str]) -> list[str]:
    """The lines of a file that say something and are no comments, or the texts of a list; as they are written."""
    if not isinstance(source, Path):
        return [text for text in source if caption(text)]
    try:
        lines = untrusted.read(source, limit=_FILE_BYTES).decode(UTF8).splitlines()
    except UnicodeDecodeError as error:
        raise RefusedInput(f"{printable(source)} is not UTF-8 text. Save it as UTF-8.") from error
    except (OSError, ValueError) as error:
        raise RefusedInput(f"{printable(source)} cannot be read: {reason(error)}. Give a text file.") from error
    return [line for line in lines if (text := caption(line)) and not text.startswith("#")]


@dataclass(frozen=True)
class Samples:
    """Images, perhaps with captions, and the numbers (N,) of their classes where they have labels."""

    pairs: Sequence[Pair]
    labels: Tensor | None


def read_labelled(*sources: Path, images: ImageCache, classes: Sequence[str]) -> Samples:
    """Read images with labels, in any format that ``read`` knows; captions are not needed.

    A label is the subfolder that an image lies in, the ``label`` of a table or JSON record, or the ``.cls`` of a
    sample: the name of a class (case, hyphens and underscores aside), or, except for a subfolder, its number from 0.
    Where none of them is a class, a caption that is a class name serves.

    Raises:
        UnusableTexts: labels that are no class, with the nearest names; a label that may mean several classes.
        RefusedInput: as in ``read``.
    """
    clean_set = read_images(*sources, images=images)
    labels = labels_of(clean_set, classes)
    if labels is None:
        raise UnusableTexts(_complaint(clean_set, classes))
    return Samples(clean_set.pairs, labels)


def labels_of(images: CleanSet, classes: Sequence[str], /) -> Tensor | None:
    """The classes of images that were read, as ``read_labelled`` tells them; None where some have no single one."""
    meanings = _meanings(images, classes)
    if any(len(numbers) != 1 for numbers in meanings):
        return None
    return torch.tensor([number for numbers in meanings for number in numbers], dtype=torch.int64)


def classes_in(captions: Sequence[str], classes: Sequence[str], /, *, templates: Sequence[str] = ()) -> Tensor:
    """The class that each caption names, int64 (N,); -1 where it names none, or several.

    A class is named by its name or by a synonym that means nothing else more often (:func:`names_of`), in the plural too. A name
    counts as whole words, whatever the case, with spaces, hyphens or underscores between them or none. Of names within each other
    the longest counts: "a red apple" names "red apple", and not "apple" as well. Of a caption made from one of the ``templates`` only
    the place of the name counts.

    Examples:
        >>> named_in(["photos of Red-Apples", "a cat and a dog", "a car"], ["apple", "red apple", "cat", "dog"]).tolist()
        [1, -1, -1]
    """
    numbers = _numbers(classes)
    longest = max((name.count(" ") + 1 for name in numbers), default=0)
    forms = [re.compile(re.escape(_plain(form)).replace(r"\{\}", "(.+)")) for form in templates if _plain(form) != "{}"]
    class_sets: list[set[int]] = []
    for text in map(_plain, captions):
        inside = next((match[1] for form in forms if (match := form.fullmatch(text))), text)
        class_sets.append(_classes_at(re.findall(r"\w+", inside), numbers, longest))
    return torch.tensor([number.pop() if len(number) == 1 else -1 for number in class_sets], dtype=torch.int64)


def _numbers(classes: Sequence[str]) -> dict[str, int]:
    """The number of the class by each name that no other class has: its own, as words and as one word, before any synonym."""
    own_names = {_plain(name): number for number, name in enumerate(classes)}
    synonyms = [(synonym, number) for number, name in enumerate(classes) for synonym in names_of(_plain(name))]
    synonyms += [(name.replace(" ", ""), number) for name, number in (*own_names.items(), *synonyms) if " " in name]
    meanings: dict[str, set[int]] = {}
    for synonym, number in synonyms:
        meanings.setdefault(synonym, set()).add(number)
    return {name: number for name, (number, *ambiguous) in meanings.items() if not ambiguous} | own_names


def _classes_at(words: list[str], numbers: Mapping[str, int], longest: int) -> set[int]:
    """The classes whose names stand in a text, from its beginning, at each place the longest."""
    numbers_found: set[int] = set()
    offset = 0
    while offset < len(words):
        for length in range(min(longest, len(words) - offset), 0, -1):
            *first, last = words[offset : offset + length]
            spellings = (" ".join([*first, word]) for word in (last, singular(last)))
            if (number := next((numbers[name] for name in spellings if name in numbers), None)) is not None:
                numbers_found.add(number)
                offset += length - 1
                break
        offset += 1
    return numbers_found


def _meanings(images: CleanSet, classes: Sequence[str]) -> list[set[int]]:
    """The classes that each image may belong to; exactly one if all is well."""
    exact: dict[str, set[int]] = {}
    plain: dict[str, set[int]] = {}
    for number, name in enumerate(classes):
        exact.setdefault(name, set()).add(number)
        plain.setdefault(_plain(name), set()).add(number)

    def by_name(word: str) -> set[int]:
        return exact.get(word) or plain.get(_plain(word)) or set()

    def by_label(word: str) -> set[int]:
        # A folder called 00012 is a shard of img2dataset, not class 12.
        is_number = images.format != "folder" and word.isascii() and word.isdecimal() and len(word) < 10
        return by_name(word) | ({int(word)} if is_number and int(word) < len(classes) else set())

    return [by_label(pair.label or "") or by_name(pair.caption) for pair in images.pairs]


def _plain(name: str, /) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _complaint(images: CleanSet, classes: Sequence[str], /) -> str:
    meanings = zip(images.pairs, _meanings(images, classes), strict=True)
    offenders = [(pair, numbers) for pair, numbers in meanings if len(numbers) != 1]
    first: dict[str, tuple[Pair, set[int]]] = {}  # a pair for each word, the earliest
    for pair, numbers in offenders:
        first.setdefault(pair.label or pair.caption, (pair, numbers))
    faults = [f"{pair.key}: {_fault(word, numbers, classes)}" for word, (pair, numbers) in first.items()]
    return (
        f"{len(offenders):,} of {len(images):,} images of {printable(images.name)} have no single label among the "
        f"{len(classes):,} classes. Put them into folders named like the classes, give the table a column "
        f"label, or name the right classes with --classes FILE:{some_lines(faults, of=' labels')}"
    )


def _fault(word: str, meanings: set[int], classes: Sequence[str], /) -> str:
    if not word:
        return "no label"
    quoted_word = repr(word[:60])
    if meanings:
        return f"{quoted_word} may mean " + " or ".join(f"{n} ({classes[n]!r})" for n in sorted(meanings))
    near = difflib.get_close_matches(word, classes, n=1)
    return f"{quoted_word} is no class" + (f"; did you mean {near[0]!r}?" if near else "")
