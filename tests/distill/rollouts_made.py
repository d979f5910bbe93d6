"""Rollouts made by hand: a text of the protocol, with a word as a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgetwin.distill.rollouts.record import Rollout
from edgetwin.distill.tasks.task import Task, iou_of
from edgetwin.reasoner.protocol import Block, blocks, parse
from edgetwin.twin.errors import ProtocolError
from edgetwin.twin.schema import Rle

from .questions_window import small_window

WINDOW = small_window()  # red mug 1, blue mug 2, white bowl 3, red book 4, yellow banana 5
NAMES = {"reason": "rationale", "describe": "description"}


def task(
    question: str = "which mug is red",
    ids: tuple[int, ...] = (1,),
    key: str = "a",
    truth: Mapping[int, Rle] | None = None,
    **given: Any,
) -> Task:
    return Task(key, given.pop("window", WINDOW), question, ids, truth, **given)


def words(found: list[Block], tag: str) -> int:
    return sum(len(block.body.split()) for block in found if block.tag == tag)


def rollout(
    asked: Task, text: str, ids: tuple[int, ...] | None = None, second: Rollout | None = None
) -> Rollout:
    """What was said to a task; ``ids`` as the engine would resolve them, None: as written."""
    try:
        transcript, found = parse(text), blocks(text)
    except ProtocolError as error:
        return Rollout(asked, text, "malformed", second=second, message=str(error))
    given = ids if ids is not None else transcript.answer.ids
    tokens = {NAMES.get(tag, tag): words(found, tag) for tag in
              ("reason", "describe", "plan", "answer", "explain", "results")}  # fmt: skip
    tokens["own"] = sum(n for name, n in tokens.items() if name != "results")
    return Rollout(
        asked, text, "answered", tuple(given), iou_of(asked, given), transcript, tokens,
        second=second,
    )  # fmt: skip


def said(
    asked: Task,
    reason: str = "Mug. Red.",
    answer: str = "[1]",
    explain: str = "",
    describe: str = "",
    second: Rollout | None = None,
) -> Rollout:
    """A rationale and an answer without a plan, and what may stand beside them."""
    text = f"<reason>{reason}</reason>"
    text += f"<describe>{describe}</describe>" if describe else ""
    text += f"<answer>{answer}</answer>"
    text += f"<explain>{explain}</explain>" if explain else ""
    return rollout(asked, text, second=second)
