"""A recursive grammar that draws programs (:class:`~.programs.Node`) for a given window.

A set is a base (everything, a noun, a property) with a colour, then filters (relations, events,
exclusions), then at most one choice (extreme, ordinal, nearest, first). Anchors are smaller sets
of the same grammar. Words come from what the window holds, and parts that turn out empty are
drawn again, so that a deep program has an answer; where none is wanted, one word in five comes
from the whole vocabulary and the last step may come out empty.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ....twin.motion import Event
from ..catalogue import CATEGORIES, COLOUR_NAMES
from .knowledge import FACTS, PROPERTIES
from .programs import ANY, SIDES, Category, Node, category_of, level_of, noun, use

__all__ = ["DIRECTIONS", "EVENTS", "EXTREMES", "Scene", "draw_program"]

EXTREMES = (
    "largest",
    "smallest",
    "leftmost",
    "rightmost",
    "highest",
    "lowest",
    "closest",
    "farthest",
)
DIRECTIONS = ("any", "left", "right", "up", "down", "toward", "away")
EVENTS: tuple[Event, ...] = ("moved", "appeared", "disappeared")
_ABSENT = 0.2
_TRIES = 40
_PART_TRIES = 6

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Scene:
    """What a window holds: nouns and colours with repetition.

    ``busy`` are the nouns of objects to which something happens; ``vocabulary`` those that absent
    things are drawn from; ``still`` says that the window is a single frame.
    """

    nouns: tuple[str, ...]
    colours: tuple[str, ...]
    busy: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = tuple(CATEGORIES)
    still: bool = False


def draw_program(
    scene: Scene,
    rng: random.Random,
    category: Category,
    level: int,
    size: Callable[[Node], int],
    empty: bool = False,
    even: bool = False,
) -> Node | None:
    """A program of exactly this category and level, or None if the grammar found none.

    ``size`` tells how many objects a part holds in the window; ``empty`` asks for a program
    that is likely to hold none; ``even`` flattens how often tools and shapes are drawn, to a
    degree that is drawn anew for every program, so that training meets rare combinations.
    """
    for _ in range(_TRIES):
        node = _Grammar(scene, rng, category, size, empty, even).target(level)
        if node is not None and level_of(node) == level and category_of(node) == category:
            return node
    return None


class _Grammar:
    def __init__(
        self,
        scene: Scene,
        rng: random.Random,
        category: Category,
        size: Callable[[Node], int],
        empty: bool,
        even: bool,
    ) -> None:
        self.scene, self.rng, self.category = scene, rng, category
        self.size, self.absent = size, _ABSENT if empty else 0.0
        self.even = even and category != "semantic"  # which has few shapes as it is
        self.power = rng.random() if self.even else 1.0  # of every weight; 0 makes all alike
        self.deep = rng.uniform(0.3, 0.8) if self.even else 0.5  # anchors that are sets themselves

    def _choose(self, options: Sequence[_T], weights: Sequence[float]) -> _T:
        if self.even:
            weights = [weight**self.power if weight else 0.0 for weight in weights]
        return self.rng.choices(options, weights)[0]

    def _some(self, draw: Callable[[], Node | None], least: int = 1) -> Node | None:
        """The first part drawn that holds at least ``least`` objects."""
        for _ in range(_PART_TRIES):
            node = draw()
            if node is not None and (node.op == "any" or self.size(node) >= least):
                return node
        return None

    def target(self, level: int) -> Node | None:
        """A set of ``level`` steps that is fit for a whole question."""
        rng = self.rng
        if (
            level >= 2
            and self.category == "spatial"
            and rng.random() < (0.15 if self.even else 0.12)
        ):
            return self.comparison(level)
        if level >= 3 and rng.random() < self._union_share():
            return self.union(level)
        return self.set(level, main=True, pick=self.category != "semantic")

    def _union_share(self) -> float:
        if self.category == "semantic":
            return 0.4
        return 0.15 if self.even else 0.06

    def comparison(self, level: int) -> Node | None:
        """ "Which is closer, the mug or the bowl?" """
        pair = self._two_nouns()
        if pair is None:
            return None
        by = self.rng.choice(("largest", "smallest", "closest", "farthest", "highest", "leftmost"))
        if level == 2:
            return Node("extreme", noun("|".join(pair)), value=by)
        a = self.rng.randint(1, level - 2)
        left, right = self.set(a, True, False), self.set(level - 1 - a - 1, True, False)
        if left is None or right is None or left == right:
            return None
        return Node("extreme", Node("or", left, right), value=by)

    def union(self, level: int) -> Node | None:
        """Two sets together; each is complete in itself."""
        a = self.rng.randint(1, level - 2)
        left, right = self.set(a, True, False), self.set(level - 1 - a, True, False)
        return None if left is None or right is None or left == right else Node("or", left, right)

    def set(self, level: int, main: bool, pick: bool) -> Node | None:
        """A set that costs ``level`` steps; in an anchor (not main) a plain noun costs none."""
        rng = self.rng
        if level == 0:
            return None if main else self._noun()
        if pick and rng.random() < 0.4:
            return self._pick(level, main)
        return self._filtered(level, main, filters=2 if level > 2 else 1)

    def _pick(self, level: int, main: bool) -> Node | None:
        rng = self.rng
        temporal = self.category == "temporal" and rng.random() < 0.65
        if temporal:
            op = rng.choice(("first", "last", "fastest", "first", "last"))
        else:
            op = self._choose(("extreme", "nth", "nearest", "farthest"), (4, 2, 2.5, 0.8))
        other: Node | None = None
        budget = level - 1
        if op in ("nearest", "farthest"):
            other, budget = self._anchor(budget)
            if other is None:
                return None
        sub = self._some(lambda: self._choice_base(budget, main), least=2)
        if sub is None:
            return None
        if op in ("first", "last"):
            return Node(op, sub, value=self._event())
        if op == "extreme":
            return Node(op, sub, value=rng.choice(EXTREMES))
        if op == "nth":
            by = self._choose(("left", "size", "depth", "top", "speed"), (5, 2, 3, 1, 1))
            if by == "speed" and self.category != "temporal":
                by = "left"
            return Node(op, sub, value=by, k=rng.choice((2, 2, 3)), descending=rng.random() < 0.5)
        if op == "fastest":
            return Node(op, sub)
        k = 2 if op == "nearest" and rng.random() < 0.12 else 1
        return Node(op, sub, other, k=k)

    def _choice_base(self, budget: int, main: bool) -> Node | None:
        """A set to choose from: everything, or a set without a choice of its own."""
        if budget == 0:
            return ANY if main or self.rng.random() < 0.3 else self._noun()
        return self._filtered(budget, main, filters=2 if budget > 2 else 1)

    def _filtered(self, level: int, main: bool, filters: int) -> Node | None:
        """A base with a colour and up to ``filters`` filters."""
        if level == 0:
            return ANY if main else self._noun()
        makers: list[Callable[[], Node | None]] = []
        weights: list[float] = []

        def offer(weight: float, maker: Callable[[], Node | None]) -> None:
            if weight:
                makers.append(maker)
                weights.append(weight)

        if filters:
            related = {"semantic": 0, "spatial": 5, "temporal": 2}[self.category]
            offer(related, lambda: self._relation(level, main, filters))
            offer(5 * (self.category == "temporal"), lambda: self._happening(level, main, filters))
            excludes = 3 if self.category == "semantic" else 1
            offer(excludes * main, lambda: self._exclusion(level, filters))
        if level == 1:
            offer(6, lambda: self._base(main))
        if level == 1 or (level == 2 and main):
            offer(3, lambda: self._coloured(level, main))
        if level >= 3 and main and self.category == "semantic":
            offer(2, lambda: self._both(level))
        return self._choose(makers, weights)() if makers else None

    def _sub(self, level: int, main: bool, filters: int) -> Node | None:
        """The set that a filter is applied to."""
        return self._some(lambda: self._filtered(level, main, filters - 1))

    def _base(self, main: bool) -> Node:
        return self._use() if self.rng.random() < (0.6 if main else 0.9) else self._noun()

    def _coloured(self, level: int, main: bool) -> Node:
        rng = self.rng
        if main:
            base = ANY if level == 1 else self._base(True)
        else:
            base = ANY if rng.random() < 0.35 else self._noun()
        return Node("attribute", base, value=self._colour())

    def _both(self, level: int) -> Node | None:
        """Two properties at once."""
        first, second = self._use(), self._use()
        if first.value == second.value or not set(first.words) & set(second.words):
            return None
        node = Node("and", first, second)
        if not self.absent and not self.size(node):
            return None
        return Node("attribute", node, value=self._colour()) if level == 4 else node

    def _relation(self, level: int, main: bool, filters: int) -> Node | None:
        other, budget = self._anchor(level - 1)
        sub = self._sub(budget, main, filters) if other is not None else None
        if sub is None:
            return None
        op = self._choose((*SIDES, "inside", "on"), (4, 4, 1.5, 1.5, 3, 3, 2, 2))
        return Node(op, sub, other)

    def _happening(self, level: int, main: bool, filters: int) -> Node | None:
        rng = self.rng
        op = self._choose(
            (
                "moved",
                "still",
                "appeared",
                "disappeared",
                "before",
                "after",
                "during",
                "occluded_by",
            ),
            (5, 1.5, 1.5, 1.5, 1.2, 1.2, 1, 1),
        )
        if op in ("moved", "still", "appeared", "disappeared"):
            sub = self._sub(level - 1, main, filters)
            value = rng.choice(DIRECTIONS) if op == "moved" else ""
            return None if sub is None else Node(op, sub, value=value)
        other, budget = self._anchor(level - 1)
        sub = self._sub(budget, main, filters) if other is not None else None
        if sub is None:
            return None
        return Node(op, sub, other, value=self._event() if op in ("before", "after") else "")

    def _exclusion(self, level: int, filters: int) -> Node | None:
        """ "not red", "other than the mugs"."""
        rng = self.rng
        if level >= 2 and rng.random() < 0.5:  # the excluded colour costs one step
            other: Node | None = Node("attribute", ANY, value=self._colour())
            budget = level - 2
        else:
            other, budget = self._anchor(level - 1)
        sub = self._sub(budget, True, filters) if other is not None else None
        if sub is None or (other is not None and sub.op == "find" == other.op and not sub.is_use):
            return None
        return Node("not", sub, other)

    def _anchor(self, budget: int) -> tuple[Node | None, int]:
        """An anchor and what is left of the budget for the set itself."""
        rng = self.rng
        if budget < 1 or rng.random() >= self.deep:
            return self._noun(), budget
        spent = 1 if budget == 1 or rng.random() < 0.7 else 2
        pick = self.category != "semantic"
        return self._some(lambda: self.set(spent, False, pick)), budget - spent

    def _noun(self) -> Node:
        return noun(self._category())

    def _category(self) -> str:
        busy = self.scene.busy
        if self.category == "temporal" and busy and self.rng.random() < 0.4:
            return self.rng.choice(busy)
        return self._from(self.scene.nouns, self.scene.vocabulary)

    def _two_nouns(self) -> tuple[str, str] | None:
        kinds = sorted(set(self.scene.nouns))
        if len(kinds) < 2:
            return None
        first, second = self.rng.sample(kinds, 2)
        return first, second

    def _use(self) -> Node:
        category = self._category()
        keys = FACTS[category].properties() if category in FACTS else ()
        return use(self.rng.choice(keys or PROPERTIES))

    def _colour(self) -> str:
        return self._from(self.scene.colours, COLOUR_NAMES)

    def _event(self) -> str:
        return self._choose(EVENTS, (4, 2, 1.5))

    def _from(self, present: Sequence[str], known: Sequence[str]) -> str:
        if present and self.rng.random() >= self.absent:
            return self.rng.choice(present)
        return self.rng.choice(known)
