"""Tasks on simulated training worlds, drawn as they are needed, and the tasks of a recipe.

Worlds are those of the supervised training (:func:`..reasoner.produce.training_window`): true and
noisy twins, stills and parts of clips. Task i is deterministic in the recipe's numbers and the
seed; no twin is kept beyond the last few.

Not covered: questions whose answer is a number or a time (no mask tells if they are right).
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from ...twin.tools.registry import ToolRegistry
from ...twin.window import TwinWindow
from ..reasoner.produce import as_record, nouns_of, plain_validation, training_window
from ..reasoner.score import tools_for_part
from ..sim.questions.mixed import Asked, Mixer, Shares
from ..sim.questions.programs import MEASURES
from ..sim.questions.restricted import TRAINED, restricted
from .task import Task, Tasks

if TYPE_CHECKING:
    from ..stages.recipe import DataChoice, WorldsChoice

__all__ = ["Joined", "Worlds", "held_of", "tasks_of", "tools_of", "validation_tasks"]

_KEPT_WORLDS = 64  # a step of training asks about a handful of neighbouring worlds
_MOST_SEEDS = 500_000  # seeds above are spare ones, validation and test
_TRIES = 20


class Worlds(Tasks):
    """``choice.count * choice.per_world`` tasks, those of one world next to each other."""

    def __init__(self, choice: WorldsChoice, seed: int = 0) -> None:
        self.choice, self.seed = choice, seed
        self._made: OrderedDict[int, list[Task]] = OrderedDict()

    def __len__(self) -> int:
        return self.choice.count * self.choice.per_world

    def at(self, place: int) -> Task:
        """See :class:`~.task.Tasks`."""
        world, number = divmod(place, self.choice.per_world)
        if world not in self._made:
            self._made[world] = self._world(world)
            if len(self._made) > _KEPT_WORLDS:
                self._made.popitem(last=False)
        else:
            self._made.move_to_end(world)
        tasks = self._made[world]
        return tasks[number % len(tasks)]

    def _world(self, world: int) -> list[Task]:
        """The tasks of a world; of the next one if it holds too little to ask about."""
        seed = self.choice.first + world
        for _ in range(_TRIES):
            tasks = self._asked(seed)
            if tasks:
                return tasks
            seed = (seed + 7919) % _MOST_SEEDS
        raise AssertionError("twenty worlds in a row hold nothing to ask about")

    def _asked(self, seed: int) -> list[Task]:
        choice = self.choice
        window = training_window(seed)
        if len(window.ids()) < 2:
            return []
        rng = random.Random(f"tasks {self.seed} {seed}")
        part = None
        if rng.random() < choice.restricted:
            part = restricted(window, rng, nouns_of(window))
        plain = choice.per_world // 6
        shares = Shares(choice.follow_up, 0.0, plain=plain, modes=tuple(choice.modes))
        mixer = Mixer(part or window, rng, "train", shares)
        tasks = []
        for number, asked in enumerate(mixer.several(choice.per_world, choice.levels)):
            if asked.program.op not in MEASURES:
                key = f"worlds/{seed}/{self.seed}/{number}"
                shown, whole = (part.shown, part.whole) if part else (window, None)
                tasks.append(_task(key, asked, shown, whole))
        return tasks


def _task(key: str, asked: Asked, window: TwinWindow, whole: TwinWindow | None) -> Task:
    return Task(
        key,
        window,
        asked.text,
        asked.ids,
        mode=asked.mode,
        turns=asked.turns,
        level=asked.level,
        reference=as_record(asked),
        whole=whole,
    )


@cache
def validation_tasks(worlds: int, per_world: int = 8) -> tuple[Task, ...]:
    """Questions on the true twins of the first validation worlds, half in unseen wordings."""
    held_out = plain_validation(worlds, per_world)
    return tuple(
        Task(f"validation/{i}", one.window, one.question, one.ids, level=one.level)
        for i, one in enumerate(held_out)
    )


def tools_of(task: Task) -> ToolRegistry:
    """The tools that a task's plans run with: where its twin is shown in part, ``find`` knows
    that part and ``detect`` what it adds."""
    return TRAINED if task.whole is None else tools_for_part(task.window)


def tasks_of(data: DataChoice, seed: int = 0) -> Sequence[Task]:
    """All tasks of a recipe, simulated ones first.

    Raises:
        InputError: if a folder of cached tasks cannot be read.
    """
    found: list[Sequence[Task]] = []
    if data.worlds is not None:
        found.append(Worlds(data.worlds, seed))
    if data.cached:
        from .cached import read_tasks

        found += [read_tasks(folder) for folder in data.cached]
    return found[0] if len(found) == 1 else Joined(found)


def held_of(data: DataChoice) -> frozenset[str]:
    """Pictures and videos that the data sets of a recipe's cached tasks evaluate on."""
    from .cached import read_tasks

    return frozenset(name for f in data.cached for name in read_tasks(f).about.get("held", ()))


class Joined(Tasks):
    """Several sequences of tasks, one after the other."""

    def __init__(self, parts: Sequence[Sequence[Task]]) -> None:
        self._parts = list(parts)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def at(self, place: int) -> Task:
        """See :class:`~.task.Tasks`."""
        for part in self._parts:
            if place < len(part):
                return part[place]
            place -= len(part)
        raise IndexError(f"expected a task below {len(self)}")
