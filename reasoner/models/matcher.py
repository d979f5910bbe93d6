"""Where one piece of text stands in its grammar, asking llguidance as seldom as it can.

Calls into llguidance take a few microseconds, ten times that when a network has just driven its
tables out of the cache, and there are two per token. Two shortcuts save most of them for
tokenizers to which the protocol's tags are single tokens:

- within a rationale, tokens of plain letters are taken by counting characters;
- a compiled grammar remembers the ways that texts went: what was forced there and what was
  allowed. Rationales count as one place, so that plans meet on the same ways.

llguidance is behind meanwhile and catches up in one call when it is needed.

Not covered: more than 1,024 places of a grammar (what lies beyond is asked every time).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ...twin.errors import ModelError

__all__ = ["Compiled", "Matcher", "first_line"]

_MAX_PLACES = 1024  # of a grammar, about 0.3 MB; a plan has 25


class _Place:
    """What is known of a place: forced tokens (None: not asked), and where tokens led from it."""

    __slots__ = ("after", "forced")

    def __init__(self) -> None:
        self.forced: list[int] | None = None
        self.after: dict[int, _Place] = {}


class Compiled:
    """A compiled grammar and the places known of it.

    Args:
        matcher: an ``llguidance.LLMatcher`` at its beginning; it is copied, never moved.
        prose: tokens that open a text of free words, with its most characters.
        closing: tokens that end such a text.
        plain: the number of characters of a token of plain letters, 0 for any other token.
    """

    def __init__(
        self,
        matcher: Any,
        prose: Mapping[int, int],
        closing: frozenset[int],
        plain: Callable[[int], int],
    ) -> None:
        self.matcher, self.plain = matcher, plain
        self.prose, self.closing = prose, closing
        self.root = _Place() if prose else None
        self.places = 1


class Matcher:
    """One piece of text in a grammar, from the grammar's beginning."""

    __slots__ = ("_compiled", "_matcher", "_place", "_room", "_said", "_untold")

    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._matcher: Any = None  # llguidance's, made when it is first asked
        self._untold: list[int] = []  # taken, and not yet told to it
        self._place = compiled.root
        self._room = -1  # characters that a rationale may still have; -1 outside of one
        self._said = False  # whether anything stands in it

    @property
    def done(self) -> bool:
        """Whether the grammar has come to its end."""
        return bool(self._told().is_stopped())

    def forced(self) -> list[int]:
        """Tokens that have to come next; they are taken. It does not look within rationales."""
        if self._room >= 0:
            return []
        place = self._place
        if place is None:
            tokens = list(self._told().compute_ff_tokens())
        else:
            if place.forced is None:
                place.forced = list(self._told().compute_ff_tokens())
            tokens = place.forced
        for token in tokens:
            self._untold.append(token)
            self._go(token)
        return list(tokens)

    def take(self, token: int) -> bool:
        """Take the token if it may come next."""
        if self._room >= 0 and token not in self._compiled.closing:
            return self._take_word(token)
        place = self._place
        if place is not None and token in place.after and (self._room < 0 or self._said):
            self._untold.append(token)
        elif self._told().try_consume_tokens([token]) != 1:
            return False
        self._go(token)
        return True

    def allowed(self, size: int | None = None) -> npt.NDArray[np.bool_]:
        """(V,) whether each token may come next; ``size`` is V, the tokenizer's own if None."""
        matcher = self._told()
        mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        if matcher.is_error():
            raise self._failed()
        bits: npt.NDArray[np.bool_] = np.unpackbits(mask, count=size, bitorder="little").view(bool)
        return bits

    def best(self, row: npt.NDArray[np.floating[Any]]) -> int:
        """Take the allowed token of the highest logit (V,)."""
        allowed = self.allowed(row.size)
        token = int(np.where(allowed, row, -np.inf).argmax()) if row.size else -1
        if token < 0 or not allowed[token] or not self.take(token):
            raise self._failed()
        return token

    def _take_word(self, token: int) -> bool:
        """A token within a rationale that does not end it."""
        length = self._compiled.plain(token)
        if 0 < length <= self._room:
            self._untold.append(token)
            self._room -= length
        elif self._told().try_consume_tokens([token]) != 1:
            return False
        else:
            self._room = 0  # its characters were not counted: llguidance is asked from here on
        self._said = True
        return True

    def _go(self, token: int) -> None:
        """To the place after a token that was taken."""
        place = self._place
        if place is not None:
            after = place.after.get(token)
            if after is None and self._compiled.places < _MAX_PLACES:
                after = place.after[token] = _Place()
                self._compiled.places += 1
            self._place = after
            self._room = self._compiled.prose.get(token, -1)
            self._said = False

    def _told(self) -> Any:
        """llguidance's matcher, knowing all that was taken."""
        if self._matcher is None:
            self._matcher = self._compiled.matcher.deep_copy()
        if self._untold:
            if not self._matcher.consume_tokens(self._untold):
                raise self._failed()
            self._untold = []
        return self._matcher

    def _failed(self) -> ModelError:
        reason = first_line(self._matcher.get_error()) or "no token allowed"
        return ModelError(f"expected the grammar to allow a next token, got: {reason}")


def first_line(error: object) -> str:
    """The first line of a message, cut."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else ""
