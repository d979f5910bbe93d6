"""Answer a question: generate to the plan, pause, compute, append the results, go on.

The loop of FastReasonSeg (section 3) with budgets of tokens, rounds and seconds. Every way to
fail ends in an :class:`~.answer.Answer` whose status and message say what happened; only a
question that is not a question raises.

Not covered: several questions at once, sampling, self-consistency votes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..twin.errors import EdgeTwinError, ProtocolError
from ..twin.tools.registry import DEFAULT_REGISTRY, StepResult, ToolRegistry
from ..twin.tools.render import render_results
from ..twin.window import TwinWindow
from ..twin.words import words_of
from . import prompts
from .answer import Answer, Status
from .grammar import build_grammar
from .models.base import Generation, LanguageModel
from .protocol import AnswerBody, parse, resolve, tagged
from .words import says_nothing_known, unknown_words

__all__ = ["Budget", "Reasoner"]

_STOPS = ("</plan>", "</answer>")
_MAX_GAP_S = 0.5  # two sightings this close belong to one interval


@dataclass(frozen=True, slots=True)
class Budget:
    """Where an answer stops: generated tokens, plans, seconds of wall-clock time."""

    tokens: int = 256
    rounds: int = 1
    seconds: float = 10.0


@dataclass(slots=True)
class _Run:
    """What one answer has gathered so far."""

    began_s: float = field(default_factory=time.monotonic)
    text: str = ""
    results: list[StepResult] = field(default_factory=list)
    plan: list[dict[str, Any]] = field(default_factory=list)
    tokens: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("prompt", "rationale", "plan", "results", "answer"), 0
        )
    )
    ms: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("prompt", "generate", "tools"), 0.0)
    )
    generated: int = 0
    ended: str = ""


class Reasoner:
    """A language model with the tools that it may call.

    ``vocabulary`` are words that ``find`` may be given besides the twin's own labels, such as
    the detector's nouns; ``tolerant`` mends slips of models that decode without the grammar.
    """

    def __init__(
        self,
        model: LanguageModel,
        registry: ToolRegistry = DEFAULT_REGISTRY,
        *,
        vocabulary: Iterable[str] = (),
        budget: Budget | None = None,
        tolerant: bool = True,
    ) -> None:
        self.model = model
        self.registry = registry
        self.vocabulary = tuple(sorted({w.casefold() for w in vocabulary}))
        self.budget = budget or Budget()
        self.tolerant = tolerant

    def answer(self, query: str, window: TwinWindow) -> Answer:
        """The ids that answer the question, with the trace.

        Raises:
            QueryError: if the question is empty, too long or not text.
        """
        clean = prompts.clean_question(query)
        run = _Run()
        known = self.model.known_words
        unknown = [] if known is None else unknown_words(clean, known, window)
        warning = _warning(unknown)
        if window.last is None or not window.ids():
            return self._close(run, "none", [], window, "the twin holds no objects yet", warning)
        if says_nothing_known(clean, unknown):
            return self._close(run, "none", [], window, "nothing known is asked for", warning)
        try:
            generation = self._open(clean, window, run)
            body = self._converse(generation, window, run)
        except EdgeTwinError as error:
            return self._close(run, "error", [], window, str(error), warning)
        if body is None:
            ids = _last_ids(run.results)
            status: Status = "partial" if run.results else "error"
            return self._close(run, status, ids, window, run.ended, warning)
        try:
            ids = resolve(body, run.results, window.ids())
        except ProtocolError as error:
            return self._close(run, "error", [], window, str(error), warning)
        if not ids:
            return self._close(run, "none", [], window, "no object of the twin fits", warning)
        visible = any(window.visible_at_end(i) for i in ids)
        message = "" if visible else "none of these objects is visible in the newest frame"
        return self._close(run, "ok" if visible else "stale", ids, window, message, warning)

    def _open(self, query: str, window: TwinWindow, run: _Run) -> Generation:
        style = self.model.style
        start = prompts.prefix(window, self.registry, style, self.vocabulary)
        began = time.monotonic()
        generation = self.model.open(start, prompts.question(query), self.grammar(window))
        run.ms["prompt"] = _ms(began)
        run.tokens["prompt"] = generation.prompt_tokens
        return generation

    def grammar(self, window: TwinWindow) -> str:
        """What decoding is held to for this twin."""
        names = {key for i in window.ids() for key in window.latest(i).attributes}
        values = {v for i in window.ids() for v in window.latest(i).attributes.values()}
        words = {*self.vocabulary, *self.model.plan_words, *words_of(window), "object"}
        known = {"color", *_COLOURS}
        return build_grammar(
            self.registry.json_schemas(),
            window.ids(),
            words,
            {text for text in names | values | known if text and text.isprintable()},
        )

    def _converse(self, generation: Generation, window: TwinWindow, run: _Run) -> AnswerBody | None:
        """Rounds of generation and tools; None when a budget ends first."""
        deadline = run.began_s + self.budget.seconds
        for round_number in range(self.budget.rounds + 1):
            left = self.budget.tokens - run.generated
            if left <= 0 or time.monotonic() >= deadline:
                run.ended = self._which_budget(left)
                return None
            began = time.monotonic()
            piece = generation.generate(_STOPS, left, deadline)
            run.ms["generate"] += _ms(began)
            run.generated += piece.tokens
            _count(run, piece.text, piece.tokens)
            run.text += piece.text
            if piece.end in ("length", "time"):
                run.ended = self._which_budget(0 if piece.end == "length" else 1)
                return None
            transcript = parse(run.text, tolerant=self.tolerant, complete=False)
            if transcript.answer is not None:
                return transcript.answer
            if not transcript.paused:
                raise ProtocolError("expected a plan or an answer, got a rationale only; ask again")
            if round_number == self.budget.rounds:
                run.ended = f"the budget of {self.budget.rounds} plans ended; allow more rounds"
                return None
            self._compute(transcript.rounds[-1].plan, generation, window, run)
        return None

    def _compute(
        self,
        plan: list[dict[str, Any]],
        generation: Generation,
        window: TwinWindow,
        run: _Run,
    ) -> None:
        began = time.monotonic()
        run.plan = plan
        run.results = self.registry.run_plan(plan, window)
        run.ms["tools"] += _ms(began)
        inserted = tagged("results", render_results(run.results))
        if not run.text.endswith("</plan>"):  # a tolerant parse closed it
            run.text += "</plan>"
            generation.append("</plan>")
        run.text += inserted
        began = time.monotonic()
        run.tokens["results"] += generation.append(inserted)
        run.ms["prompt"] += _ms(began)

    def _which_budget(self, tokens_left: int) -> str:
        if tokens_left <= 0:
            return f"the budget of {self.budget.tokens} tokens ended before the answer; allow more"
        return f"the budget of {self.budget.seconds:g} s ended before the answer; allow more"

    def _close(
        self,
        run: _Run,
        status: Status,
        ids: list[int],
        window: TwinWindow,
        message: str,
        warning: str,
    ) -> Answer:
        run.tokens["total"] = sum(run.tokens.values())
        run.ms["total"] = _ms(run.began_s)
        rationale = run.text.partition("<reason>")[2].partition("</reason>")[0]
        return Answer(
            status=status,
            ids=ids,
            intervals=_intervals(window, ids),
            rationale=rationale,
            plan=run.plan,
            results=[result.value for result in run.results],
            tokens=run.tokens,
            ms={name: round(value, 3) for name, value in run.ms.items()},
            model={"id": self.model.name, "sha256": self.model.sha256},
            message="; ".join(part for part in (message, warning) if part),
            transcript=run.text,
        )


_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")


def _warning(unknown: Sequence[str]) -> str:
    if not unknown:
        return ""
    listed = ", ".join(unknown[:6])
    return f"this model set does not know: {listed}; its answer may be wrong"


def _count(run: _Run, text: str, tokens: int) -> None:
    """Share a piece's tokens between its blocks, by characters."""
    lengths = {"rationale": 0, "plan": 0, "answer": 0}
    rest = text
    for name, end in (("rationale", "</reason>"), ("plan", "</plan>"), ("answer", "</answer>")):
        head, mark, tail = rest.partition(end)
        if mark:
            lengths[name], rest = len(head) + len(mark), tail
    last = next((n for n in ("answer", "plan", "rationale") if lengths[n]), "rationale")
    lengths[last] += len(rest)
    total = sum(lengths.values())
    left = tokens
    for name, length in lengths.items():
        share = left if name == last else tokens * length // max(total, 1)
        run.tokens[name] += min(share, left)
        left -= min(share, left)


def _last_ids(results: Sequence[StepResult]) -> list[int]:
    for result in reversed(results):
        if result.kind == "ids" and isinstance(result.value, list):
            return [int(i) for i in result.value if isinstance(i, (int, float))]
    return []


def _intervals(window: TwinWindow, ids: Sequence[int]) -> list[tuple[float, float]]:
    """Merged (start, end) seconds in which any of the ids is visible."""
    times = sorted({t for i in ids for t, _ in window.track(i)})
    merged: list[tuple[float, float]] = []
    for t in times:
        if merged and t - merged[-1][1] <= _MAX_GAP_S:
            merged[-1] = (merged[-1][0], t)
        else:
            merged.append((t, t))
    return merged


def _ms(began_s: float) -> float:
    return (time.monotonic() - began_s) * 1e3
