"""The reasoner on true twins of TwinBench's validation worlds: its table and wrong answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ...deploy.models import Responder
from ...twin.window import TwinWindow
from ..evaluate.reasoner import Judged, judge
from ..evaluate.worlds import rendered_world
from ..twinbench import load

__all__ = ["ask", "plan_text", "wrong_answers"]

_LONGEST = 160  # characters of a question or plan as shown


def ask(reasoner: Responder, worlds: int, cache: Path) -> list[tuple[Judged, TwinWindow]]:
    """Ask the questions of the first ``worlds`` validation worlds; each with its true twin.

    Rendered worlds are read from ``cache`` or rendered into it (seconds a world).
    """
    asked: list[tuple[Judged, TwinWindow]] = []
    for number, (seed, items) in enumerate(
        groupby(load("val", "cell"), key=lambda item: item.seed)
    ):
        if number >= worlds:
            break
        window = rendered_world(seed, "cell", cache).window
        judged = judge(reasoner, [(item.question, window) for item in items])
        asked += [(one, window) for one in judged]
    return asked


def wrong_answers(
    asked: Sequence[tuple[Judged, TwinWindow]], most: int = 12, per_cell: int = 2
) -> list[dict[str, str]]:
    """Describe wrong answers, ``per_cell`` of each level and category, in the order asked."""
    chosen: list[dict[str, str]] = []
    seen: Counter[tuple[int, str]] = Counter()
    for one, window in asked:
        question, answer = one.question, one.answer
        cell = (question.level, question.category)
        if one.exact or seen[cell] >= per_cell or len(chosen) >= most:
            continue
        seen[cell] += 1
        chosen.append(
            {
                "kind": f"{question.level} {question.category}",
                "question": question.text[:_LONGEST],
                "true": _names(window, question.ids),
                "answered": _names(window, answer["ids"]),
                "right plan": plan_text(question.plan),
                "its plan": plan_text(answer["plan"]) or answer["message"][:_LONGEST],
            }
        )
    return chosen


def plan_text(plan: Sequence[dict[str, Any]]) -> str:
    """A plan as one line: ``find(mug / glass) · left_of($1)``."""
    steps = []
    for step in plan:
        values = [value for key, value in step.items() if key != "tool"]
        given = [" / ".join(map(str, v)) if isinstance(v, list) else str(v) for v in values]
        steps.append(f"{step.get('tool', '?')}({', '.join(given)})")
    return " · ".join(steps)[: 2 * _LONGEST]


def _names(window: TwinWindow, ids: Sequence[int]) -> str:
    """``red mug 3, ball 5``; ``none`` for no object."""
    names = []
    for number in ids:
        known = number in window.ids()
        thing = window.latest(number) if known else None
        words = f"{thing.attributes.get('color', '')} {thing.semantic_label}" if thing else "?"
        names.append(f"{words.strip()} {number}")
    return ", ".join(names) or "none"
