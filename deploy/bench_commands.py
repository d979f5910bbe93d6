"""The command ``edgetwin bench``: speed, memory and energy on this machine, in one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .console import ModelsOption, progress, told_when_interrupted

if TYPE_CHECKING:
    from .bench_compare import Comparison

__all__ = ["register"]

_TRANSFORMERS = "transformers"
_CUDA_GRAPHS = "cuda-graphs"


def register(app: typer.Typer) -> None:
    """Add ``bench`` to the command line."""
    app.command()(bench)


def bench(
    clips: Annotated[
        list[Path] | None, typer.Argument(help="Clips to measure on; a sweep needs none.")
    ] = None,
    models: ModelsOption = "embedded",
    repeat: Annotated[int, typer.Option(min=1, help="Passes over each clip.")] = 1,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            help="Another set or bundle, measured in turns in the same run, or transformers: the "
            "plain pipeline of the same networks, or cuda-graphs: the same set with and without "
            "them. Repeat for several sets."
        ),
    ] = None,
    sweep: Annotated[
        Literal["objects", "resolution"] | None,
        typer.Option(help="How speed changes with the number of objects or the picture's size."),
    ] = None,
    cuda_graphs: Annotated[
        bool, typer.Option(help="Launch TensorRT's plans as CUDA graphs.")
    ] = False,
    device: Annotated[str, typer.Option(help="Of a sweep: auto, cpu, cuda or tensorrt.")] = "auto",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="JSON file to write.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="PNG file to draw (needs the [viz] extra).")
    ] = None,
    write_readme: Annotated[
        Path | None, typer.Option("--write-readme", help="File whose bench section is replaced.")
    ] = None,
    section: Annotated[
        str, typer.Option(help="Name of the section that --write-readme replaces.")
    ] = "bench",
) -> None:
    """Measure frames/s, every stage, answers, tokens, cold start, memory and energy."""
    from .bench_report import replace_section
    from .stream.sinks import make_folder, write_json

    with told_when_interrupted():
        if sweep is not None:
            found: Any = _sweep(models, sweep, device, repeat, cuda_graphs)
        elif compare:
            found = _compare(clips or [], models, compare, repeat, cuda_graphs)
        else:
            found = _one(clips or [], models, repeat, cuda_graphs)
    if out is not None:
        make_folder(out.parent)
        write_json(out, found.document)
    print(found.markdown())
    if plot is not None:
        print(_plot(found, plot))
    if write_readme is not None:
        replace_section(write_readme, section, found.markdown())


def _one(clips: list[Path], models: str, repeat: int, cuda_graphs: bool) -> Any:
    from .bench import bench_sets

    with progress() as show:
        switch = [cuda_graphs]
        return bench_sets(clips, [models], repeat=repeat, progress=show, cuda_graphs=switch)[0]


def _compare(
    clips: list[Path], models: str, others: list[str], repeat: int, cuda_graphs: bool
) -> Comparison:
    from ..twin.errors import InputError
    from .bench_compare import compare_cuda_graphs, compare_sets, compare_transformers

    special = {_TRANSFORMERS: compare_transformers, _CUDA_GRAPHS: compare_cuda_graphs}
    if not special.keys() & set(others):
        sets = [models, *others]
        return compare_sets(clips, sets, repeat=repeat, cuda_graphs=cuda_graphs)
    if len(others) > 1 or cuda_graphs:
        given = [*others, *(["--cuda-graphs"] if cuda_graphs else [])]
        raise InputError(
            f"expected {_TRANSFORMERS}, {_CUDA_GRAPHS} or sets to compare with, got "
            f"{' and '.join(given)}: run the command once for each"
        )
    return special[others[0]](clips, models, repeat=repeat)


def _sweep(
    models: str,
    axis: Literal["objects", "resolution"],
    device: str,
    repeat: int,
    cuda_graphs: bool,
) -> Any:
    from ..perception.bundle import load_bundle
    from .bench_sweep import sweep

    bundle = load_bundle(models, device=device, cuda_graphs=cuda_graphs)
    return sweep(bundle, axis, rounds=max(3, repeat))


def _plot(found: Any, path: Path) -> Path:
    from .bench_compare import Comparison
    from .bench_plots import plot_comparison, plot_report, plot_sweep
    from .bench_sweep import Sweep

    if isinstance(found, Sweep):
        return plot_sweep(found, path)
    if isinstance(found, Comparison):
        return plot_comparison(found, path)
    return plot_report(found, path)
