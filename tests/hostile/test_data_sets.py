import re

import pytest
from hostile import data_sets
from hostile.seeds import sample
from hostile.tars import tar


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """A working directory of its own, so that a payload that ran would leave its mark there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_honest_twin_of_the_hostile_sets_is_read(inside):
    (inside / "set").write_bytes(tar(sample("a")))
    assert data_sets.heard(inside / "set") == "kept a: a red square"


@pytest.mark.parametrize("name", data_sets.CASES)
def test_a_hostile_set_is_refused_or_its_sample_skipped_and_counted(inside, name):
    case = data_sets.CASES[name]
    case.write(inside / "set")
    before = sorted(inside.rglob("*"))
    heard = data_sets.heard(inside / "set")
    assert re.search(case.words, heard), heard[:500]
    assert all(line.isprintable() for line in heard.splitlines())
    assert sorted(inside.rglob("*")) == before


@pytest.mark.parametrize("name", data_sets.NAMES)
def test_a_hostile_name_is_refused_and_nothing_is_fetched_or_run(inside, name):
    heard = data_sets.heard(inside.__class__(name))
    assert heard.startswith("exit 3: ")
    assert re.search(data_sets.NAMES[name], heard), heard[:500]
    assert not list(inside.iterdir())
