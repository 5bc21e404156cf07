import json
import subprocess
import sys

import pytest
import tiny
import torch

from clipclean import cli
from clipclean.config import recipe


@pytest.fixture
def job(tmp_path, monkeypatch):
    for name, effort in recipe.EFFORTS.items():
        monkeypatch.setitem(recipe.EFFORTS, name, effort.model_copy(update={"steps": 2, "restarts": 1, "suspects": 2}))
    monkeypatch.delenv("CLIPCLEAN_NO_CACHE")
    monkeypatch.setenv("CLIPCLEAN_CACHE", str(tmp_path / "cache"))
    made = tiny.job(tmp_path / "job")
    tiny.labelled(made.folder / "labelled", count=24)
    return made


def audit(job, capsys, *more, search=False):
    """Exit code, and whether the result was kept from an earlier run; a search takes longest, and decides nothing here."""
    how = [] if search else ["--no-search"]
    data = ["--data", job.folder / "labelled"]
    code = cli.main(job.audit("--effort", "quick", "--quiet", "--json", *how, *data, *more))
    captured = capsys.readouterr()
    assert captured.err == ""
    made = json.loads(captured.out)
    return code, any("Taken from the result cache" in note for note in made["notes"]), made


def test_the_same_audit_is_answered_from_the_cache_and_any_other_is_run(job, capsys, tmp_path):
    code, is_kept, first = audit(job, capsys)
    assert not is_kept
    again = audit(job, capsys)
    assert again[:2] == (code, True)
    assert {key: value for key, value in again[2].items() if key != "notes"} == {
        key: value for key, value in first.items() if key != "notes"
    }
    assert not audit(job, capsys, "--no-cache")[1]
    assert not audit(job, capsys, "--seed", 1)[1]
    assert not audit(job, capsys, search=True)[1]
    (tmp_path / "policy.yaml").write_text("version: 1\nname: ours\n")
    assert not audit(job, capsys, "--policy", tmp_path / "policy.yaml")[1]
    job.classes.write_text(job.classes.read_text() + "another\n")
    assert not audit(job, capsys)[1]
    torch.save(tiny.state_dict(tiny.SMALL_VIT, seed=1), job.model)
    assert not audit(job, capsys)[1]
    assert audit(job, capsys)[1]


def test_what_is_kept_is_listed_and_cleared(job, capsys):
    audit(job, capsys)
    assert cli.main(["cache", "list", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["model"], entry["verdict"]) == ("model.pt", "inconclusive")
    assert cli.main(["cache", "list"]) == 0
    assert "inconclusive" in capsys.readouterr().out
    assert cli.main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == "1 result(s) removed\n"
    assert not audit(job, capsys)[1]


def test_an_audit_that_writes_triggers_is_always_run(job, capsys, tmp_path):
    audit(job, capsys, "--save-triggers", tmp_path / "found", search=True)
    assert not audit(job, capsys, "--save-triggers", tmp_path / "found2", search=True)[1]


def test_an_answer_from_the_cache_needs_no_torch(job):
    given = job.audit("--effort", "quick", "--no-search")  # on the bundled images
    cli.main([*given, "--quiet"])
    code = """
import sys
from clipclean.cli import main
from clipclean.config import recipe
for name, effort in recipe.EFFORTS.items():
    recipe.EFFORTS[name] = effort.model_copy(update={"steps": 2, "restarts": 1, "suspects": 2})
main(sys.argv[1:])
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "answered from the result cache" in done.stderr
