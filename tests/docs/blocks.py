"""The fenced blocks of a page."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code of all blocks of a language, in the order of the page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def file_of(block: str) -> str | None:
    """The file that a block is, where its first line is a comment with a path."""
    match = re.match(r"# (\S+\.\w+)\n", block)
    return match and match[1]
