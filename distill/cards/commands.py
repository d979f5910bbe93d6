"""The commands ``edgetwin distill sheet``, ``statistics``, ``cards`` and ``curves``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...deploy.console import TierOption, needs_extra
from ...twin.errors import InputError

__all__ = ["register"]

DataOption = Annotated[
    Path | None,
    typer.Option(help="Folder of rendered stills (runs/data/cell/train); renders if left out."),
]
SeedOption = Annotated[int, typer.Option(min=0, help="First seed of what is rendered.")]
OutOption = Annotated[Path | None, typer.Option("-o", "--out", help="JSON file to write.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``edgetwin distill``."""
    app.command("sheet")(_sheet)
    app.command("statistics")(_statistics)
    app.command("cards")(_cards)
    app.command("curves")(_curves)


def _sheet(
    out: Annotated[Path, typer.Option("-o", "--out", help="PNG to write.")] = Path("out/sheet.png"),
    tier: TierOption = "cell",
    data: DataOption = None,
    seed: SeedOption = 0,
    count: Annotated[int, typer.Option(min=1, max=400, help="How many pictures.")] = 12,
    columns: Annotated[int, typer.Option(min=1, help="Pictures or crops beside each other.")] = 4,
    categories: Annotated[
        bool, typer.Option("--categories", help="One row of crops per category instead.")
    ] = False,
) -> None:
    """Draw rendered training pictures with their truth, to look at."""
    with needs_extra("sim"):
        from ..sim.sheet import category_sheet, contact_sheet, pictures, write_sheet

        with pictures(data, tier, seed, count) as stills:
            if categories:
                sheet = category_sheet(stills, tier, columns)
            else:
                sheet = contact_sheet(stills, count, columns)
            write_sheet(sheet, out)
    print(out)


def _statistics(
    tier: TierOption = "cell",
    data: DataOption = None,
    seed: SeedOption = 0,
    count: Annotated[int, typer.Option(min=1, help="Pictures rendered without --data.")] = 200,
    redraw: Annotated[
        int, typer.Option(min=0, help="Pictures whose visible shares are measured.")
    ] = 200,
    scripts: Annotated[int, typer.Option(min=0, help="Worlds whose events are counted.")] = 1000,
    out: OutOption = None,
) -> None:
    """Count what training pictures hold: balance, colours, sizes, occlusion, events, pairs."""
    with needs_extra("sim"):
        from ..evaluate.report import show, write_json
        from ..sim.sheet import pictures
        from ..sim.statistics import measure, tables

        with pictures(data, tier, seed, count) as stills:
            listed = tables(measure(stills, redraw, scripts))
    show(listed)
    if out is not None:
        write_json(listed, out, tier=tier)


def _cards(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the cards.")] = Path(
        "docs/cards"
    ),
    data: Annotated[Path, typer.Option(help="Folder of rendered data.")] = Path("runs/data"),
    work: Annotated[Path, typer.Option(help="Training runs with NET/curve.jsonl.")] = Path(
        "runs/embedded"
    ),
    curve: Annotated[
        list[str] | None,
        typer.Option(help="net=FILE: a curve.jsonl in place of the newest in --work; repeat."),
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option("--from", help="JSON of `edgetwin eval twinbench`, drawn in place of own."),
    ] = None,
    compare: Annotated[
        list[Path] | None, typer.Option(help="Work folder of one seed; repeat for each.")
    ] = None,
    redraw: Annotated[
        bool, typer.Option("--redraw", help="Run no network: draw what was kept, new curves too.")
    ] = False,
    stills: Annotated[int, typer.Option(min=1, help="Validation pictures.")] = 600,
    worlds: Annotated[int, typer.Option(min=1, help="Validation worlds asked about.")] = 40,
    cache: Annotated[Path, typer.Option(help="Folder for rendered worlds.")] = Path(
        "runs/twinbench"
    ),
) -> None:
    """Draw the embedded networks' cards again: curves, confusion, failures, charts.

    Pictures go into the cards' folder, a section that shows them into every card beside the
    weights. Takes a minute or two.
    """
    named = [item.partition("=") for item in curve or ()]
    wrong = [net for net, equals, file in named if not (net and equals and file)]
    if wrong:
        raise InputError(f"expected --curve net=FILE, got {wrong[0]!r}")
    with needs_extra("viz"):
        from .build import Request, make_cards

        make_cards(
            Request(
                out=out,
                data=data,
                work=work,
                cache=cache,
                curves={net: Path(file) for net, _, file in named},
                tables=tables,
                seeds=tuple(compare or ()),
                stills=stills,
                worlds=worlds,
                redraw=redraw,
            )
        )


def _curves(
    runs: Annotated[
        list[str],
        typer.Argument(help="[NAME=]FOLDER of a run of GRPO; one NAME again is another seed."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="PNG to write.")] = Path(
        "out/curves.png"
    ),
    smooth: Annotated[int, typer.Option(min=1, help="Steps of the running mean.")] = 9,
) -> None:
    """Draw how GRPO learns: reward, validation and tokens over steps, seeds as a band."""
    named: dict[str, list[Path]] = {}
    for item in runs:
        name, sign, folder = item.rpartition("=")
        named.setdefault(name if sign else Path(folder).name, []).append(Path(folder))
    with needs_extra("viz"):
        from .canvas import save
        from .learning import draw_learning, read_runs

        made = draw_learning({n: read_runs(folders) for n, folders in named.items()}, smooth)
        save(made, out)
    print(out)
