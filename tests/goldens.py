"""Texts as they were last approved, in a folder ``goldens`` beside the test. With ``REWRITE_GOLDENS`` set, those of today take their place:

REWRITE_GOLDENS=1 pytest tests/api/test_goldens.py tests/cli/test_goldens.py tests/report/test_goldens.py tests/schema/test_report.py
"""

import os
from pathlib import Path


def check(golden: Path, text: str, /) -> None:
    """Compare a text with the approved one, or approve it."""
    if os.environ.get("REWRITE_GOLDENS"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), f"REWRITE_GOLDENS=1 pytest approves it: {golden.name}"
