"""``clipclean explain``."""

import json

import pytest

from clipclean.cli import main, pages
from clipclean.findings import RULES, page


@pytest.mark.parametrize("code", RULES)
def test_a_rule_is_told_whole(code, capsys):
    assert main(["explain", code.lower()]) == 0
    captured = capsys.readouterr()
    told, rule = " ".join(captured.out.split()), RULES[code]
    for words in (code, rule.title, rule.level, rule.stage, rule.means, rule.does_not_show, rule.action, page(code)):
        assert words in told
    assert max(map(len, captured.out.splitlines())) <= 100
    assert captured.err == ""


def test_without_a_rule_all_are_listed_json_has_every_field_and_a_page_is_printed(capsys):
    assert main(["explain"]) == 0
    rows = [row.split(maxsplit=2) for row in capsys.readouterr().out.splitlines()]
    assert [row for row in rows if row and row[0] in RULES] == [
        [c, rule.level, rule.title] for c, rule in RULES.items()
    ]
    assert main(["explain", "CC010", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert set(one) == {"rule", "title", "stage", "level", "means", "does_not_show", "action", "documentation"}
    assert (one["rule"], one["action"]) == ("CC010", RULES["CC010"].action)
    assert main(["explain", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["rule"] for each in listed] == list(RULES)
    assert one in listed
    assert main(["explain", "measures"]) == 0
    told = capsys.readouterr().out
    assert told == pages.text("measures")
    assert all(f"\n### {code}: {rule.title}\n" in told for code, rule in RULES.items())
    assert main(["explain", "measures", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"page": "measures", "text": told}


@pytest.mark.parametrize(
    ("wrong", "named"), [("CC01", "CC0"), ("cc100", "CC0"), ("\x1b[2J", r"\x1b[2J"), ("../README", "../README")]
)
def test_what_is_no_rule_and_no_page_is_refused(wrong, named, tmp_path, refused):
    refused(["explain", wrong, "--json"], tmp_path, 2, named)
