"""What the cards are drawn from, kept beside them as small JSON: a fresh clone can draw again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...twin.errors import InputError, OutputError
from ...twin.files import replace
from ..evaluate.report import Table
from .curves import compact, read_curve

__all__ = ["Store", "read_tables", "table_of", "tables_from"]

Row = dict[str, float]


class Store:
    """The folder ``data`` inside the cards' folder; every file a few kilobytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def curve(self, net: str, source: Path | None) -> list[Row]:
        """Take a training run's curve in, or return the kept one; empty where there is neither."""
        kept = self.folder / f"{net}.curve.jsonl"
        if source is not None:
            rows = compact(net, read_curve(source))
            self._write(kept, "".join(json.dumps(row) + "\n" for row in rows))
        return read_curve(kept) if kept.is_file() else []

    def put(self, name: str, value: object) -> None:
        """Keep a value as ``name``.json."""
        text = json.dumps(value, indent=1, ensure_ascii=False, default=str)
        self._write(self.folder / f"{name}.json", text + "\n")

    def get(self, name: str) -> Any:
        """Return a kept value, None where there is none.

        Raises:
            InputError: if the file is no JSON.
        """
        path = self.folder / f"{name}.json"
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"expected JSON in {path}, got: {error}; remove the file") from error

    def _write(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace(path, text.encode())
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error}; choose another folder") from error


def read_tables(path: Path) -> list[Table]:
    """Read the tables of a file that ``edgetwin eval`` or ``edgetwin distill statistics`` wrote.

    Raises:
        InputError: if it is no such file.
    """
    try:
        return tables_from(json.loads(path.read_text(encoding="utf-8"))["tables"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"expected a JSON file of `edgetwin eval twinbench -o` at {path}, got: {error!r}"
        ) from error


def tables_from(records: Sequence[dict[str, Any]]) -> list[Table]:
    """Tables out of their JSON."""
    return [
        Table(
            str(r["title"]),
            tuple(r["columns"]),
            tuple(tuple(row) for row in r["rows"]),
            tuple(r.get("notes", ())),
        )
        for r in records
    ]


def table_of(tables: Sequence[Table], beginning: str) -> Table | None:
    """The first table whose title begins so and that has rows."""
    return next((t for t in tables if t.title.startswith(beginning) and t.rows), None)
