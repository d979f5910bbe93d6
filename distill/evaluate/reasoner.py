"""The true twin in, the reasoner judged alone: exact ids by level, wording and composition."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...deploy.models import Responder
from ...twin.window import TwinWindow
from ..sim.questions import Question
from .report import Table

__all__ = ["Judged", "judge", "reasoner_tables"]


@dataclass(frozen=True)
class Judged:
    """One question with what was answered, as ``answer.json`` would hold it."""

    question: Question
    answer: dict[str, Any]

    @property
    def exact(self) -> bool:
        """Whether exactly the true ids were named, and nothing ended in an error."""
        ids = set(self.answer["ids"])
        return self.answer["status"] != "error" and ids == set(self.question.ids)


def judge(reasoner: Responder, items: Iterable[tuple[Question, TwinWindow]]) -> list[Judged]:
    """Answer every question on its twin."""
    return [
        Judged(question, reasoner.answer(question.text, window).model_dump(mode="json"))
        for question, window in items
    ]


def reasoner_tables(judged: list[Judged], where: str) -> list[Table]:
    """Exact ids per level, then per category, wording, composition and form."""
    rows: list[tuple[str | int | float | None, ...]] = []

    def add(name: str, keep: Callable[[Question], bool]) -> None:
        chosen = [j for j in judged if keep(j.question)]
        if not chosen:
            return
        exact = float(np.mean([j.exact for j in chosen]))
        tokens = float(np.mean([j.answer["tokens"]["rationale"] for j in chosen]))
        milliseconds = float(np.median([j.answer["ms"]["total"] for j in chosen]))
        rows.append((name, len(chosen), exact, tokens, milliseconds))

    for level in (1, 2, 3, 4):
        add(f"level {level}", lambda q, level=level: q.level == level)  # type: ignore[misc]
    add("levels 1-2", lambda q: q.level <= 2)
    add("levels 3-4", lambda q: q.level >= 3)
    for category in ("semantic", "spatial", "temporal"):
        add(category, lambda q, category=category: q.category == category)  # type: ignore[misc]
    add("seen wordings", lambda q: q.wording == "seen")
    add("unseen wordings", lambda q: q.wording == "unseen")
    add("unseen compositions", lambda q: q.composition == "unseen")
    add("answer is none", lambda q: not q.ids)
    add("several objects", lambda q: len(q.ids) > 1)
    add("all", lambda q: True)
    return [
        Table(
            f"Reasoner on the true twin, {where}",
            ("questions", "count", "exact ids", "rationale tokens", "median ms"),
            tuple(rows),
        )
    ]
