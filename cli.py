"""The command line: parses, calls, prints. ``edgetwin --help`` is its documentation.

Exit codes: 0 done; 1 ``doctor`` found something missing, ``twin check`` a fault, ``export
--verify`` a missed bound, or a soak broke its limits; 2 the input, the models or the disk refused, told in one line on stderr; 130
interrupted. What was computed before stays on disk.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import __version__
from .deploy.agents.commands import register as register_agents
from .deploy.ask_commands import register as register_ask
from .deploy.bench_commands import register as register_bench
from .deploy.console import (
    DeviceOption,
    LanguageOption,
    ModelsOption,
    ModeOption,
    NetworkOption,
    TierOption,
    needs_extra,
    print_json,
    print_warnings,
    progress,
    told_when_interrupted,
)
from .deploy.export.clip import Clip
from .deploy.export.commands import register as register_export
from .deploy.export.engines_commands import register as register_engines
from .deploy.export.upgrade_commands import register as register_upgrade
from .deploy.planner.commands import register as register_estimate
from .deploy.serve.commands import register as register_serve
from .deploy.twin_commands import twin_app
from .distill.commands import distill_app, eval_app
from .twin.errors import EdgeTwinError

if TYPE_CHECKING:
    from .deploy.stream.spec import Opener

__all__ = ["app", "main"]

app = typer.Typer(
    help="A video in, masks out: ask implicit questions about a video.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(twin_app, name="twin")
app.add_typer(distill_app, name="distill")
app.add_typer(eval_app, name="eval")


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
    words: Annotated[
        str | None,
        typer.Option(help='What to look for: "mug, red ball". All words of the set if left out.'),
    ] = None,
    mode: ModeOption = "concise",
    refine: Annotated[
        bool, typer.Option(help="Look again for what a question needs and the twin lacks.")
    ] = True,
    reasoner: Annotated[
        Literal["twin", "rsvp", "vlm"],
        typer.Option(help="Read the twin, or ask a vision-language model about pictures."),
    ] = "twin",
    language: LanguageOption = None,
    vision: Annotated[
        str | None,
        typer.Option(help="The vision-language model: http://host/v1#name, a folder or hub id."),
    ] = None,
    keyframes: Annotated[int, typer.Option(min=1, help="Pictures that it sees.")] = 1,
    fps: Annotated[float, typer.Option(help="Rate of a folder of frames.")] = 10.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print answer.json on stdout, nothing else.")
    ] = False,
) -> None:
    """Answer questions about a video with masks.

    Writes overlay.mp4, masks/, masks.json, twin.sqlite, twin.jsonl and answer.json.
    """
    from .deploy.run import run as run_pipeline

    with told_when_interrupted(), progress() as show_progress:
        report = run_pipeline(
            source,
            question or [],
            out,
            models,
            fps=fps,
            words=words,
            mode=mode,
            refine=refine,
            reasoner=reasoner,
            language=language,
            vision=vision,
            keyframes=keyframes,
            progress=show_progress,
        )
    print_warnings(report.warnings)
    if as_json:
        print_json(report.document)
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
    everything: Annotated[
        bool, typer.Option("--everything", help="Objects that no word covers, too; slower.")
    ] = False,
    network: NetworkOption = None,
    device: DeviceOption = "auto",
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
    from .deploy.models import parse_networks
    from .deploy.track import perceiver_config
    from .deploy.track import track as track_source

    with told_when_interrupted(), progress() as show_progress:
        report = track_source(
            source,
            out,
            models,
            words=words,
            networks=parse_networks(network or ()),
            device=device,
            config=perceiver_config(
                look_every=look_every, follow=follow, budget_ms=budget_ms, everything=everything
            ),
            overlay=overlay,
            max_frames=max_frames,
            fps=fps,
            progress=show_progress,
        )
    print_warnings(report.warnings)
    if as_json:
        print_json(report.document)
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
        print_json([check.as_dict() for check in checks])
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
    with needs_extra("sim"):
        from .distill.sim.video import write_video
        from .distill.sim.worlds import World

    for place in range(count):
        folder = out if count == 1 else out / f"{tier}-{seed + place}"
        with needs_extra("sim"):
            paths = write_video(World(seed + place, tier), folder, fps, seconds)
        print(paths["video"])


register_ask(app)
register_bench(app)


def _worlds(count: int) -> Sequence[Clip]:
    from .distill.evaluate.clips import validation_clips

    return validation_clips(count)


register_export(app, _worlds)
register_engines(app)
register_upgrade(app)
register_estimate(app)


def _simulated() -> Mapping[str, Opener]:
    from .distill.sim.live import openers

    return openers()


register_serve(app, _simulated)
register_agents(app, _simulated)


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
