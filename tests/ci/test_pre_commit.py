import re
import shlex

import pytest
import tiny
import torch
import yaml
from cases import each
from ci.gates import ROOT
from hostile import checkpoints as hostile

from ci import pages
from clipclean import cli

(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """A repository to commit in; a payload that ran would leave its mark there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def good(path):
    torch.save(tiny.state_dict(tiny.SMALL_VIT), path)


def commit(*files, args=None):
    """What pre-commit runs for these files, and its exit code."""
    program, *words = shlex.split(HOOK["entry"])
    assert program == "clipclean"
    return cli.main([*words, *(HOOK["args"] if args is None else args), *files])


def test_a_good_checkpoint_passes(inside, capsys):
    good(inside / "model.pt")
    assert commit("model.pt") == 0
    assert "model.pt" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", [name for name in hostile.CASES if "os.system" in hostile.CASES[name].words.replace("\\", "")]
)
def test_a_hostile_checkpoint_stops_the_commit_and_does_nothing(inside, capsys, name):
    hostile.CASES[name].write(inside / "evil.pt")
    assert commit("evil.pt") == 3
    assert "os.system" in capsys.readouterr().err
    assert [path.name for path in inside.iterdir()] == ["evil.pt"]


def test_one_hostile_checkpoint_among_good_ones_stops_the_commit(inside, capsys):
    good(inside / "a.pt")
    good(inside / "c.pt")
    (inside / "b.pt").write_bytes(b"not a checkpoint\n")
    assert commit("a.pt", "b.pt", "c.pt") == 3
    out, err = capsys.readouterr()
    assert ("a.pt" in out, "c.pt" in out, "b.pt" in out) == (True, True, False)
    assert "b.pt" in err


@pytest.mark.parametrize("name", ["--help.pt", "-v.pt", "--arch=x.pt"])
def test_a_file_whose_name_looks_like_an_option_is_read(inside, name):
    (inside / name).write_bytes(b"not a checkpoint\n")
    assert commit(name) == 3


def test_the_arguments_of_the_page_name_an_architecture_and_keep_the_guard(inside):
    (own,) = [hook for hook in shown() if hook.get("args", HOOK["args"]) != HOOK["args"]]
    good(inside / "-model.pt")
    assert commit("-model.pt", args=own["args"]) == 3  # read, and it is no ViT-B-32
    assert commit("-model.pt") == 0


@each(
    ("name", "is_looked_at"),
    [
        ("model.pt", True),
        ("a/b/model.pth", True),
        ("x.bin", True),
        ("x.ckpt", True),
        ("x.safetensors", True),
        ("x.pt.txt", False),
        ("pt", False),
        ("script.py", False),
        ("xpt", False),
    ],
)
def test_the_hook_takes_files_that_may_be_checkpoints(name, is_looked_at):
    assert bool(re.search(HOOK["files"], name)) == is_looked_at


def test_the_hook_runs_once_at_a_time_from_its_own_checkout():
    assert HOOK["require_serial"] is True
    assert HOOK["language"] == "python"
    assert "additional_dependencies" not in HOOK


def test_the_page_names_the_hook_and_its_local_copy():
    assert {hook["id"] for hook in shown()} == {HOOK["id"]}
    (local,) = [hook for hook in shown() if hook.get("language") == "system"]
    shared = ("name", "entry", "args", "files", "require_serial")
    assert [local[key] for key in shared] == [HOOK[key] for key in shared]


def shown():
    """The hooks of the page: all that has an id and is no step of a workflow."""
    nodes = [node for document in pages.documents() for node in pages.nodes(document)]
    return [node for node in nodes if "id" in node and "uses" not in node]
