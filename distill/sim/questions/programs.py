"""Programs over the twin's tools: expression trees, their plans, levels and categories.

A :class:`Node` is a set of objects, built from smaller sets by one tool. :func:`compile_plan`
writes it as the contract's plan (sub-set first, then the anchor, then the tool).

*Level* is the number of reasoning steps a person would count: every tool is one step, except
that the plain noun of an anchor is part of its relation ("left of the bowl" is one step), and
that ``sort`` + ``nth`` ("second from the left") is one. "the red mug left of the bowl" is
level 3: mug, red, left of the bowl.

*Category* is the highest kind used: semantic < spatial < temporal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .knowledge import categories_with

__all__ = [
    "ANCHORED",
    "ANY",
    "EVERYTHING",
    "MEASURES",
    "PICKS",
    "SPATIAL",
    "TEMPORAL",
    "Category",
    "Node",
    "Plan",
    "category_of",
    "compile_plan",
    "given",
    "level_of",
    "noun",
    "skeleton_of",
    "use",
    "walk",
]

Category = Literal["semantic", "spatial", "temporal"]
Plan = list[dict[str, Any]]

SIDES = ("left_of", "right_of", "above", "below", "in_front_of", "behind")
SPATIAL = frozenset({*SIDES, "nearest", "farthest", "extreme", "inside", "on", "distance"})
TEMPORAL = frozenset(
    {
        "appeared",
        "disappeared",
        "moved",
        "still",
        "fastest",
        "before",
        "after",
        "during",
        "occluded_by",
        "first",
        "last",
        "when",
    }
)
PICKS = frozenset({"nearest", "farthest", "extreme", "fastest", "first", "last", "nth"})
"""Tools that choose among a set instead of testing each member."""

EVERYTHING = "object"
"""The word that finds every object."""

MEASURES = frozenset({"count", "when", "distance"})
"""Tools that end a plan with a number or with times instead of a set."""

ANCHORED = {
    **dict.fromkeys((*SIDES, "inside", "on", "before", "after", "during", "not"), "of"),
    "nearest": "to",
    "farthest": "to",
    "occluded_by": "by",
}
"""Tool -> name of the argument that takes the anchor."""


@dataclass(frozen=True, slots=True)
class Node:
    """A set of objects, or at the top a measure of one (:data:`MEASURES`).

    ``op`` is a tool's name, ``"any"`` (every object) or ``"given"`` (the objects ``ids``, which an
    earlier question was answered with). ``sub`` is the set that the tool
    filters or chooses from, ``other`` its anchor (or the second set of ``or``/``and``).
    ``value`` is the noun or property key of ``find`` (several nouns joined by ``|``), the colour,
    the direction, the event, the measure of ``extreme`` and ``nth``, the space of ``distance``;
    ``is_use`` tells a property key from a noun.
    """

    op: str
    sub: Node | None = None
    other: Node | None = None
    value: str = ""
    k: int = 1
    descending: bool = False
    is_use: bool = False
    ids: tuple[int, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """Labels that a ``find`` looks for."""
        return categories_with(self.value) if self.is_use else tuple(self.value.split("|"))


ANY = Node("any")


def noun(category: str) -> Node:
    """All objects of one category, or of several joined by ``|``."""
    return Node("find", value=category)


def use(key: str) -> Node:
    """All objects that have a property of the knowledge table."""
    return Node("find", value=key, is_use=True)


def given(ids: Sequence[int]) -> Node:
    """The objects that an earlier question was answered with."""
    return Node("given", ids=tuple(ids))


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    yield node
    for child in (node.sub, node.other):
        if child is not None:
            yield from walk(child)


def compile_plan(node: Node) -> Plan:
    """The plan whose last step is the node's set.

    Raises:
        ValueError: for ``any`` or ``given`` alone, which no step computes.
    """
    plan: Plan = []
    if not isinstance(_emit(node, plan), str):
        raise ValueError(f"expected a node that some tool computes, got {node.op}")
    return plan


def _emit(node: Node, plan: Plan) -> str | list[int] | None:
    """Append the node's steps; its reference, the ids given, or None for "all objects"."""
    if node.op == "any":
        return None
    if node.op == "given":
        return list(node.ids)
    if node.op == "find":
        return _add(plan, {"tool": "find", "words": list(node.words)})
    sub = _emit(node.sub, plan) if node.sub is not None else None
    other = _emit(node.other, plan) if node.other is not None else None
    if node.op in ("or", "and"):
        return _add(plan, {"tool": node.op, "a": sub, "b": other})
    if node.op == "distance":
        return _add(plan, {"tool": "distance", "a": sub, "b": other, "space": node.value})
    ids: dict[str, Any] = {} if sub is None else {"ids": sub}
    if node.op == "nth":
        order = {"tool": "sort", **ids, "by": node.value}
        if node.descending:
            order["descending"] = True
        return _add(plan, {"tool": "nth", "ids": _add(plan, order), "k": node.k})
    step: dict[str, Any] = {"tool": node.op, **ids}
    if node.op in ANCHORED:
        step[ANCHORED[node.op]] = other
    step |= _options(node)
    return _add(plan, step)


def _options(node: Node) -> dict[str, Any]:
    match node.op:
        case "attribute":
            return {"name": "color", "value": node.value}
        case "extreme":
            return {"by": node.value}
        case "moved":
            return {} if node.value == "any" else {"direction": node.value}
        case "before" | "after" | "first" | "last" | "when":
            return {"event": node.value}
        case "nearest" | "farthest":
            return {} if node.k == 1 else {"k": node.k}
        case _:
            return {}


def _add(plan: Plan, step: dict[str, Any]) -> str:
    plan.append(step)
    return f"${len(plan)}"


def level_of(node: Node) -> int:
    """Number of reasoning steps (see the module's definition), not capped."""
    return _cost(node, main=True)


def _cost(node: Node, main: bool) -> int:
    if node.op in ("any", "given"):
        return 0
    if node.op == "find":
        return 1 if main or node.is_use else 0
    cost = 1
    if node.sub is not None:
        cost += _cost(node.sub, main)
    if node.other is not None:
        cost += _cost(node.other, main and node.op in ("or", "and"))
    return cost


def category_of(node: Node) -> Category:
    """The highest kind of tool used; ``sort`` by left, top, size or depth is spatial."""
    kind: Category = "semantic"
    for part in walk(node):
        if part.op in TEMPORAL or (part.op == "nth" and part.value in ("speed", "first_seen")):
            return "temporal"
        if part.op in SPATIAL or part.op == "nth":
            kind = "spatial"
    return kind


def skeleton_of(node: Node) -> str:
    """Shape of the program: tools and their nesting, without words, colours and directions."""
    if node.op == "any":
        return "*"
    if node.op == "given":
        return "given"
    if node.op == "find":
        return "use" if node.is_use else "find"
    parts = [skeleton_of(child) for child in (node.sub, node.other) if child is not None]
    return f"{node.op}({','.join(parts)})"
