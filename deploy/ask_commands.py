"""The command ``edgetwin ask``: parse, open, talk."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from .console import (
    LanguageOption,
    ModelsOption,
    ModeOption,
    progress,
    told_when_interrupted,
)

__all__ = ["register"]

_MAX_LINE_BYTES = 1 << 20  # a longer line is more than one refused question


def register(app: typer.Typer) -> None:
    """Add ``ask`` to the command line."""
    app.command()(ask)


def ask(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="TWIN|SOURCE",
            help="A results folder, twin.jsonl or twin.sqlite; or a video, a picture or a folder "
            "of frames, which is perceived while you ask.",
        ),
    ],
    question: Annotated[
        list[str] | None,
        typer.Option("-q", "--question", help="A question; repeat for several. No session then."),
    ] = None,
    mode: ModeOption = "concise",
    trace: Annotated[
        bool, typer.Option("--trace", help="Show rationale, plan, results, tokens, times, cache.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON record per answer.")] = False,
    models: ModelsOption = "embedded",
    language: LanguageOption = None,
    words: Annotated[
        str | None, typer.Option(help='What to look for in a source: "mug, red ball".')
    ] = None,
    refine: Annotated[
        bool, typer.Option(help="Let plans look again into the pictures for what is missing.")
    ] = True,
    pictures: Annotated[
        Path | None,
        typer.Option(help="The video of a twin that is there, so that plans can look again."),
    ] = None,
    wait: Annotated[
        bool | None,
        typer.Option(help="Perceive all of a source before answering; so it is unless you talk."),
    ] = None,
    budget_s: Annotated[
        float | None, typer.Option(min=0.01, help="Seconds that an answer may take.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, max=8, help="Plans that an answer may make.")
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for the twin of a source.")
    ] = Path("out"),
    fps: Annotated[float, typer.Option(help="Rate of a folder of frames.")] = 10.0,
) -> None:
    """Ask about a twin, or a source while it is perceived; follow-up questions work.

    A session at a terminal; with -q or from a pipe one answer per line.
    """
    from ..reasoner.prompts import clean_question
    from .ask import AskOptions, open_asker
    from .ask_loop import Conversation

    for text in question or ():
        clean_question(text)
    talking = not question and sys.stdin.isatty() and sys.stdout.isatty()
    options = AskOptions(
        models, mode, language, words, refine, pictures, budget_s, rounds, out, fps
    )
    asker = open_asker(target, options)
    with told_when_interrupted():
        try:
            if not asker.feed.seen()["complete"]:
                with progress() as show_progress:
                    whole = not talking if wait is None else wait
                    asker.feed.wait(None if whole else 1, show_progress)
            conversation = Conversation(asker, trace=trace, as_json=as_json, talking=talking)
            if talking:
                conversation.talk()
            else:
                conversation.run(question or _piped())
        finally:
            asker.close()
    if conversation.failed and not talking:
        raise typer.Exit(2)


def _piped() -> Iterable[str]:
    """Lines of standard input, bounded, whatever its bytes are."""
    while data := sys.stdin.buffer.readline(_MAX_LINE_BYTES):
        yield data.decode("utf-8", errors="replace")
