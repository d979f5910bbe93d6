"""The commands under ``edgetwin distill`` and ``edgetwin eval``: parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..deploy.console import (
    DeviceOption,
    ModelsOption,
    TierOption,
    needs_extra,
    print_json,
    progress,
)
from .ablation.commands import register as register_ablation
from .cards.commands import register as register_cards
from .datasets.commands import register as register_datasets
from .evaluate.distilled_commands import register as register_distilled
from .evaluate.language_commands import register as register_language
from .evaluate.refine import register as register_refine
from .evaluate.standing_commands import register as register_standing
from .evaluate.vision import register as register_vision
from .stages.commands import register as register_stages

if TYPE_CHECKING:
    from .evaluate.report import Table

__all__ = ["distill_app", "eval_app"]

distill_app = typer.Typer(help="Train model sets (needs the [train] extra).", no_args_is_help=True)
eval_app = typer.Typer(help="Measure model sets (needs the [sim] extra).", no_args_is_help=True)
register_stages(distill_app)
register_ablation(distill_app)
register_cards(distill_app)
register_datasets(distill_app)
register_distilled(eval_app)
register_language(eval_app)
register_refine(eval_app)
register_standing(eval_app)
register_vision(eval_app)

OutOption = Annotated[Path | None, typer.Option("-o", "--out", help="JSON file to write.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, nothing else.")]


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
    with needs_extra("train"):
        from .embedded import distill_embedded as train

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
    language: Annotated[
        str | None, typer.Option(help="Another language model: a bundle, file, checkpoint or URL.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            help="perception, memory, reasoner or end-to-end; all but memory when left out."
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every setting: memory tracking too, which is slow.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first worlds.")] = None,
    memory_worlds: Annotated[
        int, typer.Option(min=1, help="Worlds for memory tracking, some 4 s each.")
    ] = 20,
    out: OutOption = None,
    as_json: JsonOption = False,
    write_readme: Annotated[
        Path | None,
        typer.Option("--write-readme", help="File whose section gets the short tables."),
    ] = None,
) -> None:
    """Score a model set on TwinBench, beside its aims.

    The JSON (-o or --json) holds every figure with its counts, the machine and the weights'
    hashes.
    """
    with needs_extra("sim"):
        from .evaluate import SETTINGS, evaluate_twinbench
        from .evaluate import report as tables_of

        chosen: dict[str, Any] = {"settings": setting} if setting else {}
        if every:
            chosen["settings"] = SETTINGS
        found = evaluate_twinbench(
            split,
            tier,
            models=models,
            language=language,
            limit=limit,
            memory_worlds=memory_worlds,
            **chosen,
        )
    context: dict[str, Any] = {
        "models": models,
        "split": split,
        "tier": tier,
        "limit": limit,
        "weights": found.weights,
        "figures": found.figures,
    }
    _give(found.tables, context, out, as_json)
    if write_readme is not None:
        text = "\n\n".join(table.markdown() for table in found.short)
        tables_of.replace_section(write_readme, "twinbench", text)


@eval_app.command("reasoner")
def eval_reasoner(
    split: Annotated[Literal["val", "test"], typer.Option(help="Which frozen split.")] = "val",
    tier: TierOption = "cell",
    bundle: Annotated[
        str, typer.Option("--reasoner", help="embedded, or a reasoner bundle's folder.")
    ] = "embedded",
    mode: Annotated[
        list[str] | None,
        typer.Option(help="concise, sentence, detailed or description; all when left out."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Only the first worlds.")] = 20,
    out: OutOption = None,
    as_json: JsonOption = False,
    write_readme: Annotated[
        Path | None, typer.Option("--write-readme", help="File whose section gets the table.")
    ] = None,
) -> None:
    """Measure answers in every mode: cold and warm prefix, free and constrained decoding."""
    with needs_extra("sim"):
        from .evaluate import report as tables_of
        from .evaluate.reasoning import evaluate_reasoning

        chosen: dict[str, Any] = {"modes": mode} if mode else {}
        tables, figures = evaluate_reasoning(split, tier, reasoner=bundle, limit=limit, **chosen)
    context = {"reasoner": bundle, "split": split, "tier": tier, "limit": limit, "figures": figures}
    _give(tables, context, out, as_json)
    if write_readme is not None:
        text = "\n\n".join(table.markdown() for table in tables)
        tables_of.replace_section(write_readme, "reasoning", text)


@eval_app.command("precision")
def eval_precision(
    models: ModelsOption = "embedded",
    graph: Annotated[
        list[str] | None, typer.Option(help="Such as depth.onnx; all when left out.")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="float32, 'float16 weights', float16 or int8; all when left out."),
    ] = None,
    worlds: Annotated[int, typer.Option(min=1, help="Validation worlds for the scores.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="Runs that are timed.")] = 30,
    whole: Annotated[bool, typer.Option(help="All graphs at once, too.")] = True,
    language: Annotated[bool, typer.Option(help="The language model, too.")] = True,
    work: Annotated[Path, typer.Option(help="Folder for the variants.")] = Path("runs/precision"),
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make float16 and int8 variants of every graph: accuracy, size, ms and memory of each."""
    with needs_extra("export"), needs_extra("sim"):
        from .evaluate.precision import evaluate_precision

        found = evaluate_precision(
            models,
            graphs=graph or None,
            variants=variant or None,
            worlds=worlds,
            rounds=rounds,
            whole=whole,
            language=language,
            work=work,
        )
    context = {"models": models, "weights": found.weights, "figures": found.figures}
    _give(found.tables, context, out, as_json)


@eval_app.command("rewards")
def eval_rewards(
    guarded: Annotated[
        bool, typer.Option(help="Without the guards, what were tricks worth?")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Print what each combination of rewards pays for tricks: empty chains, naming all, ..."""
    with needs_extra("train"):
        from .rewards.adversaries import adversarial_table

        table = adversarial_table(guarded=guarded)
    _give([table], {"guarded": guarded}, None, as_json)


@eval_app.command("soak")
def eval_soak(
    frames: Annotated[int, typer.Option(min=20, help="How many.")] = 20_000,
    objects: Annotated[int, typer.Option(min=1, help="Things coming and going at a time.")] = 4,
    models: ModelsOption = "embedded",
    seed: Annotated[int, typer.Option(min=0, help="Of the scene.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Per network; all cores if left out.")
    ] = None,
    pipelined: Annotated[bool, typer.Option(help="Networks ahead of the rest.")] = False,
    store: Annotated[
        Path | None, typer.Option(help="File to store the newest 2,000 twins in.")
    ] = None,
    loads: Annotated[bool, typer.Option(help="Time 1, 4, 8 and 16 objects too.")] = True,
    sprites: Annotated[int, typer.Option(min=1, help="How many different things.")] = 100,
    cache: Annotated[Path, typer.Option(help="Folder for rendered cut-outs.")] = Path("runs/soak"),
    out: OutOption = None,
) -> None:
    """Send many frames through one perceiver: memory, latency and ids must hold out.

    Exit code 1 if memory or latency grew by more than 5 %.
    """
    with needs_extra("sim"):
        from ..deploy.stream.sinks import make_folder, write_json
        from .evaluate.report import show
        from .evaluate.soak import LOADS, soak

        with progress() as show_progress:
            report = soak(
                models,
                frames,
                objects,
                seed,
                threads=threads,
                pipelined=pipelined,
                store=store,
                loads=LOADS if loads else (),
                sprites=sprites,
                cache=cache,
                progress=show_progress,
            )
    show(report.tables())
    if out is not None:
        make_folder(out.parent)
        write_json(out, report.document)
    for line in report.failures():
        print(f"failed: {line}", file=sys.stderr)
    if report.failures():
        raise typer.Exit(1)


@eval_app.command("tracking")
def eval_tracking(
    split: Annotated[Literal["val", "test"], typer.Option(help="Which frozen split.")] = "val",
    tier: TierOption = "cell",
    models: ModelsOption = "embedded",
    clips: Annotated[
        list[str] | None, typer.Option(help="bench or hiding; both when left out.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(help="boxes (true ones), detector or unnamed; the first two when left out."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first clips.")] = None,
    fps: Annotated[float, typer.Option(help="Frames per second of the hiding clips.")] = 8.0,
    cache: Annotated[Path, typer.Option(help="Folder for rendered clips.")] = Path(
        "runs/twinbench"
    ),
    out: OutOption = None,
) -> None:
    """Score identities with TrackEval, beside IoU matching and SAM 2 prompted once."""
    with needs_extra("sim"):
        from ..deploy.models import bundle_identities
        from ..perception.bundle import load_bundle
        from .evaluate import report as tables_of
        from .evaluate.tracking import evaluate_tracking

        chosen: dict[str, Any] = {}
        if clips:
            chosen["clips"] = clips
        if setting:
            chosen["settings"] = setting
        tables = evaluate_tracking(
            split, tier, models=models, limit=limit, fps=fps, cache=cache, **chosen
        )
    context: dict[str, Any] = {"models": models, "split": split, "tier": tier, "limit": limit}
    context["weights"] = bundle_identities(load_bundle(models))
    tables_of.show(tables)
    if out is not None:
        tables_of.write_json(tables, out, **context)


@eval_app.command("speed")
def eval_speed(
    segmenter: Annotated[
        Literal["sam2.1-tiny", "edgetam"], typer.Option(help="Whose configuration.")
    ] = "sam2.1-tiny",
    device: DeviceOption = "cpu",
    full: Annotated[
        bool, typer.Option("--full", help="Published picture sizes; half of them if left out.")
    ] = False,
    objects: Annotated[int, typer.Option(min=1, max=8, help="Objects followed.")] = 3,
    every: Annotated[int, typer.Option(min=2, help="Frames between our looks.")] = 8,
    memories: Annotated[int, typer.Option(min=1, help="Frames of memory per object.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Times each side is measured.")] = 3,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Per network; all cores if left out.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps the exported graphs.")
    ] = None,
    out: OutOption = None,
) -> None:
    """Time networks of published size, random weights, beside transformers' own pipeline."""
    with needs_extra("export"):
        from .evaluate import report as tables_of
        from .evaluate.real_size import compare

        tables = compare(
            device=device,
            reduced=not full,
            segmenter=segmenter,
            objects=objects,
            every=every,
            memories=memories,
            rounds=rounds,
            threads=threads,
            cache=cache,
        )
    tables_of.show(tables)
    if out is not None:
        tables_of.write_json(tables, out, segmenter=segmenter, device=device, reduced=not full)


def _give(
    tables: Sequence[Table], context: dict[str, Any], out: Path | None, as_json: bool
) -> None:
    """Show tables or print them as JSON, and write them to a file if there is one."""
    from .evaluate import report as tables_of

    if as_json:
        print_json(tables_of.document(tables, **context))
    else:
        tables_of.show(tables)
    if out is not None:
        tables_of.write_json(tables, out, **context)
