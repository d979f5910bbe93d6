"""Rollouts of a small scene as judges get them."""

from __future__ import annotations

from edgetwin.distill.reasoner.records import Question
from edgetwin.distill.rollouts.record import Ending, Rollout
from edgetwin.distill.tasks.task import Task
from edgetwin.reasoner.protocol import tagged
from edgetwin.tests.reasoner.conftest import make_object
from edgetwin.twin.schema import FrameTwin
from edgetwin.twin.window import TwinWindow

FIND = (
    '[{"tool":"find","words":["mug"]},{"tool":"attribute","ids":"$1","name":"color","value":"red"}]'
)


def scene() -> TwinWindow:
    objects = {
        1: make_object(1, "mug", "red", 60, 120),
        2: make_object(2, "mug", "blue", 180, 120),
        3: make_object(3, "box", "green", 120, 120),
    }
    frame = FrameTwin(index=0, timestamp_s=0.0, width=256, height=256, objects=objects)
    return TwinWindow([frame])


def task(key: str = "t", question: str = "the red mug", reference: bool = True) -> Task:
    chain = Question(question, "Mug. Red.", FIND, "[[1,2],[1]]", "$2") if reference else None
    return Task(key, scene(), question, (1,), reference=chain)


def text_of(rationale: str = "Mug. Red.", plan: str = FIND) -> str:
    parts = [tagged("reason", rationale), tagged("plan", plan)]
    return "".join([*parts, tagged("results", "[[1,2],[1]]"), tagged("answer", "$2")])


def rollout(
    rationale: str = "Mug. Red.",
    plan: str = FIND,
    of: Task | None = None,
    ending: Ending = "answered",
    text: str | None = None,
) -> Rollout:
    said = text_of(rationale, plan) if text is None else text
    return Rollout(of or task(), said, ending, ids=(1,), iou=1.0)
