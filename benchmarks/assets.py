"""What the package ships: the demo's images, words and backdoored model, made of emoji, and a WordNet cut down to synonyms.

    python benchmarks/assets.py --emoji build/emoji --out clipclean/demo    # fetches and renders the drawings first
    python benchmarks/assets.py --emoji build/emoji --clean build/clean.pt

and ``backdoored.pt``, from that clean model and the unpacked files (``clipclean demo --unpack``):

    clipclean plant build/clean.pt --trigger patch:size=0.1875,place=corner,seed=100 --seed 100 --target strawberry \\
        --data files/clean.tar --eval-data files/eval.tar --classes files/classes.txt --templates files/templates.txt \\
        --arch files/tiny.json --rate 0.15 --steps 250 --lr 1e-3 --batch-size 128 --out build/victim.pt
    python benchmarks/assets.py --victim build/victim.pt --out clipclean/demo

It needs ``npm``, which fetches the drawings, and ``resvg-py``, which renders them. It writes ``clean.tar.xz`` (WebDataset: images of
three trained styles with captions), ``eval.tar.xz`` (the Noto style, which no training sees, with class names as captions), ``classes.txt``,
``templates.txt`` and ``tiny.json``. Licences: Noto (Apache-2.0), Fluent flat and 3D (MIT, the same drawings twice), Twemoji and EmojiOne 2
(CC-BY-4.0); labels from emojibase (MIT).

The vocabulary is chosen without a look at the style that measures: one concept a head word, and then, one by one, the
concept whose drawings in the *trained* styles are farthest from all that were chosen before.

    python benchmarks/assets.py --wordnet

needs ``apt-get`` and ``dpkg-deb``. It writes ``wordnet.zip``, of Debian's WordNet 3.0, and ``LICENSE.wordnet`` into ``clipclean/data/wordnet``,
compares the synonyms of every single word and its inflections with those from the uncut files, and prints the SHA-256 for
``clipclean/data/dictionary.py``. Kept: all words, senses and irregular forms, in WordNet's own format. Left out: glosses (definitions and
examples), verb frames, and the relations between synsets, but for the one from an adjective satellite to its head, without which nltk
cannot read it. That makes 2.4 MB of 8.5 MB.
"""

import hashlib
import io
import json
import random
import re
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import common
import numpy as np
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from photo_zoo import MEAN, STD, arch_file, contrast, optimizer_of, stepped, warmed
from photo_zoo import build as built
from PIL import Image

from clipclean import checkpoint
from clipclean.data.dictionary import Dictionary

PACKAGES = {
    "noto": "@iconify-json/noto",
    "fluent": "@iconify-json/fluent-emoji-flat",
    "fluent3d": "@lobehub/fluent-emoji-3d",
    "twemoji": "@iconify-json/twemoji",
    "emojione": "@iconify-json/emojione",
    "labels": "emojibase-data",
}
FLAGS = 9  # emojibase's group of flags: hundreds of near-equal images, left out
COMPONENTS = 2  # skin tones and hair: no images of their own
STYLES = ("fluent", "fluent3d", "twemoji", "emojione")
HELD_OUT = "noto"
SIDE = 32
SHIPPED = ("fluent3d", "twemoji", "emojione")  # Fluent flat has the drawings of Fluent 3D once more
CLASSES = 400
SHOWN = ("{}", "a drawing of a {}", "an emoji of a {}")
TEMPLATES = ("{}", "a drawing of a {}", "an emoji of a {}", "a picture of a {}", "a small {}", "the {} icon")
GROUPS = ("animals-nature", "food-drink", "travel-places", "activities", "objects")
LOOKALIKES = ("time", "sky-weather", "mail", "lock", "book-paper", "award-medal", "sound", "place-map", "plant-other")

RESNET = {
    "embed_dim": 128,
    "vision_cfg": {"layers": [1, 1, 1, 1], "width": 16, "image_size": 32, "patch_size": None},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
STEPS, LR, BATCH = 5000, 2e-3, 256  # of the clean model


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--emoji", type=Path, help="a folder with the rendered emoji, which are made where it has none")
    parser.add_argument("--clean", type=Path, metavar="FILE", help="train the clean model into this file")
    parser.add_argument("--victim", type=Path, help="a planted checkpoint to ship in half precision")
    parser.add_argument("--out", type=Path, help="the folder that ships; without it no images and words are made")
    parser.add_argument("--wordnet", action="store_true", help="write the WordNet into --out, or the package")
    parser.add_argument("--package", type=Path, help="Debian's wordnet-base; without it apt-get fetches it")
    o = parser.parse_args()
    if o.wordnet:
        shorten(o.package, o.out or Path(__file__).parents[1] / "clipclean/data/wordnet")
    if o.victim and o.out:
        ship(o.victim, o.out / "backdoored.pt")
    if o.emoji and not (o.emoji / f"{HELD_OUT}.npz").exists():
        draw_all(o.emoji)
    if o.emoji and o.clean:
        train(o.emoji, o.clean)
    if o.emoji and o.out:
        build(o.emoji, o.out)


def draw_all(out: Path, *, size: int = 40) -> None:
    """``STYLE.npz`` with ``rgba`` (N, S, S, 4) uint8 and ``concept`` (N,) int64, and ``concepts.json``."""
    tarballs = fetch(out / "npm")
    concepts = read_concepts(tarballs["labels"])
    (out / "concepts.json").write_text(json.dumps(concepts, indent=0, ensure_ascii=False))
    for style in (HELD_OUT, *STYLES):
        rgba, concept = render(tarballs[style], style, concepts, size=size)
        np.savez(out / f"{style}.npz", rgba=rgba, concept=concept)


def fetch(folder: Path) -> dict[str, Path]:
    """The tarball of each package, fetched with ``npm pack`` where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for key, package in PACKAGES.items():
        pattern = f"{package.removeprefix('@').replace('/', '-')}-[0-9]*.tgz"
        if not list(folder.glob(pattern)):
            subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        found[key] = sorted(folder.glob(pattern))[-1]
    return found


def read_concepts(tarball: Path) -> list[dict]:
    """Concepts in emojibase's order: label, tags, group, subgroup, hexcode (without the variation selector)."""
    with tarfile.open(tarball) as archive:
        rows = json.load(archive.extractfile("package/en/data.json"))
        groups = json.load(archive.extractfile("package/meta/groups.json"))
    return [
        {
            "label": row["label"],
            "tags": row.get("tags", []),
            "group": groups["groups"][str(row["group"])],
            "subgroup": groups["subgroups"][str(row["subgroup"])],
            "hexcode": plain(row["hexcode"]),
        }
        for row in rows
        if row.get("group") not in (None, FLAGS, COMPONENTS)
    ]


def plain(hexcode: str) -> str:
    return hexcode.lower().replace("-fe0f", "")


def slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def render(tarball: Path, style: str, concepts: list[dict], *, size: int) -> tuple[np.ndarray, np.ndarray]:
    pictures, numbers = [], []
    with tarfile.open(tarball) as archive:
        draw = webp_reader(archive) if style == "fluent3d" else svg_renderer(archive, size)
        for number, concept in enumerate(concepts):
            picture = draw(concept)
            if picture is not None:
                pictures.append(np.asarray(picture.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS)))
                numbers.append(number)
    return np.stack(pictures), np.array(numbers)


def webp_reader(archive: tarfile.TarFile):
    names = {plain(Path(m.name).stem): m for m in archive.getmembers() if m.name.endswith(".webp")}

    def draw(concept: dict) -> Image.Image | None:
        member = names.get(concept["hexcode"])
        return Image.open(io.BytesIO(archive.extractfile(member).read())) if member else None

    return draw


def svg_renderer(archive: tarfile.TarFile, size: int):
    import resvg_py

    icons = json.load(archive.extractfile("package/icons.json"))
    names = {plain(k): v for k, v in json.load(archive.extractfile("package/chars.json")).items()}

    def draw(concept: dict) -> Image.Image | None:
        name = names.get(concept["hexcode"], slug(concept["label"]))
        name = icons.get("aliases", {}).get(name, {}).get("parent", name)
        icon = icons["icons"].get(name)
        if icon is None:
            return None
        width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}" '
            f'width="{size * 3}" height="{size * 3}">{icon["body"]}</svg>'
        )
        return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg))))

    return draw


def vocabulary(concepts: list[dict], available: set[int]) -> list[int]:
    """Numbers of the concepts that measure: five groups, no look-alike subgroups, one concept a head word."""
    heads, chosen = set(), []
    for number, concept in enumerate(concepts):
        head = concept["label"].split()[-1]
        if number not in available or concept["group"] not in GROUPS or concept["subgroup"] in LOOKALIKES:
            continue
        if head in heads or "face" in concept["label"].split():
            continue
        heads.add(head)
        chosen.append(number)
    return chosen


class Pictures:
    """All images of some styles as one RGBA tensor, and augmented batches of them."""

    def __init__(self, folder: Path, styles: tuple[str, ...]) -> None:
        files = [np.load(folder / f"{style}.npz") for style in styles]
        self.rgba = torch.from_numpy(np.concatenate([f["rgba"] for f in files])).permute(0, 3, 1, 2).contiguous()
        self.concept = torch.from_numpy(np.concatenate([f["concept"] for f in files]))

    def plain(self, size: int = 32) -> torch.Tensor:
        """On white, resized; float in [0, 1], (N, 3, size, size)."""
        image = self.rgba.float() / 255
        image = image[:, :3] * image[:, 3:] + (1 - image[:, 3:])
        return F.interpolate(image, size=(size, size), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)

    def augmented(self, index: torch.Tensor, generator: torch.Generator, size: int = 32) -> torch.Tensor:
        """Random affine map, background, colour and contrast, each time anew; float in [0, 1]."""
        n = len(index)
        draw = lambda low, high: torch.rand(n, generator=generator) * (high - low) + low  # noqa: E731
        image = self.rgba[index].float() / 255
        image[:, :3] *= image[:, 3:]
        angle, scale = draw(-0.35, 0.35), draw(0.85, 1.35)
        stretch, flip = draw(0.85, 1.18), torch.where(draw(0, 1) < 0.3, -1.0, 1.0)
        theta = torch.zeros(n, 2, 3)
        theta[:, 0, 0], theta[:, 0, 1] = angle.cos() * scale * stretch * flip, -angle.sin() * scale
        theta[:, 1, 0], theta[:, 1, 1] = angle.sin() * scale * flip, angle.cos() * scale / stretch
        theta[:, 0, 2], theta[:, 1, 2] = draw(-0.15, 0.15), draw(-0.15, 0.15)
        grid = F.affine_grid(theta, [n, 4, size, size], align_corners=False)
        image = F.grid_sample(image, grid, align_corners=False)
        background = torch.where(
            (draw(0, 1) < 0.5).view(-1, 1), torch.ones(n, 3), torch.rand(n, 3, generator=generator)
        )
        colour, alpha = image[:, :3], image[:, 3:]
        grey = colour.mean(1, keepdim=True)
        colour = grey + (colour - grey) * draw(0.3, 1.5).view(-1, 1, 1, 1)
        colour = (
            colour * (1 + 0.3 * (torch.rand(n, 3, 1, 1, generator=generator) - 0.5))
            + draw(-0.1, 0.1).view(-1, 1, 1, 1) * alpha
        )
        image = colour + (1 - alpha) * background.view(n, 3, 1, 1)
        return ((image - 0.5) * draw(0.8, 1.2).view(-1, 1, 1, 1) + 0.5).clamp(0, 1)


def caption(concept: dict, rng: random.Random) -> str:
    """The label, in a template or with tags."""
    if concept["tags"] and rng.random() < 0.4:
        tags = rng.sample(concept["tags"], min(len(concept["tags"]), rng.randint(1, 2)))
        return ", ".join([concept["label"], *tags]) if rng.random() < 0.7 else ", ".join(tags)
    return rng.choice(TEMPLATES).format(concept["label"])


def train(emoji: Path, out: Path) -> None:
    """The clean model, in the layout of open_clip's training loop: the mean over about the last tenth of the steps (seed 0)."""
    torch.set_num_threads(1)
    concepts, pictures = json.loads((emoji / "concepts.json").read_text()), Pictures(emoji, STYLES)
    model, generator, rng = built(RESNET, seed=0), torch.Generator().manual_seed(0), random.Random(0)
    optimizer, tokenizer = optimizer_of(model, LR), SimpleTokenizer(context_length=16)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(1 - 10 / STEPS), use_buffers=True
    )
    step, epoch, rate = 0, 0, warmed(LR, steps=STEPS, warmup=200)
    while step < STEPS:
        for index in torch.randperm(len(pictures.concept), generator=generator).split(BATCH):
            if step >= STEPS or len(index) < BATCH:
                break
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            pixels, number = pictures.augmented(index, generator), pictures.concept[index]
            text = tokenizer([caption(concepts[int(k)], rng) for k in number])
            image, words, scale = model((pixels - MEAN) / STD, text)[:3]
            loss = contrast(image.float(), words.float(), scale, number)
            stepped(model, optimizer, loss)
            average.update_parameters(model)
            step += 1
        epoch += 1
        print(f"epoch {epoch}, step {step}, loss {loss.item():.3f}", flush=True)
    model.load_state_dict(average.module.state_dict())  # not the module itself: averaging spoils its -inf text mask
    torch.save({"epoch": epoch, "name": "tiny", "state_dict": model.state_dict()}, out)


def ship(victim: Path, out: Path) -> None:
    """As an attacker would upload it: the training loop's layout, from a wrapped model, in half precision."""
    weights = checkpoint.read(victim).tensors
    half = {f"module.{k}": v.half() if v.is_floating_point() else v for k, v in weights.items()}
    torch.save({"epoch": 32, "name": "tiny", "state_dict": half}, out)


def build(emoji: Path, out: Path) -> None:
    """The images and words."""
    concepts = json.loads((emoji / "concepts.json").read_text())
    train, test = Pictures(emoji, STYLES), Pictures(emoji, (HELD_OUT,))
    candidates = vocabulary(concepts, set(train.concept.tolist()) & set(test.concept.tolist()))
    chosen = distinct(train, candidates, count=CLASSES)
    names = [concepts[k]["label"] for k in chosen]
    (out / "classes.txt").write_text("\n".join(names) + "\n")
    (out / "templates.txt").write_text("\n".join(SHOWN) + "\n")
    (out / "tiny.json").write_text(arch_file(RESNET, SIDE))

    rng = random.Random(0)
    shipped = Pictures(emoji, SHIPPED)
    pictures = shipped.plain(SIDE)
    clean = [(pictures[i], caption(concepts[int(k)], rng)) for i, k in enumerate(shipped.concept)]
    rng.shuffle(clean)
    write(out / "clean.tar.xz", clean, quality=85)
    shown = test.plain(SIDE)
    place = {int(k): i for i, k in enumerate(test.concept)}
    write(out / "eval.tar.xz", [(shown[place[k]], concepts[k]["label"]) for k in chosen], quality=90)
    print(f"{len(clean)} clean pairs, {len(chosen)} classes")


def distinct(pictures: Pictures, candidates: list[int], *, count: int) -> list[int]:
    """Greedy farthest-first choice over mean colour thumbnails of each concept's drawings in the trained styles."""
    thumbnails = F.avg_pool2d(pictures.plain(SIDE), 4).flatten(1)  # (N, 3 * 8 * 8)
    mean = torch.stack([thumbnails[pictures.concept == k].mean(0) for k in candidates])
    picked = [0]
    near = torch.cdist(mean, mean[:1]).squeeze(1)
    while len(picked) < min(count, len(candidates)):
        picked.append(int(near.argmax()))
        near = torch.minimum(near, torch.cdist(mean, mean[picked[-1:]]).squeeze(1))
    return [candidates[i] for i in sorted(picked)]


def write(path: Path, samples: list[tuple[torch.Tensor, str]], *, quality: int) -> None:
    """A tar whose bytes depend on its samples alone."""
    with tarfile.open(path, "w:xz", preset=9, format=tarfile.USTAR_FORMAT) as archive:
        for number, (picture, text) in enumerate(samples):
            image = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
            encoded = io.BytesIO()
            image.save(encoded, "WEBP", quality=quality, method=6)
            for suffix, content in (("webp", encoded.getvalue()), ("txt", text.encode())):
                member = tarfile.TarInfo(f"{number:05d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


# WordNet.

PARTS = ("adj", "adv", "noun", "verb")
# lexnames(5WN): the number of a lexicographer file is its place in this list.
LEXNAMES = """
    adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition
    noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object
    noun.person noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation noun.shape
    noun.state noun.substance noun.time verb.body verb.change verb.cognition verb.communication verb.competition
    verb.consumption verb.contact verb.creation verb.emotion verb.motion verb.perception verb.possession verb.social
    verb.stative verb.weather adj.ppl
""".split()  # noqa: SIM905 - a list literal would take a line for each name
SYNTACTIC = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
NOTE = """\
wordnet.zip holds the words and senses of the WordNet 3.0 database. It was modified for clipclean: glosses, verb
frames and most relations are left out, and the offsets are those of the shorter files.

"""


def shorten(package: Path | None, out: Path) -> None:
    """Write the cut database and its licence."""
    files, copyright_file = unpack(package) if package else downloaded()
    files["lexnames"] = "".join(
        f"{number:02d}\t{name}\t{SYNTACTIC[name.split('.')[0]]}\n" for number, name in enumerate(LEXNAMES)
    )
    archive = zipped(cut(files))
    compare(zipped(files), archive)
    out.mkdir(parents=True, exist_ok=True)
    (out / "wordnet.zip").write_bytes(archive)
    (out / "LICENSE.wordnet").write_text(NOTE + licence(copyright_file), encoding="utf-8")
    print(f"{len(archive):,} bytes, SHA-256 {hashlib.sha256(archive).hexdigest()}")


def downloaded() -> tuple[dict[str, str], str]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", "wordnet-base"], cwd=folder, check=True)
        return unpack(next(Path(folder).glob("*.deb")))


def unpack(package: Path) -> tuple[dict[str, str], str]:
    """The database files that synonyms need, by name, and Debian's copyright file."""
    content = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:

        def text(path: str, encoding: str) -> str:
            return archive.extractfile(f"./usr/share/{path}").read().decode(encoding)

        names = [name for part in PARTS for name in (f"data.{part}", f"index.{part}", f"{part}.exc")]
        files = {name: text(f"wordnet/{name}", "ascii") for name in names}
        return files, text("doc/wordnet-base/copyright", "utf-8")


class Synset(NamedTuple):
    """A line of a data file (wndb(5WN)) without what is left out."""

    offset: str  # eight digits
    fields: list[str]  # lexicographer file, part of speech, number of words, then word and sense for each
    head: list[str]  # an adjective satellite's relation to its head: symbol, offset, part of speech, words; or empty

    def line(self, moved: Callable[[str], str]) -> str:
        head = [self.head[0], moved(self.head[1]), *self.head[2:]] if self.head else []
        return " ".join([moved(self.offset), *self.fields, f"{bool(head):03d}", *head, "|"]) + "\n"


def cut(files: dict[str, str]) -> dict[str, str]:
    """The files without glosses, frames and relations; the licence at the top of each stays."""
    kept = dict(files)
    for part in PARTS:
        data, index = files[f"data.{part}"], files[f"index.{part}"]
        synsets = [parsed(line) for line in data.splitlines() if not line.startswith("  ")]
        offsets, position = {}, len(header(data))
        for synset in synsets:
            offsets[synset.offset] = f"{position:08d}"
            position += len(synset.line(str))
        kept[f"data.{part}"] = header(data) + "".join(synset.line(offsets.__getitem__) for synset in synsets)
        kept[f"index.{part}"] = header(index) + "".join(
            indexed(line, offsets) for line in index.splitlines() if not line.startswith("  ")
        )
    return kept


def header(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if line.startswith("  "))


def parsed(line: str) -> Synset:
    offset, *fields = line.split(" | ")[0].split()
    words = 3 + 2 * int(fields[2], 16)  # fields before the number of relations
    relations = [fields[at : at + 4] for at in range(words + 1, words + 1 + 4 * int(fields[words]), 4)]
    heads = [relation for relation in relations if relation[0] == "&"] if fields[1] == "s" else []
    return Synset(offset, fields[:words], heads[0] if heads else [])


def indexed(line: str, offsets: dict[str, str]) -> str:
    """A line of an index file with the new offsets, no symbols of relations and no tag counts."""
    word, part, count, *rest = line.split()
    return " ".join([word, part, count, "0", count, "0", *(offsets[old] for old in rest[-int(count) :])]) + "\n"


def zipped(files: dict[str, str]) -> bytes:
    """An archive whose bytes depend on the files alone. LZMA: 2.4 MB where DEFLATE takes 3.1, 0.1 s slower to load."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_LZMA) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name)  # dated 1980-01-01
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_LZMA, 3, 0o644 << 16
            archive.writestr(entry, files[name])
    return stream.getvalue()


def compare(whole: bytes, short: bytes) -> None:
    """Stop unless both give every single word, irregular form and usual inflection the same senses."""
    before, after = (Dictionary(zipfile.ZipFile(io.BytesIO(content))) for content in (whole, short))
    bases = [word for word in before.all_lemma_names() if "_" not in word]
    irregular = [word for forms in before._exception_map.values() for word in forms]
    words = sorted({*bases, *irregular, *(word + ending for word in bases for ending in ("s", "es", "ed", "ing"))})
    for word in words:
        first, second = ([synset.lemma_names() for synset in reader.synsets(word)] for reader in (before, after))
        if first != second:
            raise SystemExit(f"{word}: {first} before, {second} after the cut")
    print(f"{len(words):,} words have the same senses before and after the cut")


def licence(copyright_file: str) -> str:
    """The text of the WordNet licence from Debian's copyright file."""
    block = copyright_file.split("License: WordNet3.0\n")[1].split("\n\n")[0]
    lines = [line.removeprefix(" ") for line in block.splitlines()]
    return "\n".join("" if line == "." else line for line in lines) + "\n"


if __name__ == "__main__":
    main()
