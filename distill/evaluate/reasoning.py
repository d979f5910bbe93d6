"""What an answer costs: cold and warm prefix, free and constrained decoding, every mode.

Each cell asks the same questions on the same true twins, world by world in turn, so that a busy
machine slows all cells alike. *Cold* reads the whole prompt; *warm* follows another question on
the same twin. *Free* decoding is parsed tolerantly, with a repair round; *constrained* decoding
is held to the grammar.

Not covered: several questions at once, sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import track

from ...reasoner.bundle import load_bundle
from ...reasoner.models.base import LanguageModel
from ...reasoner.models.ort_genai import OrtGenAiModel
from ...reasoner.prompts import Mode
from ...reasoner.rollout import Reasoner
from ...twin.errors import InputError
from ...twin.window import TwinWindow
from ..sim.catalogue import Tier
from ..sim.questions import Question
from ..twinbench import BenchSplit, load
from .reasoner import Judged
from .report import Table
from .worlds import rendered_world

__all__ = ["Cell", "Costs", "evaluate_reasoning", "measure"]

Decoding = Literal["constrained", "free"]
Prefix = Literal["warm", "cold"]

_WARM_UP = "What is red?"  # asked before the first question of a world in warm cells
_MODE: dict[str, int] = {"concise": 0, "sentence": 1, "detailed": 2, "description": 3}


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One way to ask."""

    mode: Mode
    decoding: Decoding
    prefix: Prefix


@dataclass
class Costs:
    """Judged answers per cell, in the order of the questions."""

    answers: dict[Cell, list[Judged]] = field(default_factory=dict)

    def figures(self) -> list[dict[str, Any]]:
        """One row per cell: exact ids, milliseconds (median, 95th percentile), tokens (means)."""
        ordered = sorted(self.answers, key=lambda c: (_MODE[c.mode], c.decoding, c.prefix))
        return [self._row(cell) for cell in ordered]

    def ratio(self, mode: Mode) -> float | None:
        """Median of constrained over free milliseconds of generation per question, warm."""
        pair = [self.answers.get(Cell(mode, d, "warm")) for d in ("constrained", "free")]
        if not pair[0] or not pair[1]:
            return None
        held, free = ([one.answer["ms"]["generate"] for one in found] for found in pair if found)
        return float(np.median(np.array(held) / np.maximum(np.array(free), 1e-3)))

    def _row(self, cell: Cell) -> dict[str, Any]:
        judged = self.answers[cell]
        answers = [one.answer for one in judged]

        def ms(stage: str) -> list[float]:
            return [a["ms"][stage] for a in answers]

        def tokens(part: str) -> float:
            return float(np.mean([a["tokens"].get(part, 0) for a in answers]))

        parts = ("rationale", "description", "plan", "answer")
        return {
            "mode": cell.mode,
            "decoding": cell.decoding,
            "prefix": cell.prefix,
            "count": len(judged),
            "exact": float(np.mean([one.exact for one in judged])),
            "median_ms": float(np.median(ms("total"))),
            "p95_ms": float(np.percentile(ms("total"), 95)),
            "prompt_ms": float(np.median(ms("prompt"))),
            "generate_ms": float(np.median(ms("generate"))),
            "prompt_tokens": tokens("prompt"),
            "reused_tokens": tokens("reused"),
            "rationale_tokens": tokens("rationale"),
            "description_tokens": tokens("description"),
            "generated_tokens": sum(tokens(part) for part in parts),
            "forced_tokens": tokens("forced"),
            "errors": sum(a["status"] == "error" for a in answers),
            "repaired": sum(bool(a.get("repairs")) for a in answers),
        }

    def tables(self, where: str) -> list[Table]:
        """The table of all cells, with the ratios of constrained to free decoding."""
        keys = (
            "count", "exact", "median_ms", "p95_ms", "prompt_tokens", "reused_tokens",
            "rationale_tokens", "generated_tokens", "forced_tokens",
        )  # fmt: skip
        rows = tuple(
            (f"{row['mode']}, {row['decoding']}, {row['prefix']}", *(row[key] for key in keys))
            for row in self.figures()
        )
        modes = dict.fromkeys(cell.mode for cell in self.answers)
        ratios = [(mode, self.ratio(mode)) for mode in modes]
        told = ", ".join(f"{mode} {ratio:.2f}" for mode, ratio in ratios if ratio is not None)
        note = f"ms of generation, constrained over free, median of questions, warm: {told}"
        return [
            Table(
                f"Answers, {where}",
                (
                    "mode, decoding, prefix", "count", "exact ids", "ms", "p95 ms", "prompt",
                    "reused", "rationale", "generated", "forced",
                ),
                rows,
                (note, "tokens: means per answer; forced ones cost no step of the model"),
            )
        ]  # fmt: skip


def measure(
    model: LanguageModel,
    worlds: Sequence[tuple[TwinWindow, Sequence[Question]]],
    modes: Sequence[Mode],
    decodings: Sequence[Decoding] = ("constrained", "free"),
    prefixes: Sequence[Prefix] = ("warm", "cold"),
) -> Costs:
    """Ask every question of every world once per cell."""
    costs = Costs()
    reasoners = {d: Reasoner(model, guided=d == "constrained") for d in decodings}
    for window, questions in track(worlds, "answers", console=Console(stderr=True)):
        for mode, decoding, prefix in product(modes, decodings, prefixes):
            reasoner = reasoners[decoding]
            reasoner.forget()
            if prefix == "warm":
                reasoner.answer(_WARM_UP, window, mode=mode)
            found = costs.answers.setdefault(Cell(mode, decoding, prefix), [])
            for question in questions:
                if prefix == "cold":
                    reasoner.forget()
                answer = reasoner.answer(question.text, window, mode=mode)
                found.append(Judged(question, answer.model_dump(mode="json")))
    return costs


def evaluate_reasoning(
    split: BenchSplit = "val",
    tier: Tier = "cell",
    *,
    reasoner: str | Path = "embedded",
    modes: Sequence[Mode] | None = None,
    limit: int | None = 20,
    cache: Path = Path("runs/twinbench"),
) -> tuple[list[Table], dict[str, Any]]:
    """Measure a reasoner's bundle on TwinBench's true twins; returns tables and figures.

    ``modes`` are all that the bundle knows when left out; ``limit`` keeps the first worlds.

    Raises:
        InputError: if the bundle does not know a mode.
    """
    model = OrtGenAiModel(load_bundle(reasoner))
    chosen = tuple(modes or model.modes)
    unknown = [mode for mode in chosen if mode not in model.modes]
    if unknown:
        raise InputError(
            f"expected modes of {model.name} out of {', '.join(model.modes)}, got {unknown[0]}"
        )
    by_world = [
        (seed, [item.question for item in items])
        for seed, items in groupby(load(split, tier), key=lambda item: item.seed)
    ][:limit]
    worlds = [(rendered_world(seed, tier, cache).window, asked) for seed, asked in by_world]
    costs = measure(model, worlds, chosen)
    where = f"TwinBench {split}, {tier} tier, {len(worlds)} true twins, {model.name}"
    figures = {
        "cells": costs.figures(),
        "constrained_over_free": {m: costs.ratio(m) for m in chosen},
    }
    return costs.tables(where), figures
