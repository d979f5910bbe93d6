"""Right for the right reason: the same plan on copies of the scene in which things changed places.

A scene has four to seven objects, so a plan that is wrong is at times right by luck, and a policy
that is paid for answers learns to skip steps. ``counterfactual`` runs the plan on copies of the twin whose labels and attributes went to other objects, and compares with
what the reference's plan gives there; the reward is the share of copies that agree, 0 without a
right answer on the true twin.

This is ours, not a paper's. It needs the program of the question (simulated worlds); tasks
without one, with earlier questions (whose ids stand in the plan) or with a twin shown in part are
None.

Not covered: answers written out as ids, which have no plan to run: 0.
"""

from __future__ import annotations

import json
import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from ...twin.errors import EdgeTwinError
from ...twin.schema import FrameTwin
from ...twin.tools.registry import StepResult
from ...twin.window import TwinWindow
from ..rollouts.record import Rollout
from ..sim.questions.restricted import TRAINED
from ..tasks.task import Task
from .base import Reward, correct, number

__all__ = ["counterfactual", "swapped"]

_KEPT = 64  # tasks whose copies are remembered: those of a step of training


@dataclass(frozen=True, slots=True)
class _Copy:
    """A changed scene, and what the reference's plan gives there."""

    window: TwinWindow
    ids: tuple[int, ...]


def counterfactual(*, copies: float = 4) -> Reward:
    """Share of changed scenes on which the plan gives what the reference's gives.

    Raises:
        InputError: if ``copies`` is not from 1 to 16.
    """
    count = int(number("counterfactual", "copies", copies, 1, 16))
    known: OrderedDict[str, list[_Copy]] = OrderedDict()

    def one(rollout: Rollout) -> float | None:
        task = rollout.task
        if task.reference is None or not task.reference.plan or task.turns or task.whole:
            return None
        if not correct(rollout):
            return 0.0
        if task.key not in known:
            known[task.key] = _copies(task, count)
            if len(known) > _KEPT:
                known.popitem(last=False)
        scenes = known[task.key]
        if not scenes:
            return None
        return sum(_answer(rollout, scene.window) == scene.ids for scene in scenes) / len(scenes)

    return lambda rollouts: [one(r) for r in rollouts]


def swapped(window: TwinWindow, rng: random.Random) -> TwinWindow:
    """The same tracks with labels and attributes dealt out anew."""
    ids = list(window.ids())
    other = dict(zip(ids, rng.sample(ids, len(ids)), strict=True))
    seen = {i: window.latest(i) for i in ids}

    def changed(frame: FrameTwin) -> FrameTwin:
        objects = {
            i: obj.model_copy(
                update={
                    "semantic_label": seen[other[i]].semantic_label,
                    "attributes": dict(seen[other[i]].attributes),
                }
            )
            for i, obj in frame.objects.items()
        }
        return frame.model_copy(update={"objects": objects})

    return TwinWindow([changed(frame) for frame in window.frames], window.max_frames)


def _copies(task: Task, count: int) -> list[_Copy]:
    """Changed scenes on which the reference's plan can be computed."""
    assert task.reference is not None
    plan = json.loads(task.reference.plan)
    found = []
    for number_ in range(count):
        window = swapped(task.window, random.Random(f"{task.key} {number_}"))
        try:
            results = TRAINED.run_plan(plan, window)
        except EdgeTwinError:
            continue
        found.append(_Copy(window, _ids(results, len(results))))
    return found


def _answer(rollout: Rollout, window: TwinWindow) -> tuple[int, ...] | None:
    """What the rollout's plan gives on another scene; None if it gives no objects there."""
    transcript = rollout.transcript
    if transcript is None or transcript.answer is None or not transcript.rounds:
        return None
    answer = transcript.answer
    if answer.ids:
        return None
    try:
        results = TRAINED.run_plan(transcript.rounds[-1].plan, window)
    except EdgeTwinError:
        return None
    return _ids(results, answer.reference or len(results))


def _ids(results: Sequence[StepResult], step: int) -> tuple[int, ...]:
    value = results[step - 1].value if 1 <= step <= len(results) else None
    items = value if isinstance(value, list) else []
    return tuple(sorted(i for i in items if isinstance(i, int)))
