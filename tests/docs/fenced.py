"""Documents as tests see them: their fenced code, their tables, their links."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Document:
    """A Markdown file of `docs/`."""

    def __init__(self, name: str) -> None:
        self.path = ROOT / "docs" / name
        self.text = self.path.read_text(encoding="utf-8")

    def blocks(self, language: str) -> list[str]:
        """Return the fenced blocks of a language, in order."""
        return re.findall(rf"^```{language}\n(.*?)^```", self.text, re.DOTALL | re.MULTILINE)

    def files(self) -> dict[str, str]:
        """Return the blocks that are files, by path: their first line is a comment with it."""
        found = re.findall(r"^```\w+\n(# (\S+\.\w+)\n.*?)^```", self.text, re.DOTALL | re.MULTILINE)
        return {path: block for block, path in found}

    def run(self) -> dict[str, Any]:
        """Run all Python blocks in order, in one namespace, as a reader would."""
        scope: dict[str, Any] = {"__name__": "document"}
        for block in self.blocks("python"):
            above = self.text[: self.text.index(block)].count("\n")
            exec(compile("\n" * above + block, str(self.path), "exec"), scope)
        return scope

    def row(self, start: str) -> list[str]:
        """Return the cells of the one table row whose first cell begins with `start`."""
        rows = [line for line in self.text.splitlines() if line.startswith(f"| {start}")]
        assert len(rows) == 1, (start, rows)
        return [cell.strip() for cell in rows[0].strip("|").split("|")]

    def broken_links(self) -> list[str]:
        """Return the links to files or to headings that do not exist."""
        broken = []
        for link in re.findall(r"\]\((?!https?:)([^)]+)\)", self.text):
            path, _, anchor = link.partition("#")
            target = self.path.parent / path if path else self.path
            if not target.exists() or (anchor and anchor not in _anchors(target)):
                broken.append(link)
        return broken


def _anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a file."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
