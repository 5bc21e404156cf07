"""``REPORT_FORMS``: the forms of a report, one entry each. All other places that name a form read this table: ``--help`` too, so it loads fast."""

from typing import NamedTuple

_IN_JSON, _IN_XML = (r"\u003a", r"\u0023"), ("&#58;", "&#35;")
_IN_TEXT, _IN_MARKDOWN = (r"\x3a", r"\x23"), (r"\:", r"\#")


class ReportForm(NamedTuple):
    """A form of the report: what its files are called, and how it is printed."""

    suffixes: tuple[str, ...]  # of its files, the usual one first; without any no name of a file stands for it
    # Another spelling of a colon and of a hash sign, of the same meaning where the form has one: no line shall command a CI system.
    escapes: tuple[str, str]
    of_each_model: bool = True  # whether --report-dir writes it


REPORT_FORMS: dict[str, ReportForm] = {
    "text": ReportForm((".txt",), _IN_TEXT, of_each_model=False),
    "json": ReportForm((".json",), _IN_JSON),
    "html": ReportForm((".html", ".htm"), _IN_XML),
    "sarif": ReportForm((".sarif", ".sarif.json"), _IN_JSON),
    "junit": ReportForm((".xml",), _IN_XML),
    "markdown": ReportForm((".md",), _IN_MARKDOWN),
    "line": ReportForm((), _IN_TEXT, of_each_model=False),
}
FORM_BY_SUFFIX = {suffix: name for name, form in REPORT_FORMS.items() for suffix in form.suffixes}


def form_of(path: str, /) -> str:
    """The form that a file's suffix stands for, the longest suffix first; empty where it stands for none."""
    fitting = [suffix for suffix in FORM_BY_SUFFIX if path.lower().endswith(suffix) and len(path) > len(suffix)]
    return FORM_BY_SUFFIX[max(fitting, key=len)] if fitting else ""
