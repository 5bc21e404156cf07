import json

import pytest
import torch

from clipclean import cli, own_state
from clipclean.train.resume import RunState


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def state(home, tmp_path, monkeypatch):
    """The state of an interrupted cleaning."""
    monkeypatch.setattr(own_state, "COMMAND", own_state.ContextVar("command", default="clipclean sanitize m.pt\x1b[2J"))
    made = RunState.of(tmp_path / "out", {})
    with made.locked():
        made.part("candidate", {}).write({"a": torch.zeros(9)}, {})
    return made


def listed(capsys):
    assert cli.main(["runs", "list", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_an_interrupted_run_is_listed_and_cleared_one_that_ends_is_not(state, capsys, home, tmp_path):
    (found,) = listed(capsys)
    assert found["command"].startswith("clipclean sanitize m.pt")
    assert found["size"] > 36
    assert cli.main(["runs", "list"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert cli.main(["runs", "clear"]) == 0
    assert not state.folder.exists()
    capsys.readouterr()
    assert listed(capsys) == []
    with RunState.of(tmp_path / "out", {}).locked():
        pass
    assert listed(capsys) == []


def test_a_run_in_progress_and_what_is_not_ours_stay(state, home, tmp_path):
    foreign, elsewhere = home / "audits" / "0123", tmp_path / "precious"
    for folder in (foreign, elsewhere):
        folder.mkdir(parents=True)
        (folder / "a.safetensors").write_bytes(b"x")
    (elsewhere / own_state.MARK).write_text("{}")
    (home / "audits" / "abcd").symlink_to(elsewhere)
    with own_state.locked(state.folder):
        assert cli.main(["runs", "clear"]) == 0
    (state.folder / "mine.txt").write_text("x")
    assert cli.main(["runs", "clear"]) == 0
    assert (state.folder / "mine.txt").exists()
    assert (foreign / "a.safetensors").exists()
    assert (elsewhere / "a.safetensors").exists()
