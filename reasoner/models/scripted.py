"""A queue-driven language model: it says what it is told, for tests and examples."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from ...twin.errors import ModelError
from ...twin.text import Layout
from ..grammar import Grammar
from ..prompts import MODES, Mode, Style
from .base import End, Piece, Read

__all__ = ["ScriptedModel"]


class ScriptedModel:
    """Says each of ``replies`` once, in order; a token is a character.

    ``prompts`` keeps (what was read, grammar) of the first piece generated after every
    :meth:`~.base.Context.read`, ``grammars`` the grammar of every piece, ``reads`` the segments
    of every read and ``appended`` every inserted text. A reply is cut after the first stop in
    it and where it runs into ``max_tokens``; grammars are noted, not obeyed.
    """

    def __init__(
        self,
        replies: Iterable[str],
        known_words: Iterable[str] | None = None,
        style: Style = "short",
        *,
        layout: Layout = "full",
        tools: Iterable[str] | None = None,
        modes: Iterable[Mode] = MODES,
        turns: int = 0,
        guided: bool = False,
        max_tokens: int = 100_000,
    ) -> None:
        self.replies = deque(replies)
        self.prompts: list[tuple[str, Grammar | None]] = []
        self.reads: list[tuple[str, ...]] = []
        self.grammars: list[Grammar | None] = []
        self.appended: list[str] = []
        self.name, self.sha256 = "scripted", ""
        self.style: Style = style
        self.layout: Layout = layout
        self.plan_words: tuple[str, ...] = ()
        self.known_words = None if known_words is None else frozenset(known_words)
        self.tools = None if tools is None else frozenset(tools)
        self.modes: tuple[Mode, ...] = tuple(modes)
        self.turns, self.guided, self.max_tokens = turns, guided, max_tokens

    def count(self, text: str) -> int:
        """Characters of the text."""
        return len(text)

    def open(self) -> _ScriptedContext:
        """See :class:`~.base.LanguageModel`."""
        return _ScriptedContext(self)


class _ScriptedContext:
    """A text; see :class:`~.base.Context`."""

    def __init__(self, model: ScriptedModel, text: str = "", noted: bool = False) -> None:
        self._model, self._text, self._closed = model, text, False
        self._noted = noted  # whether the last read stands in the model's prompts

    @property
    def length(self) -> int:
        """Characters held."""
        return len(self._text)

    def read(self, segments: Sequence[str]) -> Read:
        """Hold these texts."""
        self._check()
        text = "".join(segments)
        self._fits(text)
        reused = 0
        while reused < min(len(text), len(self._text)) and text[reused] == self._text[reused]:
            reused += 1
        self._model.reads.append(tuple(segments))
        self._text, self._noted = text, False
        return Read(len(text), reused)

    def append(self, text: str) -> int:
        """Note the inserted text."""
        self._check()
        self._fits(self._text + text)
        self._model.appended.append(text)
        self._text += text
        return len(text)

    def rewind(self, length: int) -> None:
        """Go back to the first ``length`` characters."""
        self._check()
        if not 0 <= length <= len(self._text):
            raise ModelError(f"expected a length of 0 to {len(self._text)}, got {length}")
        self._text = self._text[:length]

    def fork(self) -> _ScriptedContext:
        """A copy that takes its replies from the same queue."""
        self._check()
        return _ScriptedContext(self._model, self._text, self._noted)

    def generate(
        self,
        stops: Sequence[str],
        max_tokens: int,
        deadline_s: float,
        grammar: Grammar | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> Piece:
        """The next reply, up to its first stop."""
        self._check()
        if not self._noted:
            self._model.prompts.append((self._text, grammar))
            self._noted = True
        self._model.grammars.append(grammar)
        if time.monotonic() >= deadline_s:
            return Piece("", 0, "time")
        if not self._model.replies:
            raise ModelError("expected another scripted reply, got none left; script one more")
        reply = self._model.replies.popleft()
        ends = [reply.find(stop) + len(stop) for stop in stops if stop and stop in reply]
        end: End = "stop" if ends else "eos"
        reply = reply[: min(ends)] if ends else reply
        room = min(max_tokens, self._model.max_tokens - len(self._text))
        if len(reply) > room:
            reply, end = reply[:room], "length"
        self._text += reply
        if heard is not None:
            heard(reply)
        return Piece(reply, len(reply), end)

    def close(self) -> None:
        """Forget the text."""
        self._closed, self._text = True, ""

    def _check(self) -> None:
        if self._closed:
            raise ModelError("expected an open context, got a closed one; open another")

    def _fits(self, text: str) -> None:
        if len(text) > self._model.max_tokens:
            raise ModelError(
                f"expected at most {self._model.max_tokens} tokens, got {len(text)}; "
                "ask about a shorter window or fewer objects"
            )
