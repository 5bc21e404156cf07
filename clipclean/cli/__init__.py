"""The command line: the list of commands, and the exit code of each failure."""

import contextlib
import errno
import importlib
import io
import os
import platform
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence

import click

from clipclean import __version__, own_state, requests
from clipclean.cli import process
from clipclean.cli.groups import AdvisingGroup
from clipclean.errors import ClipcleanError, ResourceError, UsageError

# name: (where it is, what it does). A command is imported when it runs, so that help need not wait for torch.
COMMANDS = {
    "sanitize": ("clipclean.cli.sanitize:sanitize", "Clean a checkpoint: audit, finetune, audit again, export."),
    "audit": ("clipclean.cli.audit:audit", "Look for an unknown backdoor, and name its target class."),
    "references": ("clipclean.cli.audit:references", "Measure clean models once, to compare others with them."),
    "screen": ("clipclean.cli.screen:screen", "Find suspicious pairs in a supposedly clean set."),
    "inspect": ("clipclean.cli.weights:inspect", "Describe a checkpoint file, without building a model from it."),
    "export": ("clipclean.cli.weights:export", "Write the same weights in the layout of another library."),
    "verify": ("clipclean.cli.weights:verify", "Check a folder of weights against its records."),
    "plant": ("clipclean.cli.weights:plant", "Plant a known backdoor, to test defences."),
    "triggers": ("clipclean.cli.recipes:triggers", "List the families of triggers, with their parameters."),
    "recipes": ("clipclean.cli.recipes:recipes", "List, show, validate and measure recipes."),
    "report": ("clipclean.cli.report:report", "Turn a report.json into HTML, SARIF, JUnit or Markdown."),
    "compare": ("clipclean.cli.report:compare", "Compare two reports, or a finetune with its base."),
    "explain": ("clipclean.cli.pages:explain", "Explain a finding, or print a page of the documentation."),
    "runs": ("clipclean.cli.machine:runs", "List or remove what interrupted runs have kept."),
    "doctor": ("clipclean.cli.machine:doctor", "Show versions, devices and memory, for bug reports."),
    "demo": ("clipclean.cli.demo:demo", "Clean a bundled tiny CLIP with a backdoor, on a CPU, in minutes."),
}

EXIT_CODES = {
    0: "pass",
    1: "the policy failed: backdoor found, or too much accuracy lost",
    2: "the command line, a recipe or a policy is invalid",
    3: "input unreadable, or refused as unsafe",
    4: "inconclusive: too little evidence to say pass or fail",
    5: "out of memory, disk full, or another resource",
    70: "a bug in clipclean",
    130: "interrupted",
}
HELP_NAMES = ("-h", "--help")
_BROKEN_PIPE = 141  # what a shell reports for a program that SIGPIPE ended; nobody is left to read a message


class LazyGroup(AdvisingGroup):
    """A group that knows its commands' names and help by heart, and imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself; its module is imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def advice(self, ctx: click.Context, name: str, /) -> str:
        """What to use instead of a command that is gone; else as every group."""
        return requests.replacement_words([name]) or super().advice(ctx, name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help's list, from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    no_args_is_help=True,
    epilog="\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items()),
    context_settings={"help_option_names": HELP_NAMES, "max_content_width": 110, "show_default": True},
)
@click.version_option(__version__, prog_name="clipclean")
def cli() -> None:
    """Audit and clean CLIP checkpoints that somebody else trained, without ever executing them.

    Results go to stdout, progress and messages to stderr. COMMAND --help-all shows all options.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code says how it went. A command returns its code, or None for 0.

    Only this place catches ``Exception``: any unforeseen error is reported as a bug.
    """
    context: click.Context | None = None
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = own_state.COMMAND.set(shlex.join(["clipclean", *words]))
    if arguments is None:  # the process is ours
        process.be_a_good_neighbour()
        process.keep_freed_memory()
        process.secure()
        _end_as_interrupted()
    try:
        if not words and (shell_request := os.environ.get("_CLIPCLEAN_COMPLETE")):  # a shell asks without arguments
            from click.shell_completion import shell_complete

            return shell_complete(cli, {}, "clipclean", "_CLIPCLEAN_COMPLETE", shell_request)
        context = cli.make_context("clipclean", words)
        with context:
            code = cli.invoke(context)
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        message = io.StringIO()
        error.show(file=message)
        process.say(message.getvalue().rstrip("\n"))
        return UsageError.exit_code
    except (KeyboardInterrupt, click.Abort):
        process.say("clipclean: interrupted")
        return 130
    except BrokenPipeError:
        process.abandon_stdout()
        return _BROKEN_PIPE
    except Exception as error:
        return _failed(error, is_verbose=context is not None and context.meta.get("clipclean.verbose", False))
    finally:
        own_state.COMMAND.reset(command)  # a later call in Python is no command


def _end_as_interrupted() -> None:
    """Treat SIGTERM and a closed terminal like Ctrl-C, so that the run cleans up."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # of nohup
            with contextlib.suppress(ValueError):  # outside the main thread
                signal.signal(number, signal.default_int_handler)


def _failed(error: Exception, *, is_verbose: bool) -> int:
    """Tell the user what went wrong, and pick the exit code."""
    is_debugging = is_verbose or os.environ.get("CLIPCLEAN_DEBUG", "0") not in ("", "0")
    foreseen = error if isinstance(error, ClipcleanError) else _resource(error)
    if is_debugging:
        process.say("".join(traceback.format_exception(error)).rstrip("\n"))
    if foreseen:
        gap = "\n" if "\n" in str(foreseen) else " "  # a list starts on a line of its own
        process.say(f"clipclean: error:{gap}{foreseen}")
        if foreseen.pages:
            process.say(f"clipclean: more: {' or '.join(f'clipclean explain {page}' for page in foreseen.pages)}")
        if isinstance(error, OSError):
            process.abandon_stdout()  # it may be what is full
        return foreseen.exit_code
    process.say(
        f"clipclean: error: this is a bug in clipclean: {type(error).__name__}: {error}\n"
        f"Please report it with your command, what it should have done, and this line: clipclean {__version__}, "
        f"Python {platform.python_version()}, {platform.platform()}."
        + ("" if is_debugging else "\nRun it again with CLIPCLEAN_DEBUG=1 for the traceback, and add that too.")
    )
    return 70


def _resource(error: Exception) -> ResourceError | None:
    """The user's message if memory, disk, threads or permissions ran out; None for any other error."""
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            full = f" while writing {error.filename}" if error.filename else ""
            return ResourceError(f"No space left{full}. Free some space and run the same command again.")
        return ResourceError(
            f"The operating system refused: {error.strerror or error}{where}. Fix permissions, disk space or limits there, and "
            "run the same command again; temporary files go where TMPDIR says."
        )
    # torch is known by name only: importing it here would slow every failure down.
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    is_cpu_allocator = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    if isinstance(error, MemoryError) or "torch.OutOfMemoryError" in names or is_cpu_allocator:
        reason = str(error).partition("\n")[0]
        return ResourceError(
            f"Out of memory{f' ({reason})' if reason else ''}. Let the model take fewer pairs at once (--set "
            "train.micro_batch=8), end other programs, or use a machine with more memory."
        )
    if isinstance(error, RuntimeError | ImportError) and any(words in str(error) for words in _LIMIT_MESSAGES):
        return ResourceError(
            f"The system gives this process too little ({str(error)[:200]}). Raise its limits (ulimit -a), or end other programs."
        )
    return None


# Messages of Python and the loader when a limit of the process is reached.
_LIMIT_MESSAGES = (
    "can't start new thread",
    "failed to map segment",
    "annot allocate memory",
    "cannot apply additional memory",
)
