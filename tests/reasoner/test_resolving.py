from __future__ import annotations

import math
from typing import Any

import pytest

from edgetwin.reasoner.protocol import AnswerBody
from edgetwin.reasoner.resolving import Resolved, last_ids, resolve
from edgetwin.twin.errors import ProtocolError
from edgetwin.twin.tools.registry import DEFAULT_REGISTRY, StepResult
from edgetwin.twin.window import TwinWindow

PLAN: list[dict[str, Any]] = [
    {"tool": "find", "words": ["mug"]},
    {"tool": "count", "ids": "$1"},
    {"tool": "distance", "a": "$1", "b": [3, 1]},
    {"tool": "visible_when", "ids": [2]},
    {"tool": "path", "ids": "$1"},
]
RESULTS = [
    StepResult("find", "ids", [2, 1, 2]),
    StepResult("count", "number", 2),
    StepResult("distance", "number", 51.5),
    StepResult("visible_when", "intervals", [(0.0, 1.0)]),
    StepResult("path", "points", [(1.0, 2.0)]),
]


def resolved(answer: AnswerBody, window: TwinWindow) -> Resolved:
    return resolve(answer, PLAN, RESULTS, DEFAULT_REGISTRY, window)


def test_what_answers_stand_for(window: TwinWindow) -> None:
    assert resolved(AnswerBody(), window) == Resolved()
    assert resolved(AnswerBody(), window).is_none
    assert resolved(AnswerBody(ids=(3, 1)), window) == Resolved((3, 1))
    assert resolved(AnswerBody(reference=1), window) == Resolved((2, 1))
    assert resolved(AnswerBody(reference=2), window) == Resolved((2, 1), "number", value=2.0)
    far = resolved(AnswerBody(reference=3), window)
    assert far == Resolved((2, 1, 3), "number", value=51.5)
    when = resolved(AnswerBody(reference=4), window)
    assert when == Resolved((2,), "intervals", ((0.0, 1.0),))
    assert not far.is_none
    assert not when.is_none


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (AnswerBody(reference=6), "a step of 1 to 5, got \\$6"),
        (AnswerBody(reference=0), "a step of 1 to 5, got \\$0"),
        (AnswerBody(reference=5), "\\$5 \\(path\\), which gives points"),
        (AnswerBody(ids=(1, 9)), "ids of the twin .*, got 9"),
    ],
)
def test_what_they_cannot_stand_for(answer: AnswerBody, message: str, window: TwinWindow) -> None:
    with pytest.raises(ProtocolError, match=message):
        resolved(answer, window)


def test_numbers_and_times_that_are_not_there(window: TwinWindow) -> None:
    for value in (None, math.nan, math.inf):
        found = resolve(
            AnswerBody(reference=1), [{"tool": "count", "ids": [1]}],
            [StepResult("count", "number", value)], DEFAULT_REGISTRY, window,
        )  # fmt: skip
        assert found.is_none
    never = StepResult("visible_when", "intervals", [])
    plan = [{"tool": "visible_when", "ids": []}]
    assert resolve(AnswerBody(reference=1), plan, [never], DEFAULT_REGISTRY, window).is_none


def test_ids_that_left_the_twin_are_never_answered(window: TwinWindow) -> None:
    gone = [StepResult("find", "ids", [1, 77])]
    with pytest.raises(ProtocolError, match="got 77"):
        resolve(AnswerBody(reference=1), PLAN[:1], gone, DEFAULT_REGISTRY, window)
    assert last_ids([*gone, RESULTS[1]], window) == [1]
    assert last_ids([RESULTS[1]], window) == []
