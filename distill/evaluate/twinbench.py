"""TwinBench in four settings, as the papers score: the command behind ``edgetwin eval``.

``perception``: single pictures, each network alone. ``memory``: 60 frames of every world,
prompted once. ``reasoner``: true twins, then noisy ones. ``end-to-end``: pixels to masks, with
who was wrong. One thread per network.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import track

from ...deploy.models import Responder, bundle_identities, load_models
from ...perception.bundle import Bundle, load_bundle
from ...perception.perceiver import Perceiver
from ...twin.errors import InputError
from ...twin.frame import Frame
from ...twin.window import TwinWindow
from ..sim.catalogue import Tier
from ..sim.questions import Question
from ..twinbench import BenchSplit, load
from .aims import aims_table
from .causes import cause
from .endtoend import (
    Scored,
    end_to_end_figures,
    end_to_end_tables,
    matched_ids,
    outcome,
    score_question,
)
from .memory import memory_figures, memory_tables, score_memory
from .perception import perception_tables, score_perception
from .reasoner import Judged, judge, noisy_questions, reasoner_figures, reasoner_tables
from .report import Table
from .worlds import FPS, RenderedWorld, rendered_world

__all__ = [
    "DEFAULT_SETTINGS",
    "MEMORY_FPS",
    "SETTINGS",
    "Evaluation",
    "Setting",
    "evaluate_twinbench",
    "perceive",
]

Setting = Literal["perception", "memory", "reasoner", "end-to-end"]
SETTINGS: tuple[Setting, ...] = ("perception", "memory", "reasoner", "end-to-end")
DEFAULT_SETTINGS: tuple[Setting, ...] = ("perception", "reasoner", "end-to-end")
MEMORY_FPS = 15.0
"""Sixty frames of a world's four seconds."""


@dataclass
class Evaluation:
    """What was measured: all ``tables``; ``short``, what a front page shows; ``figures``, every
    figure with its counts as plain values; ``weights``, role -> id and SHA-256."""

    tables: list[Table] = field(default_factory=list)
    short: list[Table] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)


def evaluate_twinbench(
    split: BenchSplit = "val",
    tier: Tier = "cell",
    *,
    models: str = "embedded",
    language: str | None = None,
    settings: Sequence[str] = DEFAULT_SETTINGS,
    limit: int | None = None,
    memory_worlds: int = 20,
    cache: Path = Path("runs/twinbench"),
) -> Evaluation:
    """Measure a model set on a frozen split of TwinBench.

    ``language`` is a language model in place of the set's own, as ``open_model`` takes it;
    ``limit`` keeps the first worlds only, ``memory_worlds`` the first of those for memory, which
    takes some four seconds a world; rendered worlds are kept under ``cache``.

    Raises:
        InputError: if a setting is unknown, or ``limit`` or ``memory_worlds`` is not positive.
    """
    unknown = set(settings) - set(SETTINGS)
    if unknown or not settings or memory_worlds < 1 or (limit is not None and limit < 1):
        raise InputError(
            f"expected settings out of {SETTINGS} and positive numbers of worlds, "
            f"got {sorted(unknown) or list(settings)}, {limit} and {memory_worlds}"
        )
    run = _Run(split, tier, models, limit, memory_worlds, cache, language)
    steps = {
        "perception": run.perception,
        "memory": run.memory,
        "reasoner": run.reasoner,
        "end-to-end": run.end_to_end,
    }
    seconds: dict[str, float] = {}
    for setting in SETTINGS:
        if setting in settings:
            started = time.perf_counter()
            steps[setting]()
            seconds[setting] = round(time.perf_counter() - started, 1)
    run.found.figures |= {"worlds": len(run.asked), "seconds": seconds}
    run.found.short.insert(0, aims_table(run.found.figures, run.where, bounds=tier == "cell"))
    run.found.tables.append(run.found.short[0])
    return run.found


class _Run:
    """One evaluation; the reasoner's answers on true twins serve two settings."""

    def __init__(
        self,
        split: BenchSplit,
        tier: Tier,
        models: str,
        limit: int | None,
        memory_worlds: int,
        cache: Path,
        language: str | None = None,
    ) -> None:
        self.asked = [
            (seed, [item.question for item in items])
            for seed, items in groupby(load(split, tier), key=lambda item: item.seed)
        ][:limit]
        self.tier, self.cache, self.memory_worlds = tier, cache, memory_worlds
        self.name = f"TwinBench {split}, {tier} tier"
        self.models, self.language = models, language
        self.where = f"{self.name}, {len(self.asked)} worlds, {models} set"
        self.bundle = load_bundle(models, threads=1)
        self.found = Evaluation(weights=bundle_identities(self.bundle))
        self._responder: Responder | None = None
        self._on_truth: list[Judged] | None = None

    def perception(self) -> None:
        """Single pictures."""
        worlds = (world for _, world in self._rendered("perception"))
        scores = score_perception(self.bundle, worlds)
        self.found.figures["perception"] = scores.figures()
        self.found.tables += perception_tables(scores, self.where)

    def memory(self) -> None:
        """Clips of 60 frames."""
        asked = self.asked[: self.memory_worlds]
        followed = score_memory(
            self.bundle,
            (world for _, world in self._rendered("memory", asked, MEMORY_FPS)),
        )
        where = f"{self.name}, {len(asked)} worlds of 60 frames, {self.models} set"
        self.found.figures["memory"] = {"worlds": len(asked), **memory_figures(followed)}
        self.found.tables += memory_tables(followed, where)

    def reasoner(self) -> None:
        """True twins, then noisy ones."""
        clean = self._judged_on_truth()
        pairs = [
            pair
            for (seed, questions), (_, world) in zip(
                self.asked, self._rendered("noisy twins"), strict=True
            )
            for pair in noisy_questions(questions, world.window, seed, self.tier)
        ]
        noisy = judge(self._reasoner(), pairs)
        self.found.figures["reasoner"] = reasoner_figures(clean)
        self.found.figures["noisy"] = {
            **reasoner_figures(noisy),
            "left_out": len(clean) - len(noisy),
        }
        self.found.tables += reasoner_tables(clean, self.where)
        self.found.tables += reasoner_tables(noisy, self.where, "noisy twins")

    def end_to_end(self) -> None:
        """Pixels to masks."""
        on_truth = iter(self._judged_on_truth())
        scored: list[Scored] = []
        frames, seconds = 0, 0.0
        reasoner = self._reasoner()
        for questions, world in self._rendered("end to end"):
            started = time.perf_counter()
            perceived = perceive(self.bundle, world)
            seconds += time.perf_counter() - started
            frames += len(world.rgb_thw3)
            same = matched_ids(perceived, world.window)
            for question in questions:
                answer = reasoner.answer(question.text, perceived).model_dump(mode="json")
                how = outcome(question, answer, perceived, same, next(on_truth))
                why = cause(question, perceived, world.window, same) if how == "lost" else None
                scored.append(
                    score_question(
                        question, answer["ids"], perceived, world.window, answer, how, why
                    )
                )
        self.found.figures["end_to_end"] = end_to_end_figures(scored)
        self.found.figures["perception_ms_per_frame"] = 1000 * seconds / max(1, frames)
        tables = end_to_end_tables(scored, self.where)
        self.found.tables += tables
        self.found.short.append(tables[0])

    def _judged_on_truth(self) -> list[Judged]:
        if self._on_truth is None:
            reasoner = self._reasoner()
            pairs = (
                (question, world.window)
                for questions, world in self._rendered("reasoner")
                for question in questions
            )
            self._on_truth = judge(reasoner, pairs)
        return self._on_truth

    def _reasoner(self) -> Responder:
        if self._responder is None:
            ready = load_models(self.models, language=self.language)
            self._responder = ready.reasoner
            self.found.weights["reasoner"] = ready.identities["reasoner"]
        return self._responder

    def _rendered(
        self,
        what: str,
        asked: Sequence[tuple[int, list[Question]]] | None = None,
        fps: float = FPS,
    ) -> Iterator[tuple[list[Question], RenderedWorld]]:
        worlds = self.asked if asked is None else asked
        for seed, questions in track(worlds, description=what, console=Console(stderr=True)):
            yield questions, rendered_world(seed, self.tier, self.cache, fps)


def perceive(bundle: Bundle, world: RenderedWorld) -> TwinWindow:
    """Run the whole of perception over a rendered world."""
    perceiver = Perceiver(bundle)
    return TwinWindow(
        perceiver.observe(Frame(true.index, true.timestamp_s, image, f"world-{world.seed}"))
        for true, image in zip(world.window.frames, world.rgb_thw3, strict=True)
    )
