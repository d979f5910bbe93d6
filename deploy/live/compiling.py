"""From a reasoner's answer to a plan that can stand: what runs on every twin without language.

:func:`stand` takes the record of one answer (``Asker.ask``'s) and gives a :class:`Rule`: the plan
up to the step that answered, checked against the tools that need no pictures. :func:`wants_again`
says when the reasoner has to be asked anew.

Not covered: several plans for one question, plans whose answer is written out without a step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...twin.errors import QueryError, ToolError
from ...twin.tools.base import MAX_STEPS, Kind, parse_reference
from ...twin.tools.registry import DEFAULT_REGISTRY
from ...twin.window import TwinWindow
from ...twin.words import clean
from .wordings import Condition, Wanted

__all__ = ["NoPlanError", "Rule", "Scene", "scene_of", "stand", "wants_again"]

_ANSWER = re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL)
_HAPPENINGS = ("moved", "appeared", "disappeared")
_WORD = re.compile(r"[a-z]+")
Plan = list[dict[str, Any]]


class NoPlanError(QueryError):
    """An answer that no plan can be kept of; the same question may give one later.

    ``final``: it will not, whatever is seen.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


@dataclass(frozen=True, slots=True)
class Scene:
    """What a plan was made in the sight of: labels seen, and the words that were looked for."""

    labels: frozenset[str] = frozenset()
    vocabulary: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A plan that stands.

    ``kind`` is what its last step gives. ``timed``: some step asks what happened, so objects that
    are gone may be meant; otherwise only those that are there now are. ``scene`` is what it was
    made in the sight of, ``notes`` what the user should know.
    """

    asked: str
    plan: Plan
    kind: Kind
    condition: Condition | None = None
    timed: bool = False
    scene: Scene = field(default_factory=Scene)
    notes: tuple[str, ...] = ()

    @property
    def ids(self) -> frozenset[int]:
        """Object ids that the plan names."""
        return frozenset(
            value
            for step in self.plan
            for given in step.values()
            if isinstance(given, list)
            for value in given
            if isinstance(value, int)
        )

    @property
    def words(self) -> frozenset[str]:
        """Words that the plan looks for."""
        found = (step.get("words", ()) for step in self.plan)
        return frozenset(clean(word).casefold() for words in found for word in words)


def scene_of(window: TwinWindow) -> Scene:
    """What a window shows now."""
    labels = (clean(window.latest(i).semantic_label).casefold() for i in window.ids())
    return Scene(frozenset(labels), window.vocabulary)


def stand(wanted: Wanted, record: Mapping[str, Any], scene: Scene) -> Rule:
    """The rule that an answer's record gives.

    Raises:
        NoPlanError: if it holds no plan, or one that cannot stand.
    """
    given: Sequence[Mapping[str, Any]] = record.get("plan") or ()
    if not given:
        message = record.get("message") or "it was answered without one"
        raise NoPlanError(f"expected a plan for {wanted.asked!r}, got none: {message}")
    plan, notes = _without_pixels([dict(step) for step in given[:MAX_STEPS]])
    plan = plan[: _answered(str(record.get("transcript", "")), plan)]
    plan = _happening(plan)
    try:
        DEFAULT_REGISTRY.validate_plan(plan)
    except ToolError as error:
        raise NoPlanError(f"expected a plan that can be computed, got one where {error}") from error
    tools = [DEFAULT_REGISTRY[step["tool"]] for step in plan]
    rule = Rule(
        asked=wanted.asked,
        plan=plan,
        kind=tools[-1].returns,
        condition=wanted.condition,
        timed=any(tool.category == "temporal" for tool in tools),
        scene=scene,
        notes=(*notes, *_notes(record)),
    )
    return replace(rule, condition=_fitting(rule))


def wants_again(rule: Rule, question: str, window: TwinWindow, failures: int) -> str:
    """Why the reasoner has to be asked again, or empty.

    Args:
        rule: the plan that runs.
        question: as the user wrote it.
        window: what is seen now.
        failures: evaluations in a row that could not be computed.
    """
    gone = sorted(rule.ids - set(window.ids()))
    if gone:
        return f"the plan names #{gone[0]}, which is gone"
    if failures >= 3:
        return "the plan could not be computed three times"
    now = scene_of(window)
    if now.vocabulary != rule.scene.vocabulary:
        return "other words are looked for"
    new = now.labels - rule.scene.labels
    if not new:
        return ""
    asked = set(_WORD.findall(f"{question} {rule.asked}".casefold()))
    for label in sorted(new - rule.words):
        if asked & _forms(label):
            return f"the first {label} is there"
    # A plan whose every word was unseen when it was made may have been a guess.
    if rule.words and not rule.words & rule.scene.labels and rule.words & new:
        return f"the first {min(rule.words & new)} is there"
    return ""


def _forms(label: str) -> set[str]:
    words = label.split()
    return {*words, *(f"{word}s" for word in words)} if words else set()


def _without_pixels(plan: Plan) -> tuple[Plan, list[str]]:
    """The plan without looks into the pictures: a search becomes one of what was seen."""
    kept: Plan = []
    notes: list[str] = []
    for number, step in enumerate(plan, 1):
        name = str(step.get("tool"))
        if name in DEFAULT_REGISTRY:
            kept.append(step)
        elif name == "detect" and step.get("words"):
            kept.append({"tool": "find", "words": list(step["words"])})
            notes.append(
                "a standing question does not look again into the pictures: detect became find"
            )
        else:
            raise NoPlanError(
                f"expected a plan over the twin alone, got {name} as step {number}, which looks "
                "into the pictures: ask for what the stream itself finds",
                final=True,
            )
    return kept, notes


def _answered(transcript: str, plan: Plan) -> int:
    """The number of the step that the answer names; of the last one when it names none."""
    said = _ANSWER.findall(transcript)
    reference = parse_reference(said[-1]) if said else None
    return min(reference, len(plan)) if reference is not None else len(plan)


def _happening(plan: Plan) -> Plan:
    """ "When did it move?" stands as "what moved", which is true from then on."""
    last = plan[-1]
    if last.get("tool") == "when" and last.get("event") in _HAPPENINGS:
        return [*plan[:-1], {"tool": last["event"], "ids": last.get("ids")}]
    return plan


def _fitting(rule: Rule) -> Condition | None:
    """The condition, if the plan gives what it is about.

    Raises:
        NoPlanError: for a number without a condition, or several numbers or points.
    """
    condition = rule.condition
    if rule.kind in ("numbers", "points"):
        raise NoPlanError(
            f"expected a plan that gives objects, times or one number, got {rule.kind} from "
            f"{rule.plan[-1]['tool']}: ask for the objects",
            final=True,
        )
    if rule.kind == "number" and (condition is None or condition.edge):
        raise NoPlanError(
            "expected to know at which number to tell, got a question for any number: say "
            '"when there are more than 3 …" or "when … comes within 20 cm of …"',
            final=True,
        )
    if rule.kind == "number" or condition is None or condition.edge:
        return condition
    if condition.unit == "objects" and rule.kind == "ids":
        return condition  # so many ids are a number, too
    raise NoPlanError(
        f"expected a plan that gives a number ({condition.text}), got one that gives {rule.kind}"
    )


def _notes(record: Mapping[str, Any]) -> list[str]:
    """What the reasoner warned of, without what only says that nothing holds at the moment."""
    parts = str(record.get("message") or "").split("; ")
    return [part for part in parts if "does not know" in part]
