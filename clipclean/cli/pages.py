"""The pages of the documentation, and ``clipclean explain``."""

import difflib
import re
from pathlib import Path

import click

from clipclean.cli import printing
from clipclean.cli.command import RULE_CODES, Command, as_json_option
from clipclean.errors import UsageError
from clipclean.findings import RULES, Rule, page


def folder() -> Path:
    """The pages: in the package once installed, beside it in a source checkout."""
    packaged = Path(__file__).resolve().parents[1] / "docs"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "docs"


def names() -> list[str]:
    """The names of the pages."""
    return sorted(path.stem for path in folder().glob("*.md"))


def text(name: str, /) -> str:
    """A page, without the comments that say which raw results its numbers are made of."""
    raw = (folder() / f"{name}.md").read_text(encoding="utf-8")
    return re.sub(r"\s*<!-- (traced|from: [^>]+) -->", "", raw)


# The command.

EXPLAIN_WIDTH = 100  # columns of a paragraph in a terminal, at most


@click.command(cls=Command, examples=("explain CC003", "explain methods"))
@click.argument("code", metavar="[RULE|PAGE]", required=False, shell_complete=RULE_CODES)
@as_json_option
def explain(code: str | None, as_json: bool) -> None:
    """Explain the finding RULE: its meaning, its limits, and what to do. Without RULE, list all rules.

    With PAGE, such as methods or running, print that page of the documentation.
    """
    if code is None:
        rows = [("RULE", "LEVEL", "TITLE"), *((code, rule.level, rule.title) for code, rule in RULES.items())]
        wide = max(len(level) for _, level, _ in rows)
        lines = [f"{code:<5}  {level:<{wide}}  {title}" for code, level, title in rows]
        rules = "\n".join(printing.fitted(line, indent=wide + 9) for line in lines)
        pages = printing.fitted(f"Pages: {', '.join(names())}", indent=2)
        return printing.show(as_json, [_entry(rule_code) for rule_code in RULES], f"{rules}\n\n{pages}")
    if code in names():
        page_text = text(code)
        return printing.show(as_json, {"page": code, "text": page_text}, page_text.removesuffix("\n"))
    number = re.fullmatch(r"(?:CC)?0*([0-9]{1,3})", code, re.IGNORECASE)
    rule_code = f"CC{int(number[1]):03}" if number else code.upper()
    if rule_code not in RULES:
        close = [*difflib.get_close_matches(rule_code, RULES, n=3), *difflib.get_close_matches(code, names(), n=3)]
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise UsageError(f"There is no rule and no page {code!r}. {hint}'clipclean explain' lists all.")
    return printing.show(as_json, _entry(rule_code), _rule_text(rule_code, RULES[rule_code]))


def _entry(code: str, /) -> dict[str, str]:
    """One rule as a JSON object."""
    keys = ("title", "stage", "level", "means", "does_not_show", "action")
    return {"rule": code, **{key: getattr(RULES[code], key) for key in keys}, "documentation": page(code)}


def _rule_text(code: str, rule: Rule, /) -> str:
    """One rule in paragraphs, as wide as the terminal."""
    parts = [
        ("What it means", rule.means),
        ("What it does not show", rule.does_not_show),
        ("What to do", rule.action),
        ("Documentation", f"clipclean explain measures, or {page(code)}"),
    ]
    head = (f"{code}: {rule.title}", f"Usual level: {rule.level}. Part of the run: {rule.stage}.")
    paragraphs = ["\n".join(printing.fitted(line, indent=2, most=EXPLAIN_WIDTH) for line in head)]
    paragraphs += [f"{title}\n{printing.fitted(f'  {words}', indent=2, most=EXPLAIN_WIDTH)}" for title, words in parts]
    return "\n\n".join(paragraphs)
