"""Rollouts that try to be paid without reasoning, and what each combination pays them.

One small made twin, one question on it, an honest rollout, an honest mistake, and rollouts that
each play one trick. Every needed part is gullible, so that nothing but the rewards themselves
stands in the way: the judge gives 1 to every answer, and the image-text model sees colours only.
``guarded=False`` shows what each trick was worth without the guards.

Not covered: tricks that no reward of text can see, such as a fluent rationale that has nothing to
do with how the answer came about.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ...reasoner.protocol import blocks, parse
from ...twin.errors import OutputError, ProtocolError
from ...twin.schema import FrameTwin, ObjectTwin
from ...twin.window import TwinWindow
from ..evaluate.report import Table
from ..rollouts.record import Rollout
from ..tasks.task import Task, iou_of
from .base import answered
from .choose import COMBINATIONS, rewards_of, total_of
from .embedders import HashedEmbedder
from .guards import flags_of
from .similarities import View

__all__ = ["HONEST", "MISTAKE", "Adversary", "adversarial_table", "adversaries"]

HONEST, MISTAKE = "honest", "honest mistake"
_QUESTION = "which red thing stands to the left of the white bowl"
_SIDE = 96
# id, label, colour, box; the red book is large, so that naming everything covers half the truth.
_OBJECTS = (
    (1, "book", "red", (4, 4, 60, 60)),
    (2, "mug", "red", (74, 8, 86, 20)),
    (3, "bowl", "white", (66, 66, 82, 82)),
    (4, "plate", "blue", (24, 72, 44, 92)),
    (5, "banana", "yellow", (4, 66, 20, 80)),
)
_PAINT = {"red": (210, 40, 40), "white": (240, 240, 240), "blue": (50, 80, 210)}
_PAINT["yellow"] = (230, 200, 40)
_PLAN = (
    '<plan>[{"tool":"attribute","name":"color","value":"red"},{"tool":"find","words":["bowl"]},'
    '{"tool":"left_of","ids":"$1","of":"$2"}]</plan><results>[[1,2],[3],[1]]</results>'
)
_REASON = "Red things. The white bowl. Left of that."
_EXPLAIN = (
    "The question asks for a red thing left of the white bowl. First, take the red things, a book "
    "and a mug. Next, find the white bowl. Then, keep what is left of that: only the book."
)
_DESCRIBE = "the red book left of the bowl"


@dataclass(frozen=True, slots=True)
class Adversary:
    """A trick by name, played in one rollout."""

    name: str
    rollout: Rollout


class _Gullible:
    """A judge that believes everything, and eyes that see colours only."""

    name = "gullible"

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        return [1.0 for _ in rollouts]

    def compare(self, views: Sequence[View]) -> list[float | None]:
        return [_reddish(view) for view in views]


def adversaries(pictures: str | None = None) -> list[Adversary]:
    """The honest rollout first, the honest mistake next, then the tricks.

    Args:
        pictures: of the made twin, for rewards that look; None: there are none.
    """
    task = Task("adversaries", _window(), _QUESTION, (1,), pictures=pictures)
    again = replace(task, key="adversaries#again", question=_DESCRIBE)
    second = _rollout(again, f"<reason>Red book.</reason>{_PLAN}<answer>$3</answer>", (1,))
    listing = "1 red book x33 y33 z80 2 red mug x83 y14 z90 3 white bowl x77 y77 z70"
    often = " ".join(["keep the red thing that is left of the white bowl"] * 6)
    told = {
        HONEST: _text(),
        MISTAKE: _text(answer="[2]"),
        "names everything": _text(answer="[1,2,3,4,5]"),
        "no rationale": _text(reason=None),
        "empty rationale": _text(reason=""),
        "one word for three steps": _text(reason="Red."),
        "filler": _text(reason="Well hm okay let us see then."),
        "copies the question": _text(reason=_QUESTION),
        "explains with the question": _text(explain=f"{_QUESTION} {_QUESTION}"),
        "describes with the question": _text(describe=_QUESTION),
        "describes by ids": _text(describe="object 1"),
        "copies results": _text(explain="[[1,2],[3],[1]] and so [1], found by looking at it all"),
        "copies the twin": _text(reason=f"Red. Bowl. Left. {listing}", explain=listing),
        "repeats itself": _text(reason=f"Red. Bowl. Left. {often}", explain=often),
        "pads the explanation": _text(explain=f"{_REASON} " * 8),
        "answers none": _text(answer="none"),
        "writes its own results": _text().replace("<answer>", "<results>[[1]]</results><answer>"),
        "never closes": _text().removesuffix("</explain>"),
        "answers first": _text(early=True),
    }
    return [Adversary(name, _rollout(task, text, None, second)) for name, text in told.items()]


def adversarial_table(*, guarded: bool = True) -> Table:
    """What each combination of :data:`.choose.COMBINATIONS` pays each adversary.

    Args:
        guarded: False leaves the guards out.

    Raises:
        OutputError: if no temporary picture can be written.
    """
    gullible = _Gullible()
    totals: dict[str, list[float | None]] = {}
    with tempfile.TemporaryDirectory() as folder:
        played = adversaries(_painted(Path(folder)))
        for name, choices in COMBINATIONS.items():
            kept = [one for one in choices if guarded or one.name != "guards"]
            rewards = rewards_of(kept, judge=gullible, embed=HashedEmbedder(), similarity=gullible)
            totals[name] = total_of(rewards, [one.rollout for one in played]).totals
    rows = [
        (one.name, _fired(one.rollout), *(totals[name][k] for name in totals))
        for k, one in enumerate(played)
    ]
    title = "What tricks are paid" + ("" if guarded else ", without the guards")
    note = (
        "Total reward of one group, in which only the honest rollout reasons and is right. The "
        "judge gives every answer 1; the image-text model sees colours only."
    )
    return Table(title, ("rollout", "guards", *totals), tuple(rows), (note,))


def _text(
    reason: str | None = _REASON,
    answer: str = "$3",
    explain: str = _EXPLAIN,
    describe: str = _DESCRIBE,
    early: bool = False,
) -> str:
    """A whole rollout as text; ``early`` puts the answer before the rationale."""
    said = "" if reason is None else f"<reason>{reason}</reason>"
    said += f"<describe>{describe}</describe>{_PLAN}"
    answered_with = f"<answer>{answer}</answer>"
    said = answered_with + said if early else said + answered_with
    return f"{said}<explain>{explain}</explain>"


def _rollout(
    task: Task, text: str, ids: tuple[int, ...] | None, second: Rollout | None = None
) -> Rollout:
    """What an engine would make of the text; a word is a token."""
    try:
        transcript, found = parse(text), blocks(text)
    except ProtocolError as error:
        return Rollout(task, text, "malformed", second=second, message=str(error))
    answer = transcript.answer
    given = ids or ((1,) if answer and answer.reference else answer.ids if answer else ())
    names = {"reason": "rationale", "describe": "description"}
    tokens: dict[str, int] = {}
    for block in found:
        name = names.get(block.tag, block.tag)
        tokens[name] = tokens.get(name, 0) + len(block.body.split())
    return Rollout(
        task, text, "answered", given, iou_of(task, given), transcript, tokens, second=second
    )


def _fired(rollout: Rollout) -> str:
    return ", ".join(flags_of(rollout)) if answered(rollout) else "malformed"


def _window() -> TwinWindow:
    """One frame of 96 × 96 with the five objects."""
    objects = {
        i: ObjectTwin(
            id=i,
            semantic_label=label,
            attributes={"color": color},
            confidence=1.0,
            box_xyxy=(x0, y0, x1, y1),
            centroid=((x0 + x1) / 2, (y0 + y1) / 2),
            area=(x1 - x0) * (y1 - y0),
            first_seen=0.0,
            last_seen=0.0,
        )
        for i, label, color, (x0, y0, x1, y1) in _OBJECTS
    }
    return TwinWindow(
        [FrameTwin(index=0, timestamp_s=0.0, width=_SIDE, height=_SIDE, objects=objects)]
    )


def _painted(folder: Path) -> str:
    """The frame as a picture."""
    picture = np.full((_SIDE, _SIDE, 3), 120, np.uint8)
    for _, _, color, (x0, y0, x1, y1) in _OBJECTS:
        picture[y0:y1, x0:x1] = _PAINT[color]
    path = folder / "00000.png"
    if not cv2.imwrite(str(path), np.ascontiguousarray(picture[:, :, ::-1])):
        raise OutputError(f"cannot write {path}; is the temporary folder full?")
    return str(path)


def _reddish(view: View) -> float:
    """Share of red pixels in the box: all that these eyes know of the question."""
    x0, y0, x1, y1 = (round(v) for v in view.box_xyxy)
    box = view.picture_hw3[y0:y1, x0:x1].reshape(-1, 3)
    return float((np.abs(box.astype(int) - _PAINT["red"]).max(axis=1) < 40).mean())
