"""Reference rationales of the modes of explaining (``reasoner/prompts.py``), from the program.

``concise`` is :func:`~.chains.rationale`. Here: ``sentence``, one English sentence of about 25
tokens ("Find the mugs and glasses, then keep those left of the book."); ``detailed``, several
sentences with what the question implies, the steps in order and what answers; and the
description, a phrase that says without the question what is asked for ("the red mugs left of
the book"), with objects of earlier answers called by their colour and label.

Not covered: styles; one program has one text per mode, so that training teaches the form and
not a choice of words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from .families import USES
from .knowledge import FACTS
from .knowledge import plural as plural_of
from .programs import EVERYTHING, MEASURES, PICKS, Node

__all__ = ["description", "detailed", "sentence"]

_RELATIONS = {
    "left_of": "left of",
    "right_of": "right of",
    "above": "above",
    "below": "below",
    "in_front_of": "in front of",
    "behind": "behind",
    "inside": "inside",
    "on": "on",
    "nearest": "nearest to",
    "farthest": "farthest from",
}
_HAPPENED = {"moved": "moved", "appeared": "appeared", "disappeared": "disappeared"}
_ORDERS = {
    ("left", False): "from the left",
    ("left", True): "from the right",
    ("top", False): "from the top",
    ("top", True): "from the bottom",
    ("size", False): "from the smallest",
    ("size", True): "from the largest",
    ("depth", False): "from the closest",
    ("depth", True): "from the farthest",
    ("speed", False): "from the slowest",
    ("speed", True): "from the fastest",
}
_ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth"}
_WHEN = {"visible": "were visible", "hidden": "were hidden"}
_TURNS = ("First", "Next", "Then", "After that", "Then", "Next")


def sentence(node: Node) -> str:
    """One sentence that names the steps in the order of the plan."""
    parts = list(_clauses(node))
    head, last = parts[:-1], parts[-1]
    text = f"{', '.join(head)}, then {last}" if head else last
    return f"{text[:1].upper()}{text[1:]}."


def detailed(node: Node, many: Mapping[Node, bool], names: Callable[[int], str]) -> str:
    """What is asked for, what that implies, the steps in order, and what answers."""
    told = [f"The question asks for {description(node, many, names)}.", *_implied(node)]
    if node.op in MEASURES:
        told[0] = f"The question asks {description(node, many, names)}."
        told[0] = told[0].replace("asks the", "asks for the")
    for place, clause in enumerate(_clauses(node, whole=True)):
        told.append(f"{_TURNS[min(place, len(_TURNS) - 1)]}, {clause}.")
    return " ".join([*told, _outcome(node)])


def description(node: Node, many: Mapping[Node, bool], names: Callable[[int], str]) -> str:
    """A phrase that needs no question; ``names`` tells colour and label of an object."""
    if node.op in MEASURES:
        assert node.sub is not None
        what = _phrase(node.sub, many, names)
        if node.op == "count":
            return f"the number of {_bare(node.sub, True, many, names)}"
        if node.op == "when":
            return f"when {what} {_past(node.value, many.get(node.sub, False))}"
        assert node.other is not None
        return f"the distance between {what} and {_phrase(node.other, many, names)}"
    return _phrase(node, many, names)


def _past(event: str, plural: bool) -> str:
    if event in _WHEN:
        return _WHEN[event] if plural else _WHEN[event].replace("were", "was")
    return _HAPPENED[event]


def _nouns(words: Sequence[str], plural: bool, joint: str) -> str:
    """ "mugs, glasses and bottles"."""
    told = [plural_of(w, w) if plural and w in FACTS else w for w in words]
    told = [w + "s" if plural and w == EVERYTHING else w for w in told]
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} {joint} {told[-1]}"


def _implied(node: Node) -> Iterator[str]:
    """What the words of the question leave unsaid."""
    if node.op == "find" and node.is_use:
        yield f"{_capital(USES[node.value].gist)} means {_nouns(node.words, True, 'and')}."
    if node.op == "given":
        yield f"The question goes on from {_numbers(node)}."
    for child in (node.sub, node.other):
        if child is not None:
            yield from _implied(child)


def _outcome(node: Node) -> str:
    match node.op:
        case "count":
            return "The number of objects is the answer."
        case "when":
            return "Those times are the answer."
        case "distance":
            return "That distance is the answer."
        case "find" | "or" | "and" | "attribute":
            return "What is found is the answer."
        case _ if node.op in PICKS:
            return "The object chosen is the answer."
        case _:
            return "What remains is the answer."


def _clauses(node: Node, whole: bool = False) -> Iterator[str]:
    """One order per step, in the order of the plan; plain anchors only if it is to be ``whole``."""
    if node.op in ("any", "given"):
        return
    if node.op == "find":
        yield f"find the {_nouns(node.words, True, 'and')}"
        return
    assert node.sub is not None
    told = list(_clauses(node.sub, whole))
    yield from told
    anchor = ""
    if node.other is not None:
        anchor, steps = _anchor(node, whole)
        yield from steps
    yield _order(node, anchor, _subject(node.sub))


def _subject(sub: Node) -> str:
    """What a filter is applied to: everything, the objects given, or what was found."""
    if sub.op == "any":
        return "everything"
    return _numbers(sub) if sub.op == "given" else "those"


def _numbers(node: Node) -> str:
    ids = [str(i) for i in node.ids]
    if len(ids) == 1:
        return f"object {ids[0]}"
    return f"objects {', '.join(ids[:-1])} and {ids[-1]}"


def _anchor(node: Node, whole: bool) -> tuple[str, list[str]]:
    """(the anchor in words, clauses that find it first)."""
    other = node.other
    assert other is not None
    if other.op == "given":
        return _numbers(other), []
    if other.op == "find" and not other.is_use and node.op not in ("or", "and"):
        words = _nouns(other.words, node.op == "not", "or")
        return f"the {words}", list(_clauses(other)) if whole else []
    return "that", list(_clauses(other, whole))


def _order(node: Node, anchor: str, subject: str) -> str:
    """A step as an order."""
    keep = f"keep {subject}" if subject == "those" else f"take {subject}"
    that = (
        "that"
        if subject in ("those", "everything")
        else "if it"
        if "objects" not in subject
        else "that"
    )
    chosen = "object" if subject == "everything" else "one"
    pick = (
        f"take the {chosen}" if subject in ("those", "everything") else f"of {subject} take the one"
    )
    match node.op:
        case "attribute":
            return f"keep the {node.value} ones" if subject == "those" else f"{keep} {node.value}"
        case (
            "left_of" | "right_of" | "above" | "below" | "in_front_of" | "behind" | "inside" | "on"
        ):
            return f"{keep} {_RELATIONS[node.op]} {anchor}"
        case "nearest" | "farthest":
            both = f"two {chosen}s" if node.k > 1 else chosen
            return f"{pick.removesuffix(chosen)}{both} {_RELATIONS[node.op]} {anchor}"
        case "extreme" | "fastest":
            return f"{pick.removesuffix(chosen)}{node.value or 'fastest'} {chosen}"
        case "nth":
            order = _ORDERS[node.value, node.descending]
            return f"{pick.removesuffix(chosen)}{_ORDINALS[node.k]} {chosen} {order}"
        case "first" | "last":
            return f"{pick} that {_HAPPENED[node.value]} {node.op}"
        case "moved" | "still" | "appeared" | "disappeared" | "before" | "after" | "during":
            return f"{keep} {that} {_event(node, anchor)}"
        case "occluded_by":
            return f"{keep} {that} was hidden by {anchor}".replace(
                "those that was", "those that were"
            )
        case "not":
            return f"leave out {anchor}" if subject == "those" else f"{keep} except {anchor}"
        case "or":
            return "put both together"
        case "and":
            return f"keep what is also {subject}" if subject != "those" else "keep what is in both"
        case "count":
            return "count them" if subject == "those" else f"count {subject}"
        case "when":
            what = "they" if subject == "those" else subject
            return f"tell when {what} {_past(node.value, 'object ' not in what)}"
        case _:
            space = "metres" if node.value == "metric" else "pixels"
            return f"measure in {space} how far that is from {anchor}"


def _event(node: Node, anchor: str) -> str:
    match node.op:
        case "moved":
            return "moved" if node.value == "any" else f"moved {_way(node.value)}"
        case "still":
            return "did not move"
        case "before" | "after":
            return f"{_HAPPENED[node.value]} {node.op} {anchor}"
        case "during":
            return f"moved together with {anchor}"
        case _:
            return node.op


def _way(direction: str) -> str:
    named = {"toward": "toward the camera", "away": "away from the camera"}
    return named.get(direction, direction)


def _phrase(node: Node, many: Mapping[Node, bool], names: Callable[[int], str]) -> str:
    """A definite noun phrase."""
    if node.op == "given":
        return " and ".join(f"the {names(i)}" for i in node.ids)
    if node.op == "or":
        assert node.sub is not None
        assert node.other is not None
        return f"{_phrase(node.sub, many, names)} and {_phrase(node.other, many, names)}"
    plural = node.k > 1 and node.op != "nth" if node.op in PICKS else many.get(node, False)
    return f"the {_bare(node, plural, many, names)}"


def _bare(node: Node, plural: bool, many: Mapping[Node, bool], names: Callable[[int], str]) -> str:
    """A noun phrase without its article."""
    if node.op == "any":
        return "objects" if plural else "object"
    if node.op == "find":
        return _nouns(node.words, plural, "and" if plural else "or")
    if node.op == "given":
        return " and ".join(names(i) for i in node.ids)
    sub, other = node.sub, node.other
    assert sub is not None
    if node.op == "and" and other is not None and sub.op == other.op == "find":
        both = [word for word in sub.words if word in other.words]
        return _nouns(both or sub.words, plural, "and" if plural else "or")
    if node.op == "attribute" and sub.op in ("any", "find"):
        return f"{node.value} {_bare(sub, plural, many, names)}"
    anchor = _phrase(other, many, names) if other is not None else ""
    if node.op == "extreme" or node.op == "fastest":
        return _picked(node, node.value or "fastest", "", many, names)
    if node.op == "nth":
        word, order = _ORDINALS[node.k], _ORDERS[node.value, node.descending]
        return _picked(node, word, order, many, names)
    head = _bare(sub, plural, many, names)
    if sub.op == "given":
        head = f"one{'s' if plural else ''} of the {head}"
    match node.op:
        case "attribute":
            return f"{head} that {'are' if plural else 'is'} {node.value}"
        case "first" | "last":
            return f"{head} that {_HAPPENED[node.value]} {node.op}"
        case "moved" | "still" | "appeared" | "disappeared" | "before" | "after" | "during":
            return f"{head} that {_event(node, anchor)}"
        case "occluded_by":
            return f"{head} hidden by {anchor}"
        case "not":
            return f"{head} except {anchor}"
        case "and":
            return f"{head} that {'are' if plural else 'is'} also {anchor}"
        case _:
            return f"{head} {_RELATIONS[node.op]} {anchor}"


def _picked(
    node: Node, word: str, order: str, many: Mapping[Node, bool], names: Callable[[int], str]
) -> str:
    """ "largest mug", "second mug from the left"; of a longer set "second of the … from …"."""
    sub = node.sub
    assert sub is not None
    simple = sub.op in ("any", "find") or (
        sub.op == "attribute" and sub.sub is not None and sub.sub.op in ("any", "find")
    )
    if simple:
        return f"{word} {_bare(sub, False, many, names)} {order}".strip()
    if sub.op in ("or", "given"):
        return f"{word} {order}".strip() + f" of {_phrase(sub, many, names)}"
    return f"{word} {order}".strip() + f" of the {_bare(sub, True, many, names)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
