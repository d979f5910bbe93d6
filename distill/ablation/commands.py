"""The command ``edgetwin distill ablate``: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ...deploy.console import needs_extra

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``edgetwin distill``."""
    app.command("ablate")(_ablate)


def _ablate(
    work: Annotated[Path, typer.Option(help="Folder of its steps and results.")] = Path(
        "runs/ablation"
    ),
    recipe: Annotated[
        str, typer.Option(help="Recipes that the rows change: a set or a folder.")
    ] = "ablation",
    seeds: Annotated[int, typer.Option(min=1, help="Of every row.")] = 3,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Begin no run that would end later.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Rows, such as full,sft_only,no_judge; all if left out.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="stage.key=value for all rows; repeat.")
    ] = None,
    split: Annotated[Literal["val", "test"], typer.Option(help="Which frozen split.")] = "val",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first worlds.")] = None,
    render: Annotated[
        bool, typer.Option(help="Exact twins; without rendering is faster and rough.")
    ] = True,
    cache: Annotated[Path, typer.Option(help="Folder for rendered worlds.")] = Path(
        "runs/twinbench"
    ),
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where.")] = "auto",
) -> None:
    """Run the paper's table 3 at embedded scale, with WISE's and DR2Seg's modes.

    Stages that rows share are run once; stopped at any moment, the same command goes on. Writes
    table.json, table.md and ablation.png into the folder.
    """
    with needs_extra("train"), needs_extra("sim"):
        from ..evaluate.report import show
        from ..stages.commands import changes_of
        from .run import ablation_table, run_ablation

        measured = run_ablation(
            work,
            base=recipe,
            rows=[name.strip() for name in only.split(",")] if only else None,
            seeds=seeds,
            minutes=minutes,
            split=split,
            limit=limit,
            render=render,
            cache=cache,
            device=device,
            changes=changes_of(changes),
            report=lambda line: print(line, flush=True),
        )
    show([ablation_table(measured, f"TwinBench {split}, cell tier, true twins")])
