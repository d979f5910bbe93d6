"""The reference chain of a question: a short rationale, the plan, its results, the answer.

The rationale names what the question's wording leaves implicit: the categories behind a
property, and the steps in the order of the plan. ``Drink from: mug, glass. Left of book. Red.``
It stays near 25 tokens (the target of design.md section 6).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ....twin.tools import StepResult, render_results
from .families import USES
from .programs import Node, Plan, compile_plan

__all__ = ["Chain", "answer_of", "chain", "plan_json", "rationale"]

_NTH = {
    ("left", False): "from left",
    ("left", True): "from right",
    ("top", False): "from top",
    ("top", True): "from bottom",
    ("size", False): "smallest",
    ("size", True): "largest",
    ("depth", False): "closest",
    ("depth", True): "farthest",
    ("speed", False): "slowest",
    ("speed", True): "fastest",
}
_ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth"}


@dataclass(frozen=True, slots=True)
class Chain:
    """What the model should write (rationale, plan, answer) and what the tools insert (results)."""

    rationale: str
    plan: str
    results: str
    answer: str


def chain(node: Node, results: Sequence[StepResult]) -> Chain:
    """The reference chain of a program whose plan gave ``results``."""
    plan = compile_plan(node)
    return Chain(rationale(node), plan_json(plan), render_results(results), answer_of(results))


def plan_json(plan: Plan) -> str:
    """The plan as compact JSON, as the protocol writes it."""
    return json.dumps(plan, separators=(",", ":"))


def answer_of(results: Sequence[StepResult]) -> str:
    """``$k`` of the last step, or ``none`` when it holds no object, time or number."""
    value = results[-1].value if results else None
    return "none" if value is None or value == [] else f"${len(results)}"


def rationale(node: Node) -> str:
    """One short sentence per step, in the order of the plan."""
    return " ".join(f"{part[:1].upper()}{part[1:]}." for part in _parts(node))


def _parts(node: Node) -> Iterator[str]:
    if node.op == "any":
        return
    if node.op == "given":
        yield _pronoun(node, "those")
        return
    if node.op == "find":
        words = ", ".join(node.words)
        yield f"{USES[node.value].gist}: {words}" if node.is_use else words
        return
    if node.sub is not None:
        yield from _parts(node.sub)
    anchor = ""
    if node.other is not None:
        plain = node.other.op == "find" and not node.other.is_use and node.op not in ("or", "and")
        if node.other.op == "given":
            anchor = f" {_pronoun(node.other, 'them')}"
        elif plain:
            anchor = f" {node.other.value}"
        else:
            yield from _parts(node.other)
            anchor = " that"
    yield _step(node, anchor)


def _pronoun(node: Node, many: str) -> str:
    return "it" if len(node.ids) == 1 else many


def _step(node: Node, anchor: str) -> str:
    match node.op:
        case "attribute" | "extreme":
            return node.value
        case "moved":
            return "moved" if node.value == "any" else f"moved {node.value}"
        case "nth":
            return f"{_ORDINALS[node.k]} {_NTH[node.value, node.descending]}"
        case "before" | "after":
            return f"{node.value} {node.op}{anchor}"
        case "first" | "last":
            return f"{node.op} {node.value}"
        case "nearest" | "farthest":
            count = "" if node.k == 1 else f"{node.k} "
            return f"{count}{node.op} {'from' if node.op == 'farthest' else 'to'}{anchor}"
        case "when":
            return f"when {node.value}"
        case "distance":
            return f"distance in {'metres' if node.value == 'metric' else 'pixels'} to{anchor}"
        case "or":
            return "together"
        case "and":
            return "both"
        case _:
            return node.op.replace("_", " ") + anchor
