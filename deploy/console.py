"""What every command of the command line shares: options, progress bars, warnings, extras."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..twin.errors import MissingExtraError

__all__ = [
    "DeviceOption",
    "LanguageOption",
    "ModeOption",
    "ModelsOption",
    "NetworkOption",
    "TierOption",
    "needs_extra",
    "print_json",
    "print_warnings",
    "progress",
    "told_when_interrupted",
]

ModelsOption = Annotated[
    str, typer.Option("--models", help="embedded, edge, server, or a bundle's folder.")
]
NetworkOption = Annotated[
    list[str] | None,
    typer.Option(
        help="role=owner/name@revision: a hub checkpoint in place of a named set's; repeat."
    ),
]
DeviceOption = Annotated[
    str, typer.Option(help="auto, cpu, cuda or tensorrt, as the engine at hand offers.")
]
ModeOption = Annotated[
    Literal["concise", "sentence", "detailed", "description"],
    typer.Option(help="How much the model explains."),
]
LanguageOption = Annotated[
    str | None,
    typer.Option(help="Another language model: a folder, GGUF, hub id or http://host/v1#name."),
]
TierOption = Annotated[
    Literal["cell", "wild"], typer.Option(help="The easy tabletop or the wide randomisation.")
]


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a missing optional package into the pip line that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("edgetwin", ""):
            raise
        raise MissingExtraError(str(error.name), extra) from error


@contextmanager
def progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show one bar per stage on stderr while it is a terminal."""
    columns = (
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def update(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield update


@contextmanager
def told_when_interrupted() -> Iterator[None]:
    """Say on Ctrl-C that results are kept; the interrupt goes on to exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted: what was written is kept", file=sys.stderr)
        raise


def print_warnings(warnings: Sequence[str]) -> None:
    """Print each warning as one line on stderr."""
    for warning in warnings:
        print(f"warning: {' '.join(warning.split())}", file=sys.stderr)


def print_json(value: object) -> None:
    """Print a value on stdout as the JSON files hold it."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
