"""The hook of pre-commit: what it runs for the files of a commit."""

import re
import shlex

import pytest
import tiny
import torch
import yaml
from ci.gates import ROOT
from hostile import checkpoints as hostile

from clipclean import cli

(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """A repository to commit in; a payload that ran would leave its mark there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commit(*files, args=HOOK["args"]):
    """What pre-commit runs for these files, and its exit code."""
    program, *words = shlex.split(HOOK["entry"])
    assert program == "clipclean"
    return cli.main([*words, *args, *files])


@pytest.mark.parametrize(
    "name", [name for name in hostile.CASES if "os.system" in hostile.CASES[name].words.replace("\\", "")]
)
def test_a_hostile_checkpoint_stops_the_commit_and_does_nothing(inside, capsys, name):
    hostile.CASES[name].write(inside / "evil.pt")
    assert commit("evil.pt") == 3
    assert "os.system" in capsys.readouterr().err
    assert [path.name for path in inside.iterdir()] == ["evil.pt"]


def test_files_that_may_be_checkpoints_are_taken_good_ones_pass_and_a_bad_one_stops_the_commit(inside, capsys):
    assert all(re.search(HOOK["files"], f"a/b/x.{kind}") for kind in ("pt", "pth", "bin", "ckpt", "safetensors"))
    assert not any(re.search(HOOK["files"], name) for name in ("x.pt.txt", "pt", "script.py", "xpt"))
    for name in ("a.pt", "-c.pt"):
        torch.save(tiny.state_dict(tiny.SMALL_VIT), inside / name)
    assert commit("a.pt", "-c.pt") == 0
    capsys.readouterr()
    for name in ("b.pt", "--help.pt", "-v.pt", "--arch=x.pt"):
        (inside / name).write_bytes(b"not a checkpoint\n")
        assert commit("a.pt", name, "-c.pt") == 3
        out, err = capsys.readouterr()
        assert ("a.pt" in out, "-c.pt" in out, name in err) == (True, True, True)
