"""Proof that a bundle is right: it is compared with what it was made from, against bounds.

Hashes first. Then every graph on recorded inputs, the twins of clips, and answers: by the
bundle's language models on the reference's twins, and by all of the bundle on its own. The
engines are those that this machine has: ONNX Runtime always, TensorRT and llama.cpp where they
are installed; what could not be run is said. ``report.json`` and ``report.md`` go into the
bundle.

Not covered: speed (``edgetwin bench``), and which of two different answers is the right one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...perception.bundle import Bundle, load_bundle
from ...perception.engines.tensorrt import has_tensorrt
from ...reasoner.models.opening import open_model
from ...reasoner.rollout import Reasoner
from ...twin.errors import EdgeTwinError
from ...twin.files import replace
from ...twin.schema import FrameTwin
from ...twin.window import TwinWindow
from ..machine import environment
from .clip import Clip
from .graphs import Feeds
from .manifest import DeviceBundle, LanguageRecord, load
from .parity import (
    AnswerDifference,
    GraphDifference,
    TwinDifference,
    asked,
    compare_answers,
    compare_graph,
    compare_twins,
    perceive,
)

__all__ = ["ANSWERS", "GRAPHS", "MASKS", "Verification", "verify"]

GRAPHS = {"fp32": 1e-3}
"""Largest relative difference of a graph's outputs by precision; others are judged by masks."""
MASKS = {"fp32": 0.99, "fp16": 0.99, "int8": 0.97}
"""Least mean mask IoU by the lowest precision among the bundle's graphs."""
ANSWERS = 0.99
"""Least share of questions with the same answer."""

_LOW = ("int8", "fp16", "fp32")  # the lowest first
_UNBOUND = ("q4_k_m",)  # formats that are reported and not bound: their loss is the choice


@dataclass
class Verification:
    """What was compared, and what missed its bound.

    ``twins`` and ``answers`` are by engine or runtime; ``skipped`` says what could not be run.
    """

    bundle: str
    bytes: int
    graphs: dict[str, dict[str, Any]] = field(default_factory=dict)
    twins: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def document(self) -> dict[str, Any]:
        """Everything as plain values, with the machine."""
        return {"environment": environment(), "bounds": _bounds(), **vars(self)}

    def markdown(self) -> str:
        """The report for a person."""
        verdict = "every bound is met" if not self.missed else f"{len(self.missed)} bounds missed"
        lines = [f"# Verification of {self.bundle}: {verdict}", ""]
        lines += [f"- missed: {text}" for text in self.missed]
        lines += [f"- not run: {text}" for text in self.skipped]
        lines += [f"- hashes of all files agree ({self.bytes / 1e6:.1f} MB)", ""]
        lines += _table(
            ("graph", "precision", "inputs", "largest difference", "mean"),
            [
                (n, g["precision"], g["inputs"], f"{g['largest']:.2e}", f"{g['mean']:.2e}")
                for n, g in self.graphs.items()
            ],
        )
        lines += _table(
            ("twins by", "objects", "mask IoU", "5th percentile", "box px", "depth", "unmatched"),
            [
                (
                    n,
                    t["objects"],
                    f"{t['mask_iou_mean']:.4f}",
                    f"{t['mask_iou_p05']:.4f}",
                    f"{t['box_px_mean']:.3f}",
                    f"{t['depth_relative_mean']:.2%}",
                    t["unmatched"],
                )
                for n, t in self.twins.items()
            ],
        )
        lines += _table(
            ("answers by", "questions", "same answer", "same plan"),
            [
                (n, a["questions"], f"{a['same_answers']:.4f}", f"{a['same_plans']:.4f}")
                for n, a in self.answers.items()
            ],
        )
        differing = [f"- {n}: {text}" for n, a in self.answers.items() for text in a["examples"]]
        lines += ["Answers that differ:", "", *differing, ""] if differing else []
        lines.append("Differences are relative to max(1, largest output); depth to its value.")
        return "\n".join(lines) + "\n"


def verify(
    folder: str | Path,
    reference: Bundle,
    *,
    feeds: Mapping[str, Feeds],
    clips: Sequence[Clip],
    language: str | Path = "embedded",
    words: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Verification:
    """Compare a bundle with what it was made from; writes the report into it.

    Args:
        folder: the bundle.
        reference: the set that it was made from, on torch where that is installed.
        feeds: graph's file name -> inputs for it.
        clips: what both perceive, and are asked about.
        language: the reference's language model, as ``open_model`` takes it.
        words: what to look for; needed where the set knows any word.
        progress: told of each step.

    Raises:
        ModelError: if a file of the bundle is missing or changed, or a model cannot be opened.
    """
    progress("hashes")
    bundle = load(folder)
    found = Verification(f"{bundle.manifest.name} for {bundle.manifest.target}", bundle.verify())
    seen = _engines(bundle, found)
    _graphs(bundle, reference, seen["ONNX Runtime"], feeds, found, progress)
    expected = [_perceived(reference, clip, words, progress) for clip in clips]
    windows = [_windowed(twins) for twins in expected]
    lowest = _lowest(bundle)
    speaker = Reasoner(open_model(language), vocabulary=reference.words.nouns)
    for engine, candidate in seen.items():
        answers = AnswerDifference()
        total = TwinDifference()
        own = _speaker(bundle, candidate)
        for clip, before, window in zip(clips, expected, windows, strict=True):
            progress(f"{engine}: {clip.name}")
            difference = TwinDifference()
            twins = perceive(candidate, clip, words)
            compare_twins(before, twins, difference)
            _add(total, difference)
            partner = difference.partner()
            mine, theirs = (asked(speaker), window), (asked(own), _windowed(twins))
            compare_answers(mine, theirs, clip.questions, answers, partner)
        found.twins[engine] = total.figures()
        found.answers[f"all of the bundle, {engine}"] = _figures(answers)
        _bound(found, f"mask IoU with {engine}", total.mean_iou, MASKS[lowest])
        _bound(found, f"answers of all of the bundle with {engine}", answers.same, ANSWERS)
    for record in bundle.manifest.languages:
        _language(bundle, record, speaker, clips, windows, found, progress)
    _write(bundle.folder, found)
    return found


def _engines(bundle: DeviceBundle, found: Verification) -> dict[str, Bundle]:
    """The bundle's perception on every engine that is here."""
    place = bundle.folder / "perception"
    engines = {"ONNX Runtime": load_bundle(place, device="cpu", threads=1)}
    if has_tensorrt():
        engines["TensorRT"] = load_bundle(place, device="tensorrt")
    else:
        found.skipped.append("TensorRT is not installed on this machine")
    return engines


def _graphs(
    bundle: DeviceBundle,
    reference: Bundle,
    candidate: Bundle,
    feeds: Mapping[str, Feeds],
    found: Verification,
    progress: Callable[[str], None],
) -> None:
    for name, record in sorted(bundle.manifest.graphs.items()):
        if not len(feeds.get(name, ())):
            found.skipped.append(f"{name}: the clips gave it no input")
            continue
        progress(f"graph {name}")
        gap: GraphDifference = compare_graph(reference, candidate, name, feeds[name])
        found.graphs[name] = {
            "precision": record.precision,
            "inputs": gap.inputs,
            "largest": gap.largest,
            "mean": gap.mean,
        }
        most = GRAPHS.get(record.precision)
        if most is not None and gap.largest > most:
            found.missed.append(f"{name}: a difference of {gap.largest:.2e}, at most {most:g}")


def _language(
    bundle: DeviceBundle,
    record: LanguageRecord,
    speaker: Reasoner,
    clips: Sequence[Clip],
    windows: Sequence[TwinWindow],
    found: Verification,
    progress: Callable[[str], None],
) -> None:
    """One of the bundle's language models, on the reference's twins."""
    name = f"{record.runtime} {record.precision}"
    if record.runtime == "tensorrt-edge-llm":
        found.skipped.append(f"{name}: runs on a Jetson only")
        return
    if record.runtime == "llama.cpp" and find_spec("llama_cpp") is None:
        found.skipped.append(f"{name}: llama-cpp-python is not installed")
        return
    progress(f"language model {name}")
    try:
        model = open_model(bundle.folder / record.place)
    except EdgeTwinError as error:
        found.missed.append(f"{name}: {error}")
        return
    other = Reasoner(model, vocabulary=speaker.vocabulary)
    answers = AnswerDifference()
    for clip, window in zip(clips, windows, strict=True):
        both = (asked(speaker), window), (asked(other), window)
        compare_answers(*both, clip.questions, answers)
    found.answers[name] = _figures(answers)
    if record.precision not in _UNBOUND:
        _bound(found, f"answers of {name}", answers.same, ANSWERS)


def _speaker(bundle: DeviceBundle, seen: Bundle) -> Reasoner:
    place = bundle.folder / "reasoner"
    source: str | Path = place if place.is_dir() else "embedded"
    return Reasoner(open_model(source), vocabulary=seen.words.nouns)


def _perceived(
    reference: Bundle, clip: Clip, words: Sequence[str] | None, progress: Callable[[str], None]
) -> list[FrameTwin]:
    progress(f"reference: {clip.name}")
    return perceive(reference, clip, words)


def _windowed(twins: Sequence[FrameTwin]) -> TwinWindow:
    window = TwinWindow()
    for twin in twins:
        window.append(twin)
    return window


def _lowest(bundle: DeviceBundle) -> str:
    used = {record.precision for record in bundle.manifest.graphs.values()}
    return next((precision for precision in _LOW if precision in used), "fp32")


def _add(total: TwinDifference, one: TwinDifference) -> None:
    total.frames += one.frames
    total.ious += one.ious
    total.box_px += one.box_px
    total.depth += one.depth
    total.unmatched += one.unmatched
    total.relabelled += one.relabelled
    total.other_ids += one.other_ids


def _figures(answers: AnswerDifference) -> dict[str, Any]:
    count = max(1, answers.questions)
    return {
        "questions": answers.questions,
        "same_answers": answers.same,
        "same_plans": answers.same_plans / count,
        "examples": answers.examples,
    }


def _bound(found: Verification, what: str, value: float, least: float) -> None:
    if value < least:
        found.missed.append(f"{what}: {value:.4f}, at least {least:g}")


def _bounds() -> dict[str, Any]:
    return {"graphs": GRAPHS, "masks": MASKS, "answers": ANSWERS}


def _write(folder: Path, found: Verification) -> None:
    replace(folder / "report.json", (json.dumps(found.document, indent=1) + "\n").encode())
    replace(folder / "report.md", found.markdown().encode())


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    if not rows:
        return []
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return [*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]
