"""What a run wrote from its records, made once more: a text that somebody changed differs from it."""

import re
from collections.abc import Mapping
from typing import Any

from clipclean import report
from clipclean.export import model_card
from clipclean.export.provenance import Provenance
from clipclean.report import Report

_EXAMPLES = re.compile(r'<section id="examples" aria-labelledby="examples-title">\n(.*?)</section>', re.DOTALL)
_LINK = '<li><a href="#examples">Example images</a></li>'
_COMMAND = re.compile(r'<p class="command">[^<]*</p>\n<pre tabindex="0"><code>[^<]*</code></pre>')
_TAGS = re.compile(  # of example images: no attribute but these, no address but an image within the page
    r"<(?:/?(?:h2|h3|div|figure|figcaption|strong|p|table|caption|thead|tbody|tr|td|th|bdi|ol|li|span)"
    r'|img src="data:image/png;base64,[A-Za-z0-9+/=]*")(?: (?:class|id|alt|scope)="[^"<>]*")*>'
)


def same_page(page: str, /, found: Report) -> bool:
    """Whether an HTML page is the one of this report.

    Left out are the example images, which stand nowhere else, and the commands, which name folders of the machine that wrote it.
    """
    return _bare(page) == _bare(report.html(found))


def same_card(card: str, /, found: Mapping[str, Any]) -> bool:  # Any: JSON
    """Whether a model card is the one of this report or record; its owner may add lines to the front matter."""
    ours, (front, body) = model_card.model_card(found), _parts(card)
    expected, rest = _parts(ours)
    return body == rest and set(expected) <= set(front)


def as_report(record: Provenance, /) -> dict[str, Any]:  # Any: JSON
    """What ``export`` tells of itself, as far as its record keeps it: a model card is made of that."""
    told = record.model_dump()
    return {"model": told["input"], "exports": told["exports"]}


def _bare(page: str) -> list[str]:
    """The lines of a page that follow from its report."""
    shown = _EXAMPLES.search(page)
    if shown and not re.search("[<>]", _TAGS.sub("", shown[1])):
        page = page.replace(shown[0], "", 1).replace(_LINK, "", 1)
    return [line for line in _COMMAND.sub("", page).split("\n") if line.strip()]


def _parts(card: str) -> tuple[list[str], str]:
    """The lines of the front matter, and all behind it."""
    _, front, body = [*card.split("---\n", 2), "", ""][:3]
    return front.splitlines(), body
