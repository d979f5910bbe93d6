"""Language models of real size: tokens per second and memory, backend by backend.

Random weights in the published configurations (:mod:`.language_sizes`), each backend and number
format in a process of its own (:mod:`.language_probe`), all in one run: transformers'
``generate()`` is the yardstick, the others decode freely through this project's backends. The
prompt is a twin of twenty objects with a question.

Not covered: GPUs, grammars, several contexts at once, quality (the weights are random).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from ...reasoner.prompts import prefix, question
from ...twin.errors import EdgeTwinError, InputError
from ...twin.schema import DepthStats, FrameTwin, ObjectTwin
from ...twin.tools import DEFAULT_REGISTRY
from ...twin.window import TwinWindow
from .report import Table

__all__ = ["VARIANTS", "evaluate_speed", "prompt_of"]

VARIANTS: tuple[tuple[str, str], ...] = (
    ("generate", "fp32"),
    ("generate", "bf16"),
    ("transformers", "fp32"),
    ("transformers", "bf16"),
    ("onnxruntime-genai", "int4"),
    ("onnxruntime-genai", "int8"),
    ("onnxruntime-genai", "fp32"),
    ("llama.cpp", "f16"),
    ("llama.cpp", "q8_0"),
    ("llama.cpp", "q4_k_m"),
)
"""Runtime and number format of every row."""

_OBJECTS = 20
_LABELS = ("mug", "bowl", "plate", "box", "ball", "book", "lamp", "bottle", "pan", "phone")
_COLOURS = ("red", "blue", "green", "white", "black", "yellow", "orange")
_LONGEST_S = 3600  # a variant that takes longer is stopped
_COLUMNS = (
    "runtime",
    "format",
    "MB on disk",
    "prompt tokens/s",
    "new tokens/s",
    "times generate()",
    "peak MiB",
    "s to load",
    "",
)


def prompt_of(objects: int = _OBJECTS) -> list[str]:
    """The texts of a prompt: a still twin of so many objects, and a question."""
    held = {number: _thing(number) for number in range(1, objects + 1)}
    frame = FrameTwin(index=0, timestamp_s=0.0, width=640, height=480, objects=held)
    window = TwinWindow([frame])
    text = prefix(window, DEFAULT_REGISTRY, "short")
    return [text, question("Which of the mugs is nearest to the biggest red thing?")]


def evaluate_speed(
    sizes: Sequence[str] = ("0.6B",),
    *,
    variants: Sequence[tuple[str, str]] = VARIANTS,
    tokens: int = 32,
    rounds: int = 2,
    threads: int | None = None,
    objects: int = _OBJECTS,
    work: Path = Path("runs/language"),
    changes: dict[str, int] | None = None,
) -> tuple[list[Table], dict[str, Any]]:
    """One table per size, and every figure.

    Files are kept under ``work`` (0.6B in every format: 7 GB; 1.7B: 18 GB). A variant that
    cannot be built or run has its reason in the last column. ``changes`` replace values of the
    configuration, for tests.

    Raises:
        InputError: if a variant or number is out of range, or a size is unknown.
    """
    if set(variants) - set(VARIANTS) or tokens < 2 or rounds < 1 or objects < 1:
        raise InputError(
            f"expected variants among {VARIANTS}, tokens >= 2, rounds and objects >= 1, got "
            f"{list(variants)}, {tokens}, {rounds} and {objects}"
        )
    from .language_sizes import write_random

    threads = threads or os.cpu_count() or 1
    work.mkdir(parents=True, exist_ok=True)
    prompt = work / "prompt.json"
    prompt.write_text(json.dumps(prompt_of(objects)))
    tables: list[Table] = []
    figures: dict[str, Any] = {"threads": threads, "objects": objects, "rounds": rounds}
    for size in sizes:
        source = write_random(size, work / f"qwen3-{size}", **(changes or {}))
        rows = figures[size] = []
        for variant in track(list(variants), description=size, console=Console(stderr=True)):
            rows.append(_row(source, variant, prompt, (threads, tokens, rounds)))
            _note(figures, work)
        tables.append(_table(size, rows, objects, threads))
    return tables, figures


def _row(
    source: Path, variant: tuple[str, str], prompt: Path, settings: tuple[int, int, int]
) -> dict[str, Any]:
    """One variant built, run and measured; ``error`` holds why it was not."""
    from .language_sizes import FORMATS, formatted

    runtime, kind = variant
    threads, tokens, rounds = settings
    row: dict[str, Any] = {"runtime": runtime, "format": kind}
    try:
        folder = source
        if runtime in ("onnxruntime-genai", "llama.cpp"):
            folder = formatted(source, kind, source.with_name(f"{source.name}-{kind}"), threads)
        held = ["model.safetensors"] if folder == source else [FORMATS[kind], "model.onnx.data"]
        sizes = [(folder / name).stat().st_size for name in held if (folder / name).is_file()]
        row["disk_mb"] = sum(sizes) / 1e6
        command = [sys.executable, "-m", f"{__package__}.language_probe", str(folder), str(prompt)]
        command += ["--runtime", runtime, "--precision", kind if folder == source else "fp32"]
        command += ["--threads", str(threads), "--tokens", str(tokens), "--rounds", str(rounds)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            row["error"] = lines[-1][:200]
        else:
            row |= json.loads(done.stdout.strip().splitlines()[-1])
    except (EdgeTwinError, ImportError, OSError, subprocess.TimeoutExpired) as error:
        row["error"] = str(error).splitlines()[0][:200]
    return row


def _table(size: str, rows: Sequence[dict[str, Any]], objects: int, threads: int) -> Table:
    base = next((_rate(row, "new") for row in rows if row["runtime"] == "generate"), None)
    cells = []
    for row in rows:
        speed = _rate(row, "new")
        times = speed / base if speed and base else None
        disk, peak, load = (row.get(k) for k in ("disk_mb", "peak_mb", "load_s"))
        cells.append(
            (row["runtime"], row["format"], disk, _rate(row, "prompt"), speed, times, peak, load,
             row.get("error"))
        )  # fmt: skip
    read = next((row["prompt_tokens"] for row in rows if "prompt_tokens" in row), None)
    notes: tuple[str, ...] = (
        f"Qwen3-{size}, random weights, {threads} threads; a twin of {objects} objects and a "
        f"question: {read} tokens; each row in a process of its own, peak with its imports",
    )
    if base is None:
        notes = (*notes, "no row of generate() to compare with")
    return Table(f"Language model of {size}", _COLUMNS, tuple(cells), notes)


def _rate(row: dict[str, Any], what: str) -> float | None:
    """Tokens per second."""
    return row[f"{what}_tokens"] / row[f"{what}_s"] if f"{what}_s" in row else None


def _thing(number: int) -> ObjectTwin:
    """One of the scene's objects on a grid."""
    x, y = 40.0 + 110 * (number % 5), 40.0 + 80 * (number // 5)
    depth = 0.5 + 0.03 * number
    return ObjectTwin(
        id=number,
        semantic_label=_LABELS[number % len(_LABELS)],
        attributes={"color": _COLOURS[number % len(_COLOURS)]},
        confidence=0.9,
        box_xyxy=(x - 20, y - 25, x + 20, y + 25),
        centroid=(x, y),
        area=1500,
        depth_stats=_depth(depth),
        first_seen=0,
        last_seen=0,
    )


def _depth(metres: float) -> DepthStats:
    low, high = metres - 0.02, metres + 0.02
    return DepthStats(unit="m", variance=1e-4, min=low, max=high, p5=low, p50=metres, p95=high)


def _note(figures: dict[str, Any], work: Path) -> None:
    """Keep what was measured so far: a full run takes long."""
    (work / "speed.json").write_text(json.dumps(figures, indent=1) + "\n")
