"""The pages say what the program does: links lead somewhere, commands parse."""

import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest

from clipclean import cli
from clipclean.attack import trigger_files, triggers
from clipclean.cli import pages
from clipclean.config import recipe

ROOT = Path(__file__).parent.parent
AROUND = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = {name: ROOT / name for name in (*AROUND, *(f"docs/{page.name}" for page in sorted(ROOT.glob("docs/*.md"))))}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Words that start a line of a bash block, beside clipclean's own; each is checked, or needs no check.
PLAIN = {"source", "eval", "sha256sum", "openssl", "model_signing"}
ELSEWHERE = {"d6e2f1d"}  # a commit of another repository, which the text names
# On the package index that name belongs to another program.
UNRELATED = re.compile(r"\b(pip3?|pipx|uv|uvx)\b[^\n`|]*[\s'\"]clipclean\b(?!/)")

pytestmark = pytest.mark.usefixtures("whole_panel")


@cache
def text(name: str) -> str:
    """A page as it stands in the repository."""
    return PAGES[name].read_text(encoding="utf-8")


def section(name: str, head: str) -> str:
    return text(name).partition(f"\n## {head}\n")[2].partition("\n## ")[0]


def lines(name: str) -> list[str]:
    """Every command of a page's bash blocks, on one line each, without comment."""
    blocks = [body for language, body in FENCE.findall(text(name)) if language == "bash"]
    joined = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix(".venv/bin/") for line in joined if line.strip() and not line.lstrip().startswith("#")]


COMMANDS = sorted({(name, line) for name in PAGES for line in lines(name)})
OURS = sorted({line for _, line in COMMANDS if line.startswith("clipclean ")})


def test_a_page_in_a_terminal_has_no_comments_on_where_its_numbers_come_from():
    assert "<!-- from: " in PAGES["docs/evidence.md"].read_text(encoding="utf-8")
    shown = pages.text("evidence")
    assert "<!-- from: " not in shown
    assert "<!-- traced" not in shown
    assert "\n## Audit\n\nEach audit" in shown


def test_the_exit_codes_are_those_of_the_program():
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", text("docs/cli.md"), re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == cli.EXIT_CODES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_installs_no_unrelated_package(name):
    assert UNRELATED.search("python -m pip install -U 'clipclean'")
    assert not UNRELATED.search("pip install ./clipclean/")
    assert not UNRELATED.search(text(name))


def prose(name: str) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", text(name))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_files_that_are_there(name):
    paths = re.findall(r"`((?:benchmarks|ci|clipclean|recipes|tests)/[\w./-]+|[\w/]+\.py)`", prose(name))
    assert [path for path in paths if not (ROOT / path).exists() and not (ROOT / "clipclean" / path).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_words_that_their_file_holds(name):
    for word, path in re.findall(r"`(?:\w+\.)?(\w+)`\s(?:of|in)\s`([\w/]+\.py)`", prose(name)):
        assert re.search(rf"\b{word}\b", (ROOT / "clipclean" / path).read_text(encoding="utf-8")), (word, path)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_links_to_what_is_there(name):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(name)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (PAGES[name].parent / path).resolve() if path else PAGES[name]
        assert target.is_file(), link
        assert target.is_relative_to(ROOT), link
        if name not in AROUND:
            assert target.parent == ROOT / "docs", f"{link}: built pages are those in docs/ only"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def git(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)


def is_whole_history() -> bool:
    """An sdist, an export or a shallow clone cannot say which commits there are."""
    known = git("rev-parse", "--show-toplevel", "--is-shallow-repository") if shutil.which("git") else None
    return known is not None and known.returncode == 0 and known.stdout.splitlines() == [str(ROOT.resolve()), "false"]


def cited() -> list[tuple[str, str]]:
    """Each commit that a page or a comment names as its evidence, with the first file that does."""
    sources = [path for room in ("clipclean", "tests", "benchmarks") for path in (ROOT / room).rglob("*.*")]
    places = {}
    for path in [*PAGES.values(), *(path for path in sorted(sources) if path.suffix in {".py", ".md", ".sh", ".yaml"})]:
        for commit in re.findall(r"\bcommits?\s+`?([0-9a-f]{7,40})\b", path.read_text(encoding="utf-8")):
            places.setdefault(commit, str(path.relative_to(ROOT)))
    return sorted((commit, place) for commit, place in places.items() if commit not in ELSEWHERE)


def stray_items(words: str) -> list[str]:
    """Lines that a renderer takes for items of a numbered list, since a sentence was broken before a number and a full stop."""
    stray, last = [], 0
    for line in re.sub(r"^```.*?^```$", "", words, flags=re.M | re.S).splitlines():
        if number := re.match(r"\s*(\d+)\. ", line):
            stray += [line] if int(number[1]) not in (1, last + 1) else []
            last = int(number[1])
    return stray


@pytest.mark.parametrize("name", PAGES)
def test_no_line_of_a_sentence_begins_like_a_list_item(name):
    assert stray_items(text(name)) == []


def test_a_line_that_begins_like_a_list_item_is_seen():
    assert stray_items("1. One\n2. Two\n\n1. One\n") == []
    assert stray_items("before it was 5 of\n6. Those that\n") == ["6. Those that"]


@pytest.mark.skipif(not is_whole_history(), reason="the history is not here")
@pytest.mark.parametrize(("commit", "place"), cited())
def test_a_commit_that_is_cited_as_evidence_is_in_the_history(commit, place):
    assert git("merge-base", "--is-ancestor", commit, "HEAD").returncode == 0, place


def test_no_page_says_that_a_site_has_what_the_repository_lacks():
    """The pages are built on demand; nobody publishes them."""
    assert [name for name in PAGES if "the site" in PAGES[name].read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("name", PAGES)
def test_no_table_of_a_page_has_more_than_twelve_rows(name):
    """Longer ones stand in benchmarks/results."""
    tables = re.findall(r"(?:^\|.*\n)+", PAGES[name].read_text(encoding="utf-8"), re.MULTILINE)
    assert [table.splitlines()[0] for table in tables if table.count("\n") > 2 + 12] == []


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as mkdocs makes them."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", page), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


@pytest.mark.parametrize("path", [*PAGES.values(), *sorted(ROOT.glob("benchmarks/results/*.md"))])
def test_each_generated_part_stands_once_between_its_markers(path):
    marks = re.findall(r"<!-- ([\w-]+):(begin|end) -->", path.read_text(encoding="utf-8"))
    names = [name for name, _ in marks[::2]]
    assert marks == [(name, side) for name in names for side in ("begin", "end")]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("name", "line"), COMMANDS)
def test_other_commands_name_what_exists(name, line):
    words = shlex.split(line, comments=True)
    first = words[0]
    if first == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif first == "python" and words[1:4] != ["-m", "pip", "install"]:
        source = (ROOT / words[1]).read_text(encoding="utf-8")
        for flag in (word for word in words if word.startswith("--")):
            assert f'"{flag}"' in source, flag
    else:
        assert first in PLAIN | {"clipclean", "python"}


@pytest.mark.parametrize("line", OURS)
def test_our_commands_parse(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(re.split(r"\s[|>]", line)[0], comments=True)[1:]
    for word in words:
        if re.fullmatch(r"[\w./-]+\.(txt|json|csv|tsv|yaml)", word):
            path = tmp_path / word
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x\n")
    given = parsed(words)
    named = given.get("trigger") or ()
    for spec in (named,) if isinstance(named, str) else named:
        if not spec.endswith(trigger_files.TRIGGER_SUFFIX):  # a file that an audit saves
            triggers.parse(spec)
    if given.get("set"):
        recipe.override(recipe.load("cleanclip"), given["set"])
    if given.get("recipe") and not given["recipe"].endswith(".yaml"):
        recipe.load(given["recipe"])


@pytest.mark.parametrize("name", [name for name in PAGES if name != "CHANGELOG.md"])  # which names what is gone
def test_commands_within_sentences_exist(name):
    for line in re.findall(r"`clipclean ([a-z][^`]*)`", FENCE.sub("", text(name))):
        command, words = cli.cli, line.split()
        while isinstance(command, click.Group) and words and re.fullmatch("[a-z-]+", words[0]):
            found = command.get_command(command.make_context("clipclean", [], resilient_parsing=True), words.pop(0))
            assert found is not None, line
            command = found


def parsed(words: list[str]) -> dict[str, Any]:
    """The parameters of the innermost command; a usage error where the line is wrong."""
    context = cli.cli.make_context("clipclean", list(words), resilient_parsing=words[:1] == ["--version"])
    command: click.Command = cli.cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, name
        command, context = found, found.make_context(name, list(words), parent=context)
    return context.params


MORE = "clipclean: more: clipclean explain configuration\n"


def test_the_refused_recipe_is_refused_as_the_page_says(tmp_path, monkeypatch, capsys):
    page = section("docs/configuration.md", "Recipes")
    source = next(body for language, body in FENCE.findall(page) if language == "yaml")
    told = [body for language, body in FENCE.findall(page) if language == "text"]
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(source)
    assert cli.main(["recipes", "validate", "my.yaml"]) == 2
    assert capsys.readouterr().err == f"clipclean: error:\n{told[0]}{MORE}"
    Path("my.yaml").write_text(source.replace("warm_up_steps", "warmup_steps").replace("three", "3"))
    assert cli.main(["recipes", "validate", "my.yaml"]) == 2
    assert capsys.readouterr().err == f"clipclean: error: {told[1]}{MORE}"


def test_every_trigger_spec_of_the_triggers_page_parses():
    blocks = FENCE.findall(section("docs/configuration.md", "Triggers"))
    specs = next(body for language, body in blocks if language == "text")
    for spec in specs.split():
        assert triggers.parse(triggers.parse(spec).spec) == triggers.parse(spec)


@pytest.mark.slow
def test_the_examples_of_the_python_page_run_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, body in FENCE.findall(text("docs/cli.md")):
        if language == "python":
            exec(body, names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("torch-zip")
    assert printed[1].startswith("inconclusive") or printed[1].startswith("fail")
    assert printed[2] == "()"
    assert printed[3].endswith("10 steps")
    assert printed[4] == "True"
    assert "missing.pt" in printed[5]
    assert printed[6] == "[]"
