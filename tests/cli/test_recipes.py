"""``clipclean recipes``."""

import json
from pathlib import Path

import pytest

from clipclean.cli import main
from clipclean.config import recipe

FOLDER = Path(__file__).parents[2] / "recipes"
VALID = "version: 1\nname: mine\nrevision: 2\ndescription: Mine.\nmethod: cleanclip\n"


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in (("mine", VALID), ("wrong", VALID + "train:\n  epoch: 3\n  lr: 10\n"), ("worse", "[")):
        (tmp_path / f"{name}.yaml").write_text(text)


def test_recipes_are_listed_with_digests_shown_as_they_are_or_resolved_and_the_schema_is_the_committed_one(capsys):
    assert main(["recipes", "list"]) == 0
    rows = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert [row.split()[0] for row in rows if not row.startswith(" ")] == list(recipe.names())
    assert main(["recipes", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == list(recipe.names())
    for entry in listed:
        digests = {scale: recipe.digest(recipe.load(f"{entry['name']}@{scale}")) for scale in entry["scales"]}
        assert {scale: each["sha256"] for scale, each in entry["scales"].items()} == digests
    assert main(["recipes", "show", "cleanclip"]) == 0
    assert capsys.readouterr().out == (FOLDER / "cleanclip.yaml").read_text()
    assert main(["recipes", "show", "mine.yaml", "--resolved"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["train"]["batch_size"] == 64
    Path("mine.yaml").write_text(printed)
    assert recipe.load(Path("mine.yaml")).train == recipe.Train()
    assert main(["recipes", "schema"]) == 0
    assert capsys.readouterr().out == (FOLDER / "recipe.schema.json").read_text()


def test_validate_judges_every_file_and_tells_all_errors_at_once(capsys):
    assert main(["recipes", "validate", "mine.yaml", *map(str, sorted(FOLDER.glob("*.yaml")))]) == 0
    captured = capsys.readouterr()
    assert (len(captured.out.splitlines()), captured.err) == (1 + len(recipe.names()), "")
    assert recipe.digest(recipe.load(Path("mine.yaml"))) in captured.out
    assert main(["recipes", "validate", "wrong.yaml", "worse.yaml", "missing.yaml", "mine.yaml"]) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith("mine.yaml")
    for named in ("wrong.yaml:7: train.epoch", "wrong.yaml:8: train.lr", "worse.yaml:1", "missing.yaml"):
        assert named in captured.err


@pytest.mark.parametrize(("arguments", "named"), [("show cleanclp", "'cleanclip'"), ("validate", "FILE")])
def test_a_wrong_command_line_is_refused(tmp_path, refused, arguments, named):
    refused(["recipes", *arguments.split()], tmp_path, 2, named)
