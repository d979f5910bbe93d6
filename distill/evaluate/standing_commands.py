"""The command ``edgetwin eval standing``: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ...deploy.console import ModelsOption, needs_extra, print_json, progress

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``edgetwin eval``."""
    app.command("standing")(_standing)


def _standing(
    models: ModelsOption = "embedded",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first worlds.")] = None,
    tuning: Annotated[
        bool, typer.Option("--tuning", help="The worlds for choosing limits, not the reported.")
    ] = False,
    cache: Annotated[Path, typer.Option(help="Folder for rendered worlds (24 MB each).")] = Path(
        "runs/twinbench"
    ),
    out: Annotated[Path | None, typer.Option("-o", "--out", help="JSON file to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout only.")] = False,
) -> None:
    """Score the events of standing questions on simulated streams with truth, from pixels."""
    with needs_extra("sim"):
        from . import report
        from .standing import evaluate_standing
        from .standing_figures import figures_of, record_of, standing_tables

        with progress() as show_progress:
            watched = evaluate_standing(
                models, tuning=tuning, limit=limit, cache=cache, progress=show_progress
            )
    where = f"{'tuning' if tuning else 'validation'} worlds, {models}"
    tables = standing_tables(watched, where)
    context: dict[str, Any] = {"models": models, "tuning": tuning, "limit": limit}
    context |= {"figures": figures_of(watched), "wishes": [record_of(one) for one in watched]}
    if as_json:
        print_json(report.document(tables, **context))
    else:
        report.show(tables)
    if out is not None:
        report.write_json(tables, out, **context)
