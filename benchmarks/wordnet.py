"""The WordNet that the package ships: Debian's WordNet 3.0, cut down to what synonyms need.

    python benchmarks/wordnet.py

needs ``apt-get`` and ``dpkg-deb``. It writes ``wordnet.zip`` and ``LICENSE.wordnet`` into
``clipclean/data/wordnet``, compares the synonyms of every single word and its inflections with those from the
uncut files, and prints the SHA-256 for ``clipclean/data/dictionary.py``.

Kept: all words, senses and irregular forms, in WordNet's own format. Left out: glosses (definitions and examples),
verb frames, and the relations between synsets, but for the one from an adjective satellite to its head, without
which nltk cannot read it. That makes 2.4 MB of 8.5 MB.
"""

import hashlib
import io
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import common

from clipclean.data.dictionary import Dictionary

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


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--package", type=Path, help="the wordnet-base package; default: fetch it with apt-get")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "clipclean/data/wordnet")
    options = parser.parse_args()
    files, copyright_file = unpack(options.package) if options.package else fetch()
    files["lexnames"] = "".join(
        f"{number:02d}\t{name}\t{SYNTACTIC[name.split('.')[0]]}\n" for number, name in enumerate(LEXNAMES)
    )
    archive = zipped(cut(files))
    compare(zipped(files), archive)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "wordnet.zip").write_bytes(archive)
    (options.out / "LICENSE.wordnet").write_text(NOTE + licence(copyright_file), encoding="utf-8")
    print(f"{len(archive):,} bytes, SHA-256 {hashlib.sha256(archive).hexdigest()}")


def fetch() -> tuple[dict[str, str], str]:
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
