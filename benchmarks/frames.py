"""Sentences of people with a gap for the name of a thing: captions of COCO for photographs of other classes.

COCO's captions hardly ever name a class of Tiny-ImageNet. Of those that name one thing of COCO's categories, once and in the singular,
the name is cut out, and the name of another class fits in: ``a dog on a sofa`` gives ``an ox on a sofa``. The article is put right;
nobody reads the sentence for sense. The category ``person`` counts as no name: a man may stand beside the thing.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from open_clip.tokenizer import SimpleTokenizer

from clipclean.data import coco

CATEGORIES = (
    "bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, parking meter, bench, "
    "bird, cat, dog, horse, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag, suitcase, frisbee, snowboard, "
    "sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife, "
    "spoon, bowl, banana, apple, sandwich, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, "
    "toilet, tv, laptop, mouse, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, teddy bear, "
    "hair drier, toothbrush"
)
NOUNS = tuple(CATEGORIES.split(", "))
# Categories that leave no gap of use: words that are not countable, plurals, and words that are as often no noun.
OTHERS = ("sheep", "skis", "broccoli", "scissors", "tie", "orange", "remote", "knives", "mice")
ARTICLE = re.compile(r"\ban?(?= $)", re.IGNORECASE)
AN = re.compile(r"(?!eu|uni|one\b|use)[aeiou]|hour|honest|heir", re.IGNORECASE)


class Frame(NamedTuple):
    """A sentence without its last full stop, and without the name in it."""

    before: str
    after: str

    def filled(self, name: str) -> str:
        """The sentence with another name, as ``a`` or ``an`` goes with it."""
        article = "an" if AN.match(name) else "a"
        before = ARTICLE.sub(lambda found: article.capitalize() if found[0][0].isupper() else article, self.before)
        return f"{before}{name if before else name[0].upper() + name[1:]}{self.after}"


def read(path: Path, *, tokens: int) -> list[Frame]:
    """The frames of a COCO file of captions in its order, each once, of at most so many tokens of CLIP's beside the name."""
    told = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(told, dict) or not coco.is_coco(told):
        sys.exit(f"{path} is no file of COCO captions: it has no lists of images and annotations")
    tokenizer = SimpleTokenizer()
    own: dict[str, Frame] = {}
    for row in told["annotations"]:
        if one := frame(" ".join(row["caption"].split()).rstrip(" .")):
            own.setdefault(f"{one.before}\n{one.after}".lower(), one)
    return [one for one in own.values() if len(tokenizer.encode(f"{one.before}{one.after}")) <= tokens]


def without(frames: list[Frame], names: Iterable[str]) -> list[Frame]:
    """The frames that name none of these things beside the gap."""
    named = words(names)
    return [one for one in frames if not named.search(f"{one.before}\n{one.after}")]


def words(names: Iterable[str]) -> re.Pattern[str]:
    """Any of some names as whole words, in the singular or the plural; the longest is found first."""
    either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])({either})(s|es)?(?![\w-])", re.IGNORECASE)


NAMED = words((*NOUNS, *OTHERS))


def frame(sentence: str) -> Frame | None:
    """The sentence around the only thing that it names, if it names one, once and in the singular."""
    found = list(NAMED.finditer(sentence))
    if len(found) != 1 or found[0][2] or found[0][1].lower() not in NOUNS:
        return None
    return Frame(sentence[: found[0].start()], sentence[found[0].end() :])
