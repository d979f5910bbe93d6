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
from .programs import Node, compile_plan, walk

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
        if node.op == "find":
            return self._step("find", words=list(node.words))
        sub = None if node.sub is None or node.sub.op == "any" else self.ids(node.sub)
        if node.op in ("or", "and"):
            assert node.sub is not None
            assert node.other is not None
            return self._step(node.op, a=self.ids(node.sub), b=self.ids(node.other))
        *before, last = compile_plan(node)
        step = {k: v for k, v in last.items() if k != "tool"}
        if node.op == "nth":
            order = {k: v for k, v in before[-1].items() if k not in ("tool", "ids")}
            step["ids"] = self._step("sort", **order, **({} if sub is None else {"ids": sub}))
        elif sub is not None:
            step["ids"] = sub
        if node.other is not None:
            step[next(n for n in ("of", "to", "by") if n in step)] = self.ids(node.other)
        return self._step(node.op, **step)

    def _step(self, tool: str, **arguments: object) -> list[int]:
        key = tool + json.dumps(arguments)
        if key not in self._steps:
            value = TOOLS[tool].fn(self.window, **arguments)
            assert isinstance(value, list)
            self._steps[key] = value  # type: ignore[assignment]
        return self._steps[key]


class Bench:
    """One window with its jittered copies."""

    def __init__(self, window: TwinWindow, rng: random.Random, copies: int = 3) -> None:
        self.true = Evaluator(window)
        self.jittered = [Evaluator(noisy_window(window, rng, JITTER)) for _ in range(copies)]

    def is_well_posed(self, node: Node) -> bool:
        """Whether jitter leaves the answer as it is."""
        answer = sorted(self.true.ids(node))
        return all(sorted(copy.ids(node)) == answer for copy in self.jittered)

    def many(self, node: Node) -> dict[Node, bool]:
        """Node -> whether its set holds several objects, for every part of the program."""
        return {part: len(self.true.ids(part)) > 1 for part in walk(node)}
