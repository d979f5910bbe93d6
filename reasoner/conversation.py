"""The loop of one question: generate to the plan, pause, compute, append the results, go on.

FastReasonSeg (section 3) plans at most once; here a budget of rounds allows several plans, whose
steps are numbered on. A model that decodes without the grammar is mended (``mending.py``) and
once per question told what was wrong: in place of the results of a plan that could not be
computed, or in a line of its own after its turn was taken back.

Every loop here is bounded: by rounds, by one turn asked for again, and by tokens and seconds.

Not covered: sampling, votes between several answers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..twin.errors import ModelError, ProtocolError, StepError, ToolError
from ..twin.tools.registry import StepResult, ToolRegistry
from ..twin.tools.render import render_results
from ..twin.window import TwinWindow
from . import mending
from .answer import EndedBy
from .grammar import Grammar
from .models.base import Context, LanguageModel, Piece
from .prompts import Mode
from .protocol import Turn, parse_turn, tagged
from .resolving import Resolved, resolve
from .telling import Heard, Telling

__all__ = ["Budget", "Conversation", "Run", "elapsed_ms"]

_STOPS = ("</plan>", "</answer>")
_MAX_PIECES = 4  # of one turn: a model that thinks may name our tags while it does
_MAX_TOLD = 240  # characters of an error that a model is told
_MAX_SAID = 4  # messages of tools that an answer repeats
_MAX_NOTE = 400  # characters of each
_ROOM = 4  # tokens that must be left after results, or there is no answer to write
_ENDS = (
    ("rationale", "</think>"),
    ("rationale", "</reason>"),
    ("description", "</describe>"),
    ("plan", "</plan>"),
    ("answer", "</answer>"),
)


@dataclass(frozen=True, slots=True)
class Budget:
    """Where an answer stops: generated tokens, plans, seconds of wall-clock time."""

    tokens: int = 256
    rounds: int = 1
    seconds: float = 10.0


@dataclass(slots=True)
class Run:
    """What one question has gathered so far; ``ended_by`` the budget that ended it."""

    mode: Mode = "concise"
    began_s: float = field(default_factory=time.monotonic)
    text: str = ""
    rationale: str = ""
    description: str = ""
    plan: list[dict[str, Any]] = field(default_factory=list)
    results: list[StepResult] = field(default_factory=list)
    rounds: int = 0
    repairs: int = 0
    generated: int = 0
    ended_by: EndedBy = ""
    ended: str = ""
    notes: list[str] = field(default_factory=list)
    tokens: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("prompt", "rationale", "description", "plan", "results", "answer"), 0
        )
    )
    reused: int = 0
    forced: int = 0
    ms: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("prompt", "generate", "tools"), 0.0)
    )

    def end(self, by: EndedBy, message: str) -> None:
        """Note that a budget ended the question."""
        self.ended_by, self.ended = by, message

    def note(self, message: str) -> None:
        """Add a message for who asked, each once."""
        message = message[:_MAX_NOTE]
        if message and message not in self.notes:
            self.notes.append(message)


class Conversation:
    """One question being answered in a context that has read the prompt.

    ``grammar(window, run)`` is what the next turn is held to, or None; ``heard`` is told what
    is said and computed, see :mod:`.telling`.
    """

    def __init__(
        self,
        model: LanguageModel,
        context: Context,
        window: TwinWindow,
        registry: ToolRegistry,
        run: Run,
        budget: Budget,
        grammar: Callable[[Run], Grammar | None],
        *,
        tolerant: bool,
        heard: Heard | None = None,
    ) -> None:
        self.model, self.context, self.window = model, context, window
        self.registry, self.run, self.budget = registry, run, budget
        self.grammar, self.tolerant = grammar, tolerant
        self._telling = None if heard is None else Telling(heard)
        self.deadline_s = run.began_s + budget.seconds
        # The embedded model never saw an error in training and cannot break the protocol.
        self._may_ask_again = tolerant and not (model.guided and model.style == "short")
        self._first_error = ""

    def converse(self) -> Resolved | None:
        """What the answer stands for, or None when a budget ended before it.

        Raises:
            ProtocolError, ToolError: if the model broke the protocol and could not mend it.
            ModelError: if the runtime failed.
        """
        while True:
            start, rationale = self.context.length, self.run.rationale
            try:
                text = self._generate()
            except ModelError as error:
                raise ModelError(self._told_before(str(error))) from error
            if text is None:
                return None
            try:
                resolved = self._take(text, start)
            except (ProtocolError, ToolError) as error:
                if not self._asked_again(text, start, error):
                    if isinstance(error, StepError):
                        self.run.results += error.results
                    raise type(error)(self._told_before(str(error))) from error
                self.run.rationale = rationale
                continue
            if resolved is not None or self.run.ended_by:
                return resolved

    def _generate(self) -> str | None:
        """The text of one turn; None when a budget ended it."""
        run, before, text = self.run, self.run.generated, ""
        try:
            for _ in range(_MAX_PIECES):
                left, by = self._left()
                if left <= 0 or time.monotonic() >= self.deadline_s:
                    self._end("seconds" if left > 0 else by)
                    return None
                piece = self._piece(left)
                run.text += piece.text
                text += piece.text
                if piece.end in ("length", "time"):
                    self._end("seconds" if piece.end == "time" else by)
                    return None
                if not (self.tolerant and piece.end == "stop" and mending.thinking(text)):
                    break
        finally:
            self._count(text, run.generated - before)
            if self._telling is not None:
                self._telling.end()
        return text

    def _piece(self, most: int) -> Piece:
        began = time.monotonic()
        held_to = self.grammar(self.run)
        if self._telling is None:
            piece = self.context.generate(_STOPS, most, self.deadline_s, held_to)
        else:
            piece = self.context.generate(
                _STOPS, most, self.deadline_s, held_to, self._telling.text
            )
        self.run.ms["generate"] += elapsed_ms(began)
        self.run.generated += piece.tokens
        self.run.forced += piece.forced
        return piece

    def _take(self, text: str, start: int) -> Resolved | None:
        """Act on a turn: compute its plan (None), or say what its answer stands for."""
        turn = parse_turn(text, tolerant=self.tolerant)
        run = self.run
        run.repairs += len(turn.repairs)
        run.rationale = f"{run.rationale} {turn.rationale}".strip()
        run.description = turn.description or run.description
        if turn.answer is not None:
            run.text = run.text.removesuffix(text) + turn.text
            return resolve(turn.answer, run.plan, run.results, self.registry, self.window)
        if run.rounds >= self.budget.rounds:
            run.end("rounds", f"the budget of {self.budget.rounds} plans ended; allow more rounds")
            return None
        self._hold(turn, text, start)
        if not run.ended_by:
            self._compute(turn.plan or [])
        return None

    def _hold(self, turn: Turn, text: str, start: int) -> None:
        """Make the context hold a mended turn as the protocol wants it."""
        if turn.text == text:
            return
        self.run.text = self.run.text.removesuffix(text)
        if turn.text.startswith(text):
            self.run.text += text
            self._insert(turn.text[len(text) :])
        else:
            self.context.rewind(start)
            self._insert(turn.text)

    def _compute(self, plan: list[dict[str, Any]]) -> None:
        run, before = self.run, len(self.run.results)
        if self.tolerant:
            mended: list[str] = []
            plan = mending.fitted(plan, self.registry, mended)
            run.repairs += len(mended)
        run.plan = [*run.plan[:before], *plan]
        self._tell("plan", plan)
        began = time.monotonic()
        try:
            done = self.registry.run_plan(plan, self.window, run.results, self.deadline_s)
        except StepError as error:
            if time.monotonic() < self.deadline_s:
                raise
            run.results += error.results
            self._tell("results", [result.value for result in error.results])
            self._end("seconds")
            return
        finally:
            run.ms["tools"] += elapsed_ms(began)
        run.results += done
        run.rounds += 1
        self._tell("results", [result.value for result in done])
        for message in [result.message for result in done if result.message][:_MAX_SAID]:
            run.note(message)
        self._insert(tagged("results", render_results(done)))

    def _tell(self, kind: str, values: list[Any]) -> None:
        if self._telling is not None:
            self._telling.heard(kind, values)

    def _insert(self, text: str) -> None:
        """Append text of the environment; too long a text ends the question."""
        run = self.run
        if self.context.length + self.model.count(text) + _ROOM > self.model.max_tokens:
            self._end("context")
            return
        began = time.monotonic()
        run.text += text
        run.tokens["results"] += self.context.append(text)
        run.ms["prompt"] += elapsed_ms(began)

    def _asked_again(self, text: str, start: int, error: Exception) -> bool:
        """Tell the model what was wrong; False if it may not be told, or was told before."""
        if not self._may_ask_again or self._first_error:
            return False
        self._first_error = str(error)
        run = self.run
        run.repairs += 1
        run.plan = run.plan[: len(run.results)]
        said = " ".join(str(error).replace("<", "(").replace(">", ")").split())[:_MAX_TOLD]
        if text.rstrip().endswith("</plan>") and not mending.thinking(text):
            self._insert(tagged("results", json.dumps({"error": said}, ensure_ascii=True)))
        else:
            self.context.rewind(start)
            self._insert(f"{said}\n")
        return True

    def _left(self) -> tuple[int, EndedBy]:
        """Tokens that may be generated, and which budget bounds them."""
        by_budget = self.budget.tokens - self.run.generated
        by_context = self.model.max_tokens - self.context.length
        return (by_budget, "tokens") if by_budget <= by_context else (by_context, "context")

    def _end(self, by: EndedBy) -> None:
        told = {
            "tokens": f"the budget of {self.budget.tokens} tokens",
            "seconds": f"the budget of {self.budget.seconds:g} s",
            "context": f"the model's context of {self.model.max_tokens} tokens",
        }[by]
        self.run.end(by, self._told_before(f"{told} ended before the answer; allow more"))

    def _told_before(self, message: str) -> str:
        """The message, after what the model was told to write again."""
        first = self._first_error
        return f"{first}; asked again, then: {message}" if first and first != message else message

    def _count(self, text: str, tokens: int) -> None:
        """Share a turn's tokens between its blocks, counted by the model's own tokenizer."""
        left, rest, last = tokens, text, "rationale"
        for name, end in _ENDS:
            head, mark, tail = rest.partition(end)
            if not mark:
                continue
            rest, last = tail, name
            if rest:
                share = min(self.model.count(head + mark), left)
                self.run.tokens[name] += share
                left -= share
        if "<answer>" in rest or "<plan>" in rest:
            last = "answer" if "<answer>" in rest else "plan"
        self.run.tokens[last] += left


def elapsed_ms(began_s: float) -> float:
    """Milliseconds since a time of ``time.monotonic``."""
    return (time.monotonic() - began_s) * 1e3
