"""The program around its commands: exit codes, help, completion, and the options that commands share."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import fields, make_dataclass
from pathlib import Path

import click
import processes
import pytest
import torch

import clipclean
from clipclean import cli, errors, requests
from clipclean.cli.command import command_of, opt_of
from clipclean.cli.options import Output, Shell
from clipclean.requests import Sanitize

RUN = "import sys; from clipclean.cli import main; sys.exit(main())"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(monkeypatch):
    """Put a command in the place of ``demo`` that does what the test says."""

    def install(body, *names):
        known = [(each.name, each.type, each) for each in fields(Sanitize) if each.name in names]
        kind = make_dataclass("Asked", known, kw_only=True)
        shell = [each.name for each in fields(Shell) if each.name in names]

        def demo(asked, shell_):
            return body(**vars(asked), **{name: getattr(shell_, name) for name in shell})

        made = command_of(kind, shell)(demo)
        monkeypatch.setattr("clipclean.cli.demo.demo", made)

    return install


def raising(error):
    def body(**_):
        raise error

    return body


NO_MEMORY = RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: x")
ERRORS: dict[int, list[BaseException]] = {
    2: [errors.UsageError("x"), click.UsageError("x"), click.ClickException("x")],
    3: [errors.RefusedInput("x")],
    4: [errors.Inconclusive("x")],
    5: [errors.ResourceError("x"), MemoryError("x"), torch.OutOfMemoryError("x"), NO_MEMORY],
    70: [errors.ClipcleanError("x"), RuntimeError("x"), EOFError("x"), RecursionError("x")],
    130: [errors.Interrupted("x"), KeyboardInterrupt(), click.Abort()],
}
ERRORS[5] += [OSError(errno.ENOSPC, "x", "/big/file"), OSError(errno.EDQUOT, "x"), OSError(errno.EACCES, "x")]
EACH = [(error, code) for code in ERRORS for error in ERRORS[code]]


@pytest.mark.parametrize(("error", "code"), EACH, ids=lambda value: type(value).__name__)
def test_each_failure_has_its_exit_code(command, capsys, error, code):
    command(raising(error), "verbose")
    assert cli.main(["demo"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err
    assert getattr(error, "filename", None) is None or error.filename in captured.err
    assert "Traceback" not in captured.err
    is_ours = isinstance(error, errors.ClipcleanError)
    assert (clipclean.__version__ in captured.err) == (code == 70 and not is_ours)  # what to report of a bug
    pages = re.findall(r"clipclean explain ([a-z-]+)", captured.err)
    assert pages or not getattr(error, "pages", ())
    for page in pages:
        assert cli.main(["explain", page]) == 0


@pytest.mark.parametrize(
    "error", [error for error, code in EACH if code not in (130, 2)], ids=lambda error: type(error).__name__
)
def test_a_failure_has_a_traceback_on_request_alone(command, capsys, monkeypatch, error):
    command(raising(error), "verbose")
    for variable, flags, shown in (("0", [], False), ("0", ["--verbose"], True), ("1", [], True)):
        monkeypatch.setenv("CLIPCLEAN_DEBUG", variable)
        cli.main(["demo", *flags])
        assert ("Traceback" in capsys.readouterr().err) is shown


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("recipe", "'recipes'"),
        ("zzz", "zzz"),
        ("recipes shwo", "'show'"),
        ("triggers zzz", "list, show"),
        ("--zzz", "--zzz"),
        ("recipes list --zzz", "--zzz"),
        ("", "sanitize"),
        ("cache list", requests.RETIRED_WORDS["cache"]),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(capsys, wrong, named):
    assert cli.main(wrong.split()) == 2
    assert named in capsys.readouterr().err


# Help.


def names(group, context, *before):
    """Every command and subcommand, as the words that call it."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield [*before, name], command
        if isinstance(command, click.Group):
            yield from names(command, context, *before, name)


COMMANDS = list(names(cli.cli, click.Context(cli.cli)))


def options_of(entry):
    return [option for option in entry.params if isinstance(option, click.Option)]


of_every_command = pytest.mark.parametrize(
    ("words", "entry"), COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)


@of_every_command
def test_every_help_has_an_example(words, entry, said):
    brief = said([*words, "--help"])
    if not isinstance(entry, click.Group):
        assert brief.count("\n") <= 40
        assert f"  clipclean {' '.join(words)}" in brief


@of_every_command
def test_every_option_is_explained(words, entry, said):
    assert all(option.help for option in options_of(entry))
    if not isinstance(entry, click.Group):
        shown = said([*words, "--help-all"])
        assert all(option.opts[-1] in shown for option in options_of(entry) if not option.hidden)


def places_in_helps():
    """The names of options with their places."""
    commands = [command for _, command in COMMANDS if not isinstance(command, click.Group)]
    options = [option for command in commands for option in command.params if isinstance(option, click.Option)]
    return {(option.name.removeprefix("no_"), opt_of(option).help_position) for option in options}


def test_an_option_has_the_same_place_in_every_help():
    assert len({name for name, _ in places_in_helps()}) == len(places_in_helps()) > 50


def test_no_two_options_share_a_place_in_the_help():
    assert len({place for _, place in places_in_helps()}) == len(places_in_helps())


def test_no_variable_is_the_version(said, monkeypatch):
    monkeypatch.setenv("CLIPCLEAN_VERSION", "9.9")  # which a CI job may set to choose the version it installs
    assert clipclean.__version__ in said("--version")


def unlisted(names, shown):
    return [name for name in names if not re.search(rf"^ +{name}  ", shown, re.MULTILINE)]


def test_help_lists_every_command(said):
    assert unlisted(cli.COMMANDS, said("--help")) == []


def test_help_lists_every_exit_code(said):
    assert unlisted(cli.EXIT_CODES, said("--help")) == []


def test_each_exit_code_has_a_class_of_error():
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.ClipcleanError)}
    assert codes == set(cli.EXIT_CODES) - {0, 1}


def test_quick_answers_import_nothing_slow():
    code = """
import json, sys, time
from clipclean import cli
began = time.process_time()
assert cli.main(["--help"]) == 0
commands = sorted({place.partition(":")[0] for place, _ in cli.COMMANDS.values()} & set(sys.modules))
for arguments in json.loads(sys.argv[1]):
    assert cli.main(arguments) == 0, arguments
took = time.process_time() - began
slow = {"torch", "torchvision", "open_clip", "numpy", "matplotlib", "nltk", "PIL", "jinja2", "sklearn"} & set(sys.modules)
print(json.dumps([commands, sorted(slow), took]), file=sys.stderr)
"""
    quick = [*([*words, "--help"] for words, _ in COMMANDS), ["--version"], ["recipes", "list"], ["explain", "CC003"]]
    done = processes.python("-c", code, json.dumps(quick))
    commands, slow, took = json.loads(done.stderr)
    assert (done.returncode, commands, slow) == (0, [], [])
    assert took < 2.5  # processor time of all together, with what each of them imports


# The process.


def test_a_process_that_is_told_to_end_cleans_up_as_after_ctrl_c(command, monkeypatch, capfd):
    cleaned = []

    def body():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["clipclean", "demo"])
    command(body)
    try:
        assert cli.main() == 130
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.stderr.close()  # the one that main made
    assert cleaned == [True]
    assert capfd.readouterr().err.count("\n") == 1


def test_the_exit_code_reaches_the_shell():
    assert processes.python("-c", RUN, "recipes", "show", "zzz").returncode == 2


def test_a_reader_that_leaves_early_gets_no_complaint():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-c", RUN, "recipes", "schema"]
        done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("clipclean rec", "plain,recipes"),
        ("clipclean sanitize --recipe cleanclip-s", "plain,cleanclip-strong"),
        ("clipclean sanitize --recipe ./my", "file,./my"),
        ("clipclean recipes show un", "plain,unlearn"),
        ("clipclean explain CC003", "plain,CC003"),
        ("clipclean audit --arch ViT-B-32-quick", "plain,ViT-B-32-quickgelu"),
        ("clipclean sanitize --trigger bad", "plain,badnets"),
        ("clipclean sanitize --set train.ep", "plain,train.epochs="),
    ],
)
def test_shell_completion_offers_what_fits_the_place(words, offered, monkeypatch, said):
    variables = {"_CLIPCLEAN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert offered in said("").splitlines()


# Shared options.


@pytest.fixture
def parsed(command):
    """The exit code and what a command receives for a command line."""

    def parse(line, *names):
        received = {}
        command(lambda **values: received.update(values), *names)
        return cli.main(["demo", *(line.split() if isinstance(line, str) else line)]), received

    return parse


def test_an_empty_variable_is_none(parsed, monkeypatch):
    monkeypatch.setenv("CLIPCLEAN_DEVICE", "")
    assert parsed("", "device")[1] == {"device": "auto"}


def test_a_variable_that_sets_nothing_is_told(parsed, monkeypatch, capsys):
    monkeypatch.setenv("CLIPCLEAN_SEED", "7")
    monkeypatch.setenv("CLIPCLEAN_AUDIT_EFFORT", "quick")
    assert parsed("", "seed")[1] == {"seed": 0}
    assert {"CLIPCLEAN_AUDIT_EFFORT", "CLIPCLEAN_SEED"} <= set(re.findall(r"CLIPCLEAN_\w+", capsys.readouterr().err))


FORMS = {"a/report.html": "html", "r.json": "json", "r.sarif": "sarif", "r.sarif.json": "sarif", "r.XML": "junit"}
FORMS |= {"r.md": "markdown", "r.txt": "text"}


@pytest.mark.parametrize(
    ("line", "option", "value"),
    [
        ("--device cuda", "device", "cuda"),
        ("--device cuda:12", "device", "cuda:12"),
        ("--eval-data=--exit-zero", "eval_data", (Path("--exit-zero"),)),
        ("--recipe -rf", "recipe", "-rf"),
        ("--report json=a=b.json", "outputs", (Output("json", Path("a=b.json")),)),
        *((f"--report {path}", "outputs", (Output(form, Path(path)),)) for path, form in FORMS.items()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_is_taken(parsed, tmp_path, monkeypatch, line, option, value):
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    code, values = parsed(line, *option.split())
    assert (code, list(values.values())) == (0, [value])


@pytest.mark.parametrize(
    ("line", "option", "named"),
    [
        *((f"--device {name}", "device", name) for name in ("gpu", "cuda:", "cuda:x", "0")),
        ("--report report.pdf", "outputs", "'report.pdf'"),
        ("--report .html", "outputs", "'.html'"),
        ("--report pdf=x", "outputs", "'pdf'"),
        ("--report json", "outputs", "json=PATH"),
        ("--report json=", "outputs", "'json='"),
        ("--report json=x --report html=x", "outputs", " x"),
        ("--report json=-", "outputs", "--json"),
        ("-f safetensors", "format", "open_clip"),
        ("--format=transformers", "format", "hf"),
        ("--output=1", "format", "--report"),
        ("--fp16", "format", "clipclean export"),
        ("-q -v", "quiet verbose", "-v"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_is_refused_with_its_name_or_what_to_use_instead(parsed, capsys, line, option, named):
    assert parsed(line, *option.split())[0] == 2
    assert named in capsys.readouterr().err
