import random

import pytest
from attacks import edits, readers
from attacks.readers import READERS
from cases import each


@pytest.fixture(autouse=True)
def in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@each("reader", READERS)
def test_honest_files_are_read(reader, tmp_path):
    draw = random.Random(0)
    finish = READERS[reader].finish
    for content in readers.honest(reader):
        whole = finish(content, draw) if finish is edits.archived else content
        assert readers.tried(reader, whole, tmp_path) == "read"


@each("reader", READERS)
def test_mutated_files_are_read_or_refused_in_our_own_words(reader, tmp_path):
    """A hundred of each kind; ``make fuzz`` for millions."""
    for number in range(100):
        readers.tried(reader, readers.made(reader, 7, number), tmp_path)


def test_an_input_follows_from_its_number():
    assert readers.made("zip", 0, 3) == readers.made("zip", 0, 3)
    assert len({readers.made("zip", 0, number) for number in range(20)}) > 15
