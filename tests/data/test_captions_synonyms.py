import hashlib
import importlib
import os
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import pytest
from cases import each

from clipclean.data import dictionary, synonyms
from clipclean.errors import RefusedInput

BUNDLED = resources.files("clipclean.data") / "wordnet"


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    synonyms("load")  # two seconds, once


def test_a_car_is_an_automobile() -> None:
    # WordNet 3.0, car.n.01: car, auto, automobile, machine, motorcar
    assert {"auto", "automobile", "machine", "motorcar"} <= set(synonyms("car"))


@pytest.mark.parametrize(
    ("inflected", "synonym"),
    [("dogs", "domestic dog"), ("geese", "goose"), ("running", "run"), ("Photographs", "picture"), ("better", "good")],
)
def test_inflected_words_are_found_by_their_base(inflected: str, synonym: str) -> None:
    assert synonym in synonyms(inflected)


def test_hyphens_and_underscores_become_spaces() -> None:
    assert "tee shirt" in synonyms("t-shirt")
    assert "motor vehicle" not in synonyms("car")  # a hypernym, no synonym
    assert "cable car" in synonyms("car")


@each("word", ["car", "dogs", "t-shirt", "run", "pretty", "France", "two", "century"])
def test_synonyms_are_sorted_distinct_lower_case_letters_and_not_the_word(word: str) -> None:
    found = synonyms(word)
    assert found
    assert list(found) == sorted(set(found))
    assert all(part.isalpha() and part.islower() for name in found for part in name.split(" "))
    assert word.lower().replace("-", " ") not in found


def test_case_does_not_matter() -> None:
    assert synonyms("CAR") == synonyms("Car") == synonyms("car")


@each(
    "word",
    [
        "",
        "the",
        "The",
        "zxqv",
        "b",
        "42",
        "2nd",
        "d80",
        "domestic_dog",
        "domestic dog",
        "-",
        "--",
        "*",
        "狗",
        "café",
        "\x00",
        "a" * 9999,
    ],
)
def test_stop_words_and_what_is_no_english_word_have_none(word: str) -> None:
    assert synonyms(word) == ()


def test_no_word_of_wordnet_is_missing() -> None:
    reader = dictionary.read()
    # wnstats(7WN) of WordNet 3.0: unique strings for each part of speech, and the synsets of adverbs
    counts = {part: len(set(reader.all_lemma_names(part))) for part in "nvar"}
    assert counts == {"n": 117_798, "v": 11_529, "a": 21_479, "r": 4_481}
    assert sum(1 for _ in reader.all_synsets("r")) == 3_621


def test_the_archive_is_the_one_that_was_built() -> None:
    content = (BUNDLED / "wordnet.zip").read_bytes()
    assert hashlib.sha256(content).hexdigest() == dictionary.SHA256
    assert len(content) < 3_000_000
    assert "WordNet 3.0 Copyright 2006 by Princeton University." in (BUNDLED / "LICENSE.wordnet").read_text("utf-8")


@pytest.mark.parametrize("content", [None, b"", b"PK\x05\x06" + bytes(18)], ids=["missing", "empty", "another"])
def test_a_damaged_installation_is_refused(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wordnet").mkdir()
    if content is not None:
        (tmp_path / "wordnet" / "wordnet.zip").write_bytes(content)
    monkeypatch.setattr(dictionary.resources, "files", lambda package: tmp_path)
    with pytest.raises(RefusedInput, match="Install clip-sanitizer again"):
        dictionary.read()


def test_threads_see_what_a_serial_run_sees() -> None:
    words = ["car", "dog", "photograph", "run", "house", "pretty", "quickly", "tree", "window", "blue", "walk"]
    module = importlib.import_module("clipclean.data.captions")  # the package has the function by that name
    serial = [synonyms(word) for word in words]
    module._looked_up.cache_clear()
    start = threading.Barrier(4)

    def look_up(_: int) -> list[tuple[str, ...]]:
        start.wait()
        return [synonyms(word) for word in words]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(look_up, range(4))) == [serial] * 4


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
def test_nltks_own_data_is_neither_read_nor_written(home: str, tmp_path: Path) -> None:
    expected = ",".join(synonyms("car"))
    corpora = tmp_path / "corpora"
    corpora.mkdir()
    with zipfile.ZipFile(corpora / "wordnet.zip", "w") as decoy:
        decoy.writestr("wordnet/index.noun", "no WordNet at all")
        decoy.writestr("wordnet/index.sense", "nonsense")
    before = sorted(tmp_path.rglob("*"))
    package = Path(dictionary.__file__).parents[2]
    environment = os.environ | {"HOME": home, "NLTK_DATA": f"{tmp_path}{os.pathsep}~nobody{os.pathsep}/nonexistent"}
    run = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout.strip()) == (0, expected), run.stderr
    assert sorted(tmp_path.rglob("*")) == before
