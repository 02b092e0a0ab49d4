"""Tables as aligned text for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: The title, which may be empty.
        head: The titles of the columns.
        rows: The cells of each row.
        left: The indices of the columns that are aligned to the left, because they hold words.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[int] = (0,)

    def as_text(self) -> str:
        """Return the table as aligned text."""
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
        """Return the table in Markdown, with its title as a heading."""
        rule = ["---" if index in self.left else "---:" for index in range(len(self.head))]
        body = (self.head, *self.rows)
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in body]
        lines.insert(1, "|" + "|".join(rule) + "|")
        return "\n".join([*([f"## {self.title}", ""] if self.title else []), *lines])


def show(value: float | None) -> str:
    """Return a number with up to four significant digits, without a fraction from 1000 on; an empty text for None.

    Args:
        value: The number.
    """
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
