import json
from pathlib import Path

import pytest
import tiny
import torch

from clipclean import cli, report
from clipclean.cli import audit  # its help tells EFFORTS as they are when it is first imported
from clipclean.config import recipe


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """The shortest search that there is."""
    for name, effort in recipe.EFFORTS.items():
        monkeypatch.setitem(recipe.EFFORTS, name, effort.model_copy(update={"steps": 2, "restarts": 1, "suspects": 2}))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A job, and a folder with two models, one file that is none, and a folder that is a model."""
    made = tiny.job(tmp_path_factory.mktemp("job"))
    models = made.folder / "models"
    (models / "deeper").mkdir(parents=True)
    torch.save(tiny.state_dict(tiny.SMALL_VIT, seed=1), models / "b.pt")
    torch.save(tiny.state_dict(tiny.SMALL_VIT, seed=2), models / "deeper" / "a.pt")
    (models / "notes.txt").write_text("no model")
    tiny.labelled(made.folder / "labelled", count=24)
    return made


def command(job, *models, more=()):
    return job.audit("--no-search", "--data", job.folder / "labelled", "--quiet", *more, models=models)


def test_each_model_has_its_line_and_a_refused_one_decides_the_exit_code(job, tmp_path, capsys):
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no model")
    assert cli.main(command(job, broken, job.model)) == 3
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told[:2]] == ["refused", "inconclusive"]
    assert [Path(line.split()[1]).name for line in told[:2]] == ["broken.pt", "model.pt"]
    assert told[2].startswith("2 models: 1 refused, 1 inconclusive.")


def test_json_is_a_list_of_valid_reports_and_every_report_is_written(job, tmp_path, capsys):
    folder = tmp_path / "reports"
    models = job.folder / "models"
    assert cli.main(command(job, models, more=["--json", "--report-dir", folder, "--fail-on", "error"])) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(Path(each["path"]).name, each["exit_code"]) for each in listed] == [("b.pt", 0), ("a.pt", 0)]
    for each in listed:
        report.parse(each["report"])
    names = audit.labels([models / "b.pt", models / "deeper" / "a.pt"])
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}.{suffix}" for name in names for suffix in ("json", "html", "sarif", "xml", "md")
    )
    assert report.read(folder / f"{names[0]}.json").verdict == "inconclusive"


def test_one_model_answers_as_ever_also_from_a_folder_and_with_a_folder_for_reports(job, tmp_path, capsys):
    assert (
        cli.main(command(job, job.folder / "models" / "deeper", more=["--json", "--report-dir", tmp_path / "r"])) == 4
    )
    assert report.parse(json.loads(capsys.readouterr().out)).verdict == "inconclusive"
    assert len(list((tmp_path / "r").iterdir())) == 5


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--save-triggers", "found"], "--save-triggers: for one model"),
        (["--report", "html=page.html"], "--report-dir DIR writes the reports of each"),
        (["--report", "json=all.json"], "--report-dir"),
    ],
)
def test_what_is_of_one_model_is_refused_before_any_is_read(job, tmp_path, monkeypatch, capsys, more, words):
    monkeypatch.chdir(tmp_path)
    given = [each for each in command(job, job.model, tmp_path / "missing.pt") if each != "--no-search"]
    assert cli.main([*given, *more]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_reports_do_not_go_where_the_models_are(job, capsys):
    folder = job.folder / "models"
    assert cli.main(command(job, folder, more=["--report-dir", folder / "reports"])) == 2
    assert "--report-dir" in capsys.readouterr().err


def test_a_dry_run_of_several_plans_each(job, capsys):
    assert cli.main(command(job, job.folder / "models", more=["--dry-run", "--json"])) == 0
    assert [each["dry_run"] for each in json.loads(capsys.readouterr().out)] == [True, True]


def test_labels_are_file_names_and_differ():
    paths = [Path(name) for name in ("a/x.pt", "a-x.pt", "A/X.pt", "../é 中.pt", "--", "hf-hub:org/model")]
    assert audit.labels(paths) == ["a-x.pt", "a-x.pt-2", "A-X.pt-3", "pt", "model", "hf-hub-org-model"]


def test_a_tower_without_directions_is_told_by_name_and_the_others_get_their_reports(job, tmp_path, capsys):
    weights = tiny.state_dict(tiny.SMALL_VIT)
    weights["text_projection"] = weights["text_projection"] * 1e20  # finite, and the length of what it gives is not
    torch.save({"state_dict": weights}, tmp_path / "huge.pt")
    assert cli.main(command(job, tmp_path / "huge.pt", job.model, more=["--json"])) == 4
    huge, sound = json.loads(capsys.readouterr().out)
    assert (huge["exit_code"], "report" in huge) == (4, False)
    assert "text tower" in json.dumps(huge)
    report.parse(sound["report"])
