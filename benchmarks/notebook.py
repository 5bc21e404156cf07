"""The page docs/api.md as a notebook, so that both say the same.

    python benchmarks/notebook.py

Writes docs/api.ipynb: a cell for each piece of code, and one for the text before it. A test holds the two together and runs the
cells in their order.
"""

import json
import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
PYTHON = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def main() -> None:
    place = DOCS / "api.ipynb"
    place.write_text(notebook((DOCS / "api.md").read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{place.relative_to(DOCS.parent)}: written")


def notebook(page: str) -> str:
    """A notebook of format 4.5 without outputs; the same page gives the same bytes."""
    parts = PYTHON.split(page)  # text, code, text, code, ..., text
    cells = [cell(number, part.strip("\n")) for number, part in enumerate(parts) if part.strip()]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def cell(number: int, text: str) -> dict[str, object]:
    common = {"id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
    if number % 2:
        return {"cell_type": "code", "execution_count": None, "outputs": [], **common}
    return {"cell_type": "markdown", **common}


if __name__ == "__main__":
    main()
