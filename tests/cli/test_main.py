import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch
from cases import each

import clipclean
from clipclean import cli, errors
from clipclean.cli import gone, options
from clipclean.cli.command import command as own

RUN = "import sys; from clipclean.cli import main; sys.exit(main())"
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def command(monkeypatch):
    """Put a command in the place of ``demo`` that does what the test says."""

    def install(body, *decorators):
        for decorate in decorators:
            body = decorate(body)
        made = own("demo", epilog="")(body)
        monkeypatch.setitem(sys.modules, "clipclean.cli.demo", type(sys)("demo"))
        sys.modules["clipclean.cli.demo"].demo = made

    return install


def raising(error):
    def body(**_):
        raise error

    return body


class Grown(errors.RefusedInput):
    """A subclass keeps its parent's code."""


@each(
    ("error", "code"),
    [
        (errors.UsageError("told"), 2),
        (click.UsageError("told"), 2),
        (click.BadParameter("told"), 2),
        (click.ClickException("told"), 2),
        (errors.RefusedInput("told"), 3),
        (errors.UnsafeCheckpoint("told"), 3),
        (errors.UnsupportedModel("told"), 3),
        (Grown("told"), 3),
        (errors.Inconclusive("told"), 4),
        (errors.ResourceError("told"), 5),
        (errors.Interrupted("told"), 130),
        (errors.ClipcleanError("told"), 70),
        (MemoryError("told"), 5),
        (torch.OutOfMemoryError("told"), 5),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: told"), 5),
        (OSError(errno.ENOSPC, "told"), 5),
        (OSError(errno.EDQUOT, "told"), 5),
        (OSError(errno.EACCES, "told"), 5),
        (RuntimeError("told"), 70),
        (EOFError("told"), 70),
        (RecursionError("told"), 70),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_each_failure_has_its_exit_code_and_a_message_on_stderr(command, capsys, error, code):
    command(raising(error))
    assert cli.main(["demo"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    is_resource_told_in_our_words = isinstance(error, OSError) and code == 5
    if str(error) and not is_resource_told_in_our_words:
        assert "told" in captured.err
    assert captured.err
    assert "Traceback" not in captured.err
    assert ("bug in clipclean" in captured.err) == (code == 70 and not isinstance(error, errors.ClipcleanError))


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1), (4, 4)])
def test_a_command_returns_its_exit_code(command, returned, code):
    command(lambda: returned)
    assert cli.main(["demo"]) == code
    command(lambda: click.get_current_context().exit(code))
    assert cli.main(["demo"]) == code


MORE = "clipclean: more: clipclean explain cli\n"


def test_every_error_that_a_user_can_cause_names_a_page_that_explain_prints(command, capsys):
    for error in (
        errors.UsageError,
        errors.RefusedInput,
        errors.UnsafeCheckpoint,
        errors.UnsupportedModel,
        errors.Inconclusive,
        errors.ResourceError,
    ):
        command(raising(error("told")))
        cli.main(["demo"])
        told = capsys.readouterr().err
        pages = re.findall(r"clipclean explain ([a-z-]+)", told)
        assert pages, told
        for page in pages:
            assert cli.main(["explain", page]) == 0
            assert capsys.readouterr().out.startswith("# ")


def test_a_message_of_one_line_follows_its_label_and_a_list_starts_below_it(command, capsys):
    command(raising(errors.UsageError("one")))
    cli.main(["demo"])
    assert capsys.readouterr().err == f"clipclean: error: one\n{MORE}"
    command(raising(errors.UsageError("a.yaml:1: one\na.yaml:2: two")))
    cli.main(["demo"])
    assert capsys.readouterr().err == f"clipclean: error:\na.yaml:1: one\na.yaml:2: two\n{MORE}"


def test_control_characters_in_a_message_are_escaped(command, capsys):
    command(raising(errors.RefusedInput("refused \x1b[2J é")))
    cli.main(["demo"])
    assert capsys.readouterr().err.splitlines()[0] == "clipclean: error: refused \\x1b[2J é"


def test_a_bug_says_what_to_report(command, capsys):
    command(raising(KeyError("x")))
    assert cli.main(["demo"]) == 70
    told = capsys.readouterr().err
    assert told.startswith("clipclean: error: this is a bug in clipclean: KeyError: 'x'\n")
    assert f"clipclean {clipclean.__version__}, Python {sys.version.split()[0]}" in told
    assert "CLIPCLEAN_DEBUG=1" in told


@pytest.mark.parametrize("error", [KeyError("x"), errors.RefusedInput("x")])
def test_a_traceback_appears_on_request_only(command, capsys, monkeypatch, error):
    command(raising(error), options.verbose)
    cli.main(["demo"])
    assert "Traceback" not in capsys.readouterr().err
    cli.main(["demo", "--verbose"])
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("CLIPCLEAN_DEBUG", "0")
    cli.main(["demo"])
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("CLIPCLEAN_DEBUG", "1")
    cli.main(["demo"])
    assert "Traceback" in capsys.readouterr().err


def test_the_full_disk_is_named_with_the_file(command, capsys):
    command(raising(OSError(errno.ENOSPC, "No space left on device", "/big/file")))
    assert cli.main(["demo"]) == 5
    assert "No space left while writing /big/file. Free some space" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["recipe"], "Did you mean 'recipes'?"),
        (["zzz"], "zzz"),
        (["--zzz"], "--zzz"),
        (["recipes", "list", "--zzz"], "--zzz"),
        ([], "Commands:"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(capsys, wrong, told):
    assert cli.main(wrong) == 2
    assert told in capsys.readouterr().err


def test_help_lists_every_command_and_every_exit_code(capsys):
    assert cli.main(["--help"]) == 0
    told = capsys.readouterr().out
    for name, (_, summary) in cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", told, re.MULTILINE)
    for code, meaning in cli.EXIT_CODES.items():
        assert re.search(rf"^ +{code}  {re.escape(meaning)}$", told, re.MULTILINE)


def test_every_error_class_has_a_code_of_the_table():
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ClipcleanError)
    ]
    assert {kind.exit_code for kind in kinds} == set(cli.EXIT_CODES) - {0, 1}


def test_version_is_printed_and_not_taken_from_the_environment(capsys, monkeypatch):
    monkeypatch.setenv("CLIPCLEAN_VERSION", "9.9")  # which a CI job may set to choose the version it installs
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"clipclean, version {clipclean.__version__}\n"
    assert cli.main(["recipes", "list"]) == 0


def run(*arguments, **settings):
    return subprocess.run([sys.executable, "-c", *arguments], cwd=ROOT, capture_output=True, text=True, **settings)


def names(group, context, *before):
    """Every command and subcommand, as the words that call it."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield [*before, name]
        if isinstance(command, click.Group):
            yield from names(command, context, *before, name)


COMMANDS = list(names(cli.cli, click.Context(cli.cli)))


def test_every_command_shows_its_help_without_torch_and_at_once():
    code = """
import json, sys, time
from clipclean import cli
took = {}
for arguments in json.loads(sys.argv[1]):
    began = time.process_time()
    assert cli.main([*arguments, "--help"]) == 0
    took[" ".join(arguments)] = time.process_time() - began
slow = {"torch", "torchvision", "open_clip", "numpy", "matplotlib", "nltk", "PIL", "jinja2", "sklearn"} & set(sys.modules)
print(json.dumps([sorted(slow), took]), file=sys.stderr)
"""
    done = run(code, json.dumps(COMMANDS))
    imported, took = json.loads(done.stderr)
    assert (done.returncode, imported) == (0, [])
    assert len(took) > 20
    assert sum(took.values()) < 2.0  # processor time of all together, with what each of them imports


@pytest.mark.parametrize("arguments", [["--version"], ["recipes", "list"], ["explain", "CC003"]])
def test_quick_answers_import_nothing_slow(arguments):
    code = (
        "import sys; from clipclean.cli import main; code = main(sys.argv[1:]); "
        "print(sorted({'torch', 'torchvision', 'open_clip', 'numpy', 'matplotlib', 'nltk', 'PIL'} & set(sys.modules)), "
        "file=sys.stderr); sys.exit(code)"
    )
    done = run(code, *arguments)
    assert (done.returncode, done.stderr) == (0, "[]\n")


@each(
    "words",
    [words for words in COMMANDS if [*words, "list"] not in COMMANDS and words not in (["report"], ["references"])],
    ids=" ".join,
)
def test_every_help_has_an_example_and_at_most_forty_lines(words, capsys):
    assert cli.main([*words, "--help"]) == 0
    brief = capsys.readouterr().out
    assert re.search(rf"^Example:\n  clipclean {' '.join(words)}", brief, re.MULTILINE)
    assert brief.count("\n") <= 40
    assert cli.main([*words, "--help-all"]) == 0
    assert re.search(rf"^  Examples?:\n    clipclean {' '.join(words)}", capsys.readouterr().out, re.MULTILINE)


def test_all_options_stand_in_their_groups_and_the_first_ones_in_the_help(capsys):
    assert cli.main(["sanitize", "--help-all"]) == 0
    told = capsys.readouterr().out
    heads = re.findall(r"^(\w+):$", told, re.MULTILINE)
    assert heads == ["Data", "Model", "Cleaning", "Search", "Verdict", "Output", "Running"]
    assert told.index("Data:") < told.index("--data CLEAN") < told.index("Model:") < told.index("--arch")
    assert cli.main(["sanitize", "--help"]) == 0
    brief = capsys.readouterr().out
    assert "--data CLEAN" in brief
    assert "--arch" not in brief


def test_top_level_help_imports_no_command():
    code = (
        "import sys; from clipclean import cli; cli.main(['--help']); "
        "print([name for name in sys.modules if name in [f'clipclean.cli.{each}' for each in cli.COMMANDS]], file=sys.stderr)"
    )
    assert run(code).stderr == "[]\n"


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
    assert capfd.readouterr().err == "clipclean: interrupted\n"


def test_the_exit_code_reaches_the_shell():
    assert run(RUN, "recipes", "list").returncode == 0
    assert run(RUN, "recipes", "show", "zzz").returncode == 2


def test_a_reader_that_leaves_early_gets_no_complaint():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", RUN, "recipes", "schema"],
            cwd=ROOT,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@each(
    ("words", "offered"),
    [
        ("clipclean rec", "recipes"),
        ("clipclean sanitize --recipe cleanclip-s", "cleanclip-strong"),
        ("clipclean recipes show un", "unlearn"),
        ("clipclean explain CC003", "CC003"),
        ("clipclean audit --arch ViT-B-32-quick", "ViT-B-32-quickgelu"),
        ("clipclean sanitize --trigger bad", "badnets"),
        ("clipclean sanitize --set train.ep", "train.epochs="),
    ],
)
def test_shell_completion_offers_names(words, offered, monkeypatch, capsys):
    for name, value in (
        ("_CLIPCLEAN_COMPLETE", "bash_complete"),
        ("COMP_WORDS", words),
        ("COMP_CWORD", str(words.count(" "))),
    ):
        monkeypatch.setenv(name, value)
    assert cli.main([]) == 0
    assert f"plain,{offered}" in capsys.readouterr().out.splitlines()


def test_where_no_name_fits_the_shell_completes_a_path():
    asked = {
        "_CLIPCLEAN_COMPLETE": "bash_complete",
        "COMP_WORDS": "clipclean sanitize --recipe ./my",
        "COMP_CWORD": "3",
    }
    assert run(RUN, env=os.environ | asked).stdout == "file,./my\n"


# Shared options.

SHARED = {
    name: decorate
    for name, decorate in vars(options).items()
    if callable(decorate) and getattr(decorate, "__module__", "").startswith("click.")
}


@each("name", SHARED)
def test_a_shared_option_has_help(name, command):
    command(lambda **_: None, SHARED[name])
    (parameter,) = cli.cli.get_command(click.Context(cli.cli), "demo").params
    assert parameter.help.endswith(".")
    assert parameter.is_flag or parameter.metavar


@pytest.fixture
def parsed(command):
    """What a command receives for a command line."""

    def parse(arguments, *decorators):
        received = {}
        command(lambda **values: received.update(values), *decorators)
        return cli.main(["demo", *arguments]), received

    return parse


def test_a_flag_wins_over_the_variable_and_an_empty_variable_is_none(parsed, monkeypatch, capsys):
    monkeypatch.setenv("CLIPCLEAN_DEVICE", "cpu")
    assert parsed([], options.device)[1] == {"device": "cpu"}
    assert "CLIPCLEAN_DEVICE=cpu" in capsys.readouterr().err
    assert parsed(["--device", "cuda:1"], options.device)[1] == {"device": "cuda:1"}
    monkeypatch.setenv("CLIPCLEAN_DEVICE", "")
    assert parsed([], options.device)[1] == {"device": "auto"}


def test_a_variable_that_sets_nothing_is_told(parsed, monkeypatch, capsys):
    monkeypatch.setenv("CLIPCLEAN_SEED", "7")
    monkeypatch.setenv("CLIPCLEAN_AUDIT_EFFORT", "quick")
    assert parsed([], options.seed)[1] == {"seed": 0}
    err = capsys.readouterr().err
    assert "CLIPCLEAN_AUDIT_EFFORT, CLIPCLEAN_SEED" in err
    assert "CLIPCLEAN_STATE set" not in err


def test_a_value_that_begins_with_a_dash_is_a_value(parsed):
    assert parsed(["--eval-data=--exit-zero", "--recipe", "-rf"], options.eval_data, options.recipe) == (
        0,
        {"eval_data": Path("--exit-zero"), "recipe": "-rf"},
    )


@pytest.mark.parametrize(
    ("device", "code"), [("cuda", 0), ("cuda:12", 0), ("gpu", 2), ("cuda:", 2), ("cuda:x", 2), ("0", 2)]
)
def test_devices_that_torch_could_not_know_are_refused(parsed, device, code):
    assert parsed(["--device", device], options.device)[0] == code


def test_outputs_are_formats_and_paths(parsed):
    code, values = parsed(["--report", "json=a=b.json", "--report", "text=x"], options.outputs)
    assert code == 0
    assert values["outputs"] == (options.Output("json", Path("a=b.json")), options.Output("text", Path("x")))


@each(
    ("path", "form"),
    [
        ("a/report.html", "html"),
        ("r.json", "json"),
        ("r.sarif", "sarif"),
        ("r.sarif.json", "sarif"),
        ("r.XML", "junit"),
        ("r.md", "markdown"),
        ("r.txt", "text"),
    ],
)
def test_the_suffix_of_an_output_names_its_format(parsed, path, form):
    assert parsed(["--report", path], options.outputs)[1]["outputs"] == (options.Output(form, Path(path)),)


@each(
    ("arguments", "word", "instead"),
    [
        (["-f", "safetensors"], "safetensors", "open_clip"),
        (["--format=transformers"], "transformers", "hf"),
        (["--old=1"], "--old", "--new"),
        (["--fp16"], "--fp16", "clipclean export"),
    ],
)
def test_what_is_gone_is_refused_with_what_to_use_instead(parsed, capsys, monkeypatch, arguments, word, instead):
    monkeypatch.setitem(gone.GONE, "--old", "use --new")
    assert parsed(arguments, options.formats)[0] == 2
    said = capsys.readouterr().err
    assert f"{word} is gone" in said
    assert instead in said


def test_a_command_that_is_gone_is_refused_with_what_to_use_instead(capsys, monkeypatch):
    monkeypatch.setitem(gone.GONE, "scrub", "use sanitize")
    assert cli.main(["scrub", "model.pt"]) == 2
    assert "scrub is gone: use sanitize" in capsys.readouterr().err


@each(
    ("wrong", "told"),
    [
        (["report.pdf"], "'report.pdf' is not a format"),
        ([".html"], "'.html' is not a format"),
        (["pdf=x"], "'pdf' is not a format. Choose from text, json"),
        (["json"], "'json' names no file. Write json=PATH"),
        (["json="], "'json=' names no file"),
        (["json=x", "html=x"], "two reports go to x"),
        (["json=-"], "--json"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused(parsed, capsys, wrong, told):
    assert parsed([part for text in wrong for part in ("--report", text)], options.outputs)[0] == 2
    assert told in capsys.readouterr().err


def test_quiet_and_verbose_exclude_each_other(parsed):
    for arguments, code in ((["--quiet"], 0), (["-v"], 0), (["-q", "-v"], 2), (["-v", "-q"], 2)):
        assert parsed(arguments, options.quiet, options.verbose)[0] == code
