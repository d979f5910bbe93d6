"""A plan that is right by luck is not paid for copies of the scene on which it is wrong."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from edgetwin.distill.reasoner.records import Question
from edgetwin.distill.rewards.counterfactual import counterfactual, swapped
from edgetwin.distill.rollouts.record import Rollout
from edgetwin.distill.sim.questions.restricted import TRAINED
from edgetwin.distill.tasks.task import Task, iou_of
from edgetwin.reasoner import protocol
from edgetwin.tests.distill.questions_window import small_window
from edgetwin.twin.errors import InputError
from edgetwin.twin.tools import render_results

RED_MUG = [
    {"tool": "find", "words": ["mug"]},
    {"tool": "attribute", "ids": "$1", "name": "color", "value": "red"},
]


def asked(plan: list[dict[str, object]]) -> Task:
    results = TRAINED.run_plan(plan, small_window())
    reference = Question(
        "Which mug is red?", "Mug. Red.", json.dumps(plan), render_results(results), "$2"
    )
    return Task("worlds/1", small_window(), "Which mug is red?", (1,), reference=reference)


def said(task: Task, plan: list[dict[str, object]], answer: str) -> Rollout:
    results = TRAINED.run_plan(plan, task.window)
    text = (
        f"<reason>Red mug.</reason><plan>{json.dumps(plan, separators=(',', ':'))}</plan>"
        f"<results>{render_results(results)}</results><answer>{answer}</answer>"
    )
    transcript = protocol.parse(text)
    body = transcript.answer
    assert body is not None
    value = results[body.reference - 1].value if body.reference else list(body.ids)
    ids = tuple(sorted(i for i in value if isinstance(i, int))) if isinstance(value, list) else ()
    return Rollout(task, text, "answered", ids=ids, iou=iou_of(task, ids), transcript=transcript)


def test_labels_change_places_and_tracks_stay() -> None:
    window = small_window()
    other = swapped(window, random.Random(0))
    labels = [window.latest(i).semantic_label for i in window.ids()]
    changed = [other.latest(i).semantic_label for i in window.ids()]
    assert sorted(labels) == sorted(changed)
    assert labels != changed
    assert [other.latest(i).centroid for i in other.ids()] == [
        window.latest(i).centroid for i in window.ids()
    ]


def test_the_right_plan_is_right_everywhere_and_luck_is_not() -> None:
    task = asked(RED_MUG)
    right = said(task, RED_MUG, "$2")
    # the leftmost thing of all is the red mug, on the true scene only
    lucky = said(task, [{"tool": "extreme", "by": "leftmost"}], "$1")
    written = said(task, RED_MUG, "[1]")
    wrong = said(task, [{"tool": "find", "words": ["bowl"]}], "$1")
    assert [r.iou for r in (right, lucky, written)] == [1.0, 1.0, 1.0]
    found = counterfactual(copies=8)([right, lucky, written, wrong])
    assert found[0] == 1.0
    assert found[1] is not None
    # copy k deals labels by Random("worlds/1 k"): the red mug is dealt to object 1 again in some
    scenes = [swapped(task.window, random.Random(f"worlds/1 {k}")) for k in range(8)]
    again = [
        sorted(TRAINED.run_plan(RED_MUG, s)[-1].value)  # type: ignore[type-var, arg-type]
        == TRAINED.run_plan([{"tool": "extreme", "by": "leftmost"}], s)[-1].value
        for s in scenes
    ]
    assert found[1] == sum(again) / 8 < 0.5
    assert found[2:] == [0.0, 0.0]


def test_tasks_without_a_program_are_skipped() -> None:
    task = asked(RED_MUG)
    one = said(task, RED_MUG, "$2")
    for changed in (
        replace(task, reference=None),
        replace(task, turns=(("the mugs", (1, 2)),)),
        replace(task, whole=small_window()),
    ):
        assert counterfactual()([replace(one, task=changed)]) == [None]
    with pytest.raises(InputError, match="expected copies as a number from 1 to 16"):
        counterfactual(copies=0)
