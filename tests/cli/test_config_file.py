from pathlib import Path

import click
import pytest

from clipclean import cli
from clipclean.cli import config_file, options
from clipclean.cli.command import command
from clipclean.errors import UsageError


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Run ``screen`` in a folder of its own, and tell what its options are; the model lies in another folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    heard = {}

    @command("screen", epilog="")
    @click.argument("data", type=click.Path(path_type=Path))
    @click.option("--model", type=click.Path(path_type=Path))
    @click.option("--label", "labels", multiple=True)
    @options.device
    @options.seed
    @options.force
    @options.exit_zero
    @options.quiet
    @options.download
    @options.config
    @options.verbose
    def screen(**given):
        heard.update(given)

    def run(*arguments):
        heard.clear()
        screen.main([*arguments], prog_name="screen", standalone_mode=False)
        return dict(heard)

    run.folder = folder
    return run


def write(folder, text, name="clipclean.yaml"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("clipclean.yaml", "device: cpu\nseed: 7\nforce: true\nscreen: {label: [a=1, b=2]}\naudit: {effort: quick}\n"),
        (
            "pyproject.toml",
            "[tool.clipclean]\ndevice = 'cpu'\nseed = 7\nforce = true\n[tool.clipclean.screen]\nlabel = ['a=1', 'b=2']\n"
            "[tool.clipclean.audit]\neffort = 'quick'\n",
        ),
    ],
)
def test_both_files_set_defaults_for_all_commands_and_for_one(told, name, text):
    write(told.folder, text, name)
    given = told("pairs")
    assert (given["device"], given["seed"], given["force"]) == ("cpu", 7, True)
    assert given["labels"] == ("a=1", "b=2")


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(told, monkeypatch):
    write(told.folder, "device: cuda:1\nseed: 1\n")
    monkeypatch.setenv("CLIPCLEAN_SEED", "2")
    assert told("pairs")["seed"] == 2
    assert told("pairs", "--seed", "3")["seed"] == 3
    assert told("pairs")["device"] == "cuda:1"


def test_the_section_of_a_command_wins_over_what_holds_for_all(told):
    write(told.folder, "seed: 1\nscreen:\n  seed: 2\n")
    assert told("pairs")["seed"] == 2


def test_the_yaml_file_wins_over_pyproject_and_a_named_file_over_both(told, tmp_path):
    write(told.folder, "seed: 1\n")
    write(told.folder, "[tool.clipclean]\nseed = 2\n", "pyproject.toml")
    write(tmp_path / "elsewhere", "seed: 3\n", "team.yaml")
    assert told("pairs")["seed"] == 1
    assert told("pairs", "--config", str(tmp_path / "elsewhere" / "team.yaml"))["seed"] == 3
    assert told("pairs", "-c", "off")["seed"] == 0


def test_verbose_tells_the_file_and_what_it_sets(told, capsys):
    write(told.folder, "device: cpu\nscreen: {force: true}\n")
    told("pairs", "--verbose")
    assert f"configuration {told.folder / 'clipclean.yaml'}: --device, --force" in capsys.readouterr().err
    told("pairs")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["exit-zero: true\n", "screen: {exit-zero: true}\n"])
def test_a_file_that_nobody_named_says_so_where_it_decides_the_exit_code(told, capsys, text):
    """A repository that one has cloned may hold it, above the folder of its model."""
    write(told.folder, text)
    assert told("pairs", "--quiet")["exit_zero"]
    assert f"configuration {told.folder / 'clipclean.yaml'}: --exit-zero\n" in capsys.readouterr().err
    told("pairs", "--quiet", "--config", "clipclean.yaml")
    assert capsys.readouterr().err == ""


def test_a_file_beside_the_model_under_test_is_told_and_not_taken(told, capsys, monkeypatch):
    write(told.folder, "seed: 1\n")
    (told.folder / "weights").mkdir()
    (told.folder / "linked").symlink_to(told.folder)
    for model in (
        "model.pt",
        "./model.pt",
        ".",
        str(told.folder / "model.pt"),
        "linked/model.pt",
        "weights/../model.pt",
    ):
        assert told("pairs", "--model", model)["seed"] == 0, model
        assert "is not used, since it lies with" in capsys.readouterr().err
    assert told("pairs", "--model", "weights/model.pt")["seed"] == 1  # a folder of the project's own
    assert told("pairs", "--model", "model.pt", "--config", "clipclean.yaml")["seed"] == 1  # named is meant
    monkeypatch.chdir(told.folder / "weights")
    write(told.folder / "weights", "seed: 1\n")
    assert told("pairs", "--model", "..")["seed"] == 0  # inside a folder that is the model


def test_only_the_working_folder_is_looked_at(told, monkeypatch):
    write(told.folder, "seed: 1\n")
    (told.folder / "inner").mkdir()
    monkeypatch.chdir(told.folder / "inner")
    assert told("pairs")["seed"] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("devise: cpu\n", "'devise' .did you mean 'device'.*no option of any command"),
        ("screen: {effort: quick}\n", "'effort'.*no option of screen"),
        ("download: true\n", "'download'"),  # a flag alone asks for a network
        ("config: other.yaml\n", "'config'"),
        ('"\\e[2J": 1\n', r"'.x1b\[2J'"),
        ("force: 1\n", "force is true or false, not 1"),
        ("seed: [1, 2]\n", "seed takes one value"),
        ("device: null\n", "device takes one value"),
        ("screen: {label: {a: 1}}\n", "label takes values"),
        ("- device\n", "holds no settings"),
    ],
)
def test_what_is_no_setting_is_refused_with_the_file_s_name(told, text, words):
    write(told.folder, text)
    with pytest.raises(UsageError, match=f"(?s)clipclean.yaml.*{words}"):
        told("pairs")


def test_values_are_checked_as_on_the_command_line(told):
    write(told.folder, "seed: many\n")
    with pytest.raises(click.BadParameter, match="many"):
        told("pairs")


def test_a_pyproject_without_a_table_for_clipclean_is_left_alone(told):
    for text in ("[tool.ruff]\n", "tool = 3\n", "[[[", ""):
        write(told.folder, text, "pyproject.toml")
        assert told("pairs")["seed"] == 0
    write(told.folder, "[tool.clipclean]\nseed = = 1\n", "pyproject.toml")
    with pytest.raises(UsageError, match="not valid TOML"):
        told("pairs")


def test_help_does_not_read_it(told, capsys):
    write(told.folder, "no: option\n")
    told("--help")
    assert "Usage" in capsys.readouterr().out


def test_commands_take_a_configuration_where_they_say_how_they_run():
    context = cli.cli.make_context("clipclean", ["audit"])
    taking = {
        name
        for name in cli.COMMANDS
        if any(each.name == "config" for each in cli.cli.get_command(context, name).params)
    }
    assert taking == {"sanitize", "audit", "screen", "inspect", "export", "verify", "plant"}


def test_every_long_option_of_a_command_can_be_set_but_those_that_a_flag_alone_sets():
    context = cli.cli.make_context("clipclean", ["audit"])
    flags = config_file._flags(cli.cli.get_command(context, "sanitize"))
    assert {"data", "recipe", "max-accuracy-loss", "format", "report", "json", "fail-on"} <= set(flags)
    assert not {"download", "config", "help"} & set(flags)
