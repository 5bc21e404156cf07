"""The errors, each with its exit code."""

from typing import ClassVar


class ClipcleanError(Exception):
    """A failure with one message for the user: what was found, why it is refused, what to do."""

    exit_code: ClassVar[int] = 70
    pages: ClassVar[tuple[str, ...]] = ()  # of the documentation, which ``clipclean explain`` prints


class UsageError(ClipcleanError):
    """The command line, a recipe, a policy or a class list is wrong; exit 2."""

    exit_code = 2
    pages: ClassVar[tuple[str, ...]] = ("cli",)


class UnusableSettings(UsageError):
    """A recipe or a policy is wrong; exit 2."""

    pages: ClassVar[tuple[str, ...]] = ("configuration",)


class UnusableTexts(UsageError):
    """A list of classes or templates that no classifier can be built of; exit 2."""

    pages: ClassVar[tuple[str, ...]] = ("inputs",)


class RefusedInput(ClipcleanError):
    """A file is missing, unreadable, unsupported or unsafe; exit 3."""

    exit_code = 3
    pages: ClassVar[tuple[str, ...]] = ("inputs",)


class UnsafeCheckpoint(RefusedInput):
    """A checkpoint asks for something that a file of weights has no business with; exit 3."""

    pages: ClassVar[tuple[str, ...]] = ("safety",)


class UnsupportedModel(RefusedInput):
    """A readable checkpoint of a kind that clipclean does not handle; exit 3."""

    pages: ClassVar[tuple[str, ...]] = ("inputs",)


class Inconclusive(ClipcleanError):
    """Too little data or power to say anything; exit 4, never 0."""

    exit_code = 4
    pages: ClassVar[tuple[str, ...]] = ("measures",)


class TooLittleTime(Inconclusive):
    """--max-minutes ended before anything was measured; exit 4."""

    pages: ClassVar[tuple[str, ...]] = ("running",)


class ResourceError(ClipcleanError):
    """Out of memory, disk full, unwritable output or another resource; exit 5."""

    exit_code = 5
    pages: ClassVar[tuple[str, ...]] = ("running",)


class Interrupted(ClipcleanError):
    """Ctrl-C or SIGTERM, with a resumable state left behind; exit 130."""

    exit_code = 130


# What readers of files find: three constructors make the words.


def truncated(subject: str, /) -> RefusedInput:
    """A file that ends too early, or later than it says."""
    return RefusedInput(f"{subject}: it is truncated, or something was appended. Download or copy it again.")


def damaged(subject: str, /) -> RefusedInput:
    """A file with other bytes than were written."""
    return RefusedInput(f"{subject}. Download or copy it again.")


def absurd(subject: str, limit: int, /) -> UnsafeCheckpoint:
    """A file that claims more than any of its kind needs."""
    return UnsafeCheckpoint(f"{subject}; no checkpoint needs more than {limit:,}.")
