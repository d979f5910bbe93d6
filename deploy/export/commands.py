"""The command ``edgetwin export``: parse, call, print."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from ...twin.errors import InputError
from ..console import NetworkOption, needs_extra
from .clip import Clip
from .targets import Precision, Target

__all__ = ["WorldClips", "register"]

WorldClips = Callable[[int], Sequence[Clip]]
"""Simulated validation clips with their questions; the command line hands them in."""

_CHECKED_FRAMES = 64  # of a clip of one's own


def register(app: typer.Typer, worlds: WorldClips) -> None:
    """Add the command; ``worlds`` makes the clips that a bundle is verified on."""

    @app.command()
    def export(
        out: Annotated[Path, typer.Option("-o", "--out", help="A new folder for the bundle.")],
        models: Annotated[
            str, typer.Option("--models", help="embedded, edge, server, or a set's folder.")
        ] = "embedded",
        target: Annotated[Target, typer.Option(help="What the bundle is for.")] = "cpu",
        precision: Annotated[
            Precision, typer.Option(help="Of the networks that see; int4: of language alone.")
        ] = "fp32",
        network: NetworkOption = None,
        size: Annotated[str, typer.Option(help="The camera's picture size.")] = "1920x1080",
        language: Annotated[
            str, typer.Option(help="embedded, or a transformers folder of Qwen3.")
        ] = "embedded",
        language_precision: Annotated[
            Literal["int4", "fp16", "fp32"],
            typer.Option(help="Of the language model in ONNX Runtime GenAI."),
        ] = "int4",
        gguf: Annotated[
            list[str] | None,
            typer.Option(help="Also for llama.cpp: q4_k_m, q8_0 or f16; repeat for several."),
        ] = None,
        calibration: Annotated[
            list[Path] | None,
            typer.Option(help="A clip that sets int8's ranges, best from the device's place."),
        ] = None,
        frames: Annotated[int, typer.Option(min=2, help="Of the clips, in all.")] = 64,
        words: Annotated[
            str | None, typer.Option(help='What to look for on them: "cup, laptop".')
        ] = None,
        check: Annotated[
            bool, typer.Option("--verify", help="Compare it with what it was made from.")
        ] = False,
        check_worlds: Annotated[
            int, typer.Option(min=1, help="Simulated worlds that --verify shows it.")
        ] = 6,
        clip: Annotated[
            list[Path] | None, typer.Option(help="Clips of your own for --verify; repeat.")
        ] = None,
    ) -> None:
        """Write a model set as a bundle that a device runs without torch ([export] extra).

        With --verify, exit code 1 if a bound is missed; the report lies in the bundle.
        """
        from ..models import parse_networks

        looked = None if words is None else [w.strip() for w in words.split(",") if w.strip()]
        with needs_extra("export"):
            from .build import Request, export_set

            clips = _clips(clip or (), check_worlds, worlds) if check else None
            request = Request(
                models=models,
                target=target,
                precision=precision,
                out=out,
                networks=parse_networks(network or ()),
                size=size,
                language=language,
                language_precision=language_precision,
                gguf=gguf or (),
                clips=calibration or (),
                frames=frames,
                words=looked,
            )
            began = time.monotonic()
            built = export_set(request, check=clips, progress=_told)
        listed = built.bundle.manifest.files.values()
        megabytes = sum(one.bytes for one in listed) / 1e6
        took = time.monotonic() - began
        print(f"{out}: {len(listed)} files, {megabytes:.1f} MB, {took:.0f} s")
        for name, graph in sorted(built.bundle.manifest.graphs.items()):
            if graph.fell_back:
                print(f"  {name} is {graph.precision}: {graph.fell_back}")
        if built.verification is not None:
            print(built.verification.markdown())
            if built.verification.missed:
                raise typer.Exit(1)


def _clips(own: Sequence[Path], count: int, worlds: WorldClips) -> list[Clip]:
    """Clips of one's own with everyday questions, else simulated ones with theirs."""
    if not own:
        with needs_extra("sim"):
            return list(worlds(count))
    from itertools import islice

    from ..bench import BENCH_QUESTIONS
    from ..stream.source import open_source

    found = [
        Clip(path.name, list(islice(open_source(path), _CHECKED_FRAMES)), BENCH_QUESTIONS)
        for path in own
    ]
    if not all(one.frames for one in found):
        raise InputError("expected clips with frames for --verify, got one without")
    return found


def _told(step: str) -> None:
    print(f"  {step} …", file=sys.stderr, flush=True)
