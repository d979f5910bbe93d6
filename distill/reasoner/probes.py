"""Held-out questions of every kind on true twins, and how a reasoner's answers to them are judged.

Groups: ``sentence``, ``detailed``, ``description`` (the modes of explaining), ``follow_up``,
``measure`` (how many, how far, when), ``restricted`` (only some nouns were looked for) and
``detect`` (of those, questions that need more to be looked for). TwinBench has the questions
that stand alone; these are drawn anew from validation worlds, in phrasings of training and
validation half and half.

Where ``detect`` is allowed, it adds to the shown window what the scene holds, as
``deploy/refine`` does from pixels, and the true answer is what the reference plan gives then.

Not covered: the pixels of a real ``detect``; the wording of descriptions, of which only the
presence is counted.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...reasoner.answer import Answer
from ...reasoner.prompts import MODES, Mode
from ...reasoner.rollout import Reasoner
from ...twin.schema import FrameTwin, ObjectTwin
from ...twin.tools import DEFAULT_REGISTRY, Ids, StepResult, ToolRegistry
from ...twin.tools.semantic import find
from ...twin.window import TwinWindow
from ..evaluate.report import Table
from ..sim.catalogue import CELL, WILD, Tier
from ..sim.questions.generate import CATEGORIES
from ..sim.questions.mixed import Asked, Mixer
from ..sim.questions.programs import MEASURES
from ..sim.questions.restricted import Restricted, restricted
from ..sim.truth import true_window
from ..sim.worlds import World

__all__ = ["GROUPS", "VAL_SEED", "Found", "Probe", "ask", "drawn", "probe_table", "probes"]

VAL_SEED = 1_000_000
GROUPS = (*MODES[1:], "follow_up", "measure", "restricted", "detect")
_LEVELS = (1, 1, 2, 2, 3, 3, 4, 4)
_UNSEEN = 0.5  # share of questions for which a phrasing kept out of training is asked


@dataclass(frozen=True, slots=True)
class Probe:
    """A question on a window; ``part`` tells what else is in the scene, if anything."""

    group: str
    window: TwinWindow
    asked: Asked
    part: Restricted | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Whether a probe was answered exactly, its rationale's tokens and milliseconds."""

    group: str
    mode: Mode
    right: bool
    described: bool
    rationale_tokens: int
    ms: float


def probes(worlds: int = 40, tier: Tier = "cell", *, parts: int = 1) -> Iterator[Probe]:
    """Questions on validation worlds; one world in ``parts`` is also shown in part."""
    nouns = CELL if tier == "cell" else WILD
    for seed in range(VAL_SEED, VAL_SEED + worlds):
        window = true_window(World(seed, tier), render=False)
        yield from drawn(window, random.Random(f"val mixed {seed}"), nouns, seed % parts == 0)


def drawn(
    window: TwinWindow, rng: random.Random, nouns: Sequence[str], in_part: bool
) -> Iterator[Probe]:
    """One question per mode, three follow-ups, two measures, eight on the window in part."""
    mixer = Mixer(window, rng, "val")
    asked = [_question(mixer, rng, mode) for mode in MODES[1:]]
    asked += [mixer.follow_up("concise", rng.random() < _UNSEEN) for _ in range(3)]
    asked += [mixer.measure("concise", rng.random() < _UNSEEN) for _ in range(2)]
    for one in asked:
        if one is not None:
            yield Probe(one.mode if one.kind == "question" else one.kind, window, one)
    part = restricted(window, rng, nouns) if in_part else None
    if part is not None:
        mixer = Mixer(part, rng, "val")
        for one in [_question(mixer, rng, "concise") for _ in range(8)]:
            if one is not None:
                group = "detect" if one.needs_detect else "restricted"
                yield Probe(group, part.shown, one, part)


def _question(mixer: Mixer, rng: random.Random, mode: Mode) -> Asked | None:
    kinds = CATEGORIES[:2] if mixer.maker.scene.still else CATEGORIES
    return mixer.question(rng.choice(kinds), rng.choice(_LEVELS), mode, rng.random() < _UNSEEN)


def ask(reasoner: Reasoner, probe: Probe, refine: bool = True) -> Found:
    """The reasoner's answer on a copy of the window, judged; ``refine`` allows ``detect``."""
    asked = probe.asked
    window, tools = _scene(probe, refine)
    answer = reasoner.answer(
        asked.text, window, mode=asked.mode, history=asked.turns, registry=tools
    )
    window, tools = _scene(probe, refine=True)  # the true answer, refined whatever is allowed
    truth = tools.run_plan(asked.plan, window)[-1]
    return Found(
        probe.group,
        asked.mode,
        _is_right(answer, asked, truth),
        bool(answer.description),
        answer.tokens.get("rationale", 0),
        answer.ms.get("total", 0.0),
    )


def _is_right(answer: Answer, asked: Asked, truth: StepResult) -> bool:
    """Whether the ids, the number or the times are exactly those of the reference plan."""
    value: Any = truth.value
    if value is None or value == []:
        return answer.status == "none"
    if asked.program.op not in MEASURES:
        return answer.status not in ("error", "none") and set(answer.ids) == set(value)
    if truth.kind == "intervals":
        return _same_times(answer.intervals, value)
    return answer.value is not None and math.isclose(answer.value, value, abs_tol=1e-6)


def _same_times(told: Sequence[Sequence[float]], true: Sequence[Sequence[float]]) -> bool:
    return len(told) == len(true) and all(
        math.isclose(a, b, abs_tol=1e-6)
        for span, other in zip(told, true, strict=True)
        for a, b in zip(span, other, strict=True)
    )


def _scene(probe: Probe, refine: bool) -> tuple[TwinWindow, ToolRegistry]:
    """A fresh copy of the window, and the tools that may add to it."""
    window = TwinWindow(probe.window.frames, probe.window.max_frames)
    part = probe.part
    if part is None or not refine:
        return window, DEFAULT_REGISTRY

    def detect(window: TwinWindow, words: list[str]) -> Ids:
        """Ids with these labels, looked for now if they were not before."""
        wanted = set(words) - set(window.vocabulary or ())
        window.amend({f.index: _of_words(f, wanted) for f in part.whole.frames}, words)
        return find(window, words)

    return window, DEFAULT_REGISTRY.with_tool(detect, "perception")


def _of_words(frame: FrameTwin, words: set[str]) -> list[ObjectTwin]:
    return [obj for obj in frame.objects.values() if obj.semantic_label in words]


def probe_table(found: dict[str, Sequence[Found]], title: str) -> Table:
    """Share of exact answers and mean rationale tokens per group, columns per name."""
    columns = [f"{name}{what}" for name in found for what in (", exact", ", tokens")]
    rows = []
    for group in GROUPS:
        cells: list[float | int | None] = []
        count = 0
        for judged in found.values():
            chosen = [f for f in judged if f.group == group]
            count = len(chosen)
            cells += [_mean([f.right for f in chosen]), _mean([f.rationale_tokens for f in chosen])]
        rows.append((group, count, *cells))
    return Table(title, ("questions", "count", *columns), tuple(rows))


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None
