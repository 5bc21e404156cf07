"""Results on stdout: reports, plans, and text that cannot control the terminal."""

import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipclean import __version__, requests, untrusted
from clipclean.cli import process
from clipclean.cli.options import Output, Shell
from clipclean.errors import ClipcleanError, RefusedInput, ResourceError, UnsafeCheckpoint, UnsupportedModel, UsageError
from clipclean.export.formats import EXPORT_FORMATS
from clipclean.jobs import model_paths
from clipclean.requests import Model
from clipclean.schema.report_forms import REPORT_FORMS
from clipclean.untrusted import plural, printable, without_commands

if TYPE_CHECKING:
    from clipclean.jobs.job import Job
    from clipclean.jobs.plan import Plan
    from clipclean.jobs.results import Outcome
    from clipclean.report import Report


# What the estimate of a plan leaves out: its rates are those of half a second.
NOT_ESTIMATED = "loading comes on top, and up to half as much again where other programs use the machine"
LABEL_COLUMNS = 10  # of the name before each line of a plan
CODE_OF_VERDICT = {"pass": 0, "fail": 1, "inconclusive": 4}


def show_report(shell: Shell, outcome: "Outcome", /, *, page: Path | None, closing: Sequence[str] = ()) -> int:
    """Write the report in each form, and print it as text unless one of them went to stdout; returns the exit code.

    With --quiet the text is one line. ``page`` is where the run wrote all of it, if it did; ``closing`` are lines to end with.

    Raises:
        ResourceError: a report could not be written. The verdict is printed before, and the other reports are written.
    """
    from clipclean import report

    result, paths = outcome.report, outcome.paths
    failures = write_reports(outcome, shell.outputs)
    written = [output for output in shell.outputs if output not in failures]
    if page is None:
        page = next((output.path for form in ("html", "") for output in written if form in ("", output.format)), None)
    if shell.as_json:
        echo(report.json(result), form="json")
    elif shell.quiet:
        echo(report.line(result, page=printable(page or "")), form="line")
    else:
        details = f"Report: {printable(page)}" if page else "All of it: give --report report.html"
        is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        colour, last_lines = sys.stdout.isatty() and not is_plain, [details, *closing]
        echo(
            report.text(result, width=terminal_width(), colour=colour, paths=paths, closing=last_lines) + "\n",
            form="text",
        )
    code = exit_code(shell, result)
    show_policy_effect(result, on_stdout=not shell.as_json)
    for failure in failures.values():
        raise failure
    return code


def write_reports(outcome: "Outcome", outputs: Sequence[Output], /) -> dict[Output, ResourceError]:
    """Write a report to each of these files; returns which could not be written, and why: a full disk costs no other report, and no verdict."""
    from clipclean import report

    failures = dict[Output, ResourceError]()
    for output in outputs:
        try:
            report.write(outcome.report, output.format, output.path, outcome.images, outcome.paths)
        except ResourceError as error:
            failures[output] = error
    return failures


def weights_line(outcome: "Outcome", request: requests.Sanitize, /) -> str:
    """How the weights of a cleaning are loaded, or why none were written."""
    if outcome.exported:
        return f"Load:   {EXPORT_FORMATS[request.format[0]].load.format(printable(request.out))}"
    from clipclean.report import verdicts

    words = f"No weights were written: {printable(verdicts.why_withheld(outcome.report))}."
    return f"{words} The same command with --keep-failed --force writes them." if outcome.report.is_changed else words


def show_policy_effect(result: "Report", /, *, on_stdout: bool) -> None:
    """The last line of a run that a policy changed: nobody takes its exit code for what was found.

    On stderr where a report for programs went to stdout, and with --quiet as well.
    """
    from clipclean import report

    lines = list[str]()
    if result.policy and (idle := result.policy.idle):
        lines.append(f"Policy {result.policy.name}: no finding met {untrusted.first_few(idle, show=str)}.")
    if effect := report.policy_effect(result):
        rules = ", ".join(dict.fromkeys(finding.rule for finding in result.suppressed))
        lines.append(f"{effect} Set aside: {rules}." if rules else effect)
    for line in map(printable, lines):
        click.echo(line) if on_stdout else process.say(f"clipclean: {line}")


def check_baseline(shell: Shell, /) -> None:
    """Read the earlier report before slow work; raises what reading it raises."""
    if shell.baseline is not None:
        from clipclean import report

        report.read(shell.baseline)


def exit_code(shell: Shell, result: "Report", /) -> int:
    """The exit code of a verdict, as --exit-zero, --fail-on and --baseline have it."""
    code = CODE_OF_VERDICT[result.verdict]
    is_let_through = code == CODE_OF_VERDICT["inconclusive"] and shell.fail_on == "error"
    if shell.exit_zero or code == 0 or is_let_through:
        return 0
    if shell.baseline is None:
        return code
    from clipclean import report
    from clipclean.report import verdicts

    comparison = verdicts.compare(report.read(shell.baseline), result)
    worse = comparison.blocking(shell.fail_on)
    counts = ", ".join(
        f"{sum(difference.change == kind for difference in comparison.differences)} {kind}"
        for kind in ("new", "worse", "not measured", "same")
    )
    say(shell, f"compared with {shell.baseline}: {counts} findings{'' if worse else ', so exit code 0'}")
    return code if worse else 0


def echo(text: str, /, *, form: str) -> None:
    """Print a report of one format: names in it come from files, and no line may be a command to the CI system that reads it."""
    colon, hash_ = REPORT_FORMS[form].escapes
    click.echo(without_commands(text, colon=colon, hash_=hash_), nl=False)


def echo_json(value: object, /) -> None:
    """Print any JSON value."""
    echo(json.dumps(value, indent=2) + "\n", form="json")


def first_line(shell: Shell, model: Model, /, what: str) -> None:
    """Say at once what begins, where anything is said: importing torch takes seconds, and reading a large model more."""
    if process.is_silent(shell):
        return
    path = Path(str(model))
    name = str(model) if model_paths.is_name(str(model)) else path.name
    size = f" ({path.stat().st_size / 1e6:,.1f} MB)" if untrusted.answers_yes(path.is_file) else ""
    words = f"{printable(name)}{size}, {what}; {plural(process.thread_count(), 'thread')}"
    process.say(f"clipclean {__version__}: {words}")


def policy_in_force(job: "Job[requests.Audit] | Job[requests.Sanitize]", /) -> str:
    """The policy of a run, as words behind what begins; empty where there is none."""
    name = job.policy.name
    return "" if name == "default" else f", {'' if name.startswith('-') else 'policy '}{printable(name)} in force"


def check_inputs(request: requests.Audit | requests.Sanitize, /) -> None:
    """Refuse paths that lead nowhere before torch comes, which takes seconds, and before a large model is read.

    Raises:
        RefusedInput: there is no model, or there are no data, under such a path.
    """
    if isinstance(request.model, Path):
        model_paths.check_there(request.model)
    for path in (*(request.data or ()), *(getattr(request, "eval_data", None) or ())):
        if not re.search(r"[*?\[{:]", str(path)) and not os.path.lexists(path):
            reason = os.strerror(errno.ENOENT)
            raise RefusedInput(
                f"{printable(path)} cannot be read: {reason}. Give a folder of images, a table, or tar shards."
            )


def say(shell: Shell, words: str, /) -> None:
    """A message on stderr, unless --quiet asks for none."""
    if not shell.quiet:
        process.say(f"clipclean: {words}")


def terminal_width() -> int | None:
    """Columns of the terminal, or what COLUMNS says; None where nobody says so, as in a file or a pipe."""
    columns = shutil.get_terminal_size((0, 0)).columns if sys.stdout.isatty() or "COLUMNS" in os.environ else 0
    return columns or None


def fitted(line: str, /, *, indent: int, most: int | None = None) -> str:
    """A line as wide as the terminal, or ``most``: what is wider goes on below, behind so many spaces. Nobody says how wide a file is,
    so there a line is as long as its words.
    """
    width = terminal_width()
    if width is None:
        return line
    from clipclean import report  # half a second, which a file need not wait for

    return "\n".join(report.wrapped(line, min(width, most or width), indent=" " * indent))


def show(as_json: bool, value: object, words: str, /) -> None:
    """Print a result: as JSON where that is asked for, else in words."""
    if as_json:
        echo_json(value)
    else:
        click.echo(words)


def refusal_json(error: ClipcleanError, /) -> dict[str, str]:
    """Why there are no facts, and of which kind the reason is."""
    kinds = {UnsafeCheckpoint: "unsafe", UnsupportedModel: "unsupported", UsageError: "usage"}
    kind = next((kind for error_class, kind in kinds.items() if isinstance(error, error_class)), "unreadable")
    return {"error": str(error), "kind": kind}


def plan_text(plan: "Plan", /) -> str:
    """A line for each fact and each step; in a terminal as wide as that, with what goes on below its own words."""
    rows = [
        *plan.facts.items(),
        *((f"step {number}", step) for number, step in enumerate(plan.steps, 1)),
        ("writes", ", ".join(plan.writes) or "nothing but what --report names"),
        ("estimate", f"{plan.estimate}; {NOT_ESTIMATED}"),
        *([("faster", ", ".join(plan.estimate.faster))] if plan.estimate.faster else []),
        ("dry run", "nothing was measured or written"),
    ]
    return "\n".join(fitted(f"{name:{LABEL_COLUMNS}}{printable(words)}", indent=LABEL_COLUMNS) for name, words in rows)


def plan_json(plan: "Plan", /) -> dict[str, object]:
    """The same as plain values."""
    return {
        "dry_run": True,
        **plan.facts,
        "steps": list(plan.steps),
        "writes": list(plan.writes),
        "estimate": {"seconds": round(plan.estimate.seconds, 1), "memory_bytes": plan.estimate.memory},
        "faster": list(plan.estimate.faster),
    }
