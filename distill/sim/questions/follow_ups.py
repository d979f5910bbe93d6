"""Questions that go on from an earlier one: "which of them is red?", "and right of it?".

Some build on the earlier answer: its ids stand in the plan as they are (:func:`~.programs.given`).
Others leave out what the earlier question said (ellipsis) and build on its program: the other
side of the same anchor, another colour, another noun.

Not covered: more than one earlier question; going on from a question about a number or times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from .generate import Maker
from .language import Wording, render, short
from .measures import say_measure
from .programs import ANY, MEASURES, PICKS, SIDES, Node, compile_plan, given, noun, walk
from .sampling import DIRECTIONS, EVENTS, EXTREMES
from .speech import Speaker, agree, fill, relation_slot

__all__ = ["FollowUp", "draw_follow_up", "worded"]

_TRIES = 60
_MOST_IDS = 6
_MOST_STEPS = 8
_OPENERS = ("and ", "and ", "now ", "then ", "OK, ", "also, ", "good, ")
_OPENER_SHARE = 0.35

Say = Callable[[Speaker, Node], str]


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A program that goes on from another one, and how it is said."""

    node: Node
    say: Say


def draw_follow_up(maker: Maker, before: Node) -> FollowUp | None:
    """What could be asked after the program ``before``, or None."""
    rng = maker.rng
    ids = maker.bench.true.ids(before)
    for _ in range(_TRIES):
        draw = rng.random()
        if draw < 0.35 or not ids:
            found = _elliptic(maker, before)
        elif draw < 0.43:
            found = _others(maker, before, ids)
        elif draw < 0.5:
            found = _measured(maker, ids)
        elif len(ids) > 1 and draw < 0.82:
            found = _of_those(maker, ids)
        else:
            found = _from_it(maker, ids)
        if found is not None and found.node != before and _fits(maker, found.node):
            return found
    return None


def worded(maker: Maker, found: FollowUp, unseen: bool) -> Wording:
    """The follow-up as a question."""
    many = maker.bench.many(found.node)
    return render(found.node, many, maker.rng, maker.split, unseen, found.say)


def _fits(maker: Maker, node: Node) -> bool:
    """Whether it is well posed and has an answer (in one of eight cases it may have none)."""
    if len(compile_plan(node)) > _MOST_STEPS or not maker.bench.is_well_posed(node):
        return False
    if node.op in MEASURES:
        return True
    size = maker.size(node)
    return size <= _MOST_IDS and (size > 0 or maker.rng.random() < 0.12)


def _opened(say: Say) -> Say:
    """Now and then "and" or the like before the question."""

    def said(speaker: Speaker, node: Node) -> str:
        text = say(speaker, node)
        if speaker.rng.random() >= _OPENER_SHARE or text[:4].lower() in ("and ", "now "):
            return text
        lower = text if text[:2] in ("I ", "I'") else f"{text[:1].lower()}{text[1:]}"
        return f"{speaker.rng.choice(_OPENERS)}{lower}"

    return said


def _slot(name: str) -> Say:
    """A phrasing of a slot in which only the objects given are named."""

    def said(speaker: Speaker, node: Node) -> str:
        assert node.other is not None
        return fill(speaker.phraser.must(name), of=speaker.the(node.other))

    return said


def _word(maker: Maker) -> str | None:
    return maker.rng.choice(maker.scene.nouns) if maker.scene.nouns else None


def _from_it(maker: Maker, ids: list[int]) -> FollowUp | None:
    """Something related to the objects given: "what is behind it?"."""
    rng = maker.rng
    ops = [*SIDES, *SIDES, "nearest", "nearest", "nearest", "farthest", "inside", "on", "not"]
    if not maker.scene.still:
        ops += ["before", "after", "during", "occluded_by"]
    op = rng.choice(ops)
    draw, word = rng.random(), _word(maker)
    base = ANY if draw < 0.6 or word is None else noun(word)
    if draw > 0.85 and maker.scene.colours:
        base = Node("attribute", ANY, value=rng.choice(maker.scene.colours))
    if op == "not" and base.op == "any":
        return None
    event = rng.choice(EVENTS) if op in ("before", "after") else ""
    node = Node(op, base, given(ids), value=event)
    if op == "nearest" and base.op == "any" and len(ids) == 1 and rng.random() < 0.5:
        return FollowUp(node, _slot("again.near"))
    return FollowUp(node, _opened(short))


def _of_those(maker: Maker, ids: list[int]) -> FollowUp | None:
    """Some of several objects given: "the largest of those"."""
    rng, base = maker.rng, given(ids)
    word = _word(maker)
    anchor = None if word is None else noun(word)
    nodes = [
        Node("attribute", base, value=rng.choice(maker.scene.colours or ("red",))),
        Node("extreme", base, value=rng.choice(EXTREMES)),
        Node("extreme", base, value=rng.choice(EXTREMES)),
        Node("nth", base, value=rng.choice(("left", "size", "depth")), k=2),
    ]
    if anchor is not None:
        nodes += [
            Node("and", base, anchor),
            Node(rng.choice(SIDES), base, anchor),
            Node("nearest", base, anchor),
        ]
    if not maker.scene.still:
        nodes += [
            Node("moved", base, value=rng.choice(DIRECTIONS)),
            Node(rng.choice(("still", "appeared", "disappeared")), base),
            Node(rng.choice(("first", "last")), base, value=rng.choice(EVENTS)),
            Node("fastest", base),
        ]
    node = rng.choice(nodes)
    if node.op not in PICKS and maker.size(node) == len(ids):
        return None
    return FollowUp(node, _opened(_among if node.op == "and" else short))


def _among(speaker: Speaker, node: Node) -> str:
    """ "Which of them is a mug?" """
    assert node.sub is not None
    plural = speaker.is_many(node)
    predicate = speaker.predicate(node, plural) or ""
    text = agree(speaker.phraser.must("given.which"), plural)
    return fill(text, set=speaker.pronoun(node.sub), pred=predicate)


def _others(maker: Maker, before: Node, ids: list[int]) -> FollowUp | None:
    """What the earlier answer left out: of its kind, or of everything."""
    base = before
    while base.op not in ("find", "or", "and") and base.sub is not None:
        base = base.sub
    kind = base.op == "find" and not base.is_use and len(base.words) == 1
    if kind and maker.size(base) > len(ids):
        return FollowUp(Node("not", base, given(ids)), _say_others)
    if maker.rng.random() < 0.6:
        return None
    return FollowUp(Node("not", ANY, given(ids)), _slot("again.rest"))


def _say_others(speaker: Speaker, node: Node) -> str:
    assert node.sub is not None
    plural = speaker.is_many(node)
    word = ("ones" if plural else "one") if speaker.rng.random() < 0.4 else ""
    head = word or speaker.bare(node.sub, plural)
    return fill(agree(speaker.phraser.must("again.others"), plural), h=head)


def _measured(maker: Maker, ids: list[int]) -> FollowUp | None:
    """ "When did it move?", "how far is it from the book?", "how many of them are red?" """
    rng, base = maker.rng, given(ids)
    draw, word = rng.random(), _word(maker)
    if draw < 0.35 and not maker.scene.still:
        event = rng.choice((*EVENTS, "moved", "hidden"))
        return FollowUp(Node("when", base, value=event), _opened(say_measure))
    if draw < 0.65 and word is not None and maker.bench.true.ids(noun(word)) not in ([], ids):
        anchor = noun(word)
        pair = (base, anchor) if rng.random() < 0.6 else (anchor, base)
        if maker.size(anchor) != 1 or len(ids) != 1:
            return None
        space = "pixel" if rng.random() < 0.25 else "metric"
        return FollowUp(Node("distance", *pair, value=space), _opened(say_measure))
    if len(ids) < 2:
        return None
    part = _of_those(maker, ids)
    counted = base if part is None or rng.random() < 0.4 else part.node
    if counted.op not in ("given", "attribute", "moved", "still", "and", *SIDES):
        return None
    return FollowUp(Node("count", counted), _opened(say_measure))


def _elliptic(maker: Maker, before: Node) -> FollowUp | None:
    """The earlier program with one part exchanged."""
    if any(part.op == "given" for part in walk(before)):
        return None
    makers = (_other_side, _other_side, _other_colour, _other_colour, _other_noun, _other_extreme)
    return maker.rng.choice(makers)(maker, before)


def _other_side(maker: Maker, before: Node) -> FollowUp | None:
    """ "And right of it?" after "what is left of the mug?": the anchor stays."""
    if before.op not in SIDES:
        return None
    side = maker.rng.choice([op for op in SIDES if op != before.op])

    def say(speaker: Speaker, node: Node) -> str:
        assert node.other is not None
        text = speaker.phraser.must(relation_slot(node), lambda t: not t.startswith("~"))
        plural = speaker.is_many(node.other)
        rel = fill(agree(text, speaker.is_many(node)), of="them" if plural else "it")
        return fill(speaker.phraser.must("again.side"), rel=rel)

    return FollowUp(replace(before, op=side), say)


def _other_colour(maker: Maker, before: Node) -> FollowUp | None:
    """ "And the blue one?" after "the red mug" or "where is the mug?"."""
    rng, colours = maker.rng, sorted(set(maker.scene.colours))
    if not colours:
        return None
    if before.op == "find" and not before.is_use and len(before.words) == 1:
        node = Node("attribute", before, value=rng.choice(colours))
    elif before.op == "attribute" and before.sub is not None and before.sub.op in ("any", "find"):
        node = replace(before, value=rng.choice(colours))
    else:
        return None

    def say(speaker: Speaker, node: Node) -> str:
        text = agree(speaker.phraser.must("again.colour"), speaker.is_many(node))
        return fill(text, colour=node.value)

    return FollowUp(node, say)


def _other_noun(maker: Maker, before: Node) -> FollowUp | None:
    """ "And the bowl?" after "where is the mug?" or "what is left of the mug?"."""
    word = _word(maker)
    if word is None:
        return None
    if before.op == "find" and not before.is_use and len(before.words) == 1:
        node = named = noun(word)
    elif before.op in (*SIDES, "nearest", "farthest") and before.sub == ANY:
        if before.other is None or before.other.op != "find" or before.other.is_use:
            return None
        named = noun(word)
        node = replace(before, other=named)
    else:
        return None

    def say(speaker: Speaker, _: Node) -> str:
        return fill(speaker.phraser.must("again.noun"), np=speaker.the(named))

    return FollowUp(node, say)


def _other_extreme(maker: Maker, before: Node) -> FollowUp | None:
    """ "And the smallest one?" after "the largest mug"."""
    if before.op != "extreme" or before.sub is None:
        return None
    node = replace(before, value=maker.rng.choice([e for e in EXTREMES if e != before.value]))

    def say(speaker: Speaker, node: Node) -> str:
        one = fill(speaker.phraser.must(relation_slot(node)), h="one")
        return fill(speaker.phraser.must("again.noun"), np=f"the {one}")

    return FollowUp(node, say)
