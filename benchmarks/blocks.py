"""The measured parts of a documentation page: each stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``."""

import sys
from pathlib import Path


def fill(page: Path, block: str, text: str) -> None:
    """Put ``text`` in the place of what stands between the markers of a block, which the page has once each."""
    begin, end = f"<!-- {block}:begin -->", f"<!-- {block}:end -->"
    head, rest = page.read_text(encoding="utf-8").split(begin)
    _, tail = rest.split(end)
    page.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":  # PAGE BLOCK FILE
    fill(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_text(encoding="utf-8").strip())
