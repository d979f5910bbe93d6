"""The command ``edgetwin upgrade``: parse, switch, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...twin.errors import InputError
from ..console import print_json, told_when_interrupted

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add ``upgrade`` to the command line."""
    app.command()(upgrade)


def upgrade(
    current: Annotated[
        Path, typer.Option("--current", help="The symbolic link to the bundle in use.")
    ],
    new: Annotated[Path | None, typer.Argument(help="The new bundle's folder.")] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Back to the bundle before; no new one then.")
    ] = False,
    clip: Annotated[
        Path | None, typer.Option(help="A video that the new bundle has to see first.")
    ] = None,
    question: Annotated[
        str | None, typer.Option("-q", "--question", help="What it has to answer about the clip.")
    ] = None,
    words: Annotated[
        str | None, typer.Option(help='What to look for on the clip: "mug, red ball".')
    ] = None,
    engines: Annotated[
        bool, typer.Option(help="Build its TensorRT plans first, where there is TensorRT.")
    ] = True,
    timeout_s: Annotated[
        float, typer.Option(min=1, help="Seconds that seeing and answering may take.")
    ] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Put a new bundle in place of the one in use, after it was hashed, has seen and answered.

    The old bundle stays where it is. Whatever fails, the link stays as it was.
    """
    from .upgrade import rollback as go_back
    from .upgrade import upgrade as go_on

    if rollback == (new is not None):
        raise InputError("expected a new bundle or --rollback, and not both")
    with told_when_interrupted():
        if new is None:
            done = go_back(current)
        else:
            done = go_on(
                new,
                current,
                clip=clip,
                question=question,
                words=words,
                engines=engines,
                timeout_s=timeout_s,
            )
    if as_json:
        values = {"link": done.link, "now": done.now, "before": done.before}
        told = {name: None if path is None else str(path) for name, path in values.items()}
        print_json({**told, "bytes": done.bytes, "smoke": done.smoke, "engines": done.engines})
        return
    if done.smoke:
        saw = done.smoke
        print(
            f"tried: {saw['frames']} frames seen in {saw['see_ms']:.0f} ms, "
            f"{saw['question']!r} answered {saw['status']} {saw['ids']} in {saw['answer_ms']:.0f} ms"
        )
    for line in done.engines:
        print(f"engine: {line}")
    print(f"{done.link} -> {done.now} ({done.bytes / 1e6:.1f} MB, every hash agrees)")
    if done.before is not None:
        print(
            f"before: {done.before}; back to it with edgetwin upgrade --rollback --current {current}"
        )
    print("a running service takes it at its next start: sudo systemctl restart edgetwin")
