"""Output that a page quotes is what a bundled run printed."""

import importlib
from pathlib import Path

import pytest

BLOCK = "<!-- printed: run -->\n\n```text\n{}\n```\n"


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """What is wrong with a page that quotes these lines of a run of three."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    printed = importlib.import_module("printed")
    page = tmp_path / "page.md"
    (tmp_path / "run.txt").write_text("first\nsecond of\n  two lines\n\nthird\n")
    monkeypatch.setattr(printed, "PRINTED", tmp_path)
    monkeypatch.setattr(printed, "PAGES", (page,))
    monkeypatch.setattr(printed, "COMMANDS", {"run": "run"})

    def quoting(*lines, block=BLOCK):
        page.write_text(block.format("\n".join(lines)))
        return printed.faults()

    return quoting


@pytest.mark.parametrize("lines", [("first", "third"), ("$ clipclean run", "first", ""), ("second of two", "lines")])
def test_what_a_page_shortens_is_still_quoted(faults, lines):
    assert faults(*lines) == []


@pytest.mark.parametrize("lines", [("fourth",), ("third", "first"), ("first", "first"), ("irst",)])
def test_lines_of_no_run_are_named(faults, lines):
    assert faults(*lines) == [f"page.md: run does not print next: {lines[-1]}"]


@pytest.mark.parametrize("block", [BLOCK.replace("\n\n", "\n", 1), BLOCK.replace("run", "other", 1)])
def test_a_marker_that_no_block_or_run_belongs_to_is_named(faults, block):
    assert len(faults("first", block=block)) == 1
