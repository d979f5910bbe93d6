"""The one decode loop, over logits: greedy, with budgets, stops, grammars and forced tokens.

A backend gives a :class:`Runtime` per sequence (feed tokens, give the last row of logits,
rewind) and a tokenizer; :class:`TokenContext` makes the :class:`~.base.Context` of it. Tokens
are fed late: what was inserted, forced or sampled last goes into the cache together with the
next step, so that a token which the grammar forces costs no step of its own.

The grammar begins anew with every call of :meth:`TokenContext.generate`. A token that it allows
is taken without computing a mask: the free choice is tried first.

Not covered: sampling, batches, stops within text that a grammar forces beyond them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...twin.errors import ModelError
from ..grammar import Grammar
from .base import End, Piece, Read
from .constraint import Constraint
from .matcher import Matcher

__all__ = ["Runtime", "TokenContext", "TokenModel", "common"]

Row = npt.NDArray[np.floating[Any]]

_MAX_KNOWN_STOPS = 64  # sets of stops whose tokens are remembered; callers have one or two


class Runtime(Protocol):
    """One sequence in a runtime's cache. Failures are :class:`ModelError`."""

    def feed(self, tokens: Sequence[int]) -> None:
        """Go on with these tokens, at least one."""

    def logits(self) -> Row:
        """(V,) logits after the last token fed, in force until the next call."""

    def rewind(self, length: int) -> None:
        """Forget all but the first ``length`` tokens; the logits are gone."""

    def fork(self) -> Runtime | None:
        """A copy with the same tokens, None where the runtime cannot copy."""

    def close(self) -> None:
        """Free the cache."""


class TokenModel(Protocol):
    """What a context needs of its model."""

    @property
    def max_tokens(self) -> int:
        """Size of the context in tokens."""

    @property
    def eos(self) -> frozenset[int]:
        """Tokens that end a text."""

    @property
    def constraint(self) -> Constraint | None:
        """Makes matchers of grammars; None: grammars are ignored."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids."""

    def start(self) -> Runtime:
        """A runtime that holds nothing."""


class TokenContext:
    """See :class:`~.base.Context`."""

    def __init__(self, model: TokenModel) -> None:
        self._model = model
        self._runtime: Runtime | None = None
        self._tokens: list[int] = []  # what is held
        self._fed = 0  # of it in the runtime's cache
        self._warm = False  # whether the runtime has logits for the last token fed
        self._closed = False
        self._stops: dict[tuple[str, ...], _Stops] = {}

    @property
    def length(self) -> int:
        """Tokens held: prompt, inserted and generated."""
        return len(self._tokens)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Ids of the tokens held."""
        return tuple(self._tokens)

    def read(self, segments: Sequence[str]) -> Read:
        """See :class:`~.base.Context`; the texts are in the cache afterwards."""
        self._check()
        wanted = [token for text in segments for token in self._model.encode(text)]
        self._fits(len(wanted))
        kept = common(self._tokens, wanted)
        reused = min(kept, self._fed)
        self._back(kept)
        self._tokens += wanted[kept:]
        if self._tokens:
            self._feed()
        return Read(len(wanted), reused)

    def append(self, text: str) -> int:
        """See :class:`~.base.Context`; it is fed with the next step."""
        self._check()
        tokens = self._model.encode(text)
        self._fits(len(self._tokens) + len(tokens))
        self._tokens += tokens
        return len(tokens)

    def rewind(self, length: int) -> None:
        """See :class:`~.base.Context`."""
        self._check()
        if not 0 <= length <= len(self._tokens):
            raise ModelError(
                f"expected a length of 0 to {len(self._tokens)} tokens, got {length}; "
                "a context can only go back"
            )
        self._back(length)

    def fork(self) -> TokenContext:
        """See :class:`~.base.Context`."""
        self._check()
        other = TokenContext(self._model)
        other._tokens = list(self._tokens)
        runtime = None if self._runtime is None else self._runtime.fork()
        if runtime is not None:
            other._runtime, other._fed = runtime, self._fed
        return other

    def close(self) -> None:
        """See :class:`~.base.Context`."""
        self._closed = True
        self._drop()
        self._tokens = []

    def generate(
        self,
        stops: Sequence[str],
        max_tokens: int,
        deadline_s: float,
        grammar: Grammar | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> Piece:
        """See :class:`~.base.Context`; ``heard`` is told token by token."""
        teller = None if heard is None else _Teller(self._model, heard)
        piece = self._generated(stops, max_tokens, deadline_s, grammar, teller)
        if teller is not None:
            teller.end(piece.text)
        return piece

    def _generated(
        self,
        stops: Sequence[str],
        max_tokens: int,
        deadline_s: float,
        grammar: Grammar | None,
        teller: _Teller | None,
    ) -> Piece:
        self._check()
        matcher = None
        if grammar is not None and self._model.constraint is not None:
            matcher = self._model.constraint.matcher(grammar)
        ends = self._ends(stops)
        start = len(self._tokens)
        limit = min(start + max(max_tokens, 0), self._model.max_tokens)
        forced = 0
        while True:
            given = matcher.forced() if matcher is not None else []
            for token in given[: limit - len(self._tokens)]:
                self._tokens.append(token)
                forced += 1
                if ends.reached(self._tokens, start):
                    return self._piece(start, "stop", forced, ends)
            if len(self._tokens) >= limit:
                return self._piece(start, "length", forced, ends)
            if time.monotonic() >= deadline_s:
                return self._piece(start, "time", forced, ends)
            if teller is not None:
                teller.tell(self._tokens[start:])
            best = self._next(matcher)
            if best is None or best in self._model.eos:
                return self._piece(start, "eos", forced, ends)
            self._tokens.append(best)
            if ends.reached(self._tokens, start):
                return self._piece(start, "stop", forced, ends)

    def _next(self, matcher: Matcher | None) -> int | None:
        """The best token after what is held, among those allowed; None at a grammar's end."""
        self._feed()
        assert self._runtime is not None
        row = self._runtime.logits()
        token = int(row.argmax())
        if matcher is None or matcher.take(token):
            return token
        return None if matcher.done else matcher.best(row)

    def _piece(self, start: int, end: End, forced: int, ends: _Stops) -> Piece:
        """The text since ``start``, cut at the stop; the sequence is cut alike."""
        count = len(self._tokens) - start
        text = self._model.decode(self._tokens[start:])
        if end == "stop" and (cut := ends.cut(text)) < len(text):
            before = self._model.decode(self._tokens[start:-1])
            self._back(len(self._tokens) - 1)
            self._tokens += self._model.encode(text[len(before) : cut])
            text = text[:cut]
        return Piece(text, count, end, forced)

    def _feed(self) -> None:
        """Bring the cache up to what is held, with logits for its last token."""
        if not self._tokens:
            raise ModelError("expected a text to go on from, got an empty context; read one first")
        try:
            if self._runtime is None:
                self._runtime, self._fed = self._model.start(), 0
            if self._fed == len(self._tokens) and not self._warm:
                self._fed -= 1
                self._runtime.rewind(self._fed)
            if self._fed < len(self._tokens):
                self._runtime.feed(self._tokens[self._fed :])
        except ModelError:
            self._drop()
            raise
        self._fed, self._warm = len(self._tokens), True

    def _back(self, length: int) -> None:
        """Hold the first ``length`` tokens."""
        if length < self._fed and self._runtime is not None:
            try:
                self._runtime.rewind(length)
            except ModelError:
                self._drop()
                raise
            self._fed, self._warm = length, False
        del self._tokens[length:]

    def _drop(self) -> None:
        """Give the cache up; what is held is fed again when it is needed."""
        if self._runtime is not None:
            self._runtime.close()
        self._runtime, self._fed, self._warm = None, 0, False

    def _check(self) -> None:
        if self._closed:
            raise ModelError("expected an open context, got a closed one; open another")

    def _fits(self, count: int) -> None:
        if count > self._model.max_tokens:
            raise ModelError(
                f"expected at most {self._model.max_tokens} tokens, got {count}; "
                "ask about a shorter window or fewer objects"
            )

    def _ends(self, stops: Sequence[str]) -> _Stops:
        key = tuple(stops)
        if key not in self._stops:
            if len(self._stops) >= _MAX_KNOWN_STOPS:
                self._stops.clear()
            self._stops[key] = _Stops(self._model, key)
        return self._stops[key]


class _Teller:
    """Tells a growing text, never a character that may still change."""

    def __init__(self, model: TokenModel, heard: Callable[[str], None]) -> None:
        self._model, self._heard = model, heard
        self._told = ""

    def tell(self, tokens: Sequence[int]) -> None:
        """Tell what the tokens add; the rest of a character of several tokens waits for them."""
        text = self._model.decode(tokens)
        if not text.endswith("\ufffd"):
            self.end(text)

    def end(self, text: str) -> None:
        """Tell what the text adds to what was told."""
        if len(text) > len(self._told) and text.startswith(self._told):
            self._heard(text[len(self._told) :])
            self._told = text


class _Stops:
    """Finds stops that are one token, several, or the middle of one."""

    def __init__(self, model: TokenModel, stops: tuple[str, ...]) -> None:
        self._model = model
        self._texts = tuple(stop for stop in stops if stop)
        self._lasts = {stop[-1] for stop in self._texts}
        whole = (model.encode(stop) for stop in self._texts)
        self._single = {tokens[0] for tokens in whole if len(tokens) == 1}
        # A stop of n characters ends within the last n tokens, a token more if it cuts one.
        self._span = max((len(stop.encode()) for stop in self._texts), default=0) + 1
        self._final: dict[int, bool] = {}  # by token, whether a stop may end in it

    def reached(self, tokens: Sequence[int], start: int) -> bool:
        """Whether the last token completes a stop; only tokens from ``start`` on count."""
        last = tokens[-1]
        if last in self._single:
            return True
        final = self._final.get(last)
        if final is None:
            final = not self._lasts.isdisjoint(self._model.decode([last]))
            self._final[last] = final
        if not final:
            return False
        tail = self._model.decode(tokens[max(start, len(tokens) - self._span) :])
        return any(stop in tail for stop in self._texts)

    def cut(self, text: str) -> int:
        """Where the first stop of the text ends."""
        ends = (text.find(stop) + len(stop) for stop in self._texts if stop in text)
        return min(ends, default=len(text))


def common(held: Sequence[int], wanted: Sequence[int]) -> int:
    """Number of leading tokens that both have."""
    shorter = min(len(held), len(wanted))
    for place in range(shorter):
        if held[place] != wanted[place]:
            return place
    return shorter
