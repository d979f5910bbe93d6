"""What training asks of one window: questions, follow-ups and measures, in all modes.

:class:`Asked` is a question with everything that its prompt holds (mode, earlier question) and
everything that the model should write. The kinds are ``question`` (:mod:`.generate`),
``follow_up`` (:mod:`.follow_ups`) and ``measure`` (:mod:`.measures`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ....reasoner.prompts import Mode
from ....twin.tools import StepResult, ToolValue, render_results
from ....twin.window import TwinWindow
from . import follow_ups, measures
from .chains import answer_of, rationale
from .families import Split
from .generate import CATEGORIES, Maker, Novelty
from .language import Wording
from .modes import description, detailed, sentence
from .programs import MEASURES, Category, Node, Plan, compile_plan, level_of
from .restricted import TRAINED, Restricted, with_detect

__all__ = ["SHARES", "Asked", "Mixer", "Shares", "Turn"]

Kind = Literal["question", "follow_up", "measure"]
Turn = tuple[str, tuple[int, ...]]
_OTHER_MODES: tuple[Mode, ...] = ("sentence", "detailed", "description")
_TRIES = 12


@dataclass(frozen=True, slots=True)
class Shares:
    """How often a window is asked what: shares of its questions, ``plain`` a number.

    ``modes`` are drawn from evenly; None: concise but for the share ``other_mode``.
    With long questions only, "what is left of the mug?" is forgotten.
    """

    follow_up: float = 0.15
    measure: float = 0.06
    other_mode: float = 0.4
    idle_turn: float = 0.05
    plain: int = 4
    modes: tuple[Mode, ...] | None = None


SHARES = Shares()
"""What the embedded reasoner is trained with; ``idle_turn``: an earlier question that is not meant."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, its prompt's other parts, and the reference chain.

    ``ids`` are the true answer, ascending, or the objects that a measure is taken of; ``value``
    is the last step's.
    """

    text: str
    kind: Kind
    mode: Mode
    turns: tuple[Turn, ...]
    program: Node
    level: int
    rationale: str
    description: str
    plan: Plan
    results: str
    answer_ref: str
    ids: tuple[int, ...]
    value: ToolValue
    wording: Novelty
    needs_detect: bool


class Mixer:
    """Asks about one window; the window may be shown in part (:class:`~.restricted.Restricted`)."""

    def __init__(
        self,
        window: TwinWindow | Restricted,
        rng: random.Random,
        split: Split = "train",
        shares: Shares = SHARES,
    ) -> None:
        self.part = window if isinstance(window, Restricted) else None
        whole = window.whole if isinstance(window, Restricted) else window
        self.window, self.rng, self.shares = whole, rng, shares
        self.maker = Maker(whole, rng, split)
        self.known = set(window.shown.ids() if isinstance(window, Restricted) else whole.ids())
        self._earlier: list[tuple[Turn, Node]] = []
        self._texts: set[str] = set()

    def several(self, n: int, levels: Sequence[int]) -> list[Asked]:
        """Up to ``n`` questions in the shares asked for, in random order."""
        shares, rng = self.shares, self.rng
        plain = [self.plain() for _ in range(shares.plain)]
        cells = self._cells(n, levels)
        made = [a for a in plain if a is not None]
        follow = sum(rng.random() < shares.follow_up for _ in range(n))
        measure = sum(rng.random() < shares.measure for _ in range(n))
        tries = 0
        while len(made) < n - follow - measure and tries < 3 * n:
            tries += 1
            asked = self.question(*next(cells))
            made += [asked] if asked is not None else []
        for make, count in ((self.measure, measure), (self.follow_up, follow)):
            found = (make() for _ in range(count))
            made += [asked for asked in found if asked is not None]
        rng.shuffle(made)
        return made

    def plain(self) -> Asked | None:
        """A relation to one named thing."""
        found = self.maker.plain()
        return None if found is None else self._kept(found.text, found.wording, self._mode())

    def question(
        self, category: Category, level: int, mode: Mode | None = None, unseen: bool = False
    ) -> Asked | None:
        """A question of a category and level."""
        found = self.maker.make(category, level, unseen)
        if found is None:
            return None
        turns: tuple[Turn, ...] = ()
        if self._earlier and self.rng.random() < self.shares.idle_turn:
            turns = (self.rng.choice(self._earlier)[0],)
        return self._kept(found.text, found.wording, mode or self._mode(), turns)

    def measure(self, mode: Mode | None = None, unseen: bool = False) -> Asked | None:
        """How many, how far or when."""
        node = measures.draw_measure(self.maker)
        if node is None:
            return None
        wording = measures.worded(self.maker, node, unseen)
        return self._asked(wording, node, "measure", mode or self._mode(), ())

    def follow_up(self, mode: Mode | None = None, unseen: bool = False) -> Asked | None:
        """A question that goes on from one that was asked before."""
        for _ in range(_TRIES if self._earlier else 0):
            weights = [1 / level_of(node) ** 2 for _, node in self._earlier]
            turn, before = self.rng.choices(self._earlier, weights)[0]
            found = follow_ups.draw_follow_up(self.maker, before)
            if found is None:
                continue
            wording = follow_ups.worded(self.maker, found, unseen)
            asked = self._asked(wording, found.node, "follow_up", mode or self._mode(), (turn,))
            if asked is not None:
                return asked
        return None

    def _cells(self, n: int, levels: Sequence[int]) -> _Cells:
        kinds = CATEGORIES[:2] if self.maker.scene.still else CATEGORIES
        return _Cells([(kind, level) for kind in kinds for level in levels], self.rng)

    def _mode(self) -> Mode:
        if self.shares.modes is not None:
            return self.rng.choice(self.shares.modes)
        if self.rng.random() >= self.shares.other_mode:
            return "concise"
        return self.rng.choice(_OTHER_MODES)

    def _kept(
        self, text: str, novelty: Novelty, mode: Mode, turns: tuple[Turn, ...] = ()
    ) -> Asked | None:
        """A question of :class:`Maker`, remembered for follow-ups."""
        node = self.maker.programs[text]
        wording = Wording(text, "short", (), novelty == "unseen")
        asked = self._asked(wording, node, "question", mode, turns)
        if asked is not None and set(asked.ids) <= self.known and not asked.needs_detect:
            self._earlier.append(((text, asked.ids), node))
        return asked

    def _asked(
        self, wording: Wording, node: Node, kind: Kind, mode: Mode, turns: tuple[Turn, ...]
    ) -> Asked | None:
        if wording.text in self._texts and not turns:
            return None
        self._texts.add(wording.text)
        plan = compile_plan(node)
        words = None if self.part is None else self.part.words
        told = plan if words is None else with_detect(plan, words)
        results = TRAINED.run_plan(told, self.window)
        many = self.maker.bench.many(node)
        return Asked(
            text=wording.text,
            kind=kind,
            mode=mode,
            turns=turns,
            program=node,
            level=level_of(node),
            rationale=self._rationale(node, mode),
            description=description(node, many, self._name) if mode == "description" else "",
            plan=told,
            results=render_results(results),
            answer_ref=answer_of(results),
            ids=self._ids(node, results),
            value=results[-1].value,
            wording="unseen" if wording.unseen else "seen",
            needs_detect=told != plan,
        )

    def _rationale(self, node: Node, mode: Mode) -> str:
        if mode == "sentence":
            return sentence(node)
        if mode == "detailed":
            return detailed(node, self.maker.bench.many(node), self._name)
        return rationale(node)

    def _ids(self, node: Node, results: Sequence[StepResult]) -> tuple[int, ...]:
        """The objects that answer; of a measure those that it is taken of."""
        if node.op in MEASURES:
            assert node.sub is not None
            return tuple(sorted(self.maker.bench.true.ids(node.sub)))
        value = results[-1].value
        assert isinstance(value, list)
        return tuple(sorted(i for i in value if isinstance(i, int)))

    def _name(self, object_id: int) -> str:
        """Colour and label of an object."""
        obj = self.window.latest(object_id)
        return f"{obj.attributes.get('color', '')} {obj.semantic_label}".strip()


class _Cells:
    """Category and level of the next question: every cell once before any twice."""

    def __init__(self, cells: Sequence[tuple[Category, int]], rng: random.Random) -> None:
        self._cells, self._rng = list(cells), rng
        self._left: list[tuple[Category, int]] = []

    def __next__(self) -> tuple[Category, int]:
        if not self._left:
            self._left = self._rng.sample(self._cells, len(self._cells))
        return self._left.pop()
