"""The reasoner judged alone, on true twins and on noisy ones: exact ids by level and wording.

A noisy twin misses, doubles, mislabels and shifts objects as perception does
(:mod:`..sim.questions.noise`); its reference is what the question's own program gives on it, so
that the reasoner answers for what the twin holds and not for what perception lost.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...deploy.models import Responder
from ...twin.errors import ToolError
from ...twin.tools import run_plan
from ...twin.window import TwinWindow
from ..sim.catalogue import Tier, categories_of
from ..sim.questions import Question
from ..sim.questions.noise import noisy_window
from .report import Table

__all__ = [
    "Judged",
    "judge",
    "noisy_questions",
    "program_ids",
    "reasoner_figures",
    "reasoner_tables",
]


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


def noisy_questions(
    questions: Sequence[Question], window: TwinWindow, seed: int, tier: Tier
) -> list[tuple[Question, TwinWindow]]:
    """The questions on one noisy copy of their twin, with the answers that hold there.

    The noise is drawn from the world's seed. Questions whose program cannot be computed on the
    copy are left out.
    """
    noisy = noisy_window(window, random.Random(f"noisy {seed}"), nouns=categories_of(tier))
    answered = [(question, program_ids(question, noisy)) for question in questions]
    return [(replace(q, ids=ids), noisy) for q, ids in answered if ids is not None]


def program_ids(question: Question, window: TwinWindow) -> tuple[int, ...] | None:
    """What the question's own program gives on a twin, ascending; None if it cannot be computed."""
    try:
        value = run_plan(question.plan, window)[-1].value
    except ToolError:
        return None
    if not isinstance(value, list):
        return None
    return tuple(sorted(item for item in value if isinstance(item, int)))


_GROUPS: dict[str, Callable[[Question], bool]] = {
    "level 1": lambda q: q.level == 1,
    "level 2": lambda q: q.level == 2,
    "level 3": lambda q: q.level == 3,
    "level 4": lambda q: q.level == 4,
    "levels 1-2": lambda q: q.level <= 2,
    "levels 3-4": lambda q: q.level >= 3,
    "semantic": lambda q: q.category == "semantic",
    "spatial": lambda q: q.category == "spatial",
    "temporal": lambda q: q.category == "temporal",
    "seen wordings": lambda q: q.wording == "seen",
    "unseen wordings": lambda q: q.wording == "unseen",
    "unseen compositions": lambda q: q.composition == "unseen",
    "both seen": lambda q: q.wording == "seen" and q.composition == "seen",
    "answer is none": lambda q: not q.ids,
    "several objects": lambda q: len(q.ids) > 1,
    "all": lambda q: True,
}


def reasoner_figures(judged: Sequence[Judged]) -> dict[str, Any]:
    """Per group of questions: count, exact ids, rationale and generated tokens, ms; with
    ``by_level_and_category`` and ``status`` (counts of how answers ended)."""
    groups = {name: [j for j in judged if keep(j.question)] for name, keep in _GROUPS.items()}
    cells: dict[str, list[Judged]] = {}
    status: dict[str, int] = {}
    for one in judged:
        asked = one.question
        cells.setdefault(f"level {asked.level}, {asked.category}", []).append(one)
        status[one.answer["status"]] = status.get(one.answer["status"], 0) + 1
    return {
        "groups": {name: _figures(chosen) for name, chosen in groups.items() if chosen},
        "by_level_and_category": {name: _figures(cells[name]) for name in sorted(cells)},
        "status": status,
    }


def _figures(chosen: Sequence[Judged]) -> dict[str, Any]:
    answers = [j.answer for j in chosen]
    spoken = ("rationale", "plan", "answer")
    return {
        "count": len(chosen),
        "exact": float(np.mean([j.exact for j in chosen])),
        "rationale_tokens": float(np.mean([a["tokens"]["rationale"] for a in answers])),
        "generated_tokens": float(
            np.mean([sum(a["tokens"].get(part, 0) for part in spoken) for a in answers])
        ),
        "median_ms": float(np.median([a["ms"]["total"] for a in answers])),
    }


def reasoner_tables(
    judged: Sequence[Judged], where: str, twins: str = "the true twin"
) -> list[Table]:
    """Exact ids per level, then per category, wording, composition and form."""
    groups = reasoner_figures(judged)["groups"]
    keys = ("count", "exact", "rationale_tokens", "median_ms")
    rows = tuple((name, *(figures[key] for key in keys)) for name, figures in groups.items())
    columns = ("questions", "count", "exact ids", "rationale tokens", "median ms")
    return [Table(f"Reasoner on {twins}, {where}", columns, rows)]
