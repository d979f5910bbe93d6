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
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from ...twin.errors import ModelError
from ..grammar import LENGTHS, MAX_DESCRIPTION, Grammar
from .matcher import Compiled, Matcher, first_line

__all__ = ["Constraint", "added_tokens"]

# Compiled grammars kept: of plans (about 0.9 MB each, one per twin and mode) and of answers (less;
# several per twin, but twins with the same ids share them).
_MAX_PLANS, _MAX_ANSWERS = 12, 48
_PLAIN = re.compile(r"[A-Za-z0-9 .,;:'-]+")


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
                f"expected a tokenizer.json that llguidance reads, got: {first_line(error)}"
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
        self._specials = frozenset(self.added.values())
        self._plans: OrderedDict[Grammar, Compiled] = OrderedDict()
        self._answers: OrderedDict[Grammar, Compiled] = OrderedDict()
        self._plain: dict[int, int] = {}  # by token; at most the vocabulary

    def matcher(self, grammar: Grammar) -> Matcher:
        """A matcher at the grammar's beginning.

        Raises:
            ModelError: if llguidance refuses the grammar.
        """
        kept, most = (self._plans, _MAX_PLANS) if grammar.plan else (self._answers, _MAX_ANSWERS)
        found = kept.get(grammar)
        if found is None:
            found = kept[grammar] = self._compile(grammar)
            if len(kept) > most:
                kept.popitem(last=False)
        else:
            kept.move_to_end(grammar)
        return Matcher(found)

    def plain(self, token: int) -> int:
        """Characters of a token of plain letters, 0 for any other; what a rationale counts."""
        known = self._plain.get(token)
        if known is None:
            text = str(self._tokenizer.decode_str([token]))
            special = token in self._specials or _PLAIN.fullmatch(text) is None
            known = self._plain[token] = 0 if special else len(text)
        return known

    def _compile(self, grammar: Grammar) -> Compiled:
        self.compiled += 1
        try:
            matcher = _library().LLMatcher(self._tokenizer, grammar.lark(self.added), log_level=0)
        except Exception as error:
            raise ModelError(f"expected a grammar to compile, got: {first_line(error)}") from error
        if matcher.is_error():
            reason = first_line(matcher.get_error())
            raise ModelError(f"expected a grammar to compile, got: {reason}")
        rooms = {"reason": LENGTHS[grammar.mode], "describe": MAX_DESCRIPTION}
        tags = [t for name in rooms for t in (f"<{name}>", f"</{name}>")]
        if not all(tag in self.added for tag in tags[: 4 if grammar.mode == "description" else 2]):
            return Compiled(matcher, {}, frozenset(), self.plain)
        prose = {self.added[f"<{n}>"]: room for n, room in rooms.items() if f"<{n}>" in self.added}
        closing = frozenset(self.added[tag] for tag in tags[1::2] if tag in self.added)
        return Compiled(matcher, prose, closing, self.plain)


def _library() -> Any:
    try:
        return importlib.import_module("llguidance")
    except ImportError as error:
        raise ModelError(
            "expected llguidance, which holds decoding to a grammar, got none; "
            "run: pip install 'llguidance>=1.9'"
        ) from error


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
