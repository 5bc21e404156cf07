"""Reports on hostile models: every text that is free is replaced by an attack, in every form."""

import functools
import json
import re
from xml.etree import ElementTree

import pytest
from report import samples, searches
from report.page import Page
from report.parsed import report

from clipclean.report.wording import MAX_SHOWN_TEXT, inert, printable

ATTACKS = [
    "</td></tr></table><script>alert(1)</script>",
    '" onmouseover="alert(1)" x="',
    "'><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "]]>--><!--",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egnp.exe\u2028\r\n\x00",
    "\udc80\ufffe",
    "| x | [here](https://evil.example) ![i](//e) `c` @everyone www.evil.example |",
]
FIXED = {"schema_version", "command", "verdict", "rule", "level", "sha256", "tensor_sha256", "digest"}
FIXED |= {"kind", "method", "effort"}
FORMS = sorted(report.WRITERS)


def poisoned(value, attack, key=""):
    """A copy with the attack behind every text that the schema leaves free."""
    if isinstance(value, str):
        return value if key in FIXED else value + attack
    if isinstance(value, dict):
        renamed = key in ("environment", "distances")
        return {name + attack if renamed else name: poisoned(inner, attack, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner, attack, key) for inner in value]
    return value


def with_surrogates_escaped(value):
    """No string of a report holds half a pair: an undecodable file name has its bytes as visible escapes."""
    return json.loads(json.dumps(value).replace("\\udc80", "\\\\udc80"))


def sanitized():
    return samples.failed() | {"exports": samples.passed()["exports"]}


@pytest.fixture(params=[sanitized, searches.backdoored, searches.cleaned], ids=lambda made: made.__name__)
def made(request):
    return request.param


@functools.cache
def with_attacks(made):
    """The report with all attacks at once; one also with each by itself."""
    alone = ATTACKS if made is sanitized else ()
    return [report.parse(poisoned(made(), attack)) for attack in (*alone, "".join(ATTACKS))]


@pytest.fixture
def hostile(made):
    return with_attacks(made)


def test_json_keeps_every_hostile_text(made):
    whole = poisoned(made(), "".join(ATTACKS))
    assert json.loads(report.json(whole)) == with_surrogates_escaped(whole)


@functools.cache
def pages_with_attacks(made):
    return [Page(report.html(each)) for each in with_attacks(made)]


def test_a_page_has_the_markup_of_a_benign_report(made):
    benign = Page(report.html(made()))
    for page in pages_with_attacks(made):
        assert page.faults == []
        assert page.skeleton == benign.skeleton
        assert [a["href"] for a in page.all("a")] == [a["href"] for a in benign.all("a")]


def test_no_template_in_a_name_is_evaluated(hostile, made):
    pages = zip(hostile, pages_with_attacks(made), strict=True)
    attacked_pages = [page for attacked, page in pages if "{{ 7 * 7 }}" in str(attacked.as_json())]
    assert attacked_pages
    for page in attacked_pages:
        assert "{{ 7 * 7 }}" in page.text


def test_junit_has_the_elements_of_a_benign_report(hostile, made):
    def elements(each):
        return [(element.tag, sorted(element.attrib)) for element in ElementTree.fromstring(report.junit(each)).iter()]

    benign = elements(made())
    for attacked in hostile:
        assert elements(attacked) == benign


def test_markdown_has_the_cells_of_a_benign_report(hostile, made):
    def rows(each):
        text = report.markdown(each)
        return [(line[:2], len(re.findall(r"(?<!\\)\|", line))) for line in text.splitlines()]

    benign = rows(made())
    for attacked in hostile:
        assert rows(attacked) == benign


def test_no_name_becomes_markup_in_markdown(hostile):
    for attacked in hostile:
        text = report.markdown(attacked)
        assert not re.search(r"(?<!\\)<(?!/?(code|details|summary)>)", text)
        assert not re.search(r"(?<!\\)\]\(|https?://|www\.e|@\w", text)


def test_a_path_in_sarif_has_plain_characters_alone(hostile):
    for attacked in hostile:
        for artifact in json.loads(report.sarif(attacked))["runs"][0]["artifacts"]:
            assert re.fullmatch(r"[A-Za-z0-9._~%-]+", artifact["location"]["uri"])


@pytest.mark.parametrize("form", FORMS)
def test_no_form_holds_a_control_character_or_half_a_pair(hostile, form):
    for made in hostile:
        text = report.WRITERS[form](made)
        text.encode()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
        if form != "json":
            assert not re.search("[\u202a-\u202e\u2028\u2029\ufffe]", text)


def test_printable_text_stays_as_it_is():
    for name in ("👩‍🚀", "می‌خواهم", "日本語", "naïve\u00a0café", "x" * MAX_SHOWN_TEXT):
        assert printable(name) == name


def test_a_control_character_is_shown_as_its_escape():
    assert printable("a\x1b[2J\n") == "a\\x1b[2J\\n"


def test_no_shown_text_is_longer_than_its_limit():
    assert len(printable("x" * 10**6)) == len(printable("\x00" * 10**6)) == MAX_SHOWN_TEXT


def test_an_inert_report_stays_as_it_is():
    once = inert(poisoned(samples.passed(), "\x00"))
    assert inert(once) == once


def test_making_a_report_inert_changes_no_number():
    assert inert(poisoned(samples.passed(), "\x00"))["training"] == samples.passed()["training"]
