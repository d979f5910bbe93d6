"""The command ``edgetwin estimate``: what a set will do on a device, before there is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import ModelsOption, print_json

if TYPE_CHECKING:
    from ...perception.bundle import Bundle
    from .language import LanguageCounts
    from .measure import Compared
    from .predict import Estimate, Stage, Stream
    from .uses import SetCounts

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add ``estimate`` to the command line."""
    app.command()(estimate)


def estimate(
    target: Annotated[
        str,
        typer.Option(
            help="jetson-orin-nano, jetson-orin-nx, jetson-agx-orin, jetson-thor, a card such as "
            "l4, cuda (the card at hand) or cpu (this machine, measured)."
        ),
    ],
    stream: Annotated[str, typer.Option(help="WIDTHxHEIGHT@RATE.")] = "1280x720@30",
    models: ModelsOption = "embedded",
    objects: Annotated[int, typer.Option(min=1, max=64, help="Objects in view.")] = 4,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16 or int8; as the graphs are stored if left out.")
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(help="A published model (qwen3-0.6b …) or a folder; the set's if left out."),
    ] = None,
    language_precision: Annotated[
        str, typer.Option(help="fp32, fp16, q8_0, q4_k_m or int4.")
    ] = "int4",
    keyframe_every: Annotated[
        int | None, typer.Option(min=1, help="Frames between looks; the set's if left out.")
    ] = None,
    assume: Annotated[
        list[str] | None, typer.Option(help="name=value: another assumption; repeat.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Run the graphs here and say how wrong it was.")
    ] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="JSON file to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout, only.")] = False,
) -> None:
    """Foretell frames/s, memory and answers of a model set on a device, with its assumptions."""
    from .devices import find_device
    from .predict import assumptions, with_assumptions
    from .predict import estimate as foretell

    seen = _stream(stream, objects)
    counts, bundle = _counts(models, measure)
    model = _language(models, language)
    device = find_device(target)
    assumed = with_assumptions(assumptions(device), _changes(assume or []))
    told = foretell(
        counts,
        device,
        seen,
        precision=precision,
        language=model,
        language_precision=language_precision,
        look_every=keyframe_every,
        assumed=assumed,
    )
    document = told.document()
    compared = _measured(bundle, models, told, counts, model) if measure else []
    if compared:
        from ..machine import environment

        document["environment"] = environment()
        document["compared"] = [
            {"what": c.what, "predicted_ms": c.predicted_ms, "measured_ms": c.measured_ms,
             "least_ms": c.least_ms, "runs": c.runs, "error": c.error}
            for c in compared
        ]  # fmt: skip
    if out is not None:
        from ..stream.sinks import make_folder, write_json

        make_folder(out.parent)
        write_json(out, document)
    if as_json:
        print_json(document)
        return
    print(_text(told))
    if compared:
        print(_comparison(compared))


def _stream(text: str, objects: int) -> Stream:
    from ...twin.errors import InputError
    from .predict import Stream

    parts = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})@(\d{1,3}(?:\.\d+)?)", text)
    if parts is None:
        raise InputError(f"expected a stream such as 1280x720@30, got {text!r}")
    return Stream(int(parts[1]), int(parts[2]), float(parts[3]), objects)


def _counts(models: str, measure: bool) -> tuple[SetCounts, Bundle | None]:
    """Return a set's counts, and its bundle where there is one here or it is to be measured."""
    from ...perception.bundle import load_bundle, models_home
    from ...twin.errors import EdgeTwinError, ModelError
    from ..export.manifest import MANIFEST, load
    from ..models import set_folders
    from .uses import SetCounts, count_set, known_sets

    known = known_sets().get(models)
    exported = (models_home() / models / "manifest.json").is_file()
    if known is not None and not measure and not exported:
        return known, None  # so that the hub is not asked for weights that nothing reads
    try:
        bundle = load_bundle(set_folders(models)[0], device="auto")
    except EdgeTwinError:
        if known is None:
            raise
        return known, None
    if (Path(models) / MANIFEST).is_file():
        carried = load(models).manifest.counts
        if carried is not None:
            return SetCounts.from_document(carried), bundle
    elif known is not None:
        return known, bundle
    if hasattr(bundle, "networks"):
        raise ModelError(
            f"expected an exported set to count, got the checkpoints of {models!r}: export them "
            "with `edgetwin export` first, and give the bundle's folder"
        )
    return count_set(bundle), bundle


def _language(models: str, language: str | None) -> LanguageCounts | None:
    from ...reasoner.bundle import EMBEDDED
    from ..export.manifest import MANIFEST, load
    from ..models import set_folders
    from .language import language_of, published

    if language is None and models in ("edge", "server"):
        language = "qwen3-0.6b" if models == "edge" else "qwen3-8b"
    if language is None:
        where = set_folders(models)[1]
        folder = EMBEDDED if str(where) == "embedded" else Path(where)
        parameters = None
        if (Path(models) / MANIFEST).is_file():
            records = load(models).manifest.languages
            parameters = next((r.parameters for r in records if r.place == "reasoner"), None)
        told = (folder / "config.json").is_file() or parameters is not None
        return language_of(folder, parameters) if told else None
    return language_of(Path(language)) if Path(language).is_dir() else published(language)


def _changes(entries: list[str]) -> dict[str, float]:
    from ...twin.errors import InputError

    changes = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        try:
            changes[name.strip()] = float(value)
        except ValueError as error:
            raise InputError(f"expected name=number for --assume, got {entry!r}") from error
    return changes


def _measured(
    bundle: Bundle | None, models: str, told: Estimate, counts: SetCounts, model: Any
) -> list[Compared]:
    from ...reasoner.bundle import load_bundle as load_reasoner_bundle
    from ...reasoner.models.ort_genai import OrtGenAiModel
    from ...twin.errors import InputError
    from ..models import set_folders
    from .measure import compare_answers, compare_graphs

    if bundle is None or told.target.name.startswith("jetson"):
        raise InputError(
            "expected --target cpu or cuda and a set that is here to measure, got "
            f"{told.target.name} and {models}; run it on the device itself with --target cuda"
        )
    found = compare_graphs(bundle, counts, told.target, told.assumed, objects=told.stream.objects)
    if model is not None and model.stored_bytes and not told.target.gpu:
        speaker = OrtGenAiModel(load_reasoner_bundle(set_folders(models)[1]))
        found += compare_answers(speaker, model, told.target, told.assumed, counts)
    return found


def _text(told: Estimate) -> str:
    d, device, stream = told.document(), told.target, told.stream
    lines = [
        f"{told.models} on {device.title}, {stream.width}x{stream.height} at {stream.fps:g} "
        f"frames/s, {stream.objects} objects, {told.precision}",
        "",
        f"{'stage':<10} {'graph':<36} {'GFLOP':>8} {'ms/run':>8} {'runs':>6} {'ms/frame':>9}  bound",
    ]
    lines += [
        f"{s.stage:<10} {_graph(s):<36} {s.gflop:>8.2f} {s.run_ms:>8.2f} "
        f"{s.per_frame:>6.2f} {s.frame_ms:>9.2f}  {s.bound}"
        for s in told.stages
    ]
    lines += [
        "",
        f"frames/s: {d['frames_per_s']:.1f} frame by frame, {d['frames_per_s_pipelined']:.1f} with "
        f"networks ahead: {'keeps up' if d['keeps_up'] else 'does NOT keep up'}",
        f"memory: {d['memory_mb']:.0f} MB of {device.ram_gb:.0f} GB"
        f"{'' if d['fits'] else ': does NOT fit (more than three quarters)'}",
    ]
    if told.answers is not None:
        a = told.answers
        lines.append(
            f"answers: {a.model} {a.precision}, first {a.first_ms:.0f} ms, next {a.next_ms:.0f} ms, "
            f"{a.tokens_per_s:.0f} tokens/s"
        )
    if device.power_w is not None:
        lines.append(
            f"energy: at most {device.power_w / min(d['frames_per_s_pipelined'], stream.fps):.2f} J "
            f"a frame at {device.power_w:.0f} W"
        )
    rates = "measured here" if device.measured else "as published"
    lines += [
        "",
        f"rates ({rates}): {device.bandwidth_gb_s:.1f} GB/s, {device.fp32_tflops:.2f} TFLOPS fp32, "
        f"{device.fp16_tflops:.2f} fp16, {device.int8_tops:.2f} TOPS int8, dense",
        "assumed: " + ", ".join(f"{k} {v:g}" for k, v in d["assumed"].items()),
        *told.notes,
    ]
    return "\n".join(lines)


def _graph(stage: Stage) -> str:
    return f"{stage.graph.removesuffix('.onnx')} ({stage.use})" if stage.graph else ""


def _comparison(compared: list[Compared]) -> str:
    lines = ["", f"{'here':<42} {'foretold':>9} {'median':>9} {'least':>9} {'error':>7}"]
    lines += [
        f"{c.what:<42} {c.predicted_ms:>9.3f} {c.measured_ms:>9.3f} {c.least_ms:>9.3f} "
        f"{c.error:>+7.0%}"
        for c in compared
    ]
    return "\n".join(lines)
