"""The command ``edgetwin eval distilled``: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ...deploy.console import TierOption, needs_extra, print_json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``edgetwin eval``."""
    app.command("distilled")(_distilled)


def _distilled(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Work folders of distillations (one per seed), transformers folders or bundles."
        ),
    ],
    split: Annotated[Literal["val", "test"], typer.Option(help="Which frozen split.")] = "val",
    tier: TierOption = "cell",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first worlds.")] = None,
    cache: Annotated[Path, typer.Option(help="Folder for rendered worlds.")] = Path(
        "runs/twinbench"
    ),
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where checkpoints answer.")
    ] = "auto",
    render: Annotated[
        bool, typer.Option(help="Exact twins; without rendering is faster and rough.")
    ] = True,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="JSON file to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout only.")] = False,
    write_readme: Annotated[
        Path | None, typer.Option("--write-readme", help="File whose section gets the tables.")
    ] = None,
) -> None:
    """Compare teacher, SFT and GRPO student: exact ids by level and wording, J and tokens.

    Folders with the same stages are seeds of one row: mean and spread.
    """
    with needs_extra("train"), needs_extra("sim"):
        from . import report
        from .distilled import evaluate_distilled

        tables, figures = evaluate_distilled(
            folders, split, tier, limit=limit, cache=cache, device=device, render=render
        )
    context = {"split": split, "tier": tier, "limit": limit, "figures": figures}
    if as_json:
        print_json(report.document(tables, **context))
    else:
        report.show(tables)
    if out is not None:
        report.write_json(tables, out, **context)
    if write_readme is not None:
        text = "\n\n".join(table.markdown() for table in tables)
        report.replace_section(write_readme, "distilled", text)
