"""What mkdocs.yml names: the parts of a page that are read off the code come in while the site is built."""

from typing import Any

from clipclean.cli import pages


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page's Markdown with its parts."""
    return pages.filled(markdown)
