"""Tables of figures: one shape for the terminal, for Markdown and for JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from ...deploy.bench_report import replace_section
from ...deploy.machine import environment, version_of
from ...twin.errors import InputError, OutputError

__all__ = ["Table", "document", "replace_section", "show", "write_json"]

Cell = str | int | float | None

_WIDEST = 11  # columns that a terminal has room for
_PIPED = 160  # characters a line in a file or a pipe, which have no width of their own


@dataclass(frozen=True)
class Table:
    """Measured figures: ``rows`` hold one cell per column; None prints as a dash."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputError(
                    f"expected {len(self.columns)} cells in a row of {self.title!r}, got {len(row)}"
                )

    def markdown(self) -> str:
        """The table as GitHub Markdown, its notes below."""
        lines = [f"**{self.title}**", "", "| " + " | ".join(self.columns) + " |"]
        lines.append("|---" + "|---:" * (len(self.columns) - 1) + "|")
        lines += ["| " + " | ".join(_text(cell) for cell in row) + " |" for row in self.rows]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])


def show(tables: Sequence[Table], console: Console | None = None) -> None:
    """Print tables to the terminal, those too wide for it by their titles only."""
    if console is None:
        console = Console()
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console = Console(width=_PIPED)
    for table in tables:
        if len(table.columns) > _WIDEST:
            console.print(f"{table.title}: {len(table.columns)} columns, in the JSON (-o, --json)")
            continue
        rich = RichTable(title=table.title, title_justify="left")
        for k, column in enumerate(table.columns):
            rich.add_column(column, justify="left" if k == 0 else "right")
        for row in table.rows:
            rich.add_row(*(_text(cell) for cell in row))
        console.print(rich)
        for note in table.notes:
            console.print(note, style="dim", highlight=False)


def document(tables: Sequence[Table], **context: object) -> dict[str, object]:
    """Return tables with machine, versions and ``context`` (figures, hashes) as plain values."""
    versions = {name: version_of(name) for name in ("edgetwin", "mujoco", "onnx")}
    return {
        "environment": environment(),
        "versions": {name: version for name, version in versions.items() if version},
        **context,
        "tables": [asdict(table) for table in tables],
    }


def write_json(tables: Sequence[Table], path: Path, **context: object) -> None:
    """Write :func:`document` as JSON.

    Raises:
        OutputError: if the file cannot be written.
    """
    text = json.dumps(document(tables, **context), indent=1, default=str)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}; choose another -o folder") from error


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.3f}" if abs(cell) < 10 else f"{cell:.1f}"
    return str(cell)
