"""Number formats of the language model: the builder's int4, which ships, beside float32.

Each is asked the benchmark's questions on true twins, in a process of its own::

    python -m edgetwin.distill.evaluate.precision_reasoner FOLDER TASKS.json --threads 1

which prints one line of JSON: ids per question, median milliseconds, memory. Not covered:
float16, for which ONNX Runtime GenAI's builder has no form on CPUs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...reasoner.bundle import ReasonerBundle, load_bundle, write_manifest
from ...reasoner.models.ort_genai import OrtGenAiModel
from ...reasoner.rollout import Reasoner
from ...twin.errors import ModelError
from ...twin.schema import FrameTwin
from ...twin.window import TwinWindow
from ..sim.questions import Question
from .precision_probe import peak_mb

__all__ = ["float32_of", "main", "reasoner_rows", "write_tasks"]

GRAPH = "reasoner/model.onnx"


def reasoner_rows(
    bundle: ReasonerBundle,
    asked: Sequence[tuple[TwinWindow, Sequence[Question]]],
    nouns: Sequence[str],
    work: Path,
) -> list[dict[str, Any]]:
    """One row for the bundle as it is, one for its float32 form (built under ``work``)."""
    tasks = write_tasks(asked, nouns, work / "reasoner_tasks.json")
    truth = [set(question.ids) for _, questions in asked for question in questions]
    shipped = str(bundle.config.get("precision", "as shipped"))
    rows = []
    for variant in (shipped, "float32"):
        row: dict[str, Any] = {"graph": GRAPH, "variant": variant, "figure": "exact ids"}
        try:
            folder = bundle.path if variant == shipped else float32_of(bundle, work / "reasoner")
            row["size_mb"] = (folder / "model.onnx").stat().st_size / 1e6
            for threads in (1, 2):
                found = _answers(folder, tasks, threads)
                row |= {f"ms_{threads}": found["ms"], f"cpu_ms_{threads}": found["cpu_ms"]}
                if threads == 1:
                    pairs = zip(found["ids"], truth, strict=True)
                    right = [ids is not None and set(ids) == true for ids, true in pairs]
                    row |= {"score": sum(right) / max(1, len(right)), "questions": len(right)}
                    row |= {key: found[key] for key in ("peak_mb", "before_mb")}
        except (ModelError, ImportError) as error:
            row["error"] = str(error).splitlines()[0][:200]
        rows.append(row)
    return rows


def float32_of(bundle: ReasonerBundle, folder: Path) -> Path:
    """Build the bundle's float32 form from its safetensors (needs torch and transformers)."""
    from ...deploy.export.genai import build_genai

    build_genai(bundle.path, folder, "fp32")
    write_manifest(
        folder,
        bundle.name,
        style=bundle.style,
        words=None if bundle.known_words is None else sorted(bundle.known_words),
        plan_words=list(bundle.plan_words),
        config={**bundle.config, "precision": "float32"},
    )
    return folder


def write_tasks(
    asked: Sequence[tuple[TwinWindow, Sequence[Question]]], nouns: Sequence[str], file: Path
) -> Path:
    """Write twins and questions for the other process."""
    record = {
        "nouns": list(nouns),
        "twins": [
            {
                "frames": [frame.model_dump(mode="json") for frame in window.frames],
                "questions": [question.text for question in questions],
            }
            for window, questions in asked
        ],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record))
    return file


def _answers(folder: Path, tasks: Path, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", f"{__package__}.precision_reasoner", str(folder)]
    command += [str(tasks), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ModelError(
            f"expected answers of {folder}, got: {done.stderr.strip().splitlines()[-1:]}"
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Command line of the other process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tasks", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    record = json.loads(args.tasks.read_text())
    before = peak_mb()
    model = OrtGenAiModel(load_bundle(args.folder), threads=args.threads)
    reasoner = Reasoner(model, vocabulary=record["nouns"])
    ids: list[list[int] | None] = []
    spent: list[tuple[float, float]] = []
    for twin in record["twins"]:
        window = TwinWindow(FrameTwin.model_validate(frame) for frame in twin["frames"])
        for question in twin["questions"]:
            started, busy = time.perf_counter(), time.process_time()
            answer = reasoner.answer(question, window)
            spent.append((time.perf_counter() - started, time.process_time() - busy))
            ids.append(None if answer.status == "error" else list(answer.ids))
    ms, cpu_ms = (1000 * statistics.median(column) for column in zip(*spent, strict=True))
    memory = {"peak_mb": peak_mb(), "before_mb": before}
    print(json.dumps({"ids": ids, "ms": ms, "cpu_ms": cpu_ms, **memory}))


if __name__ == "__main__":
    main()
