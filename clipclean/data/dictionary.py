"""nltk's WordNet reader over the bundled archive."""

import hashlib
import io
import zipfile
from importlib import resources
from typing import TextIO

from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.data import ZipFilePathPointer

from clipclean.errors import RefusedInput

# Of wordnet/wordnet.zip, which benchmarks/wordnet.py built (commit 747562f1).
SHA256 = "5c43b1a8b70595b45e04058f3faefac95908caa8e7a0987d55195620726beffb"


class Dictionary(WordNetCorpusReader):  # type: ignore[misc]  # nltk is untyped
    """WordNet's words and senses from an archive that is read as data, wherever nltk's own data may lie.

    nltk would look for corpora below ``nltk.data.path`` (home folder, NLTK_DATA) and refuse files outside it. Both
    overridden methods keep it to the archive. Not thread-safe: lookups seek in shared streams.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        # Any reader of other languages that is not None: it is never asked, and None brings a warning.
        super().__init__(ZipFilePathPointer(archive), omw_reader=archive)

    def open(self, file: str) -> TextIO:
        """A seekable stream of one member. WordNet 3.0 is ASCII, so that positions in it are byte offsets."""
        return io.TextIOWrapper(io.BytesIO(self._archive.read(file)), encoding="ascii", newline="\n")

    def map_wn(self, version: str = "wordnet") -> None:
        """No map to other versions: it serves other languages, and is made from another WordNet in nltk's path."""


def read() -> Dictionary:
    """The bundled WordNet 3.0; about 0.7 s and 80 MB of memory.

    Raises:
        RefusedInput: the archive is missing, or is not the one that clipclean ships.
    """
    try:
        content = (resources.files("clipclean.data") / "wordnet" / "wordnet.zip").read_bytes()
    except OSError as error:
        raise RefusedInput(
            "The bundled WordNet (clipclean/data/wordnet/wordnet.zip) cannot be read, so captions cannot be "
            f"augmented: {error.strerror}. Install clipclean again from your checkout."
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise RefusedInput(
            "The bundled WordNet (clipclean/data/wordnet/wordnet.zip) differs from the one that this version ships: its "
            f"SHA-256 is {digest}, expected {SHA256}. Install clipclean again from your checkout."
        )
    return Dictionary(zipfile.ZipFile(io.BytesIO(content)))
