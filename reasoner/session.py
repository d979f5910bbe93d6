"""One twin, many questions, the stream going on.

A session keeps one context of the model. The prompt only grows at its end: the objects to which
nothing happened first, those with events after them, the earlier question, the question. So a
question reads only what has changed since the last one, and :meth:`Session.warm` reads it ahead
while frames arrive. What was reused is counted.

Not covered: questions from several threads at once; sessions of one model take turns.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ..twin.errors import QueryError
from ..twin.schema import FrameTwin
from ..twin.tools.registry import ToolRegistry
from ..twin.window import TwinWindow
from .answer import Answer
from .followups import is_follow_up
from .models.base import Read
from .prompts import Mode
from .rollout import History, Reasoner, Warm
from .telling import Heard

__all__ = ["CacheStats", "Session"]

_MAX_HISTORY = 32  # questions kept; models are shown one or two
_QUESTION_TOKENS = 64  # kept free beside the reserve, so that a question needs no shorter twin
_ANSWERED = ("ok", "stale", "partial", "none")


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a session's questions cost to read: prompt tokens, and those taken from the cache."""

    questions: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of prompt tokens that were in the cache, 0 to 1; 0 before the first question."""
        return self.reused_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


class Session:
    """Questions about one window, to which frames may be appended between them.

    A question that looks like a follow-up (:func:`~.followups.is_follow_up`) is asked with the
    last question and its answer before it, as far as the model knows what to do with them
    (``model.turns``); ``ask(follow_up=…)`` forces or forbids it.

    Made by :meth:`~.rollout.Reasoner.session`.
    """

    def __init__(
        self,
        reasoner: Reasoner,
        window: TwinWindow,
        registry: ToolRegistry | None = None,
        *,
        history: History = (),
    ) -> None:
        self.reasoner, self.window, self.registry = reasoner, window, registry
        # Bounded: a stream is asked for days, a follow-up leans on the last question only.
        self._history: deque[tuple[str, tuple[int, ...]]] = deque(maxlen=_MAX_HISTORY)
        for query, ids in history:
            self._history.append((query, tuple(ids)))
        self._warm = Warm()
        self._stats = CacheStats()

    @property
    def history(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Earlier (question, ids), oldest first; the last 32."""
        return tuple(self._history)

    @property
    def stats(self) -> CacheStats:
        """Prompt tokens of all questions so far and how many of them were reused."""
        return self._stats

    def observe(self, frame: FrameTwin) -> None:
        """Append a frame to the window.

        Raises:
            SchemaError: if it is older than the newest one.
        """
        self.window.append(frame)

    def warm(self) -> Read:
        """Read the twin as it is now, ahead of the next question.

        Worth calling after frames while nobody asks; it returns at once when nothing changed.

        Raises:
            ModelError: if the runtime fails or the twin cannot be made to fit.
        """
        reasoner = self.reasoner
        tools = reasoner.tools_for(self.registry)
        room = reasoner.reserve() + _QUESTION_TOKENS
        start = self._warm.fitter(reasoner.model).fit(
            self.window, tools, reasoner.vocabulary, (), room
        )
        return self._warm.context(reasoner.model).read((start.prefix,))

    def ask(
        self,
        query: str,
        mode: Mode | None = None,
        *,
        follow_up: bool | None = None,
        history: History | None = None,
        heard: Heard | None = None,
    ) -> Answer:
        """Answer a question about the window as it is now.

        Args:
            query: the question.
            mode: how much to explain; None is the reasoner's.
            follow_up: whether the question leans on the last one; None: if it looks so.
            history: earlier (question, ids) to show instead of the session's own.
            heard: told what the model does meanwhile, see :mod:`.telling`.

        Raises:
            QueryError: as :meth:`~.rollout.Reasoner.answer`.
        """
        if not isinstance(query, str):
            raise QueryError(f"expected a question as text, got {type(query).__name__}")
        shown, note = self._shown(query, follow_up, history)
        answer = self.reasoner.ask_in(
            self._warm,
            query,
            self.window,
            mode,
            shown,
            self.registry,
            (note,),
            heard,
        )
        if answer.status in _ANSWERED:
            self._history.append((query, tuple(answer.ids)))
        self._stats = CacheStats(
            self._stats.questions + 1,
            self._stats.prompt_tokens + answer.tokens["prompt"],
            self._stats.reused_tokens + answer.tokens["reused"],
        )
        return answer

    def close(self) -> None:
        """Free the context; asking again opens another."""
        self._warm.drop()

    def _shown(
        self, query: str, follow_up: bool | None, history: History | None
    ) -> tuple[History, str]:
        if history is not None:
            return history, ""
        leans = is_follow_up(query) if follow_up is None else follow_up
        if not leans or not self._history:
            return (), ""
        turns = self.reasoner.model.turns
        if not turns:
            return (), (
                "the question seems to refer to an earlier one, which this model is not shown; "
                "name what you mean"
            )
        return tuple(self._history)[-turns:], ""
