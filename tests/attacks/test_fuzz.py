import random

import pytest
from attacks import edits, readers
from attacks.readers import READERS


@pytest.fixture(autouse=True)
def in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("reader", READERS)
def test_honest_files_are_read(reader, tmp_path):
    draw = random.Random(0)
    finish = READERS[reader].finish
    for content in readers.honest(reader):
        whole = finish(content, draw) if finish is edits.archived else content
        assert readers.tried(reader, whole, tmp_path) == "read"


@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("reader", READERS)
def test_mutated_files_are_read_or_refused_in_our_own_words(reader, count, tmp_path):
    """``make fuzz`` for millions."""
    for number in range(count):
        readers.tried(reader, readers.made(reader, 7, number), tmp_path)


def test_an_input_follows_from_its_number():
    assert readers.made("zip", 0, 3) == readers.made("zip", 0, 3)
    assert len({readers.made("zip", 0, number) for number in range(20)}) > 15
