"""The commands under ``edgetwin twin``: parse, call, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..twin.window import DEFAULT_MAX_FRAMES, TwinWindow
from .console import ModelsOption, print_json, print_warnings
from .screen import Screen
from .twin_files import TwinFile

__all__ = ["twin_app"]

twin_app = typer.Typer(
    help="Look at a twin, check it, write it in other formats.", no_args_is_help=True
)

TwinArgument = Annotated[
    Path, typer.Argument(help="A results folder of run or track, a twin.jsonl or a twin.sqlite.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, nothing else.")]
_SHOWN_FAULTS = 20


@twin_app.command()
def show(
    twin: TwinArgument,
    at: Annotated[
        float | None, typer.Option(min=0, help="Seconds: the objects of that moment.")
    ] = None,
    text: Annotated[
        Literal["full", "compact"] | None,
        typer.Option(help="Print exactly what the model reads, in this layout; tokens on stderr."),
    ] = None,
    max_frames: Annotated[
        int, typer.Option(min=1, help="The newest frames, which questions see too.")
    ] = DEFAULT_MAX_FRAMES,
    models: ModelsOption = "embedded",
    as_json: JsonOption = False,
) -> None:
    """Show what a twin holds: every object with its colour, times and moments."""
    window = TwinWindow(TwinFile(twin).frames(max_frames), max_frames)
    if at is not None:
        window = _until(window, at)
    if text is not None:
        _show_text(window, text, models, as_json)
    elif at is not None:
        _show_moment(window, at, as_json)
    else:
        _show_objects(window, as_json)


def _until(window: TwinWindow, at: float) -> TwinWindow:
    from .twin_show import frame_at

    end_s = frame_at(window, at).timestamp_s
    return TwinWindow((f for f in window.frames if f.timestamp_s <= end_s), window.max_frames)


def _show_text(
    window: TwinWindow, layout: Literal["full", "compact"], models: str, as_json: bool
) -> None:
    from ..reasoner.prompts import prefix
    from .models import load_reasoner

    text = prefix(window, {}, layout=layout)
    tokens = load_reasoner(models).model.count(text)
    if as_json:
        print_json({"layout": layout, "tokens": tokens, "text": text})
        return
    sys.stdout.write(text)
    sys.stdout.flush()
    print(f"{tokens} tokens", file=sys.stderr)


def _show_moment(window: TwinWindow, at: float, as_json: bool) -> None:
    from .twin_show import MOMENT_COLUMNS, frame_at, rows_at

    frame = frame_at(window, at)
    if as_json:
        print_json(frame.model_dump(mode="json"))
        return
    screen = Screen()
    screen.line(f"frame {frame.index} at {frame.timestamp_s:.3f} s, {frame.width}x{frame.height}")
    screen.table(MOMENT_COLUMNS, rows_at(frame))


def _show_objects(window: TwinWindow, as_json: bool) -> None:
    from .twin_show import OBJECT_COLUMNS, object_records, rows_of, span

    last = window.last
    head: dict[str, Any] = {
        "source": last.source_id if last else None,
        "frames": len(window),
        "start_s": window.start_s,
        "end_s": window.end_s,
        "width": last.width if last else 0,
        "height": last.height if last else 0,
        "words": list(window.vocabulary) if window.vocabulary is not None else None,
    }
    if as_json:
        print_json({**head, "objects": object_records(window)})
        return
    screen = Screen()
    if last is None:
        screen.line("the twin holds no frame")
        return
    screen.line(
        f"{last.source_id}: {len(window)} frames of {last.width}x{last.height}, "
        f"{span(window.start_s, window.end_s)} s"
        + (f", looked for {', '.join(head['words'])}" if head["words"] is not None else "")
    )
    screen.table(OBJECT_COLUMNS, rows_of(window))


@twin_app.command()
def check(
    twins: Annotated[
        list[Path], typer.Argument(metavar="TWIN...", help="Results folders or twin files.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Check twins against the schema: order, masks, ids, the store's pages. Exit code 1: faulty."""
    from .twin_check import check_twin

    found = [checked for twin in twins for checked in check_twin(twin)]
    if as_json:
        print_json([checked.as_dict() for checked in found])
    else:
        screen = Screen()
        for checked in found:
            told = "ok" if not checked.count else f"{checked.count} faults"
            screen.line(f"{checked.file}: {checked.frames} frames, {told}")
            for fault in checked.faults[:_SHOWN_FAULTS]:
                screen.line(f"  {fault.place}: {fault.what}: {fault.advice}")
            if checked.count > _SHOWN_FAULTS:
                screen.line(f"  and {checked.count - _SHOWN_FAULTS} more: --json lists them")
    if any(checked.count for checked in found):
        raise typer.Exit(1)


@twin_app.command()
def history(
    store: Annotated[
        Path, typer.Argument(metavar="STORE", help="A folder with a twin.sqlite, or the file.")
    ],
    label: Annotated[str | None, typer.Option(help="Only objects of this label.")] = None,
    object_id: Annotated[int | None, typer.Option("--id", min=1, help="Only this object.")] = None,
    since: Annotated[
        str | None, typer.Option(help="10m (ago; s, m, h, d), 2026-01-31T12:00 or Unix seconds.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="The same; the end.")] = None,
    each: Annotated[bool, typer.Option("--each", help="A row per object and frame.")] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, help="Rows: the first with --since, else the newest.")
    ] = 100,
    as_json: JsonOption = False,
) -> None:
    """Look up what a stream saw, and when, while it is being recorded or long after.

    A row per object, the one seen last first; with --each, --since or --until a row per object
    and frame.
    """
    from .twin_history import LIFE_COLUMNS, ROW_COLUMNS, lives_of, rows_of_life, rows_of_rows, seen
    from .twin_history import when as parsed

    if each or since is not None or until is not None:
        rows = seen(
            store,
            label=label,
            object_id=object_id,
            start_at=None if since is None else parsed(since),
            end_at=None if until is None else parsed(until),
            limit=limit,
        )
        columns: tuple[str, ...] = ROW_COLUMNS
        cells = rows_of_rows(rows)
    else:
        rows = lives_of(store, label, object_id, limit)
        columns, cells = LIFE_COLUMNS, rows_of_life(rows)
    if as_json:
        print_json(rows)
    else:
        Screen().table(columns, cells)


@twin_app.command()
def export(
    twin: TwinArgument,
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write; for davis a folder.")],
    kind: Annotated[
        Literal["jsonl", "coco", "ytvis", "mot", "csv", "davis"],
        typer.Option("--format", help="COCO instances, YouTube-VIS, MOTChallenge, DAVIS, …"),
    ],
) -> None:
    """Write a twin in one of the field's formats."""
    from .twin_export import export_twin

    done = export_twin(TwinFile(twin), out, kind)
    print_warnings(done.warnings)
    print(f"{done.path}: {done.frames} frames, {done.records} records")
