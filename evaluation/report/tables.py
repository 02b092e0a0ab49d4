"""Tables as aligned text, for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """title, which may be empty; the head, and rows of as many cells; left: the columns of words, set to the left."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[int] = (0,)

    def as_text(self) -> str:
        lines = [self.head, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = [
            "  ".join(
                cell.ljust(width) if index in self.left else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ).rstrip()
            for cells in lines
        ]
        return "\n".join([*([self.title] if self.title else []), *aligned])

    def as_markdown(self) -> str:
        rule = ["---" if index in self.left else "---:" for index in range(len(self.head))]
        body = (self.head, *self.rows)
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in body]
        lines.insert(1, "|" + "|".join(rule) + "|")
        return "\n".join([*([f"## {self.title}", ""] if self.title else []), *lines])


def show(value: float | None) -> str:
    """A number in at most four digits; nothing for None."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
