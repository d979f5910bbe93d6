"""A queue-driven language model: it says what it is told, for tests and examples."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from ...twin.errors import ModelError
from ..prompts import Style
from .base import End, Piece

__all__ = ["ScriptedModel"]


class ScriptedModel:
    """Says each of ``replies`` once, in order; a token is a character.

    ``prompts`` keeps (prefix, question, grammar) of every call to :meth:`open` and
    ``appended`` every inserted text. A reply that runs into ``max_tokens`` is cut there.
    """

    def __init__(
        self,
        replies: Iterable[str],
        known_words: Iterable[str] | None = None,
        style: Style = "short",
    ) -> None:
        self.replies = deque(replies)
        self.prompts: list[tuple[str, str, str | None]] = []
        self.appended: list[str] = []
        self.name, self.sha256 = "scripted", ""
        self.style: Style = style
        self.plan_words: tuple[str, ...] = ()
        self.known_words = None if known_words is None else frozenset(known_words)

    def open(self, prefix: str, question: str, grammar: str | None) -> _ScriptedGeneration:
        """See :class:`~.base.LanguageModel`."""
        self.prompts.append((prefix, question, grammar))
        return _ScriptedGeneration(self, len(prefix) + len(question))


class _ScriptedGeneration:
    def __init__(self, model: ScriptedModel, prompt_tokens: int) -> None:
        self._model = model
        self.prompt_tokens = prompt_tokens

    def generate(self, stops: Sequence[str], max_tokens: int, deadline_s: float) -> Piece:
        """The next reply; its end is ``stop`` if it ends with one, ``eos`` otherwise."""
        if not self._model.replies:
            raise ModelError("expected another scripted reply, got none left; script one more")
        reply = self._model.replies.popleft()
        end: End = "stop" if reply.endswith(tuple(stops)) else "eos"
        if len(reply) > max_tokens:
            reply, end = reply[:max_tokens], "length"
        return Piece(reply, len(reply), end)

    def append(self, text: str) -> int:
        """Note the inserted text."""
        self._model.appended.append(text)
        return len(text)
