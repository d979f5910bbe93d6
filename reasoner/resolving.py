"""What an answer stands for: ids, and the number or the times that its step gave.

Steps are numbered on through the rounds of a question, so ``$k`` names the k-th step that was
computed for it, whichever round it was in.

Not covered: steps that give several numbers or points; an answer cannot name them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..twin.errors import ProtocolError
from ..twin.tools.base import Kind, Tool, parse_reference, show
from ..twin.tools.registry import StepResult
from ..twin.window import TwinWindow
from .protocol import AnswerBody

__all__ = ["ANSWERABLE", "Resolved", "last_ids", "resolve"]

ANSWERABLE: frozenset[Kind] = frozenset({"ids", "intervals", "number"})


@dataclass(frozen=True, slots=True)
class Resolved:
    """An answer's ids, in order; ``intervals`` in seconds or ``value`` when its step gave them.

    ``kind`` is that of the step, ``ids`` for an answer written out.
    """

    ids: tuple[int, ...] = ()
    kind: Kind = "ids"
    intervals: tuple[tuple[float, float], ...] = ()
    value: float | None = None

    @property
    def is_none(self) -> bool:
        """Whether the answer is that there is nothing of the kind."""
        if self.kind == "ids":
            return not self.ids
        return self.value is None if self.kind == "number" else not self.intervals


def resolve(
    answer: AnswerBody,
    plan: Sequence[Mapping[str, Any]],
    results: Sequence[StepResult],
    tools: Mapping[str, Tool],
    window: TwinWindow,
) -> Resolved:
    """What an answer stands for.

    Args:
        answer: the parsed answer.
        plan: the steps of all rounds.
        results: their results, as many.
        tools: by name; they tell which arguments are ids.
        window: the twin after the plan was computed.

    Raises:
        ProtocolError: for a reference to a step that was not run or gives nothing to answer
            with, and for ids the twin lacks.
    """
    if answer.reference is None:
        return Resolved(_known(answer.ids, window))
    k = answer.reference
    if not 1 <= k <= len(results):
        raise ProtocolError(
            f"expected a step of 1 to {len(results)}, got ${k}; "
            "the answer refers to a step that was not run"
        )
    step = results[k - 1]
    if step.kind not in ANSWERABLE:
        raise ProtocolError(
            f"expected a step that gives ids, times or a number, got ${k} ({step.tool}), "
            f"which gives {step.kind}"
        )
    if step.kind == "ids":
        return Resolved(_known(_whole(step.value), window))
    ids = _objects(plan[k - 1], results, tools.get(step.tool), window)
    if step.kind == "intervals":
        return Resolved(ids, "intervals", intervals=_spans(step.value))
    number = step.value
    finite = isinstance(number, (int, float)) and math.isfinite(number)
    return Resolved(ids, "number", value=float(number) if finite else None)  # type: ignore[arg-type]


def last_ids(results: Sequence[StepResult], window: TwinWindow) -> list[int]:
    """Ids of the last step that gave any kind of ids, those the twin lacks left out."""
    for result in reversed(results):
        if result.kind == "ids":
            return [i for i in _whole(result.value) if i in window]
    return []


def _known(ids: Sequence[int], window: TwinWindow) -> tuple[int, ...]:
    unknown = [i for i in ids if i not in window]
    if unknown:
        raise ProtocolError(f"expected ids of the twin {show(window.ids())}, got {unknown[0]}")
    return tuple(dict.fromkeys(ids))


def _objects(
    step: Mapping[str, Any],
    results: Sequence[StepResult],
    tool: Tool | None,
    window: TwinWindow,
) -> tuple[int, ...]:
    """The objects that a step was about: its arguments of ids, in order, each once."""
    found: dict[int, None] = {}
    for param in tool.arguments if tool is not None else ():
        if not param.is_ids:
            continue
        given = step.get(param.name)
        reference = parse_reference(given)
        if reference is not None and reference <= len(results):
            given = results[reference - 1].value
        elif param.name not in step:
            given = window.ids()
        found |= dict.fromkeys(i for i in _whole(given) if i in window)
    return tuple(found)


def _whole(value: Any) -> tuple[int, ...]:
    items = value if isinstance(value, list) else []
    return tuple(int(i) for i in items if isinstance(i, (int, float)) and not isinstance(i, bool))


def _spans(value: Any) -> tuple[tuple[float, float], ...]:
    items = value if isinstance(value, list) else []
    pairs = [item for item in items if isinstance(item, (tuple, list)) and len(item) == 2]
    return tuple((float(start), float(end)) for start, end in pairs)
