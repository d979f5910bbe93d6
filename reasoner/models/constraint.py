"""Grammars at work: llguidance's matchers over a model's tokenizer.

A grammar is compiled once per tokenizer and kept in a small cache; every piece of text gets a
copy of the compiled matcher (microseconds), which shares what the others have learnt of the
grammar. Added tokens of the tokenizer (the protocol's tags, pieces of tool calls) are what
llguidance takes for special tokens: quoted text never matches them, so
:meth:`~..grammar.Grammar.lark` writes them as token literals.

Not covered: several sequences at once, grammars that are not :class:`~..grammar.Grammar`.
"""

from __future__ import annotations

import importlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ...twin.errors import ModelError
from ..grammar import Grammar

__all__ = ["Constraint", "Matcher", "added_tokens"]

_MAX_GRAMMARS = 16  # compiled ones kept, about 0.6 MB each: a plan's and an answer's per twin


class Constraint:
    """Compiles grammars for one tokenizer.

    Args:
        tokenizer_json: text of a ``tokenizer.json``.
        vocabulary: length of the model's row of logits (may exceed the tokenizer's words).
        eos: tokens that end a text.

    Raises:
        ModelError: if llguidance is missing or cannot read the tokenizer.
    """

    def __init__(self, tokenizer_json: str, vocabulary: int, eos: Iterable[int]) -> None:
        ends = sorted(eos)
        try:
            tokenizer = _library().LLTokenizer(
                tokenizer_json, n_vocab=vocabulary, eos_token=ends or None
            )
        except Exception as error:  # the library raises bare ValueError and the like
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"expected a tokenizer.json that llguidance reads, got: {_first(error)}"
            ) from error
        self._hold(tokenizer, added_tokens(tokenizer_json))

    @classmethod
    def over(cls, tokenizer: Any, added: Mapping[str, int]) -> Constraint:
        """Over an ``llguidance.LLTokenizer`` made elsewhere, with the added tokens' ids by text."""
        self = cls.__new__(cls)
        self._hold(tokenizer, added)
        return self

    def _hold(self, tokenizer: Any, added: Mapping[str, int]) -> None:
        self.added = dict(added)
        self.compiled = 0  # grammars compiled so far
        self._tokenizer = tokenizer
        self._compiled: OrderedDict[Grammar, Any] = OrderedDict()
        self._prose: dict[int, bool] = {}  # by token; at most the vocabulary

    def matcher(self, grammar: Grammar) -> Matcher:
        """A matcher at the grammar's beginning.

        Raises:
            ModelError: if llguidance refuses the grammar.
        """
        found = self._compiled.get(grammar)
        if found is None:
            found = self._compiled[grammar] = self._compile(grammar)
            if len(self._compiled) > _MAX_GRAMMARS:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(grammar)
        return Matcher(found.deep_copy(), self)

    def prose(self, token: int) -> bool:
        """Whether a token is a word after a space; nothing is forced after such a one.

        (It may be, in the middle of a name with spaces; then the model says it by itself.)
        """
        known = self._prose.get(token)
        if known is None:
            text = self._tokenizer.decode_str([token])
            known = self._prose[token] = text[:1] == " " and text[1:].isalpha()
        return known

    def _compile(self, grammar: Grammar) -> Any:
        self.compiled += 1
        try:
            matcher = _library().LLMatcher(self._tokenizer, grammar.lark(self.added), log_level=0)
        except Exception as error:
            raise ModelError(f"expected a grammar to compile, got: {_first(error)}") from error
        if matcher.is_error():
            raise ModelError(f"expected a grammar to compile, got: {_first(matcher.get_error())}")
        return matcher


def _library() -> Any:
    try:
        return importlib.import_module("llguidance")
    except ImportError as error:
        raise ModelError(
            "expected llguidance, which holds decoding to a grammar, got none; "
            "run: pip install 'llguidance>=1.9'"
        ) from error


class Matcher:
    """Where one piece of text stands in its grammar."""

    __slots__ = ("_constraint", "_matcher", "_prose")

    def __init__(self, matcher: Any, constraint: Constraint) -> None:
        self._matcher, self._constraint = matcher, constraint
        self._prose = False  # whether the last token taken was a word of a text

    @property
    def done(self) -> bool:
        """Whether the grammar has come to its end."""
        return bool(self._matcher.is_stopped())

    def forced(self) -> list[int]:
        """Tokens that have to come next; they are taken. It does not look after words."""
        if self._prose:
            return []
        tokens: list[int] = self._matcher.compute_ff_tokens()
        if tokens and not self._matcher.consume_tokens(tokens):
            raise self._failed()
        return tokens

    def take(self, token: int) -> bool:
        """Take the token if it may come next."""
        if self._matcher.try_consume_tokens([token]) != 1:
            return False
        self._prose = self._constraint.prose(token)
        return True

    def allowed(self, size: int | None = None) -> npt.NDArray[np.bool_]:
        """(V,) whether each token may come next; ``size`` is V, the tokenizer's own if None."""
        mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
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

    def _failed(self) -> ModelError:
        reason = _first(self._matcher.get_error()) or "no token allowed"
        return ModelError(f"expected the grammar to allow a next token, got: {reason}")


def added_tokens(tokenizer_json: str) -> dict[str, int]:
    """The added tokens of a ``tokenizer.json``, ids by text.

    Raises:
        ModelError: if it is none.
    """
    try:
        record: Mapping[str, Any] = json.loads(tokenizer_json)
        return {str(t["content"]): int(t["id"]) for t in record.get("added_tokens") or ()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"expected a tokenizer.json, got {type(error).__name__}") from error


def _first(error: object) -> str:
    """The first line of a message, cut."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else ""
