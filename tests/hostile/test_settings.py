import re

import pytest
from hostile import settings


@pytest.mark.parametrize("name", settings.CASES)
def test_a_hostile_settings_file_is_refused_with_its_reason(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = settings.place(tmp_path, name)
    settings.CASES[name].write(path)
    heard = settings.heard(name, path)
    assert re.search(settings.CASES[name].words, heard), heard[:500]
    assert all(line.isprintable() for line in heard.splitlines())
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
