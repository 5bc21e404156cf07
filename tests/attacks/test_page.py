"""The page of attacks names a test for each."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`((?:tests/[\w/]+\.py)?)::(test_\w+)`")


def test_every_test_that_the_page_names_exists():
    found = NAMED.findall((ROOT / "docs" / "attacks.md").read_text(encoding="utf-8"))
    assert len(found) > 80
    file = ""
    for given, name in found:
        file = given or file
        assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"


def test_every_row_of_the_page_names_one():
    rows = [
        line
        for line in (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    bare = [row for row in rows if not NAMED.search(row) and "---" not in row and not row.endswith("| tests |")]
    assert bare == []
