"""A plan in words: what a standing question's event says it came of.

Not covered: grammar beyond what a reader forgives; languages other than English.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...twin.tools.base import parse_reference

__all__ = ["plan_in_words"]

_RELATIONS = {
    "left_of": "left of", "right_of": "right of", "above": "above", "below": "below",
    "in_front_of": "in front of", "behind": "behind", "inside": "inside", "on": "on",
}  # fmt: skip
_MOVED = {
    "any": "moved", "left": "moved left", "right": "moved right", "up": "moved up",
    "down": "moved down", "toward": "moved toward the camera", "away": "moved away from the camera",
}  # fmt: skip
_ORDERS = {
    "left": "from the left", "top": "from the top", "size": "by size, smallest first",
    "depth": "from the front", "speed": "by speed, slowest first",
    "first_seen": "by when it was first seen",
}  # fmt: skip


def plan_in_words(plan: Sequence[Mapping[str, Any]]) -> str:
    """What the plan's last step stands for, such as ``mug that moved left``."""
    said: list[str] = []
    for step in plan:
        said.append(_step(step, said))
    return said[-1] if said else "nothing"


def _step(step: Mapping[str, Any], said: Sequence[str]) -> str:
    def named(key: str) -> str:
        return _named(step.get(key), said)

    tool = str(step.get("tool"))
    subject = named("ids")
    if tool in _RELATIONS:
        return f"{subject} {_RELATIONS[tool]} the {named('of')}"
    say = _SAID.get(tool)
    if say is not None:
        return say(step, subject, named)
    return f"{tool} of the {subject}"


def _named(value: Any, said: Sequence[str]) -> str:
    if value is None:
        return "object"
    reference = parse_reference(value)
    if reference is not None:
        return said[reference - 1] if reference <= len(said) else "object"
    return ", ".join(f"#{i}" for i in value) if isinstance(value, list) else "object"


Say = Callable[[Mapping[str, Any], str, Callable[[str], str]], str]


def _ranked(name: str, key: str) -> Say:
    def say(step: Mapping[str, Any], subject: str, named: Callable[[str], str]) -> str:
        many = f"the {step['k']} " if step.get("k", 1) != 1 else ""
        return f"{many}{subject} {name} the {named(key)}"

    return say


_SAID: dict[str, Say] = {
    "find": lambda s, _, n: " or ".join(map(str, s.get("words", ()))) or "object",
    "attribute": lambda s, x, n: f"{s.get('value')} {x}",
    "nearest": _ranked("nearest to", "to"),
    "farthest": _ranked("farthest from", "to"),
    "extreme": lambda s, x, n: f"{s.get('by')} {x}",
    "appeared": lambda s, x, n: f"{x} that appeared",
    "disappeared": lambda s, x, n: f"{x} that disappeared",
    "moved": lambda s, x, n: f"{x} that {_MOVED.get(s.get('direction', 'any'), 'moved')}",
    "still": lambda s, x, n: f"{x} that did not move",
    "fastest": lambda s, x, n: f"fastest {x}",
    "before": lambda s, x, n: f"{x} that {s.get('event')} before the {n('of')}",
    "after": lambda s, x, n: f"{x} that {s.get('event')} after the {n('of')}",
    "during": lambda s, x, n: f"{x} that moved while the {n('of')} did",
    "occluded_by": lambda s, x, n: f"{x} that was hidden behind the {n('by')}",
    "first": lambda s, x, n: f"first {x} that {s.get('event')}",
    "last": lambda s, x, n: f"last {x} that {s.get('event')}",
    "when": lambda s, x, n: f"{x} while {s.get('event')}",
    "visible_when": lambda s, x, n: f"{x} while visible",
    "count": lambda s, x, n: f"number of {x}",
    "distance": lambda s, x, n: f"distance of the {n('a')} and the {n('b')}",
    "and": lambda s, x, n: f"{n('a')} and at once {n('b')}",
    "or": lambda s, x, n: f"{n('a')} or {n('b')}",
    "not": lambda s, x, n: f"{x} but not {n('of')}",
    "sort": lambda s, x, n: f"{x} in order {_ORDERS.get(str(s.get('by')), '')}",
    "nth": lambda s, x, n: f"number {s.get('k')} of the {x}",
}
