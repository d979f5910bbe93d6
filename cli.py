"""The command line: parses, calls, prints. ``edgetwin --help`` is its documentation.

Exit codes: 0 done; 1 ``doctor`` found something missing; 2 the input, the models or the disk
refused, told in one line on stderr; 130 interrupted. What was computed before stays on disk.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import __version__
from .twin.errors import EdgeTwinError, MissingExtraError

__all__ = ["app", "main"]

app = typer.Typer(
    help="A video in, masks out: ask implicit questions about a video.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
distill_app = typer.Typer(help="Train model sets (needs the [train] extra).", no_args_is_help=True)
eval_app = typer.Typer(help="Measure model sets (needs the [sim] extra).", no_args_is_help=True)
app.add_typer(distill_app, name="distill")
app.add_typer(eval_app, name="eval")

ModelsOption = Annotated[
    str, typer.Option("--models", help="embedded, edge, server, or a bundle's folder.")
]
TierOption = Annotated[
    Literal["cell", "wild"], typer.Option(help="The easy tabletop or the wide randomisation.")
]


def main() -> None:
    """Run the command line; an EdgeTwinError becomes one line and exit code 2."""
    try:
        app(prog_name="edgetwin")
    except EdgeTwinError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"edgetwin {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    source: Annotated[Path, typer.Argument(help="A video, a picture or a folder of frames.")],
    question: Annotated[
        list[str] | None, typer.Option("-q", "--question", help="A question; repeat for several.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("out"),
    models: ModelsOption = "embedded",
    fps: Annotated[float, typer.Option(help="Rate of a folder of frames.")] = 10.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print answer.json on stdout, nothing else.")
    ] = False,
) -> None:
    """Answer questions about a video with masks.

    Writes overlay.mp4, masks/, masks.json, twin.sqlite, twin.jsonl and answer.json.
    """
    from .deploy.run import run as run_pipeline

    with _progress() as progress:
        report = run_pipeline(source, question or [], out, models, fps=fps, progress=progress)
    _print_warnings(report.warnings)
    if as_json:
        print(json.dumps(report.document, indent=2, ensure_ascii=False))
    else:
        _print_report(report)
    if report.failed:
        raise typer.Exit(2)


@app.command()
def track(
    source: Annotated[Path, typer.Argument(help="A video, a picture or a folder of frames.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("out"),
    models: ModelsOption = "embedded",
    words: Annotated[
        str | None,
        typer.Option(help='What to look for: "mug, red ball". All words of the set if left out.'),
    ] = None,
    look_every: Annotated[
        int | None,
        typer.Option(
            "--keyframe-every",
            min=1,
            help="Frames between looks of the detector; content asks "
            "for more. The set decides if left out.",
        ),
    ] = None,
    budget_ms: Annotated[
        float | None,
        typer.Option(help="Milliseconds that a frame may take on average; looks give way."),
    ] = None,
    follow: Annotated[
        Literal["auto", "boxes", "memory", "hybrid"],
        typer.Option(help="What masks follow by between looks: boxes, SAM 2's memory, or both."),
    ] = "auto",
    overlay: Annotated[bool, typer.Option(help="Draw overlay.mp4.")] = True,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    fps: Annotated[float, typer.Option(help="Rate of a folder of frames.")] = 10.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print tracks.json on stdout, nothing else.")
    ] = False,
) -> None:
    """Find and follow every object of a video, without language.

    Writes tracks.json (one summary per object), overlay.mp4, masks.json, twin.sqlite and
    twin.jsonl. Ctrl-C keeps what was written.
    """
    from .deploy.track import perceiver_config
    from .deploy.track import track as track_source

    with _progress() as progress:
        report = track_source(
            source,
            out,
            models,
            words=words,
            config=perceiver_config(look_every=look_every, follow=follow, budget_ms=budget_ms),
            overlay=overlay,
            max_frames=max_frames,
            fps=fps,
            progress=progress,
        )
    _print_warnings(report.warnings)
    if as_json:
        print(json.dumps(report.document, indent=2, ensure_ascii=False))
    else:
        print(report.text())


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what this machine has and lacks, with the line that mends it."""
    from .deploy.doctor import examine, ready

    checks = examine()
    if as_json:
        print(json.dumps([check.as_dict() for check in checks], indent=2, ensure_ascii=False))
    else:
        marks = {"ok": "ok     ", "missing": "MISSING", "info": "-      "}
        for check in checks:
            print(f"{marks[check.state]} {check.name}: {check.found}")
            if check.advice:
                print(f"          {check.advice}")
    if not ready(checks):
        raise typer.Exit(1)


@app.command()
def sim(
    out: Annotated[Path, typer.Argument(help="Folder; each world gets a folder of its own.")],
    seed: Annotated[int, typer.Option(help="Seed of the first world.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="How many worlds.")] = 1,
    tier: TierOption = "cell",
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Length.")] = 4.0,
    fps: Annotated[float, typer.Option(min=0.1, max=240, help="Frames per second.")] = 8.0,
) -> None:
    """Render simulated tabletop worlds to video with exact truth."""
    with _extra("sim"):
        from .distill.sim.video import write_video
        from .distill.sim.worlds import World

    for place in range(count):
        folder = out if count == 1 else out / f"{tier}-{seed + place}"
        with _extra("sim"):
            paths = write_video(World(seed + place, tier), folder, fps, seconds)
        print(paths["video"])


@app.command()
def bench(
    clips: Annotated[list[Path], typer.Argument(help="Clips to measure on.")],
    models: ModelsOption = "embedded",
    repeat: Annotated[int, typer.Option(min=1, help="Passes over each clip.")] = 1,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="JSON file to write.")] = None,
    write_readme: Annotated[
        Path | None, typer.Option("--write-readme", help="File whose bench section is replaced.")
    ] = None,
) -> None:
    """Measure perception frames/s, answer ms and peak memory on this machine."""
    from .deploy.bench import bench as measure
    from .deploy.stream.sinks import make_folder, write_json

    report = measure(clips, models, repeat=repeat)
    if out is not None:
        make_folder(out.parent)
        write_json(out, report.document)
    print(report.markdown())
    if write_readme is not None:
        from .distill.evaluate.report import replace_section

        replace_section(write_readme, "bench", report.markdown())


@distill_app.command("embedded")
def distill_embedded(
    net: Annotated[
        list[str] | None,
        typer.Option("--net", help="detector, segmenter, depth or reasoner; all when left out."),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="Training time of all networks together.")
    ] = 120.0,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where.")] = "auto",
    data: Annotated[Path, typer.Option(help="Folder for rendered data.")] = Path("runs/data"),
    work: Annotated[Path, typer.Option(help="Folder for checkpoints.")] = Path("runs/embedded"),
    recipe: Annotated[
        Path | None, typer.Option(help="YAML; the package's own if left out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of data order and first weights.")] = 0,
) -> None:
    """Train the embedded set: render ahead, train, validate, export, keep what is better.

    Stopped at any moment, the same command goes on where it was.
    """
    with _extra("train"):
        from .distill.embedded import distill_embedded as train

        outcomes = train(
            net or None,
            minutes=minutes,
            device=device,
            data=data,
            work=work,
            recipe=recipe,
            seed=seed,
        )
    for outcome in outcomes:
        print(outcome)


@eval_app.command("twinbench")
def eval_twinbench(
    split: Annotated[Literal["val", "test"], typer.Option(help="Which frozen split.")] = "val",
    tier: TierOption = "cell",
    models: ModelsOption = "embedded",
    setting: Annotated[
        list[str] | None,
        typer.Option(help="perception, reasoner or end-to-end; all when left out."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first worlds.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="JSON file to write.")] = None,
    write_readme: Annotated[
        Path | None, typer.Option("--write-readme", help="File whose section is replaced.")
    ] = None,
) -> None:
    """Score a model set on TwinBench, one table per setting."""
    with _extra("sim"):
        from .distill.evaluate import evaluate_twinbench
        from .distill.evaluate import report as tables_of

        chosen: dict[str, Any] = {"settings": setting} if setting else {}
        tables = evaluate_twinbench(split, tier, models=models, limit=limit, **chosen)
    tables_of.show(tables)
    if out is not None:
        tables_of.write_json(tables, out, models=models, split=split, tier=tier, limit=limit)
    if write_readme is not None:
        text = "\n\n".join(table.markdown() for table in tables)
        tables_of.replace_section(write_readme, "twinbench", text)


@contextmanager
def _extra(extra: str) -> Iterator[None]:
    """Turn a missing optional package into the pip line that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("edgetwin", ""):
            raise
        raise MissingExtraError(str(error.name), extra) from error


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], None]]:
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


def _print_warnings(warnings: list[str]) -> None:
    for warning in warnings:
        print(f"warning: {' '.join(warning.split())}", file=sys.stderr)


def _print_report(report: Any) -> None:
    from .deploy.run import answer_text

    first = report.answers[0]
    seen = first["source"]
    print(
        f"{seen['id']}: {seen['frames']} frames of {seen['width']}x{seen['height']}, "
        f"{seen['seconds']:.1f} s"
    )
    for answer in report.answers:
        tokens = answer.get("tokens", {})
        print(f"Q  {answer['question']}")
        print(
            f"A  {answer_text(answer)}   ({answer['status']}, {answer['ms']['reason']:.0f} ms, "
            f"{tokens.get('rationale', 0)} reasoning tokens)"
        )
        if answer.get("message"):
            print(f"   {answer['message']}")
    frames = max(1, report.frames)
    per_frame = [
        f"{name} {ms / frames:.1f}"
        for name, ms in report.ms.items()
        if name not in ("load", "reason", "draw")
    ]
    print(f"ms per frame: {' · '.join(per_frame)}")
    totals = [f"{name} {report.ms[name]:.0f}" for name in ("load", "reason", "draw")]
    print(f"ms in all: {' · '.join(totals)}")
    print(f"look at {report.out_dir / 'overlay.mp4'}; answers in {report.out_dir / 'answer.json'}")


if __name__ == "__main__":
    main()
