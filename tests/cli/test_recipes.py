import json
from pathlib import Path

import pytest

from clipclean.cli import main
from clipclean.config import recipe

FOLDER = Path(__file__).parent.parent.parent / "recipes"
VALID = "version: 1\nname: mine\nrevision: 2\ndescription: Mine.\nmethod: cleanclip\n"


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(VALID)
    return path


def test_list_shows_every_shipped_recipe_and_where_each_scale_works_and_where_not(capsys):
    assert main(["recipes", "list"]) == 0
    rows = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert [row.split()[0] for row in rows if not row.startswith(" ")] == list(recipe.names())
    measured = [row.split("- ")[1] for row in rows if row.startswith(" ")]
    assert any(
        row.startswith("usual: leaves the backdoor in on resnet-64px of 29.0 M, 1,200 pairs") for row in measured
    )
    assert any(row.startswith("tiny: removes it on resnet-32px of 4.6 M, 4,299 pairs, 400 classes") for row in measured)
    assert "usual: not measured" in measured


def test_list_as_json_has_the_digest_of_each_scale(capsys):
    assert main(["recipes", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == list(recipe.names())
    for entry in listed:
        digests = {scale: recipe.digest(recipe.load(f"{entry['name']}@{scale}")) for scale in entry["scales"]}
        assert {scale: each["sha256"] for scale, each in entry["scales"].items()} == digests


def test_show_prints_the_file_as_it_was_written(capsys):
    assert main(["recipes", "show", "cleanclip"]) == 0
    assert capsys.readouterr().out == (FOLDER / "cleanclip.yaml").read_text()


def test_show_resolved_prints_every_value_as_a_recipe_that_loads(mine, capsys):
    assert main(["recipes", "show", str(mine), "--resolved"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["train"]["batch_size"] == 64
    mine.write_text(printed)
    assert recipe.load(mine).train == recipe.Train()


def test_show_of_an_unknown_name_is_a_usage_error(capsys):
    assert main(["recipes", "show", "cleanclp"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Did you mean 'cleanclip'?" in captured.err


def test_validate_says_ok_for_each_valid_file(mine, capsys):
    assert main(["recipes", "validate", str(mine), *map(str, sorted(FOLDER.glob("*.yaml")))]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1 + len(recipe.names())
    assert captured.out.startswith(f"{mine}: ok: mine revision 2, sha256 {recipe.digest(recipe.load(mine))}\n")
    assert captured.err == ""


def test_validate_tells_all_errors_of_all_files_and_still_judges_the_others(mine, tmp_path, capsys):
    wrong, worse = tmp_path / "wrong.yaml", tmp_path / "worse.yaml"
    wrong.write_text(VALID + "train:\n  epoch: 3\n  lr: 10\n")
    worse.write_text("[")
    missing = tmp_path / "missing.yaml"
    assert main(["recipes", "validate", *map(str, (wrong, worse, missing, mine))]) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{mine}: ok")
    told = captured.err.splitlines()
    assert told[:2] == ["clipclean: error:", f"{wrong}:7: train.epoch: unknown key; did you mean 'epochs'?"]
    assert told[2].startswith(f"{wrong}:8: train.lr: 10 ")
    assert told[3].startswith(f"{worse}:1: ")
    assert told[4].startswith(f"There is no recipe and no file called {missing}")


def test_validate_without_a_file_is_a_usage_error(capsys):
    assert main(["recipes", "validate"]) == 2
    assert "Missing argument 'FILE...'" in capsys.readouterr().err


def test_schema_prints_the_committed_schema(capsys):
    assert main(["recipes", "schema"]) == 0
    assert capsys.readouterr().out == (FOLDER / "recipe.schema.json").read_text()


@pytest.mark.parametrize("command", ["list", "show", "validate", "schema"])
def test_help_has_an_example(command, capsys):
    assert main(["recipes", command, "--help"]) == 0
    assert f"  clipclean recipes {command}" in capsys.readouterr().out
