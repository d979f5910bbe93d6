"""Questions whose answer is a number or times: how many, how far, when."""

from __future__ import annotations

from ....twin.motion import event_s
from .generate import CATEGORIES, Maker
from .language import Wording, render
from .programs import EVERYTHING, PICKS, Node, compile_plan, noun, walk
from .sampling import EVENTS, draw_program
from .speech import Speaker, agree, fill

__all__ = ["draw_measure", "say_measure", "worded"]

_TRIES = 40
_MOST = 6  # objects counted
_MOST_STEPS = 7  # of the set that is measured, one less than a plan may have


def draw_measure(maker: Maker) -> Node | None:
    """A measure that the window affords and jitter leaves alone, or None."""
    for _ in range(_TRIES):
        draw = maker.rng.random()
        node = _count(maker) if draw < 0.4 else _distance(maker) if draw < 0.65 else _when(maker)
        if node is None or not maker.bench.is_well_posed(node):
            continue
        if len(compile_plan(node)) <= _MOST_STEPS + 1:
            return node
    return None


def worded(maker: Maker, node: Node, unseen: bool) -> Wording:
    """A measure as a question."""
    many = maker.bench.many(node)
    return render(node, many, maker.rng, maker.split, unseen, say_measure)


def _count(maker: Maker) -> Node | None:
    rng = maker.rng
    if rng.random() < 0.08:
        return Node("count", noun(EVERYTHING))
    kinds = CATEGORIES[:2] if maker.scene.still else CATEGORIES
    level = rng.choice((1, 1, 1, 2, 2, 3))
    empty = rng.random() < 0.1
    found = draw_program(maker.scene, rng, rng.choice(kinds), level, maker.size, empty, True)
    if found is None or any(p.op in (*PICKS, "or") for p in walk(found)):
        return None
    return Node("count", found) if empty or 1 <= maker.size(found) <= _MOST else None


def _one(maker: Maker, nouns: tuple[str, ...]) -> Node | None:
    """A set of one object: a noun with or without its colour, or something related."""
    rng = maker.rng
    if not nouns:
        return None
    node = noun(rng.choice(nouns))
    if maker.scene.colours and rng.random() < 0.5:
        node = Node("attribute", node, value=rng.choice(maker.scene.colours))
    elif rng.random() < 0.2:
        kinds = CATEGORIES[:2]
        found = draw_program(maker.scene, rng, rng.choice(kinds), 2, maker.size, False, True)
        node = node if found is None or found.op == "or" else found
    return node if maker.size(node) == 1 else None


def _when(maker: Maker) -> Node | None:
    rng = maker.rng
    if maker.scene.still:
        return None
    busy = rng.random() < 0.85
    node = _one(maker, maker.scene.busy if busy else maker.scene.nouns)
    if node is None:
        return None
    (object_id,) = maker.bench.true.ids(node)
    window = maker.window
    happened = [e for e in EVENTS if event_s(window, object_id, e) is not None]
    event = rng.choice(happened) if busy and happened else rng.choice(EVENTS)
    if rng.random() < 0.2:
        event_name = "hidden" if rng.random() < 0.6 else "visible"
        return Node("when", node, value=event_name)
    return Node("when", node, value=event)


def _distance(maker: Maker) -> Node | None:
    first, second = _one(maker, maker.scene.nouns), _one(maker, maker.scene.nouns)
    if (
        first is None
        or second is None
        or maker.bench.true.ids(first) == maker.bench.true.ids(second)
    ):
        return None
    return Node("distance", first, second, value="pixel" if maker.rng.random() < 0.25 else "metric")


def say_measure(speaker: Speaker, node: Node) -> str:
    """The words of a measure."""
    assert node.sub is not None
    pick = speaker.phraser.must
    if node.op == "when":
        text = agree(pick(f"when.{node.value}"), speaker.is_many(node.sub))
        return fill(text, np=speaker.the(node.sub))
    if node.op == "distance":
        assert node.other is not None
        text = pick(f"distance.{node.value}")
        return fill(text, a=speaker.the(node.sub), b=speaker.the(node.other))
    return _say_count(speaker, node.sub)


def _say_count(speaker: Speaker, node: Node) -> str:
    pick, rng = speaker.phraser.must, speaker.rng
    if node.op == "given":
        return fill(pick("count.given"), set=speaker.pronoun(node))
    if node.sub is not None and (node.sub.op == "given" or rng.random() < 0.5):
        predicate = speaker.predicate(node, True)
        if predicate is not None and node.sub.op == "given":
            return fill(pick("count.given.pred"), set=speaker.pronoun(node.sub), pred=predicate)
        if predicate is not None and node.sub.op not in (*PICKS, "or"):
            return fill(pick("count.pred"), h=speaker.bare(node.sub, True), pred=predicate)
    return fill(pick("count"), h=speaker.bare(node, True))
