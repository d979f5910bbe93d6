"""The text protocol between the language model and the tools (FastReasonSeg, section 3).

::

    <reason>…</reason><plan>[…]</plan>   pause   <results>[…]</results><answer>$2</answer>
    <reason>…</reason><answer>[3,7]</answer>
    <reason>…</reason><describe>the mug by the lamp</describe><answer>[3]</answer>
    <reason>…</reason><answer>[3]</answer><explain>…</explain>

The model writes ``reason``, ``describe`` (DR2Seg's self-contained description, optional),
``plan``, ``answer`` and ``explain`` (WISE's detailed explanation after the answer, optional and
never waited for); the environment writes ``results``. A plan is a JSON list of tool calls, an
answer is ``$k`` (the ids of step k), a list of ids or ``none``. :func:`parse` is strict; with ``tolerant=True`` it repairs what backends without a
grammar get wrong (unclosed tags, code fences, spaces, single quotes) and says so.

Not covered: nested tags, and tags inside a rationale, are errors in both modes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from ..twin.errors import ProtocolError
from ..twin.tools.base import MAX_STEPS, parse_reference, show
from . import mending

__all__ = [
    "EOS",
    "TAGS",
    "AnswerBody",
    "Block",
    "Round",
    "Transcript",
    "Turn",
    "blocks",
    "check_order",
    "parse",
    "parse_answer",
    "parse_plan",
    "parse_turn",
    "render_answer",
    "render_plan",
    "tagged",
]

Tag = Literal["reason", "plan", "results", "answer", "describe", "explain"]
_NAMES: tuple[Tag, ...] = get_args(Tag)
TAGS: tuple[str, ...] = tuple(t for name in _NAMES for t in (f"<{name}>", f"</{name}>"))
EOS = "<|endoftext|>"
# What may follow what; None is the beginning, "end" the end of the text.
_NEXT: dict[str | None, tuple[str, ...]] = {
    None: ("reason", "describe", "plan", "answer"),
    "reason": ("describe", "plan", "answer"),
    "describe": ("plan", "answer"),
    "plan": ("results",),
    "results": ("reason", "describe", "plan", "answer"),
    "answer": ("explain", "end"),
    "explain": ("end",),
}
_TAG = re.compile(rf"<(/?)({'|'.join(_NAMES)})>")
_PAUSES = re.compile(r"</(?:plan|answer)>")
_TRIMMED = " \n\t.`'\"*"
_IDS = r"\d{1,6}(?:\s*,\s*\d{1,6})*"
_LOOSE_IDS = re.compile(
    rf"(?:\{{?[\"']?(?:ids?|objects?|answer)[\"']?\s*:?\s*)?\[?\s*({_IDS})\s*\]?\s*\}}?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Block:
    """One tagged piece of a transcript, without its tags."""

    tag: Tag
    body: str


@dataclass(frozen=True, slots=True)
class AnswerBody:
    """An answer as written: ``reference`` is k of ``$k``; both empty mean ``none``."""

    reference: int | None = None
    ids: tuple[int, ...] = ()

    @property
    def is_none(self) -> bool:
        """Whether the answer says that no object fits."""
        return self.reference is None and not self.ids


@dataclass(frozen=True, slots=True)
class Round:
    """One plan and the results text that followed it (None while paused)."""

    plan: list[dict[str, Any]]
    results: str | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """A parsed transcript; ``repairs`` lists what tolerant parsing had to mend.

    ``description`` is the last ``describe`` block; an ``explain`` block is read and dropped.
    """

    rationale: str = ""
    rounds: tuple[Round, ...] = ()
    answer: AnswerBody | None = None
    repairs: tuple[str, ...] = field(default=())
    description: str = ""

    @property
    def paused(self) -> bool:
        """Whether the text ends with a plan whose results are not there yet."""
        return bool(self.rounds) and self.rounds[-1].results is None


@dataclass(frozen=True, slots=True)
class Turn:
    """What a model wrote in one go: a plan or an answer, and what came before it.

    ``text`` is the turn as the context should hold it: the model's own when nothing was mended,
    else the same blocks written as the protocol wants them.
    """

    text: str
    rationale: str = ""
    description: str = ""
    plan: list[dict[str, Any]] | None = None
    answer: AnswerBody | None = None
    repairs: tuple[str, ...] = ()


def tagged(tag: Tag, body: str) -> str:
    """The body between its tags."""
    return f"<{tag}>{body}</{tag}>"


def render_plan(plan: Sequence[dict[str, Any]]) -> str:
    """A plan as the model writes it: JSON without spaces."""
    return json.dumps(list(plan), separators=(",", ":"), ensure_ascii=False)


def render_answer(answer: AnswerBody) -> str:
    """An answer as the model writes it."""
    if answer.reference is not None:
        return f"${answer.reference}"
    return "[" + ",".join(map(str, answer.ids)) + "]" if answer.ids else "none"


def blocks(text: str, repairs: list[str] | None = None) -> list[Block]:
    """Cut a transcript into its blocks.

    Args:
        text: what followed the prompt, an end-of-text mark at its end allowed.
        repairs: give a list to be tolerant; what was mended is appended to it.

    Raises:
        ProtocolError: for text outside the tags and for tags that do not pair.
    """
    text = text.removesuffix(EOS)
    found: list[Block] = []
    opened: tuple[Tag, int] | None = None
    end = 0
    for match in _TAG.finditer(text):
        name = next(n for n in _NAMES if n == match[2])
        closing = match[1] == "/"
        if opened is None and not closing:
            _between(text[end : match.start()], found, repairs)
            opened = (name, match.end())
        elif opened is not None and closing and name == opened[0]:
            found.append(Block(name, text[opened[1] : match.start()]))
            opened, end = None, match.end()
        elif opened is None and not found and repairs is not None and text[: match.start()].strip():
            repairs.append(f"opened <{name}> at the beginning")
            found.append(Block(name, text[: match.start()].strip()))
            end = match.end()
        elif opened is not None and not closing and repairs is not None and name != opened[0]:
            repairs.append(f"closed <{opened[0]}> before <{name}>")
            found.append(Block(opened[0], text[opened[1] : match.start()]))
            opened = (name, match.end())
        else:
            wanted = f"</{opened[0]}>" if opened else "an opening tag"
            raise ProtocolError(
                f"expected {wanted} at character {match.start()}, got {match[0]}; "
                "tags pair and do not nest"
            )
    if opened is not None:
        if repairs is None:
            raise ProtocolError(
                f"expected </{opened[0]}> before the end of the text, got none; "
                "allow more tokens or ask again"
            )
        repairs.append(f"closed <{opened[0]}> at the end")
        found.append(Block(opened[0], text[opened[1] :]))
        return found
    _between(text[end:], found, repairs)
    return found


def check_order(found: Sequence[Block], complete: bool = True) -> None:
    """Check that the blocks come in the protocol's order.

    Args:
        found: the blocks of a transcript.
        complete: whether the transcript has to end with an answer.

    Raises:
        ProtocolError: naming the first block that is out of place.
    """
    last: str | None = None
    for number, block in enumerate(found, 1):
        if block.tag not in _NEXT[last]:
            wanted = " or ".join(f"<{t}>" if t != "end" else "the end" for t in _NEXT[last])
            raise ProtocolError(
                f"block {number}: expected {wanted} {f'after <{last}>' if last else 'first'}, "
                f"got <{block.tag}>"
            )
        last = block.tag
    if complete and last not in ("answer", "explain"):
        came = f"<{last}>" if last else "nothing"
        raise ProtocolError(f"expected the transcript to end with <answer>, got {came} last")


def parse_plan(body: str, repairs: list[str] | None = None) -> list[dict[str, Any]]:
    """The steps of a plan; names and arguments are checked by the tool registry, not here.

    Raises:
        ProtocolError: if it is not a JSON list of 1 to 8 objects.
    """
    try:
        plan = mending.strict_json(body)
    except ValueError as error:
        if repairs is None:
            raise ProtocolError(
                f"expected a plan as a JSON list of tool calls, got {show(body)}: {error}"
            ) from error
        plan = mending.lenient_json(body, repairs)
    if repairs is not None:
        plan = mending.plain_calls(plan, repairs)
    if not isinstance(plan, list) or not 1 <= len(plan) <= MAX_STEPS:
        came = f"{len(plan)} steps" if isinstance(plan, list) else show(plan)
        raise ProtocolError(f"expected a plan of 1 to {MAX_STEPS} steps, got {came}")
    for number, step in enumerate(plan, 1):
        if not isinstance(step, dict):
            raise ProtocolError(
                f'step {number}: expected an object such as {{"tool":…}}, got {show(step)}'
            )
    return plan


def parse_answer(body: str, repairs: list[str] | None = None) -> AnswerBody:
    """An answer's body: ``$k``, ``[3,7]`` or ``none``.

    Raises:
        ProtocolError: for anything else.
    """
    if len(body) > mending.MAX_BODY_CHARS:
        raise ProtocolError(f"expected an answer such as $k or [3,7], got {len(body)} characters")
    text = body
    if repairs is not None and text != text.strip(_TRIMMED):
        repairs.append("trimmed the answer")
        text = text.strip(_TRIMMED)
    loose = text.strip("[](){}\"' ") if repairs is not None else text
    reference = parse_reference(loose)
    if reference is not None:
        return AnswerBody(reference=reference)
    if text == "none":
        return AnswerBody()
    if repairs is not None and (text == "[]" or loose.lower() in ("none", "no", "null")):
        return AnswerBody()
    exact = re.fullmatch(r"\[(\d{1,6}(?:,\d{1,6})*)\]", text, re.ASCII)
    found = exact or (_LOOSE_IDS.fullmatch(text) if repairs is not None else None)
    if found is None:
        raise ProtocolError(f"expected an answer of the form $k, [3,7] or none, got {show(body)}")
    return AnswerBody(ids=tuple(dict.fromkeys(int(n) for n in re.findall(r"\d+", found[1]))))


def parse(text: str, tolerant: bool = False, complete: bool = True) -> Transcript:
    """Parse what followed the prompt.

    Args:
        text: model and environment text, in order.
        tolerant: mend common slips and list them in ``repairs``.
        complete: False also accepts a text that pauses after a plan.

    Raises:
        ProtocolError: if the text breaks the protocol beyond repair.
    """
    repairs: list[str] | None = [] if tolerant else None
    found = blocks(text, repairs)
    check_order(found, complete=complete)
    rationale, description, rounds, answer = "", "", list[Round](), None
    for block in found:
        if block.tag == "reason":
            rationale = f"{rationale} {block.body}".strip()
        elif block.tag == "describe":
            description = block.body.strip()
        elif block.tag == "plan":
            rounds.append(Round(parse_plan(block.body, repairs)))
        elif block.tag == "results":
            rounds[-1] = Round(rounds[-1].plan, block.body)
        elif block.tag == "answer":
            answer = parse_answer(block.body, repairs)
    return Transcript(rationale, tuple(rounds), answer, tuple(repairs or ()), description)


def parse_turn(text: str, tolerant: bool = False) -> Turn:
    """Parse what a model wrote in one go, up to its plan or its answer.

    Results that a model writes itself are never read: strictly they are an error, tolerantly
    they are dropped with everything after the plan.

    Raises:
        ProtocolError: if there is no plan or answer in it, or it is broken beyond repair.
    """
    repairs: list[str] | None = [] if tolerant else None
    kept = text.removesuffix(EOS)
    if repairs is not None:
        kept = _first_turn(kept, repairs)
    found = blocks(kept, repairs)
    if any(block.tag == "results" for block in found):
        if repairs is None:
            raise ProtocolError("expected no <results> of the model's own, got some; they are ours")
        found = found[: next(n for n, block in enumerate(found) if block.tag == "results")]
        repairs.append("dropped results that the model wrote")
    if repairs is not None:
        found = _one_rationale(found, repairs)
    check_order(found, complete=False)
    last = found[-1].tag if found else None
    if last not in ("plan", "answer", "explain"):
        came = "a rationale only" if found else "an empty text"
        raise ProtocolError(f"expected a plan or an answer, got {came}; ask again")
    bodies = {block.tag: block.body for block in found}
    plan = parse_plan(bodies["plan"], repairs) if "plan" in bodies else None
    answer = parse_answer(bodies["answer"], repairs) if "answer" in bodies else None
    rationale, description = bodies.get("reason", ""), bodies.get("describe", "").strip()
    turn = Turn(kept, rationale, description, plan, answer, tuple(repairs or ()))
    return replace(turn, text=_rendered(turn)) if repairs else turn


def _one_rationale(found: list[Block], repairs: list[str]) -> list[Block]:
    """The blocks with the rationales at their beginning joined."""
    count = next((n for n, block in enumerate(found) if block.tag != "reason"), len(found))
    if count < 2:
        return found
    repairs.append("joined rationales")
    return [Block("reason", " ".join(block.body for block in found[:count])), *found[count:]]


def _rendered(turn: Turn) -> str:
    """A mended turn as the protocol wants it."""
    text = tagged("reason", turn.rationale) if turn.rationale else ""
    text += tagged("describe", turn.description) if turn.description else ""
    if turn.plan is not None:
        return text + tagged("plan", render_plan(turn.plan))
    return text + tagged("answer", render_answer(turn.answer or AnswerBody()))


def _first_turn(text: str, repairs: list[str]) -> str:
    """The text up to its first plan or answer, without thinking, tagged if it was bare."""
    text = mending.without_thinking(text, repairs)
    if _TAG.search(text) is None:
        return mending.bare_turn(text, repairs) or text
    end = _PAUSES.search(text)
    if end is not None and text[end.end() :].strip():
        repairs.append(f"dropped text after {end[0]}")
    return text[: end.end()] if end is not None else text


def _between(text: str, found: list[Block], repairs: list[str] | None) -> None:
    """Text outside tags: tolerantly the first becomes the rationale, the rest is skipped."""
    if not text:
        return
    if repairs is None:
        raise ProtocolError(
            f"expected only tagged blocks, got {show(text.strip() or text)} between"
        )
    if not text.strip():
        repairs.append("skipped white space between blocks")
    elif found:
        repairs.append("skipped text between blocks")
    else:
        repairs.append("took untagged text as the rationale")
        found.append(Block("reason", text.strip()))
