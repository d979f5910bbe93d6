"""Watching a twin by a plan: what holds now, and what newly came to hold.

:func:`holding` computes a rule on the last seconds of a stream, and :class:`Edges` turns what holds from evaluation to evaluation into what newly
does: an object counts when it held some evaluations in a row, and counts anew only after it did
not hold for a while. So neither a flickering mask nor a value on the verge gives doubles.

Not covered: an object whose id the tracker lost and gave anew counts as another object.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Set
from dataclasses import dataclass

from ...reasoner.protocol import AnswerBody
from ...reasoner.resolving import Resolved, resolve
from ...twin.schema import ObjectTwin
from ...twin.tools.registry import DEFAULT_REGISTRY
from ...twin.window import TwinWindow
from .compiling import Rule
from .wordings import EDGE_SHARE, Condition

__all__ = ["Edges", "Held", "holding"]

_EPSILON_S = 1e-6
_NUMBER = 0  # stands for "the number is so" where objects have their ids, which begin at 1


@dataclass(frozen=True, slots=True)
class Held:
    """What a rule gives now.

    ``keys`` are what rises and falls: object ids, or 0 for a number that fulfils the condition.
    ``ids`` are the objects that it is about, ``value`` the number, where there is one.
    """

    keys: frozenset[int] = frozenset()
    ids: tuple[int, ...] = ()
    value: float | None = None


def holding(rule: Rule, window: TwinWindow) -> Held:
    """What the rule's plan gives on a window.

    Raises:
        ToolError: if a step cannot be computed; ``ProtocolError`` for ids that are not there.
    """
    results = DEFAULT_REGISTRY.run_plan(rule.plan, window)
    answer = AnswerBody(reference=len(rule.plan))
    found = resolve(answer, rule.plan, results, DEFAULT_REGISTRY, window)
    condition = rule.condition
    if condition is not None and not condition.edge:
        return _number(rule, found, condition, window)
    if found.kind == "intervals":
        now = any(end >= window.end_s - _EPSILON_S for _, end in found.intervals)
        return Held(frozenset(found.ids), found.ids) if now else Held()
    ids = found.ids if rule.timed else _there(found.ids, window)
    if condition is not None:
        ids = tuple(i for i in ids if _at_edge(window.latest(i), window, condition.edge))
    return Held(frozenset(ids), ids)


def _number(rule: Rule, found: Resolved, condition: Condition, window: TwinWindow) -> Held:
    """Counted are objects that are there now; a distance needs two of them."""
    there = _there(found.ids, window)
    value: float | None
    if condition.unit == "objects":
        value = float(len(found.ids if rule.timed else there))
    else:
        value = found.value if len(there) > 1 else None
        frame = window.last
        if value is not None and condition.unit == "diagonal" and frame is not None:
            value /= math.hypot(frame.width, frame.height)
    keys = frozenset({_NUMBER}) if condition.holds(value) else frozenset[int]()
    return Held(keys, there, value)


def _there(ids: Iterable[int], window: TwinWindow) -> tuple[int, ...]:
    """Those that are visible or hidden now, not those that are gone."""
    objects = window.last.objects if window.last is not None else {}
    return tuple(i for i in ids if i in objects and objects[i].state != "left")


def _at_edge(obj: ObjectTwin, window: TwinWindow, edge: str) -> bool:
    frame = window.last
    if frame is None:
        return False
    x0, y0, x1, y1 = obj.box_xyxy
    wide, high = EDGE_SHARE * frame.width, EDGE_SHARE * frame.height
    near = {
        "left": x0 <= wide,
        "right": x1 >= frame.width - wide,
        "top": y0 <= high,
        "bottom": y1 >= frame.height - high,
    }
    return any(near.values()) if edge == "any" else near[edge]


@dataclass(slots=True)
class _State:
    on: bool
    streak: int
    held_s: float


class Edges:
    """What newly holds.

    Args:
        rise: evaluations in a row that a key has to hold before it counts.
        fall_s: seconds that it must not hold before it may count anew.
    """

    def __init__(self, rise: int = 2, fall_s: float = 1.0) -> None:
        self._rise, self._fall_s = rise, fall_s
        self._states: dict[int, _State] = {}  # of what holds or lately did: bounded by the twin

    def settle(self, keys: Iterable[int], now_s: float) -> None:
        """Let these hold already: they are nothing new."""
        for key in keys:
            self._states[key] = _State(True, self._rise, now_s)

    def forget(self, keys: Iterable[int]) -> None:
        """Let these count anew: they went and came back."""
        for key in keys:
            self._states.pop(key, None)

    def step(self, keys: Set[int], hidden: Set[int], now_s: float) -> list[int]:
        """The keys that newly count, ascending.

        Args:
            keys: what holds now.
            hidden: objects that cannot be seen at the moment: what is not known of them stays.
            now_s: the stream's seconds.
        """
        new = []
        for key in sorted(keys):
            state = self._states.setdefault(key, _State(False, 0, now_s))
            state.streak += 1
            state.held_s = now_s
            if not state.on and state.streak >= self._rise:
                state.on = True
                new.append(key)
        for key in [k for k in self._states if k not in keys]:
            state = self._states[key]
            state.streak = 0
            if not state.on:
                del self._states[key]
            elif key in hidden:
                state.held_s = now_s
            elif now_s - state.held_s >= self._fall_s - _EPSILON_S or now_s < state.held_s:
                del self._states[key]
        return new
