"""Files of defaults: what they set, what wins over them, and what a file that nobody named may not do."""

from dataclasses import fields, make_dataclass
from pathlib import Path
from typing import Annotated

import click
import pytest

from clipclean import cli
from clipclean.cli.command import command_of
from clipclean.errors import UsageError
from clipclean.requests import Opt, Sanitize


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Run ``screen`` in a folder of its own, and tell what its options are."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    heard = {}

    names = ("seed", "force", "download", "device", "label")
    known = [(each.name, each.type, each) for each in fields(Sanitize) if each.name in names]
    data = ("data", Annotated[Path, Opt(argument="CLEAN", reads="path")])

    @command_of(make_dataclass("Asked", [data, *known]), ("exit_zero", "quiet", "config", "verbose"))
    def screen(asked, shell):
        heard.update(vars(shell) | vars(asked))

    def run(*arguments, named="clipclean.yaml"):
        heard.clear()
        if named and "--help" not in arguments and not {"-c", "--config"} & set(arguments):
            arguments = (*arguments, "--config", named)
        screen.main([*arguments], prog_name="screen", standalone_mode=False)
        return dict(heard)

    run.folder = tmp_path / "project"  # type: ignore[attr-defined] # where a test writes its files
    return run


def write(folder, text, name="clipclean.yaml"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


YAML = "device: cpu\nseed: 7\nforce: true\nscreen: {seed: 8, label: [a=1, b=2]}\naudit: {effort: quick}\n"
TOML = """
[tool.clipclean]
device = 'cpu'
seed = 7
force = true
[tool.clipclean.screen]
seed = 8
label = ['a=1', 'b=2']
[tool.clipclean.audit]
effort = 'quick'
"""


@pytest.mark.parametrize(("name", "text"), [("clipclean.yaml", YAML), ("pyproject.toml", TOML)])
def test_defaults_of_one_command_win_over_those_of_all(told, name, text):
    write(told.folder, text, name)
    options = told("pairs", named=name)
    values = [options[key] for key in ("device", "seed", "force", "label")]
    assert values == ["cpu", 8, True, {"a": "1", "b": "2"}]


def test_the_sources_of_an_option_win_in_this_order(told, tmp_path, monkeypatch):
    """A flag, a variable, the file that a flag names, ``clipclean.yaml``, ``pyproject.toml``."""
    write(told.folder, "device: cuda:1\nverbose: true\n")
    with monkeypatch.context() as patch:
        patch.setenv("CLIPCLEAN_DEVICE", "cuda:2")
        assert told("pairs")["device"] == "cuda:2"
        assert told("pairs", "--device", "cuda:3")["device"] == "cuda:3"
        assert told("pairs")["verbose"]
    write(told.folder, "[tool.clipclean]\ndevice = 'cuda:2'\n", "pyproject.toml")
    write(tmp_path / "elsewhere", "device: cuda:3\n", "team.yaml")
    assert told("pairs", named=None)["device"] == "cuda:1"
    assert told("pairs", "--config", str(tmp_path / "elsewhere" / "team.yaml"))["device"] == "cuda:3"
    assert told("pairs", "-c", "off")["device"] == "auto"
    (told.folder / "inner").mkdir()
    monkeypatch.chdir(told.folder / "inner")  # only the working folder is looked at
    assert told("pairs", named=None)["device"] == "auto"


@pytest.mark.parametrize("named", [None, "clipclean.yaml"])
def test_every_run_tells_what_its_file_sets(told, capsys, named):
    write(told.folder, "device: cpu\nscreen: {quiet: true}\n")
    told("pairs", named=named)
    err = capsys.readouterr().err
    assert all(word in err for word in ("clipclean.yaml", "--device=cpu", "--quiet"))


AUDIT, CLEAN = ["audit", "m.pt", "-q"], ["sanitize", "m.pt", "-d", "pairs"]
FREE = {"device", "workers", "quiet", "verbose", "config", "download", "help"}  # the last three are flags alone


def brought():
    """What a cloned repository may hold: every other option, and the command that would take it."""
    for command in (AUDIT, CLEAN):
        for option in cli.cli.get_command(click.Context(cli.cli), command[0]).params:
            if isinstance(option, click.Option) and not FREE & {option.name, option.name.partition("_")[0]}:
                yield max(option.opts, key=len).removeprefix("--"), "true" if option.is_flag else "1", command


@pytest.mark.parametrize(("key", "value", "command"), brought())
def test_a_file_that_no_flag_named_changes_no_result(tmp_path, monkeypatch, capsys, key, value, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPCLEAN_CONFIG", "clipclean.yaml")  # which is no flag
    write(tmp_path, f"{command[0]}: {{{key}: {value}}}\n")
    assert cli.main(command) == 2
    err = capsys.readouterr().err
    assert f"--{key}, " in err
    assert "--config clipclean.yaml" in err
    assert [each.name for each in tmp_path.iterdir()] == ["clipclean.yaml"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("output: report.html\n", "--report"),
        ("devise: cpu\n", "'device'"),
        ("screen: {effort: quick}\n", "'effort'"),
        ("download: true\n", "'download'"),  # a flag alone asks for a network
        ("config: other.yaml\n", "'config'"),
        ('"\\e[2J": 1\n', r"\x1b[2J"),
        ("force: 1\n", "force"),
        ("seed: [1, 2]\n", "seed"),
        ("seed: many\n", "many"),
        ("device: null\n", "device"),
        ("screen: {label: {a: 1}}\n", "label"),
        ("- device\n", "clipclean.yaml"),
    ],
)
def test_what_is_no_setting_is_refused_by_name(told, text, named):
    write(told.folder, text)
    with pytest.raises((UsageError, click.UsageError)) as caught:
        told("pairs")
    assert named in str(caught.value)
    assert "clipclean.yaml" in str(caught.value) or isinstance(caught.value, click.BadParameter)
    assert told("--help") == {}  # which reads no file


def test_a_pyproject_without_a_table_for_clipclean_is_left_alone(told):
    for text in ("[tool.ruff]\n", "tool = 3\n", "[[[", ""):
        write(told.folder, text, "pyproject.toml")
        assert told("pairs", named=None)["seed"] == 0


def test_a_pyproject_whose_table_for_clipclean_is_broken_is_refused(told):
    write(told.folder, "[tool.clipclean]\nseed = = 1\n", "pyproject.toml")
    with pytest.raises(UsageError, match=r"pyproject\.toml"):
        told("pairs", named=None)


@pytest.mark.parametrize("command", ["audit", "inspect", "screen", "sanitize", "export", "plant"])
def test_no_variable_opens_the_network(command, monkeypatch):
    monkeypatch.setenv(f"CLIPCLEAN_{command.upper()}_DOWNLOAD", "1")
    monkeypatch.setenv("CLIPCLEAN_DOWNLOAD", "1")
    context = cli.cli.make_context("clipclean", [command])
    made = cli.cli.get_command(context, command)
    for option in made.params:
        assert option.value_from_envvar(click.Context(made, parent=context, info_name=command)) is None
