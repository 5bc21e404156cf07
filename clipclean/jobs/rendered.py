"""Rendering the texts of a run once more from its records, to detect edited files."""

import hashlib
import html
import itertools
import re

from clipclean import report
from clipclean.export import model_card
from clipclean.export.provenance import Json, Provenance
from clipclean.report import Report, RunPaths, commands

_EXAMPLES = re.compile(r'<section id="examples" aria-labelledby="examples-title">\n(.*?)</section>', re.DOTALL)
_LINK = '<li><a href="#examples">Example images</a></li>'
_COMMAND = re.compile(r'<p class="command">([^<]*):</p>\n<pre tabindex="0"><code>([^<]*)</code></pre>')
_PLACES = ("PLACE-OF-OUTPUT", "PLACE-OF-MODEL", "PLACE-OF-DATA")  # values of the writing machine
_PLACE = re.compile("|".join(_PLACES))
_WORD = (
    r"""(?:[\w@%+=:,./][\w@%+=:,./-]*|'[^']*'(?:"'"'[^']*')*)"""  # one word of a shell, as shlex quotes it; no option
)
_TEXT = r'(?:[^"\\]|\\.)*'  # the inside of a string of Python
_TAGS = re.compile(  # of example images: no attribute but these, no address but an image within the page
    r"<(?:/?(?:h2|h3|div|figure|figcaption|strong|p|table|caption|thead|tbody|tr|td|th|bdi|ol|li|span)"
    r'|img src="data:image/png;base64,[A-Za-z0-9+/=]*")(?: (?:class|id|alt|scope)="[^"<>]*")*>'
)


def same_page(page: str, /, found: Report) -> bool:
    """Whether an HTML page is the one of this report.

    The report has only the digest of the example images. The commands name folders of the machine that wrote the page: these
    may be any, and all around them must be as expected.
    """
    return (
        _bare(page) == _bare(report.html(found))
        and examples_sha256(page) == found.examples_sha256
        and _has_commands(page, found)
    )


def examples_sha256(page: str, /) -> str | None:
    """The SHA-256 of a page's section of example images; None if it has none."""
    shown = _EXAMPLES.search(page)
    return hashlib.sha256(shown[0].encode()).hexdigest() if shown else None


def same_card(card: str, /, found: Json) -> bool:
    """Whether a model card is the one of this report or record; its owner may add lines to the front matter."""
    ours, (front, body) = model_card.model_card(found), _parts(card)
    expected, rest = _parts(ours)
    return body == rest and set(expected) <= set(front)


def as_report(record: Provenance, /) -> Json:
    """The values of an export's record from which its model card is made."""
    told = record.model_dump()
    return {"model": told["input"], "exports": told["exports"]}


def _bare(page: str) -> list[str]:
    """The lines of a page that follow from its report."""
    shown = _EXAMPLES.search(page)
    if shown and _LINK in page and not re.search("[<>]", _TAGS.sub("", shown[1])):
        page = page.replace(shown[0], "", 1).replace(_LINK, "", 1)
    return [line for line in _COMMAND.sub("", page).split("\n") if line.strip()]


def _has_commands(page: str, found: Report) -> bool:
    """Whether a page's commands are those of the report, with one word for each path."""
    expected = commands.commands(found, RunPaths(*_PLACES, found.recipe.name if found.recipe else ""))
    shown = [(html.unescape(purpose), html.unescape(words)) for purpose, words in _COMMAND.findall(page)]
    return len(shown) == len(expected) and all(
        purpose == command.purpose and re.fullmatch(_pattern(command.words), words, re.ASCII)
        for (purpose, words), command in zip(shown, expected, strict=True)
    )


def _pattern(words: str) -> str:
    """Matches a command with any word in the places of paths."""
    fixed = [re.escape(part) for part in _PLACE.split(words)]
    places = [_TEXT if before.endswith("local\\-dir:") else _WORD for before in fixed[:-1]]
    return "".join(itertools.chain(*itertools.zip_longest(fixed, places, fillvalue="")))


def _parts(card: str) -> tuple[list[str], str]:
    """The lines of the front matter, and all behind it."""
    _, front, body = [*card.split("---\n", 2), "", ""][:3]
    return front.splitlines(), body
