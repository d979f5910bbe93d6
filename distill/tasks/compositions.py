"""The step combination of a reference plan, read back from the plan.

:func:`..sim.questions.programs.compile_plan` writes a program as steps; :func:`program_of` builds
the program again, as far as the skeleton and the level need it. One thing a plan does not say:
whether ``find book`` was asked as a noun or as a property ("something to read"). The rationale
tells it (it names a property by its gist); where it does not, the words of the question do.

Not covered: plans that no program of the generator compiles to; they have no skeleton.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..reasoner.records import Question
from ..sim.questions.families import USES
from ..sim.questions.knowledge import PROPERTIES, categories_with, plural, synonyms
from ..sim.questions.programs import ANCHORED, ANY, Node, given, noun, use

__all__ = ["program_of"]

_MOST_STEPS = 64
_VALUES = ("value", "by", "direction", "event", "space")


def program_of(reference: Question) -> Node | None:
    """The program whose plan a reference has; None if it has none that can be read."""
    try:
        plan = json.loads(reference.plan)
        if not isinstance(plan, list) or not 0 < len(plan) <= _MOST_STEPS:
            return None
        nodes: list[Node] = []
        for step in plan:
            nodes.append(_node(dict(step), nodes, reference))
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return nodes[-1]


def _node(step: dict[str, Any], nodes: Sequence[Node], reference: Question) -> Node:
    tool = step["tool"]
    if tool in ("find", "detect"):
        return _found(tuple(step["words"]), reference)
    if tool in ("or", "and", "distance"):
        return Node(tool, _set(step["a"], nodes), _set(step["b"], nodes))
    sub = _set(step.get("ids"), nodes)
    if tool == "nth":
        sort = sub  # the step before, which stands for no set of its own
        return Node("nth", sort.sub, value=sort.value, k=1)
    if tool == "sort":
        return Node("sort", sub, value=step["by"])
    other = _set(step[ANCHORED[tool]], nodes) if tool in ANCHORED else None
    value = next((str(step[name]) for name in _VALUES if name in step), "")
    return Node(tool, sub, other, value=value)


def _set(reference: Any, nodes: Sequence[Node]) -> Node:
    """What an argument refers to: an earlier step, ids, or all objects."""
    if reference is None:
        return ANY
    if isinstance(reference, str):
        return nodes[int(reference.removeprefix("$")) - 1]
    return given(tuple(reference))


def _found(words: tuple[str, ...], reference: Question) -> Node:
    """A noun or a property; both compile to the same step."""
    keys = [key for key in PROPERTIES if categories_with(key) == words]
    told = reference.reason.casefold()
    key = next((k for k in keys if USES[k].gist.casefold() in told), None)
    silent = not told or reference.mode == "sentence"
    if key is None and keys and silent and not _is_named(words, reference.question):
        key = keys[0]
    return noun("|".join(words)) if key is None else use(key)


def _is_named(words: Sequence[str], question: str) -> bool:
    """Whether the question has a name of one of the categories."""
    text = question.casefold()
    names = (name for word in words for name in (word, *_synonyms(word)))
    return any(name in text for name in names)


def _synonyms(category: str) -> tuple[str, ...]:
    try:
        names = synonyms(category)
        return (*names, *(plural(category, name) for name in names))
    except KeyError:
        return ()
