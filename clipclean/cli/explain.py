"""``clipclean explain``: explains a finding, or shows a page of the documentation."""

import difflib
import textwrap
from dataclasses import dataclass
from typing import Annotated

from clipclean.cli import pages, printing
from clipclean.cli.command import command_of
from clipclean.cli.options import Shell
from clipclean.errors import UsageError
from clipclean.findings import RULES, Rule, page
from clipclean.requests import Opt

_WIDTH = 100  # columns


@dataclass(frozen=True)
class Explain:
    """A question."""

    code: Annotated[str | None, Opt("[RULE|PAGE]", completes="rules")] = None


@command_of(Explain, "as_json", "explain CC003", "explain methods")
def explain(asked: Explain, shell: Shell) -> None:
    """Explain the finding RULE: its meaning, its limits, and what to do. Without RULE, list all rules.

    With PAGE, such as methods or running, print that page of the documentation.
    """
    code, as_json = asked.code, shell.as_json
    if code is None:
        return printing.show(as_json, [entry(each) for each in RULES], table())
    if code in pages.names():
        text = pages.text(code)
        return printing.show(as_json, {"page": code, "text": text}, text.removesuffix("\n"))
    known = named(code)
    return printing.show(as_json, entry(known), rule_text(known, RULES[known]))


def named(code: str, /) -> str:
    """The code as the rules spell it.

    Raises:
        UsageError: there is no such rule.
    """
    upper = code.upper()
    if upper in RULES:
        return upper
    close = [*difflib.get_close_matches(upper, RULES, n=3), *difflib.get_close_matches(code, pages.names(), n=3)]
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    raise UsageError(f"There is no rule and no page {code!r}. {hint}'clipclean explain' lists all.")


def entry(code: str, /) -> dict[str, str]:
    """One rule as a JSON object."""
    keys = ("title", "stage", "level", "means", "does_not_show", "action")
    return {"rule": code, **{key: getattr(RULES[code], key) for key in keys}, "documentation": page(code)}


def rule_text(code: str, rule: Rule, /) -> str:
    """One rule in paragraphs."""
    parts = [
        ("What it means", rule.means),
        ("What it does not show", rule.does_not_show),
        ("What to do", rule.action),
        ("Documentation", f"clipclean explain measures, or {page(code)} of the built site"),
    ]
    paragraphs = [f"{code}: {rule.title}\nUsual level: {rule.level}. Part of the run: {rule.stage}."]
    for title, words in parts:
        lines = textwrap.fill(
            words, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        paragraphs.append(f"{title}\n{lines}")
    return "\n\n".join(paragraphs)


def table() -> str:
    """One line for each rule."""
    rows = [("RULE", "LEVEL", "TITLE"), *((code, rule.level, rule.title) for code, rule in RULES.items())]
    wide = max(len(level) for _, level, _ in rows)
    rules = "\n".join(f"{code:<5}  {level:<{wide}}  {title}" for code, level, title in rows)
    return f"{rules}\n\nPages: {', '.join(pages.names())}"
