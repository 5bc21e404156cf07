import json
import subprocess
import sys

import pytest
from cases import each
from markdown.extensions.toc import slugify

from clipclean.cli import explain, main
from clipclean.findings import RULES, page

EXPLAIN = "from clipclean.cli import explain, main; raise SystemExit(main(['explain', 'CC001']))"
SLOW = "{'torch', 'torchvision', 'open_clip', 'numpy', 'matplotlib', 'nltk', 'PIL'}"


@each("code", RULES)
def test_a_rule_is_told_whole(code, capsys):
    assert main(["explain", code]) == 0
    captured = capsys.readouterr()
    told, rule = " ".join(captured.out.split()), RULES[code]
    assert captured.out.startswith(f"{code}: {rule.title}\nUsual level: {rule.level}. Part of the run: {rule.stage}.\n")
    for title, words in (("means", rule.means), ("does not show", rule.does_not_show), ("to do", rule.action)):
        assert f"{title} {words}" in told
    assert page(code) in told
    assert max(map(len, captured.out.splitlines())) <= 100
    assert captured.err == ""


def test_without_a_rule_all_are_listed_with_level_and_title(capsys):
    assert main(["explain"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["RULE", "LEVEL", "TITLE"]
    *rows, empty, last = rows
    assert empty == ""
    assert {"methods", "running"} <= set(last.removeprefix("Pages: ").split(", "))
    assert [row.split(maxsplit=2) for row in rows] == [[code, rule.level, rule.title] for code, rule in RULES.items()]


def test_json_has_every_field_of_one_rule_or_of_all(capsys):
    assert main(["explain", "CC010", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert set(one) == {"rule", "title", "stage", "level", "means", "does_not_show", "action", "documentation"}
    assert (one["rule"], one["action"]) == ("CC010", RULES["CC010"].action)
    assert main(["explain", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["rule"] for each in listed] == list(RULES)
    assert one in listed


def test_small_letters_will_do(capsys):
    assert main(["explain", "cc020"]) == 0
    assert capsys.readouterr().out.startswith("CC020: ")


@pytest.mark.parametrize("wrong", ["CC01", "cc100", "C001"])
def test_an_unknown_rule_gets_near_ones(wrong, capsys):
    assert main(["explain", wrong]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"There is no rule and no page {wrong!r}. Did you mean CC0" in captured.err


def test_a_rule_like_none_gets_the_way_to_the_list(capsys):
    assert main(["explain", "\x1b[2J", "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (
        captured.err.splitlines()[0]
        == r"clipclean: error: There is no rule and no page '\x1b[2J'. 'clipclean explain' lists all."
    )


@each("code", RULES)
def test_the_documentation_is_the_heading_that_mkdocs_makes(code):
    # the page's headings are "CODE: title"
    assert page(code) == f"docs/measures.md#{slugify(f'{code}: {RULES[code].title}', '-')}"


def test_the_answer_needs_nothing_slow():
    code = f"import sys, atexit; atexit.register(lambda: print({SLOW} & set(sys.modules), file=sys.stderr)); {EXPLAIN}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert done.stdout.startswith("CC001: ")


def test_a_page_of_the_documentation_is_printed(capsys):
    assert main(["explain", "methods"]) == 0
    assert capsys.readouterr().out == (explain.folder() / "methods.md").read_text(encoding="utf-8")
    assert main(["explain", "methods", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["page"] == "methods"


def test_a_misspelt_page_gets_near_ones_and_no_path_is_a_page(capsys):
    assert main(["explain", "runing"]) == 2
    assert "Did you mean running?" in capsys.readouterr().err
    assert main(["explain", "../README"]) == 2
