"""A bad day has an exit code: broken streams, a foreign environment, limits of the system; one message, never a traceback."""

import contextlib
import functools
import io
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import processes
import pytest
import short
import tiny
import unprivileged
from attacks import kills

from clipclean import cli, own_state
from clipclean.config import recipe

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return tiny.job(tmp_path_factory.mktemp("days") / "job", count=48)


def ran(arguments, redirected="", *, limit="", **environment):
    """A process of its own, as a shell starts it."""
    words = ["bash", "-c", f'{limit} exec "$0" -m clipclean "$@" {redirected}', sys.executable, *map(str, arguments)]
    own = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    how = {"capture_output": True, "text": True, "errors": "backslashreplace", "timeout": 300}
    return subprocess.run(words, env=own, check=False, **how)


# Streams and encodings are the same for all commands: these need no torch, whose import takes seconds.
NONE = ["report", "convert", "/etc/passwd", "--to", "text"]  # no report: exit 3
LIST = ["recipes", "list"]
BROKEN = ("2>/dev/full", "2>&-", "2>&- >&-", "2>/dev/full >/dev/full")


@pytest.mark.parametrize(
    ("arguments", "redirected", "code"),
    [*((NONE, broken, 3) for broken in BROKEN), (LIST, ">&-", 0), (LIST, ">/dev/full", 5)],
)
def test_a_broken_stream_changes_no_exit_code_but_where_the_result_is_lost(arguments, redirected, code):
    done = ran(arguments, redirected)
    assert (done.returncode, done.stderr.count("error:")) == (code, code == 5)


@pytest.mark.parametrize("instruction", ["", "bash_complete"])
def test_an_empty_request_for_completion_is_none(instruction):
    assert ran(NONE, _CLIPCLEAN_COMPLETE=instruction).returncode == 3
    assert "complete" in ran([], _CLIPCLEAN_COMPLETE="bash_source").stdout


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_what_an_encoding_lacks_is_written_as_its_escape(tmp_path, encoding):
    name = tmp_path / "Bäume 木.yaml"
    name.write_text(recipe.text("cleanclip"), encoding="utf-8")
    done = ran(["recipes", "validate", name], PYTHONIOENCODING=encoding)
    assert (done.returncode, r"\u6728" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(
    "name",
    ["\x1b]0;pwned\x07\u202egnp\r::warning::x.pt", "a\n::error title=x::b\n  ::stop-commands::c##[add-mask]d.pt"],
)
def test_a_name_cannot_drive_the_terminal_or_a_ci_log(job, tmp_path, capsys, name):
    place = tmp_path / "folder" / name
    place.parent.mkdir()
    place.write_text("no model")
    arch, data = ["--arch", job.arch], ["--data", job.data]
    audit, sanitize = ["audit", job.model, *arch], ["sanitize", job.model, *arch, *data]
    plant = ["plant", job.model, *arch, *data, "--trigger", name, "--target", "x", "--out", place]
    for command in (
        ["inspect", place],
        ["audit", place],
        ["sanitize", place, "--data", place],
        ["sanitize", place, "--data", tmp_path / "none", "--out", tmp_path / "folder" / name / "out"],
        ["screen", place, "--model", place],
        ["verify", place],
        ["report", "convert", place, "--to", "text"],
        ["audit", place, "--classes", place, "--verbose"],
        ["audit", place, "--effort", name],
        ["audit", place, "--report", f"json={place}"],
        ["audit", job.model, "--arch", place],
        *([*audit, f"--{option}", place] for option in ("templates", "policy", "config", "reference", "data")),
        [*audit, "--data", place, "--references", place],
        [*audit, place, "--data", place],
        [*sanitize, "--recipe", place],
        [*sanitize, "--trigger", f"@{place}", "--target", name],
        [*sanitize, "--eval-data", place],
        ["export", job.model, *arch, "--data", place, "--out", tmp_path / "out"],
        plant,
        ["recipes", "validate", place],
        ["compare", place, place],
        ["explain", name],
    ):
        assert cli.main(list(map(str, command))) in (2, 3, 5)
        captured = capsys.readouterr()
        told = captured.out + captured.err
        assert told
        assert not {"\x1b", "\x07", "\u202e", "\r"} & set(told)
        assert not re.search(r"(?m)^\s*::|##\w*\[", told), told
        assert name not in told


def test_leftovers_of_a_cluster_are_told(job, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "x")
    (tmp_path / "empty").mkdir()  # a mistyped path is refused before the environment is looked at
    empty = job.sanitize("--data", tmp_path / "empty", "--out", tmp_path / "out")
    assert cli.main([argument for argument in empty if argument != "--quiet"]) == 3
    assert "LOCAL_WORLD_SIZE" in capsys.readouterr().err


def test_a_folder_for_temporary_files_that_is_not_there_is_replaced(job, monkeypatch):
    short.exact(monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", None)  # forget the one of this process
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, "/nonexistent")
    assert cli.main(job.audit("--data", job.data, "--no-search", "--quiet")) == 4  # /tmp stands in


def test_a_system_that_gives_too_little_is_a_resource_error(job):
    small = ran(job.audit("--quiet", "--effort", "quick"), limit="ulimit -v 500000;")
    assert small.returncode == 5, small.stderr
    assert "Traceback" not in small.stderr


@pytest.fixture
def theirs(job, monkeypatch):
    """The files of the job where a user without rights can read them, with a place for states and one that nobody may enter."""
    with unprivileged.folder() as folder:
        shutil.copytree(job.folder, folder / "job")
        monkeypatch.setenv("CLIPCLEAN_STATE", str(folder / "state"))
        (folder / "closed").mkdir(mode=0)
        moved = {name: folder / "job" / getattr(job, name).relative_to(job.folder) for name in job._fields[1:]}
        yield tiny.Job(folder / "job", **moved)


def told_to_nobody(command):
    """Exit code and stderr of a command that a user without rights gives."""

    def act():
        told = io.StringIO()
        with contextlib.redirect_stderr(told):
            return cli.main(list(map(str, command))), told.getvalue()

    return unprivileged.as_nobody(act)


def test_a_place_that_cannot_be_entered_is_told_by_one_message(theirs):
    closed = theirs.folder.parent / "closed"
    audit = theirs.audit("--no-search", "--quiet")
    assert cli.main([*audit, "--data", str(theirs.folder / "none")]) == 3
    assert cli.main(theirs.sanitize("--data", theirs.folder / "none")) == 3
    for command, codes in (
        (theirs.sanitize("--out", closed / "out"), {5}),
        (theirs.sanitize("--data", closed / "pairs"), {3, 5}),
        ([*audit, "--data", closed / "pairs"], {3, 5}),
        ([*audit, "--data", theirs.data, "--report", f"json={closed / 'report.json'}"], {5}),
        ([*audit, "--data", theirs.data, "--report-dir", closed / "reports"], {5}),
        ([*audit, "--data", theirs.data, "--save-triggers", closed / "found"], {2, 5}),
        (["verify", closed / "out"], {3, 5}),
        (["report", "convert", closed / "report.json", "--to", "text"], {3, 5}),
    ):
        code, message = told_to_nobody(command)
        assert code in codes, (command, message)
        assert message.count("error:") == 1, message


def test_a_model_that_cannot_be_read_is_refused_by_its_reason(theirs):
    theirs.model.chmod(0)
    assert cli.main(["inspect", str(theirs.folder / "none.pt")]) == 3  # what it imports is there for the child
    code, message = told_to_nobody(["inspect", theirs.model])
    assert code == 3
    assert "Permission denied" in message


@pytest.mark.slow
def test_where_no_temporary_file_can_be_written_is_a_resource_error(job):
    """No file may hold a byte: as on a disk that is read-only in all places where temporary files go."""
    done = ran(job.sanitize("--no-panel"), limit="ulimit -f 0;", PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 5, done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count processes otherwise")
def test_where_no_thread_can_be_started_an_audit_ends_with_its_code(theirs):
    audit = theirs.audit("--no-search", "--quiet", "--data", theirs.data)
    assert cli.main(audit) == 4

    def act():
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        return cli.main(audit)

    assert unprivileged.as_nobody(act) in (4, 5)


@pytest.mark.slow
def test_a_terminal_that_goes_away_leaves_a_state_to_go_on_from(job, tmp_path):
    # Longer than a busy machine takes to send the signal.
    long = ("--out", tmp_path / "out", "--set", "train.epochs=999")
    arguments = [word for word in job.sanitize(*long, steps=2000) if word != "--quiet"]
    # These tests may run under nohup, which the program would heed.
    heeding = functools.partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
    how = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True, "preexec_fn": heeding}
    own = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "clipclean", *arguments], env=own, **how)
    for line in process.stderr:
        if line.startswith("finetuning"):
            process.send_signal(signal.SIGHUP)
            break
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 130, told
    assert own_state.place_of(tmp_path / "out").exists()


ODD_JPEG = """
import io, sys
import tiny
from clipclean.cli import process
process.secure()
from clipclean.data import image
from clipclean.data.sample import Unusable
encoded = io.BytesIO()
tiny.image(1, side=64).save(encoded, "JPEG")
whole = encoded.getvalue()
for odd in (whole[:-400] + whole[-300:], whole[:-2] + b"\\0" * 40 + whole[-2:]):
    try:
        image.decode(odd, max_pixels=10**6, min_side=None)
    except Unusable:
        pass
print("told", file=sys.stderr)
"""


@pytest.mark.slow
def test_what_libjpeg_says_of_an_odd_image_does_not_reach_stderr():
    done = processes.python("-c", ODD_JPEG)
    assert (done.returncode, done.stderr) == (0, "told\n")


@pytest.mark.slow
def test_runs_that_are_killed_at_random_moments_are_finished_by_the_same_command(tmp_path):
    """Twelve of them; ``python -m attacks.kills 300`` for more."""
    found = kills.loop(tmp_path, 12, seed=1)
    assert (found.problems, found.killed) == ([], 12)
