"""What a terminal shows, as it was last approved: the helps, and what is said to wrong command lines. ``tests/goldens.py`` says how to approve."""

import re
import shlex
from pathlib import Path

import click
import goldens
import pytest
import tiny

from clipclean import cli
from clipclean.cli.command import Command

FOLDER = Path(__file__).parent / "goldens"
FILES = {  # what the wrong command lines name
    "junk.pt": "no weights",
    "empty.pt": "",
    "pairs.csv": "image,caption\n",
    "classes.txt": "cat\ncat\n",
    "one.txt": "cat\n",
    "recipe.yaml": "version: 1\nname: mine\nrevision: 1\ndescription: Mine.\nmethod: cleanclip\ntrain:\n  lr: 10\n  epoch: 3\n",
    "twice.yaml": "version: 1\nversion: 1\n",
    "policy.yaml": "version: 1\nname: ours\nmax_harm: 3\n",
    "report.json": "{}",
    "options.yaml": "audit:\n  effrt: quick\n",
    "full/mine.txt": "mine",
}


def names(group, *before):
    """The words that call each command and each group of commands, the group itself first."""
    context = click.Context(group)
    yield list(before)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield from names(command, *before, name) if isinstance(command, click.Group) else [[*before, name]]


@pytest.fixture
def shown(capsys, monkeypatch):
    """What a command line prints at 100 columns, from these words on, with its exit code."""
    monkeypatch.setenv("COLUMNS", "100")

    def show(words, first=""):
        capsys.readouterr()
        code = cli.main(words)
        captured = capsys.readouterr()
        _, found, rest = re.split(f"^({first})", captured.out + captured.err, maxsplit=1, flags=re.MULTILINE)
        return f"$ {shlex.join(['clipclean', *words])}\n{found}{rest}[{code}]\n\n"

    return show


def test_the_helps_are_as_they_were_approved(shown):
    goldens.check(FOLDER / "help.txt", "".join(shown([*words, "--help"]) for words in names(cli.cli)))


def test_a_command_has_both_names_of_the_help_in_a_context_of_its_own_as_well():
    command = Command("audit")
    assert set(command.get_help_option(click.Context(command)).opts) == {"-h", "--help"}


def test_the_whole_helps_are_as_they_were_approved(shown):
    goldens.check(FOLDER / "help-all.txt", "".join(shown([*words, "--help-all"]) for words in names(cli.cli)))


def test_wrong_command_lines_are_refused_as_it_was_approved(shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        tiny.written(tmp_path / name, text)
    before = tiny.listing(tmp_path)
    lines = (FOLDER.parent / "wrong_commands.txt").read_text(encoding="utf-8").splitlines()
    goldens.check(
        FOLDER / "refusals.txt", "".join(shown(shlex.split(line), "clipclean: error:|Error:") for line in lines)
    )
    assert tiny.listing(tmp_path) == before
