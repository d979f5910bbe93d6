"""A judge that needs no network: how likely the teacher finds the student's chain.

The score is the teacher's mean log-probability per token of the chain (rationale and plan; see
:data:`~.likelihood.Until`) given the task's prompt, through a logistic curve (:mod:`.calibration`)
into [0, 1]. It stands in for FastReasonSeg's judging language model (section 3.3) where there is
none, as in the embedded recipe; like it, it rewards a student for reasoning as its teacher does.

Not covered: what the likelihood cannot see. A wrong chain in the teacher's own manner scores well,
a right one in another manner does not.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...reasoner.protocol import parse_plan, render_plan, tagged
from ...twin.errors import ModelError, ProtocolError
from ..rollouts.engine import Engine
from ..rollouts.record import Rollout
from ..stages.policy import Policy, prompt_ids
from ..tasks.task import Task
from .base import chain_of, new_counts, says_nothing
from .calibration import Calibration, fit
from .likelihood import Likelihood, Reading, Until, likelihoods, reading

__all__ = ["LocalJudge", "calibrate", "samples_of"]

_GOOD_IOU, _BAD_IOU = 0.7, 0.5  # the chains that a teacher keeps; those that got no reward
_ROWS = 64  # chains in one batch


class LocalJudge:
    """Scores chains by the likelihood that a teacher gives them.

    Args:
        teacher: the model that judges.
        calibration: its curve.
        rows: chains in one batch.

    Raises:
        ModelError: if the calibration is of other weights, or hardly separates.
    """

    def __init__(self, teacher: Policy, calibration: Calibration, *, rows: int = _ROWS) -> None:
        if calibration.teacher_sha256 != teacher.sha256:
            raise ModelError(
                f"expected a calibration of the weights {teacher.sha256[:12] or 'at random'} of "
                f"{teacher.source}, got one of {calibration.teacher_sha256[:12] or 'random ones'}: "
                "calibrate again"
            )
        self._teacher, self._calibration, self._rows = teacher, calibration.check(), rows
        self._counts = new_counts()

    @property
    def counts(self) -> dict[str, int]:
        """See :class:`~.base.Judge`."""
        return dict(self._counts)

    @property
    def card(self) -> dict[str, Any]:
        """What a model card says of this judge."""
        told: dict[str, Any] = self._calibration.model_dump(mode="json")
        return {"kind": "local", **told}

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """One score in [0, 1] per rollout; None for what is no chain or too long to be read."""
        found = _read(self._teacher, rollouts, self._calibration.until, self._rows)
        scores: list[float | None] = []
        for rollout, one in zip(rollouts, found, strict=True):
            chain = chain_of(rollout)
            if chain is None:
                outcome, score = "skipped", None
            elif says_nothing(chain):
                outcome, score = "empty", 0.0
            elif one is None:
                outcome, score = "failed", None
            else:
                outcome, score = "scored", self._calibration.score(one)
            scores.append(score)
            self._counts[outcome] += 1
        return scores


def calibrate(
    teacher: Policy,
    tasks: Sequence[Task],
    engine: Engine,
    *,
    samples: int = 2,
    until: Until = "plan",
    seed: int = 0,
    rows: int = _ROWS,
) -> Calibration:
    """Roll out the teacher on training tasks and fit its judge's curve.

    Args:
        teacher: the model that will judge.
        tasks: training tasks, those of one scene next to each other.
        engine: draws the chains, at a temperature at which some go wrong (1).
        samples: chains per task.
        until: how far chains are read.
        seed: of the draws and of what is shuffled.
        rows: chains in one batch.

    Raises:
        ModelError: if there are too few good or bad chains.
    """
    rollouts = engine.roll(tasks, samples, seed)
    kinds = samples_of(rollouts, seed)
    keys = dict.fromkeys(rollout.task.key for rollout in rollouts)
    numbers = {key: number for number, key in enumerate(keys)}
    measured: dict[str, list[tuple[int, Likelihood]]] = {}
    for kind, chains in kinds.items():
        found = _read(teacher, chains, until, rows)
        measured[kind] = [
            (numbers[chain.task.key], one)
            for chain, one in zip(chains, found, strict=True)
            if one is not None
        ]
    name = "/".join(Path(teacher.source).parts[-2:])  # the folder, not where it lies
    return fit(measured, name, teacher.sha256, until)


def samples_of(rollouts: Sequence[Rollout], seed: int = 0) -> dict[str, list[Rollout]]:
    """Chains by kind, made from a teacher's rollouts: ``good``, ``wrong``, ``other``, ``shuffled``.

    Of a task every chain counts once. The other question is one of the same scene where there is
    one.
    """
    rng = random.Random(f"judge {seed}")
    once = {(r.task.key, r.text): r for r in rollouts if not says_nothing(chain_of(r) or ())}
    kinds: dict[str, list[Rollout]] = {"good": [], "wrong": [], "other": [], "shuffled": []}
    for one in once.values():
        if one.ending == "answered" and one.iou > _GOOD_IOU:
            kinds["good"].append(one)
        elif one.ending == "tool_error" or (one.ending == "answered" and one.iou <= _BAD_IOU):
            kinds["wrong"].append(one)
    scenes: dict[int, list[Rollout]] = defaultdict(list)
    for one in kinds["good"]:
        scenes[id(one.task.window)].append(one)
    for one in kinds["good"]:
        pool = [r for r in scenes[id(one.task.window)] if r.task.question != one.task.question]
        pool = pool or [r for r in kinds["good"] if r.task.question != one.task.question]
        different = [r for r in pool if set(r.task.ids) != set(one.task.ids)]
        if different:
            kinds["other"].append(replace(one, text=rng.choice(different).text))
        mixed = _shuffled(one, rng)
        if mixed is not None:
            kinds["shuffled"].append(mixed)
    return kinds


def _shuffled(one: Rollout, rng: random.Random) -> Rollout | None:
    """The chain with the steps of its plan in another order; None if it has no two that differ."""
    found = chain_of(one) or []
    body = next((block.body for block in found if block.tag == "plan"), "")
    try:
        plan = parse_plan(body)
    except ProtocolError:
        return None
    if len({json.dumps(step) for step in plan}) < 2:
        return None
    order = plan
    while order == plan:
        order = rng.sample(plan, len(plan))
    old, new = tagged("plan", body), tagged("plan", render_plan(order))
    return replace(one, text=one.text.replace(old, new, 1))


def _read(
    teacher: Policy, rollouts: Sequence[Rollout], until: Until, rows: int
) -> list[Likelihood | None]:
    """The teacher's likelihood of every chain, None for what is none."""
    prompts: dict[int, list[int]] = {}
    found: list[Reading] = []
    places: list[int | None] = []
    for rollout in rollouts:
        chain = chain_of(rollout)
        if chain is None:
            places.append(None)
            continue
        name = id(rollout.task)
        if name not in prompts:
            prompts[name] = prompt_ids(teacher, rollout.task)
        places.append(len(found))
        found.append(reading(teacher, prompts[name], chain, until))
    read = likelihoods(teacher, found, rows)
    return [None if place is None else read[place] for place in places]
