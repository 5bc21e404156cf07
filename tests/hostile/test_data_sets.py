import re

import pytest
from hostile import data_sets
from hostile.seeds import sample
from hostile.tars import tar


def test_the_honest_copy_of_the_hostile_sets_is_read(tmp_path):
    (tmp_path / "set").write_bytes(tar(sample("a")))
    assert data_sets.heard(tmp_path / "set") == "kept a: a red square"


LONG = pytest.param("parquet: 80 values of 2 MB in 40 kB", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [LONG, *(name for name in data_sets.CASES if name not in LONG.values)])
def test_a_hostile_set_is_refused_or_its_sample_skipped_and_counted(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)  # a payload that ran would leave its mark there
    case = data_sets.CASES[name]
    case.write(tmp_path / "set")
    before = sorted(tmp_path.rglob("*"))
    heard = data_sets.heard(tmp_path / "set")
    assert re.search(case.words, heard), heard[:500]
    assert all(line.isprintable() for line in heard.splitlines())
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", data_sets.NAMES)
def test_a_hostile_name_is_refused_and_nothing_is_fetched_or_run(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    heard = data_sets.heard(tmp_path.__class__(name))
    assert heard.startswith("exit 3: ")
    assert re.search(data_sets.NAMES[name], heard), heard[:500]
    assert not list(tmp_path.iterdir())
