"""Whether the model plans ``detect`` rightly: true twins shown in part, no pixels.

The objects of the left-out nouns are in the scene and not in the twin; ``detect`` writes them
into it under ids above the known ones, as a refiner with perfect eyes would. Each question is
asked with its nouns missing, where some step has to detect, and with as many other nouns missing,
where none has to.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...reasoner.rollout import Reasoner
from ...twin.schema import FrameTwin, ObjectTwin
from ...twin.tools import DEFAULT_REGISTRY, Ids, ToolRegistry
from ...twin.tools.semantic import find
from ...twin.window import TwinWindow
from ..sim.questions import Question
from ..sim.questions.programs import EVERYTHING
from .refine_tables import Asked
from .report import Table

__all__ = ["PlannerFigures", "Scene", "planner_figures", "planner_table"]


class Scene:
    """A true twin of which only some words were looked for; :meth:`detect` brings in the rest.

    Attributes:
        window: the twin as it is shown, and as detect changes it.
        names: the twin's id of every true id.
    """

    def __init__(self, truth: TwinWindow, words: Collection[str]) -> None:
        labels = {i: truth.latest(i).semantic_label for i in truth.ids()}
        known = [i for i in truth.ids() if labels[i] in words]
        unknown = [i for i in truth.ids() if labels[i] not in words]
        first = max(known, default=0) + 1
        self.names = {i: i for i in known}
        self.names |= {old: first + place for place, old in enumerate(unknown)}
        self._truth = truth
        self._labels = labels
        shown = tuple(sorted(words))
        self.window = TwinWindow(
            (_part(frame, known, shown) for frame in truth.frames), truth.max_frames
        )

    def detect(self, words: Sequence[str]) -> None:
        """Write the objects of these words into the window."""
        new = {i for i, label in self._labels.items() if label in words or EVERYTHING in words}
        new -= set(self.window.ids()) & {i for i, name in self.names.items() if name == i}
        records = {frame.index: self._records(frame, new) for frame in self._truth.frames}
        self.window.amend(records, words)

    def _records(self, frame: FrameTwin, ids: Collection[int]) -> list[ObjectTwin]:
        return [
            obj.model_copy(update={"id": self.names[i], "origin": "detect()"})
            for i, obj in frame.objects.items()
            if i in ids
        ]

    def registry(self) -> ToolRegistry:
        """The default tools with ``detect``."""

        def detect(window: TwinWindow, words: list[str]) -> Ids:
            """Ids with these labels, looked for now if they were not before."""
            if window.vocabulary is not None and not set(words) <= set(window.vocabulary):
                self.detect(words)
            return find(window, words)

        return DEFAULT_REGISTRY.with_tool(detect, "perception")


def _part(frame: FrameTwin, known: Sequence[int], words: tuple[str, ...]) -> FrameTwin:
    objects = {i: obj for i, obj in frame.objects.items() if i in known}
    return frame.model_copy(update={"objects": objects, "vocabulary": words})


@dataclass
class PlannerFigures:
    """Counts, each of (questions, exact ids, plans that call detect)."""

    cells: dict[str, list[int]] = field(default_factory=dict)

    def add(self, name: str, exact: bool, detects: bool) -> None:
        """Count one question."""
        cell = self.cells.setdefault(name, [0, 0, 0])
        for place, yes in enumerate((True, exact, detects)):
            cell[place] += yes

    def as_dict(self) -> dict[str, Any]:
        """Per case: count, share of exact ids, share of plans that call detect."""
        return {
            name: {"count": n, "exact": exact / n, "detects": detects / n}
            for name, (n, exact, detects) in self.cells.items()
        }


_CASES = ("its nouns missing, static", "its nouns missing, detect offered", "other nouns missing")


def planner_figures(
    figures: PlannerFigures,
    reasoner: Reasoner,
    truth: TwinWindow,
    asked: Sequence[Asked],
    known: Sequence[str],
    seed: int,
) -> None:
    """Ask a world's questions on its true twin shown in part, and count."""
    for place, one in enumerate(asked):
        rng = random.Random(f"planner {seed} {place}")
        spare = [word for word in one.words if word not in _needed(one.question)]
        others = rng.sample(spare, min(len(one.missing), len(spare)))
        kept = [word for word in known if word not in others]
        for name, words, offered in (
            (_CASES[0], one.words, False),
            (_CASES[1], one.words, True),
            (_CASES[2], kept, True),
        ):
            figures.add(name, *_asked_on(reasoner, Scene(truth, words), one.question, offered))


def _needed(question: Question) -> set[str]:
    return {word for step in question.plan for word in step.get("words", ())}


def _asked_on(
    reasoner: Reasoner, scene: Scene, question: Question, offered: bool
) -> tuple[bool, bool]:
    registry = scene.registry() if offered else DEFAULT_REGISTRY
    answer = reasoner.answer(question.text, scene.window, registry=registry)
    true = {scene.names[i] for i in question.ids}
    exact = answer.status != "error" and set(answer.ids) == true
    return exact, any(step.get("tool") == "detect" for step in answer.plan)


def planner_table(figures: PlannerFigures, where: str) -> Table:
    """The planner alone, case by case."""
    shares: Mapping[str, Any] = figures.as_dict()
    row: Callable[[str], tuple[Any, ...]] = lambda name: (  # noqa: E731
        name, shares[name]["count"], shares[name]["exact"], shares[name]["detects"]
    )  # fmt: skip
    return Table(
        f"Planning detect on true twins shown in part, {where}",
        ("twin", "count", "exact ids", "plans with detect"),
        tuple(row(name) for name in _CASES if name in shares),
        (
            "other nouns missing: detect is not needed; questions about everything suffer all the same",
        ),
    )
