"""Fast, memoised evaluation of programs on one window, and the check that they are well posed.

Every step is computed once per window with the twin's own tools; programs drawn for the same
window share their parts. :class:`Bench` adds a few jittered copies of the window: a question is
well posed if its answer is the same on all of them.
"""

from __future__ import annotations

import json
import random

from ....twin.tools import TOOLS
from ....twin.window import TwinWindow
from .noise import Noise, noisy_window
from .programs import ANCHORED, MEASURES, PICKS, Node, compile_plan, walk

__all__ = ["JITTER", "Bench", "Evaluator"]

JITTER = Noise(
    box_px=1.5,
    frame_px=0.4,
    depth_m=0.012,
    area=0.04,
    missed=0,
    doubled=0,
    mislabelled=0,
    flicker=0,
)
"""What a good perception gets wrong; an answer that this changes is a matter of luck."""


class Evaluator:
    """Object ids of programs on one window, memoised by step."""

    def __init__(self, window: TwinWindow) -> None:
        self.window = window
        self._steps: dict[str, list[int]] = {}
        self._nodes: dict[Node, list[int]] = {}

    def ids(self, node: Node) -> list[int]:
        """The program's set, in the order that its last tool gives."""
        if node not in self._nodes:
            self._nodes[node] = self._compute(node)
        return self._nodes[node]

    def _compute(self, node: Node) -> list[int]:
        if node.op == "any":
            return self.window.ids()
        if node.op == "given":
            return list(node.ids)
        if node.op == "find":
            return self._step("find", words=list(node.words))
        if node.op in ("or", "and"):
            assert node.sub is not None
            assert node.other is not None
            return self._step(node.op, a=self.ids(node.sub), b=self.ids(node.other))
        *before, last = compile_plan(node)
        options = {k: v for k, v in last.items() if k not in ("tool", "ids")}
        if node.other is not None:
            options[ANCHORED[node.op]] = self.ids(node.other)
        sub = None if node.sub is None or node.sub.op == "any" else self.ids(node.sub)
        if node.op == "nth":
            order = {k: v for k, v in before[-1].items() if k not in ("tool", "ids")}
            whole = self._step("sort", **order)
            return self._step("nth", ids=whole if sub is None else _within(whole, sub), **options)
        return self._filtered(node.op, options, sub)

    def _filtered(self, tool: str, options: dict[str, object], sub: list[int] | None) -> list[int]:
        """The tool on a subset, from its (memoised) result on everything where that is enough."""
        if sub == []:
            return []
        whole = self._step(tool, **options)
        if sub is None:
            return whole
        if tool not in PICKS:  # these test every member for itself
            return _within(whole, sub)
        if set(whole) <= set(sub) and whole:  # the best of all is the best of any set that holds it
            return whole
        return self._step(tool, ids=sub, **options)

    def _step(self, tool: str, **arguments: object) -> list[int]:
        key = tool + json.dumps(arguments)
        if key not in self._steps:
            value = TOOLS[tool].fn(self.window, **arguments)
            assert isinstance(value, list)
            self._steps[key] = value  # type: ignore[assignment]
        return self._steps[key]


def _within(ids: list[int], sub: list[int]) -> list[int]:
    members = set(sub)
    return [i for i in ids if i in members]


class Bench:
    """One window with its jittered copies."""

    def __init__(self, window: TwinWindow, rng: random.Random, copies: int = 3) -> None:
        self.true = Evaluator(window)
        self.jittered = [Evaluator(noisy_window(window, rng, JITTER)) for _ in range(copies)]

    def is_well_posed(self, node: Node) -> bool:
        """Whether jitter leaves the answer as it is; of a measure, the sets that it measures."""
        if node.op in MEASURES:
            sets = [child for child in (node.sub, node.other) if child is not None]
            return all(self.is_well_posed(child) for child in sets)
        answer = sorted(self.true.ids(node))
        return all(sorted(copy.ids(node)) == answer for copy in self.jittered)

    def many(self, node: Node) -> dict[Node, bool]:
        """Node -> whether its set holds several objects, for every part of the program."""
        return {
            part: len(self.true.ids(part)) > 1 for part in walk(node) if part.op not in MEASURES
        }
