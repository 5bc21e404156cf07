"""Commands that only tell: ``doctor``, ``explain``, ``recipes``, ``runs`` and ``triggers``."""

import json
import re
import shutil
import time
from importlib import resources
from pathlib import Path

import pytest
import torch

from clipclean import cli, demo, own_state
from clipclean.attack import triggers
from clipclean.cli import machine, main, pages
from clipclean.config import recipe
from clipclean.findings import RULES, page
from clipclean.train import RunState


@pytest.mark.slow
def test_the_facts_are_those_of_this_machine_alone(tmp_path, monkeypatch, said):
    (tmp_path / "pip.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    text, facts = said("doctor"), said("doctor --json")
    assert all(name in text for name in ("onnx", "onnxruntime", "transformers", "safetensors", torch.__version__))
    assert facts["environment"]["torch_version"] == torch.__version__
    assert all(size > 0 for size in facts["disk"].values())
    assert facts["bundled"] == {"wordnet": "intact", "demo": "intact"}
    assert [path.name for path in tmp_path.iterdir()] == ["pip.py"]


def test_damaged_files_of_the_package_are_told(tmp_path, monkeypatch):
    shutil.copytree(Path(demo.__file__).parent, tmp_path, dirs_exist_ok=True)
    for packed in tmp_path.glob("*.xz"):
        packed.write_bytes(packed.read_bytes()[:-9])
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    assert "intact" not in (machine.wordnet(), machine.demo())


# ``clipclean explain``.


@pytest.mark.parametrize("code", RULES)
def test_a_rule_is_told_whole(code, capsys):
    assert main(["explain", code.lower()]) == 0
    captured = capsys.readouterr()
    told, rule = " ".join(captured.out.split()), RULES[code]
    for words in (code, rule.title, rule.level, rule.stage, rule.means, rule.does_not_show, rule.action, page(code)):
        assert words in told
    assert captured.err == ""


@pytest.fixture
def narrow(monkeypatch):
    """A terminal of 60 columns."""
    monkeypatch.setenv("COLUMNS", "60")


@pytest.mark.parametrize(
    "command", ["explain", "explain CC003", "recipes list", "triggers list", "triggers show patch"]
)
def test_an_answer_is_as_wide_as_the_terminal(command, narrow, said):
    assert max(map(len, said(command).splitlines())) <= 60


@pytest.mark.parametrize("command", ["explain", "explain CC003", "recipes list", "triggers show patch"])
def test_a_narrow_terminal_breaks_lines_that_a_file_has_whole(command, said, monkeypatch):
    in_file = said(command)
    monkeypatch.setenv("COLUMNS", "60")
    in_terminal = said(command)
    assert in_terminal.split() == in_file.split()
    assert in_terminal.count("\n") > in_file.count("\n")


def test_a_paragraph_is_no_wider_than_people_read_in_a_wide_terminal(said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    assert 80 < max(map(len, said("explain CC003").splitlines())) <= pages.EXPLAIN_WIDTH


def test_without_a_rule_all_are_listed(said):
    rows = [row.split(maxsplit=2) for row in said("explain").splitlines()]
    rules = [row for row in rows if row and row[0] in RULES]
    assert rules == [[code, rule.level, rule.title] for code, rule in RULES.items()]


def test_the_json_of_a_rule_has_every_field(said):
    one, listed = said("explain CC010 --json"), said("explain --json")
    assert set(one) == {"rule", "title", "stage", "level", "means", "does_not_show", "action", "documentation"}
    assert (one["rule"], one["action"]) == ("CC010", RULES["CC010"].action)
    assert [each["rule"] for each in listed] == list(RULES)
    assert one in listed


def test_a_page_is_printed_whole(said):
    text = said("explain measures")
    assert text == pages.text("measures")
    assert all(f"\n### {code}: {rule.title}\n" in text for code, rule in RULES.items())
    assert said("explain measures --json") == {"page": "measures", "text": text}


@pytest.mark.parametrize("written", ["CC003", "cc003", "cc3", "3"])
def test_a_rule_is_explained_however_its_number_is_written(said, written):
    assert said(f"explain {written} --json")["rule"] == "CC003"


@pytest.mark.parametrize(
    ("wrong", "named"), [("cco3", "CC0"), ("cc100", "CC0"), ("\x1b[2J", r"\x1b[2J"), ("../README", "../README")]
)
def test_what_is_neither_rule_nor_page_is_refused(wrong, named, tmp_path, refused):
    refused(["explain", wrong, "--json"], tmp_path, 2, named)


# ``clipclean recipes``.


FOLDER = Path(__file__).parents[2] / "clipclean" / "recipes"
VALID = "version: 1\nname: mine\nrevision: 2\ndescription: Mine.\nmethod: cleanclip\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with a recipe and what is none."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("mine", VALID), ("wrong", VALID + "train:\n  epoch: 3\n  lr: 10\n"), ("worse", "[")):
        (tmp_path / f"{name}.yaml").write_text(text)


def test_recipes_are_listed_with_digests(folder, said):
    rows = said("recipes list").splitlines()
    assert [row.split()[0] for row in rows if not row.startswith(" ")] == list(recipe.names())
    listed = said("recipes list --json")
    assert [entry["name"] for entry in listed] == list(recipe.names())
    for entry in listed:
        assert entry["sha256"] == recipe.digest(recipe.load(entry["name"]))


def test_a_recipe_that_leaves_more_than_a_cleaning_may_is_not_said_to_remove_all(said):
    rows = [row for row in said("recipes list").splitlines() if "removes" in row]
    left = [float(re.search(r"(-?[\d.]+) points of attack success left", row)[1]) for row in rows]
    limit = 100 * recipe.load("cleanclip").audit.max_excess
    assert ["most of it" in row for row in rows] == [points > limit for points in left]
    assert max(left) > limit


def test_a_recipe_is_shown_as_it_is(folder, said):
    assert said("recipes show cleanclip") == (FOLDER / "cleanclip.yaml").read_text()


def test_a_resolved_recipe_has_every_value(folder, said):
    assert json.loads(said("recipes show mine.yaml --resolved"))["train"]["batch_size"] == 64


def test_a_resolved_recipe_can_be_read_again(folder, said):
    Path("mine.yaml").write_text(said("recipes show mine.yaml --resolved"))
    assert recipe.load(Path("mine.yaml")).train == recipe.Train()


def test_the_schema_of_recipes_is_the_committed_one(folder, said):
    assert said("recipes schema") == (FOLDER / "recipe.schema.json").read_text()


def test_validate_tells_the_digest_of_every_valid_file(folder, capsys):
    assert main(["recipes", "validate", "mine.yaml", *map(str, sorted(FOLDER.glob("*.yaml")))]) == 0
    captured = capsys.readouterr()
    assert (len(captured.out.splitlines()), captured.err) == (1 + len(recipe.names()), "")
    assert recipe.digest(recipe.load(Path("mine.yaml"))) in captured.out


def test_validate_tells_all_errors_at_once(folder, capsys):
    assert main(["recipes", "validate", "wrong.yaml", "worse.yaml", "missing.yaml", "mine.yaml"]) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith("mine.yaml")
    for named in ("wrong.yaml:7: train.epoch", "wrong.yaml:8: train.lr", "worse.yaml:1", "missing.yaml"):
        assert named in captured.err


@pytest.mark.parametrize(("arguments", "named"), [("show cleanclp", "'cleanclip'"), ("validate", "FILE")])
def test_a_wrong_command_line_is_refused(tmp_path, refused, arguments, named):
    refused(["recipes", *arguments.split()], tmp_path, 2, named)


@pytest.fixture
def state(tmp_path, monkeypatch):
    """The state of an interrupted cleaning."""
    monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "state"))
    own_state.COMMAND.set("clipclean sanitize m.pt\x1b[2J")
    made = RunState.of(tmp_path / "out", {})
    with made.locked():
        made.part("candidate", {}).keep("done", torch.zeros(9))
    return made


def test_an_interrupted_run_is_listed(state, said):
    (run,) = said("runs list --json")
    assert run["command"].startswith("clipclean sanitize m.pt")
    assert run["size"] > 36
    assert "\x1b" not in said("runs list")


def test_an_interrupted_run_is_cleared(state, said):
    said("runs clear")
    assert not state.folder.exists()
    assert said("runs list --json") == []


def test_a_run_that_kept_nothing_is_not_listed(state, said, tmp_path):
    said("runs clear")
    with RunState.of(tmp_path / "out", {}).locked():
        pass
    assert said("runs list --json") == []


def test_the_time_of_each_process_of_a_run_counts(state):
    assert own_state.spent(state.folder) < 60
    began = time.time() - 3600
    (state.folder / own_state.MARK_NAME).write_text(json.dumps({"command": "c", "began": began, "spent": 60.0}))
    with state.locked():  # another process begins
        assert 3590 < own_state.spent(state.folder) - 60 < 3700


@pytest.fixture
def finished(state):
    """The same of a cleaning that ended without weights."""
    with state.locked():
        state.finish()
    return state


def test_a_finished_run_is_not_listed_as_interrupted(finished, said):
    (run,) = said("runs list --json")
    assert run["finished"] is True
    assert "finished" in said("runs list")
    assert "0 interrupted runs and 1 finished" in said("runs list")


def test_a_finished_run_that_goes_on_is_unfinished_again(finished):
    with finished.locked():
        assert [saved.finished for saved in own_state.saved_states()] == [False]


def test_times_that_cannot_be_count_as_none(state):
    (state.folder / own_state.MARK_NAME).write_text('{"began": "x", "spent": -1, "command": 3}')
    assert own_state.spent(state.folder) == 0.0


def test_a_run_in_progress_is_not_cleared(state):
    with own_state.locked(state.folder):
        assert cli.main(["runs", "clear"]) == 0
    assert [saved.folder for saved in own_state.saved_states()] == [state.folder]


def test_what_is_not_ours_is_not_cleared(state, tmp_path):
    home, elsewhere = tmp_path / "state", tmp_path / "precious"
    foreign = home / "audits" / "0123"
    for folder in (foreign, elsewhere):
        folder.mkdir(parents=True)
        (folder / "a.safetensors").write_bytes(b"x")
    (elsewhere / own_state.MARK_NAME).write_text("{}")
    (home / "audits" / "abcd").symlink_to(elsewhere)
    (state.folder / "mine.txt").write_text("x")
    assert cli.main(["runs", "clear"]) == 0
    assert (state.folder / "mine.txt").exists()
    assert (foreign / "a.safetensors").exists()
    assert (elsewhere / "a.safetensors").exists()


# ``clipclean triggers``.


def test_every_family_is_listed(said):
    assert [line.split()[0] for line in said("triggers list").splitlines()] == list(triggers.KNOWN_FAMILIES)


def test_the_listed_defaults_of_a_family_are_those_it_is_read_with(said):
    for family in said("triggers list --json"):
        defaults = ",".join(f"{key}={value['default']}" for key, value in family["parameters"].items())
        assert triggers.parse(f"{family['name']}:{defaults}") == triggers.parse(family["name"])


def test_a_family_is_shown_with_its_source(said):
    words = " ".join(said("triggers show warp").split())
    assert all(word in words for word in ("warp", "strength", triggers.KNOWN_FAMILIES["warp"].source))


def test_what_is_no_family_is_refused(refused, tmp_path):
    refused(["triggers", "show", "zzz"], tmp_path, 2, "patch")
