"""What the page of CI says, as data."""

import re
import textwrap
from typing import Any

import yaml
from ci.gates import ROOT

TEXT = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The bodies of its fenced blocks, without the indent that they share."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(body) for body in found]


def documents() -> list[Any]:
    """Its YAML."""
    return [yaml.safe_load(body) for body in blocks("yaml")]


def table(head: str) -> list[list[str]]:
    """The rows of the table whose first column is headed so, backticks dropped."""
    _, _, rest = TEXT.partition(f"\n| {head} |")
    lines = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def nodes(value: Any) -> list[dict[str, Any]]:
    """Every mapping in a document."""
    if isinstance(value, list):
        return [node for each in value for node in nodes(each)]
    return [value, *nodes(list(value.values()))] if isinstance(value, dict) else []
