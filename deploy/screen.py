"""Printing for people: Rich where there is a terminal, plain text where there is none.

Whatever is printed may come from outside (labels, questions, what a model wrote), so control
characters never reach the terminal and Rich's markup is not read.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["Screen", "printable"]


def printable(text: str) -> str:
    """Return text on which no terminal acts: what is not printable becomes a space."""
    return "".join(c if c.isprintable() else " " for c in text)


class Screen:
    """Lines and tables on a stream, standard output unless told otherwise."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._console = Console(file=stream or sys.stdout, highlight=False, soft_wrap=True)

    @property
    def rich(self) -> bool:
        """Whether a person watches."""
        return self._console.is_terminal

    def line(self, text: str = "", style: str = "") -> None:
        """Print one line; ``style`` is Rich's, such as ``bold``."""
        self._console.print(Text(printable(text), style=style if self.rich else ""))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows of text under their columns."""
        if self.rich:
            table = Table(*columns, box=None, pad_edge=False, header_style="bold")
            for row in rows:
                table.add_row(*(Text(printable(cell)) for cell in row))
            self._console.print(table, soft_wrap=False)
            return
        cells = [list(columns), *([printable(c) for c in row] for row in rows)]
        widths = [max(len(row[k]) for row in cells) for k in range(len(columns))]
        for row in cells:
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.line("  ".join(padded).rstrip())
