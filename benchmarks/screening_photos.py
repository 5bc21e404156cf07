"""Poisoned pairs hidden in a clean set of photographs: where screening ranks them, and what a trusted set guarantees.

    python benchmarks/screening_photos.py --photos build/photos --images tiny-imagenet-200 --zoo build/photo-zoo --out build/screening-photos --only NAME... \
        --captions captions_val2017.json

Of 4,000 photographs of a victim's own classes (``benchmarks/photo_zoo.py``) 50 get the victim's trigger and a caption of its target: one like
those that the set has as well (``templates``), or their own, followed by the target's name (``appended``). Another 500 pairs,
drawn with them, are trusted: ``screen --trusted`` drops what at most 1 % of clean pairs would reach. Nobody tells it the trigger.

The captions are templates. ``--captions captions_val2017.json``, COCO's captions as JSON, measures the same pairs once more with natural ones:
sentences of COCO with the same names in them, each sentence once; those of hidden pairs stand nowhere else in the set.
The victims learned from templates, so that natural sentences are new to them.
"""

import argparse
import json
import random
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import common
import photo_zoo
import torch
from open_clip.tokenizer import SimpleTokenizer
from photo_cleaning import implants_of, loaded, shown_to, victims
from photo_zoo import CONTEXT, TEMPLATES, Photos
from torch import Generator, Tensor
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from clipclean import data, detect, model
from clipclean.data import table
from clipclean.detect import ranking

PAIRS, TRUSTED, RATE, TOP = 4000, 500, 0.01, 0.02
HIDDEN = 50
SPLITS = 20  # choices of the trusted pairs, of which the rate is a mean
FORMS = ("templates", "appended")
SETS = ("templates", "natural")
ROOM = CONTEXT - 7  # tokens of a sentence: start, end, a name, a comma and the target's name are read beside it


# Sentences of people with a gap for the name of a thing. COCO's captions hardly ever name a class of Tiny-ImageNet. Of those that name one
# thing of COCO's categories, once and in the singular, the name is cut out, and the name of another class fits in: ``a dog on a sofa`` gives
# ``an ox on a sofa``. Nobody reads the sentence for sense. The category ``person`` counts as no name: a man may stand beside the thing.

# Categories that leave no gap of use: words that are not countable, plurals, and words that are as often no noun.
OTHERS = ("sheep", "skis", "broccoli", "scissors", "tie", "orange", "remote", "knives", "mice")
CATEGORIES = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]  # "N/A" where COCO left one out
NOUNS = {*CATEGORIES} - {*OTHERS, "person", "__background__", "N/A"}
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


def read_frames(path: Path, *, tokens: int) -> list[Frame]:
    """The frames of a COCO file of captions in its order, each once, of at most so many tokens of CLIP's beside the name."""
    told = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(told, dict) or not table.is_coco(told):
        sys.exit(f"{path} is no file of COCO captions: it has no lists of images and annotations")
    tokenizer = SimpleTokenizer()
    own: dict[str, Frame] = {}
    for row in told["annotations"]:
        if one := frame(" ".join(row["caption"].split()).rstrip(" .")):
            own.setdefault(f"{one.before}\n{one.after}".lower(), one)
    return [one for one in own.values() if len(tokenizer.encode(f"{one.before}{one.after}")) <= tokens]


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


def main() -> None:
    parser = common.parser(__doc__, "photos", "images", "zoo", "out", "only")
    parser.add_argument("--half", choices=("choose", "report"), default="report")
    parser.add_argument("--captions", type=Path, help="a JSON file of COCO's captions: measure natural captions, too")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    frames = read_frames(o.captions, tokens=ROOM) if o.captions else []
    for entry in victims(o):
        for kind in SETS if o.captions else SETS[:1]:
            place = o.out / f"{entry['name']}{'-natural' * (kind == 'natural')}.json"
            if not place.exists():
                place.write_text(json.dumps(measured(o, entry, kind, frames), indent=1) + "\n")
                print(entry["name"], kind, flush=True)


def measured(o: argparse.Namespace, entry: dict, kind: str, frames: list[Frame]) -> dict:
    """Rank the pairs with and without hidden ones."""
    place, named, spare = pairs_of(o, entry, kind, frames)
    tested, pairs = loaded(o, entry, place=place)
    clip = tested.clip
    seen = ranking.embedded(clip, pairs, triggers=(), what="")
    implant, *_ = implants_of(shown_to(o, entry))
    order = torch.randperm(PAIRS, generator=Generator().manual_seed(entry["seed"])).tolist()
    # By names, not captions: the same images are poisoned with captions of either kind.
    places = sorted([k for k in order if entry["target"] not in named[k]][:HIDDEN])
    hidden = torch.zeros(PAIRS, dtype=torch.bool)
    told = {"entry": entry, "captions": kind, "none": judged(seen, hidden)}
    told["splits"] = [dropped_clean(seen, split) for split in range(SPLITS)]
    hidden[places] = True
    for form in FORMS:
        captions = poisoned_captions([pairs[k].caption for k in places], entry, form, spare)
        few = poisoned(clip, seen, [pairs[k] for k in places], captions, implant.trigger, entry["seed"])
        told[f"{form} {HIDDEN}"] = judged(with_rows(seen, few, places), hidden)
    return told


def pairs_of(o: argparse.Namespace, entry: dict, kind: str, frames: list[Frame]) -> tuple[Path, list[str], list[Frame]]:
    """The table of photographs with captions, the trusted ones at the end; the name in each caption; the frames left for hidden pairs."""
    photos = photo_zoo.read(o.photos, entry["side"])
    classes = photo_zoo.class_list(photos, entry["half"], entry["classes"])
    # Trusted pairs must be of one origin with the others: the model saw as large a part of them in training.
    own = torch.cat([photos.among(part, torch.tensor(classes)) for part in ("train", "audit")])
    numbers = own[torch.randperm(len(own), generator=Generator().manual_seed(13))[: PAIRS + TRUSTED]].tolist()
    named, captions, spare = captioned(photos, classes, numbers, frames if kind == "natural" else None)
    place = o.out / f"many-{kind}-{entry['half']}-{entry['classes']}.csv"
    if not place.exists():
        rows = [[(o.images / photos.files[k]).resolve(), caption] for k, caption in zip(numbers, captions, strict=True)]
        common.write(place, [["filepath", "title"], *rows])
    return place, named, spare


def captioned(
    photos: Photos, classes: list[int], numbers: list[int], frames: list[Frame] | None
) -> tuple[list[str], list[str], list[Frame]]:
    """A name of each image's class, a caption with it, and the frames that are left over; the names are the same with and without frames."""
    rng = random.Random(13)
    drawn = [(rng.choice(TEMPLATES), photos.name(int(photos.label[k]), rng)) for k in numbers]
    named = [name for _, name in drawn]
    if frames is None:
        return named, [template.format(name) for template, name in drawn], []
    # A sentence beside the gap must name no class of the model: only its own name may tell one.
    told = words(name for number in classes for name in photos.names[number])
    left = [one for one in frames if not told.search(f"{one.before}\n{one.after}")]
    if len(left) < (needed := len(numbers) + HIDDEN):
        sys.exit(f"{len(left)} sentences are left for {needed} captions: --captions needs a larger file")
    random.Random(13).shuffle(left)
    return named, [one.filled(name) for one, name in zip(left, named, strict=False)], left[len(numbers) :]


def poisoned_captions(own: list[str], entry: dict, form: str, spare: list[Frame]) -> list[str]:
    """Captions of hidden pairs; spare frames make natural ones."""
    if form == "appended":
        return [f"{caption}, {entry['target']}" for caption in own]
    if spare:
        return [one.filled(entry["target"]) for one in spare[: len(own)]]
    rng = random.Random(entry["seed"])
    return [rng.choice(TEMPLATES).format(entry["target"]) for _ in own]


def with_rows(seen, few, places: list[int]):
    """What was embedded of the clean set, with the poisoned pairs in these places."""
    changed = {name: getattr(seen, name).clone() for name in ("images", "views", "captions", "looks")}
    changed["views"][:, places] = few.views
    for name in ("images", "captions", "looks"):
        changed[name][places] = getattr(few, name)
    return seen._replace(**changed)


def taken(seen: ranking.Embedded, places: slice | Tensor) -> ranking.Embedded:
    """Some pairs of what was embedded."""
    own = {name: getattr(seen, name)[places] for name in ("images", "captions", "looks")}
    return seen._replace(views=seen.views[:, places], **own)


def poisoned(
    clip: model.Clip, seen: ranking.Embedded, pairs: list[data.Pair], captions: list[str], trigger, seed: int
) -> ranking.Embedded:
    """What the model makes of the hidden pairs."""
    clean = detect.stack([pair.image for pair in pairs])
    pixels = (trigger(clean, Generator().manual_seed(seed)) * 255).round() / 255  # as a file holds them
    return ranking.Embedded(
        clip.embed_images(pixels),
        torch.stack([clip.embed_images(view) for view in ranking.views(pixels)]),
        clip.embed_texts(captions),
        ranking.thumbnails(pixels),
        seen.gathered,
    )


def judged(seen: ranking.Embedded, hidden: Tensor) -> dict:
    """How many hidden pairs stand among the first, are dropped by ``auto``, and by the trusted pairs; and how many clean ones."""
    alone = ranking.scored(taken(seen, slice(PAIRS)))
    beside = ranking.beside_trusted(ranking.scored(seen), trusted=TRUSTED, rate=RATE)
    top = ranking.first(alone.score, round(TOP * PAIRS))
    dropped = {"top": top, "auto": alone.suspicious, "trusted": beside.suspicious}
    counts = {name: [int((of & hidden).sum()), int((of & ~hidden).sum())] for name, of in dropped.items()}
    return {"hidden": int(hidden.sum()), **counts}


def dropped_clean(seen: ranking.Embedded, split: int) -> float:
    """The share of the clean pairs that the trusted ones would drop, were others of them trusted."""
    order = torch.randperm(PAIRS + TRUSTED, generator=Generator().manual_seed(split))
    found = ranking.beside_trusted(ranking.scored(taken(seen, order)), trusted=TRUSTED, rate=RATE)
    return float(found.suspicious.float().mean())


if __name__ == "__main__":
    main()
