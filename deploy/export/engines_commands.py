"""The command ``edgetwin engines``: parse, build, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..console import print_json, progress, told_when_interrupted

__all__ = ["register"]

_MB = 2**20


def register(app: typer.Typer) -> None:
    """Add ``engines`` to the command line."""
    app.command()(engines)


def engines(
    bundle: Annotated[Path, typer.Argument(help="A device bundle, on the device itself.")],
    listed: Annotated[
        bool, typer.Option("--list", help="Say which plans are there and may run here.")
    ] = False,
    printed: Annotated[
        bool, typer.Option("--print", help="Print the trtexec lines, nothing else.")
    ] = False,
    force: Annotated[bool, typer.Option(help="Build again what fits already.")] = False,
    precision: Annotated[
        Literal["bundle", "fp16"],
        typer.Option(help="The graphs' own, or float32 graphs in half precision."),
    ] = "bundle",
    workspace_mb: Annotated[
        int | None, typer.Option(min=1, help="Scratch memory; by the bundle's target if left out.")
    ] = None,
    level: Annotated[int, typer.Option(min=0, max=5, help="TensorRT's optimisation level.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build the TensorRT plans of a bundle into BUNDLE/plans, in minutes, on the device.

    A plan belongs to one GPU, TensorRT and driver: elsewhere it is refused, and this command
    builds it again. Without TensorRT the bundle runs on ONNX Runtime by itself.
    """
    from .engines import build_engines, list_engines, trtexec_lines

    fp16 = precision == "fp16"
    if printed:
        lines = trtexec_lines(bundle, fp16=fp16, workspace_mb=workspace_mb, level=level)
        print_json(lines) if as_json else print("\n".join(lines))
        return
    if listed:
        report = list_engines(bundle)
    else:
        with told_when_interrupted(), progress() as show_progress:
            report = build_engines(
                bundle,
                force=force,
                fp16=fp16,
                workspace_mb=workspace_mb,
                level=level,
                progress=show_progress,
            )
    if as_json:
        print_json(report.document())
    else:
        _print(report, listed)
    if report.failed:
        raise typer.Exit(2)


def _print(report: object, listed: bool) -> None:
    from .engines import EngineReport, runs_by_itself

    assert isinstance(report, EngineReport)
    print(report.here.text())
    if not report.here.able:
        print(runs_by_itself())
    for graph in report.graphs:
        size = f", {graph.bytes / _MB:.1f} MB" if graph.bytes else ""
        took = f", {graph.seconds:.1f} s" if graph.state == "built" else ""
        print(f"{graph.state:<8} {graph.network}{size}{took}")
        if graph.told:
            print(f"         {graph.told}")
    for name in report.removed:
        print(f"removed  {name}: no graph of the bundle uses it here")
    if listed and any(graph.state in ("none", "refused") for graph in report.graphs):
        print(f"build them: edgetwin engines {report.bundle}", file=sys.stderr)
    if report.trtexec:
        print("the same with trtexec (on a Jetson in /usr/src/tensorrt/bin):")
        print("\n".join(f"  {line}" for line in report.trtexec))
