"""The command ``edgetwin distill twins``: parse, call, print."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ...deploy.console import (
    DeviceOption,
    ModelsOption,
    print_json,
    progress,
    told_when_interrupted,
)
from ...twin.errors import InputError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``edgetwin distill``."""
    app.command("twins")(_twins)


def _twins(
    name: Annotated[
        str,
        typer.Argument(
            help="refcoco, refcoco+, refcocog, reasonseg, revos, mevis, llmseg40k or a mapping.json."
        ),
    ],
    root: Annotated[Path, typer.Argument(help="The data set's folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for twins and tasks.")],
    split: Annotated[str, typer.Option(help="As the data set names it.")] = "train",
    models: ModelsOption = "embedded",
    words: Annotated[
        str | None, typer.Option(help='What to look for, "mug, red ball"; all the set knows.')
    ] = None,
    keep_uncovered: Annotated[
        bool,
        typer.Option("--keep-uncovered", help="Keep questions whose truth no object covers."),
    ] = False,
    fps: Annotated[float, typer.Option(min=0.01, help="Of a video's frames.")] = 10.0,
    every: Annotated[int, typer.Option(min=1, help="Take every so many-th frame.")] = 1,
    max_frames: Annotated[int, typer.Option(min=1, help="At most so many of a video.")] = 600,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first pictures or videos.")
    ] = None,
    device: DeviceOption = "auto",
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="This process, or workers of Ray.")
    ] = "local",
    workers: Annotated[int, typer.Option(min=1, help="Of Ray.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Build the twins of a data set once, for training: perception over its pictures.

    Its true masks become ids of the twin; questions that nothing in the twin covers, or that
    would leak an evaluation into training, are left out and counted. Stopped at any moment, the
    same command goes on where it was. Train on it with ``cached: [FOLDER]`` in a recipe's data.
    """
    from ...deploy.track import parse_words
    from .twins import build_twins

    options: dict[str, Any] = {
        "words": None if words is None else parse_words(words),
        "keep_uncovered": keep_uncovered,
        "fps": fps,
        "every": every,
        "max_frames": max_frames,
        "device": device,
    }
    if engine == "ray":
        from ..stages.twins_ray import build_twins_with_ray

        if limit is not None:
            raise InputError("expected no --limit with --engine ray, got one; leave it out")
        print_json(build_twins_with_ray(name, root, split, out, models, workers=workers, **options))
        return
    with progress() as show_progress, told_when_interrupted():
        report = build_twins(
            name, root, split, out, models, limit=limit, progress=show_progress, **options
        )
    if as_json:
        print_json(asdict(report))
    else:
        print(report.text())
        print(f"{out}: data {report.sha256[:12]}")
