"""Questions on a window: draw a program, keep it if it is well posed, word it, write its chain."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ....twin.motion import event_s
from ....twin.tools import run_plan
from ....twin.window import TwinWindow
from ..catalogue import WILD
from .chains import answer_of, chain
from .evaluate import Bench
from .families import Split, held_out_skeleton
from .language import Form, render
from .programs import (
    ANY,
    PICKS,
    SIDES,
    Category,
    Node,
    Plan,
    category_of,
    compile_plan,
    level_of,
    noun,
    skeleton_of,
    walk,
)
from .sampling import EVENTS, Scene, draw_program

__all__ = ["CATEGORIES", "Maker", "Question", "questions", "scene_of"]

CATEGORIES: tuple[Category, ...] = ("semantic", "spatial", "temporal")
Novelty = Literal["seen", "unseen"]

_NONE_SHARE = 0.10
_SEVERAL_SHARE = 0.28  # about a fifth in the end: some programs cannot have several
_MOST_IDS = 4
_TRIES = 60
_NOVEL_TRIES = 200
_MAX_STEPS = 8
# Tools in fewer than 2 % of the programs that windows naturally afford.
_RARE_TEXT = "on inside before after during occluded_by appeared disappeared"
_RARE = frozenset(_RARE_TEXT.split())


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its program, its true answer and the reference chain.

    ``ids`` are the true answer, ascending; ``answer_ref`` is ``$k`` or ``none``; ``results`` is
    what :func:`~edgetwin.twin.tools.render_results` writes. ``wording`` is ``unseen`` if a
    phrasing is held out of training, ``composition`` if the skeleton is.
    """

    text: str
    category: Category
    level: int
    form: Form
    families: tuple[str, ...]
    skeleton: str
    plan: Plan
    results: str
    answer_ref: str
    ids: tuple[int, ...]
    rationale: str
    wording: Novelty
    composition: Novelty


def scene_of(window: TwinWindow, vocabulary: Sequence[str] = ()) -> Scene:
    """What the grammar needs to know of a window."""
    objects = [window.latest(i) for i in window.ids()]
    nouns = tuple(o.semantic_label for o in objects)
    colours = tuple(c for o in objects if (c := o.attributes.get("color")))
    busy = tuple(
        o.semantic_label
        for o in objects
        if any(event_s(window, o.id, event) is not None for event in EVENTS)
    )
    return Scene(nouns, colours, busy, tuple(vocabulary) or WILD, len(window.frames) < 2)


class Maker:
    """Makes questions for one window; its jittered copies and memo are shared by all of them."""

    def __init__(
        self,
        window: TwinWindow,
        rng: random.Random,
        split: Split = "train",
        vocabulary: Sequence[str] = (),
    ) -> None:
        self.window, self.rng, self.split = window, rng, split
        self.scene = scene_of(window, vocabulary)
        self.even = split == "train"
        self.bench = Bench(window, rng)
        self.programs: dict[str, Node] = {}  # of the questions made, by their text
        self._asked: set[Node] = set()

    def make(
        self, category: Category, level: int, unseen: bool = False, novel: bool = False
    ) -> Question | None:
        """A question of this category and level, or None if the window affords none.

        ``unseen`` asks for a wording that holds a phrasing kept out of training, ``novel`` for a
        step combination kept out of training (if one is found in time).
        """
        wanted = self._wanted_count()
        tries = _TRIES if level < 3 else 2 * _TRIES
        search = _NOVEL_TRIES if novel and self.split != "train" and level >= 3 else 0
        common: Node | None = None
        for attempt in range(search + tries):
            node = draw_program(
                self.scene, self.rng, category, level, self.size, wanted == 0, self.even
            )
            if node is None or node in self._asked:
                continue
            reserved = held_out_skeleton(skeleton_of(node), level)
            if reserved not in ("train", self.split) or (attempt < search and reserved == "train"):
                continue
            if not self._fits(node, wanted, attempt >= search + tries // 2):
                continue
            if self.even and attempt < tries // 2 and not self._is_welcome(node):
                common = node
                continue
            return self._question(node, unseen)
        return None if common is None else self._question(common, unseen)

    def plain(self) -> Question | None:
        """A relation to one named thing, asked of everything: what is left of the blue mug?"""
        rng = self.rng
        for _ in range(_TRIES if self.scene.nouns else 0):
            anchor = noun(rng.choice(self.scene.nouns))
            if self.scene.colours and rng.random() < 0.6:
                anchor = Node("attribute", anchor, value=rng.choice(self.scene.colours))
            node = Node(rng.choice(_PLAIN), ANY, anchor)
            reserved = held_out_skeleton(skeleton_of(node), level_of(node))
            if node in self._asked or reserved != "train" or self.size(anchor) != 1:
                continue
            if self.size(node) <= _MOST_IDS and self.bench.is_well_posed(node):
                return self._question(node, False)
        return None

    def _is_welcome(self, node: Node) -> bool:
        """Whether training takes a program at once: rare tools always, common ones at times."""
        tools = {part.op for part in walk(node)}
        return bool(tools & _RARE) or self.rng.random() < (0.25 if "not" in tools else 0.5)

    def size(self, node: Node) -> int:
        """How many objects a set holds."""
        return len(self.bench.true.ids(node))

    def _wanted_count(self) -> int:
        draw = self.rng.random()
        return 0 if draw < _NONE_SHARE else 2 if draw < _NONE_SHARE + _SEVERAL_SHARE else 1

    def _fits(self, node: Node, wanted: int, late: bool) -> bool:
        """Whether the answer's size is the wanted one and the question is worth asking."""
        ids = self.bench.true.ids(node)
        size = min(len(ids), 2)
        if size != wanted and not (late and size == 1):
            return False
        return (
            len(compile_plan(node)) <= _MAX_STEPS
            and len(ids) < len(self.window.ids())
            and len(ids) <= _MOST_IDS
            and self._is_meaningful(node)
            and self.bench.is_well_posed(node)
        )

    def _is_meaningful(self, node: Node) -> bool:
        """No part that repeats, contradicts or does nothing."""
        for part in walk(node):
            if part.sub is None:
                continue
            sub, ids = self.bench.true.ids(part.sub), self.bench.true.ids(part)
            if part.op in PICKS and (len(sub) < 2 or part.k > len(sub)) and self.rng.random() < 0.9:
                return False
            if part.op in ("not", "or") and len(ids) == len(sub):
                return False
            if part.op == "or" and part.other and len(ids) == len(self.bench.true.ids(part.other)):
                return False
            if part.op not in ("not", "or") and len(ids) == len(sub) and self.rng.random() < 0.6:
                return False
            if part.op == "and" and part.sub == part.other:
                return False
            if not ids and part is not node and self.rng.random() < 0.7:
                return False
            if not _is_new(part):
                return False
        return True

    def _question(self, node: Node, unseen: bool) -> Question:
        self._asked.add(node)
        plan = compile_plan(node)
        results = run_plan(plan, self.window)
        steps = chain(node, results)
        wording = render(node, self.bench.many(node), self.rng, self.split, unseen)
        self.programs[wording.text] = node
        value = results[-1].value
        assert value == self.bench.true.ids(node)
        skeleton, level = skeleton_of(node), level_of(node)
        held = held_out_skeleton(skeleton, level) != "train"
        return Question(
            text=wording.text,
            category=category_of(node),
            level=level,
            form=wording.form,
            families=wording.families,
            skeleton=skeleton,
            plan=plan,
            results=steps.results,
            answer_ref=answer_of(results),
            ids=tuple(sorted(i for i in value if isinstance(i, int))),
            rationale=steps.rationale,
            wording="unseen" if wording.unseen else "seen",
            composition="unseen" if held else "seen",
        )


_PLAIN = (*SIDES, "inside", "on", "nearest", "farthest")
_STATES = ("moved", "still", "appeared", "disappeared", "not")


_MOTION = ("first", "last", "fastest", "during", "before", "after")


def _is_new(part: Node) -> bool:
    """Whether a filter is of another kind than the ones below it, and its anchor another set."""
    below = part.sub
    while below is not None:
        if below.op == "still" and part.op in _MOTION:
            return False
        if part.op in _STATES and below.op in _STATES and "not" not in (part.op, below.op):
            return False
        if part.op == below.op and part.op not in ("or", "and") and part.other == below.other:
            return False
        if part.op == below.op == "not":
            return False
        below = below.sub
    return part.sub != part.other


def questions(
    window: TwinWindow,
    rng: random.Random,
    n: int,
    split: Split = "train",
    levels: Sequence[int] = (1, 2, 3, 4),
    vocabulary: Sequence[str] = (),
    plain: int = 0,
) -> list[Question]:
    """Up to ``n`` questions on one window, balanced over category and level in random order.

    Still windows get no temporal questions. In val and test about half of the wordings are
    unseen. ``vocabulary`` are the nouns that absent things are drawn from (default: all 24).
    The first ``plain`` ask for a relation to one named thing, as people do most. Fewer than ``n``
    come back where the window does not afford more.
    """
    maker = Maker(window, rng, split, vocabulary)
    kinds = CATEGORIES[:2] if maker.scene.still else CATEGORIES
    cells = [(category, level) for category in kinds for level in levels]
    simple = (maker.plain() for _ in range(min(plain, n)))
    made = [question for question in simple if question is not None]
    left: list[tuple[Category, int]] = []
    for _ in range(3 * n):
        if len(made) == n:
            break
        if not left:  # every cell once before any twice
            left = rng.sample(cells, len(cells))
        category, level = left.pop()
        held = split != "train"
        question = maker.make(
            category, level, held and rng.random() < 0.5, held and rng.random() < 0.2
        )
        if question is not None:
            made.append(question)
    return made
