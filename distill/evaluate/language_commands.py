"""The command ``edgetwin eval language``: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ...deploy.console import ModelsOption, needs_extra, print_json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``edgetwin eval``."""
    app.command("language")(_language)


def _language(
    models: ModelsOption = "embedded",
    agreement: Annotated[bool, typer.Option(help="Do backends answer alike?")] = True,
    questions: Annotated[int, typer.Option(min=1, help="For the agreement.")] = 300,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="shipped, float32, 'int4, int8 activations', ...; repeat or 'all'."),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="transformers, 'ORT GenAI', 'llama.cpp f32', ...; repeat."),
    ] = None,
    size: Annotated[
        list[str] | None, typer.Option(help="0.6B, 1.7B: speeds at real size; repeat.")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="runtime:format, such as llama.cpp:q8_0; repeat. All when left out."),
    ] = None,
    tokens: Annotated[int, typer.Option(min=2, help="Generated for the speeds.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Times each speed is measured.")] = 2,
    threads: Annotated[
        int | None, typer.Option(min=1, help="For the speeds; all cores if left out.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Folder for files (0.6B: 7 GB; 1.7B: 20 GB).")] = Path(
        "runs/language"
    ),
    out: Annotated[Path | None, typer.Option("-o", "--out", help="JSON file to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout only.")] = False,
    write_readme: Annotated[
        Path | None, typer.Option("--write-readme", help="File whose section gets the tables.")
    ] = None,
) -> None:
    """Compare language backends: same answers from the same weights, and speeds at real size."""
    with needs_extra("export"), needs_extra("sim"):
        from . import report
        from .language import WEIGHTS, evaluate_agreement
        from .language_speed import VARIANTS, evaluate_speed

        tables: list[report.Table] = []
        figures: dict[str, Any] = {}
        if agreement:
            forms = tuple(WEIGHTS) if weights == ["all"] else tuple(weights or ("shipped",))
            found, figures["agreement"] = evaluate_agreement(
                models, count=questions, forms=forms, only=backend or None, work=work
            )
            tables += found
        if size:
            pairs = [_pair(text) for text in variant] if variant else VARIANTS
            found, figures["speed"] = evaluate_speed(
                size, variants=pairs, tokens=tokens, rounds=rounds, threads=threads, work=work
            )
            tables += found
    if as_json:
        print_json(report.document(tables, figures=figures))
    else:
        report.show(tables)
    if out is not None:
        report.write_json(tables, out, figures=figures)
    if write_readme is not None:
        text = "\n\n".join(table.markdown() for table in tables)
        report.replace_section(write_readme, "language", text)


def _pair(text: str) -> tuple[str, str]:
    """``llama.cpp:q8_0`` as (runtime, format); what they may be is checked where they are used."""
    runtime, _, kind = text.partition(":")
    return runtime, kind
