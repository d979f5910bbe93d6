"""What every model that runs here has in common: its description and its contexts.

A backend sets ``max_tokens``, ``eos`` and ``constraint`` and gives ``encode``, ``decode`` and
``start``; the rest of :class:`~.base.LanguageModel` is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ...twin.text import Layout
from ..bundle import ReasonerBundle
from ..prompts import Mode, Style
from .constraint import Constraint
from .tokens import Runtime, TokenContext

__all__ = ["LocalModel"]


class LocalModel(ABC):
    """A :class:`~.base.LanguageModel` whose logits are at hand (:class:`~.tokens.TokenModel`)."""

    name: str
    sha256: str
    style: Style
    layout: Layout
    known_words: frozenset[str] | None
    plan_words: tuple[str, ...]
    tools: frozenset[str] | None
    modes: tuple[Mode, ...]
    turns: int
    max_tokens: int
    eos: frozenset[int]
    constraint: Constraint | None

    @property
    def guided(self) -> bool:
        """Whether it obeys grammars."""
        return self.constraint is not None

    def open(self) -> TokenContext:
        """See :class:`~.base.LanguageModel`."""
        return TokenContext(self)

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.encode(text))

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids."""

    @abstractmethod
    def start(self) -> Runtime:
        """A runtime that holds nothing."""

    def _take_from(self, bundle: ReasonerBundle) -> None:
        """Be what a manifest says about the training."""
        self.name, self.sha256, self.style = bundle.name, bundle.sha256, bundle.style
        self.layout, self.turns, self.modes = bundle.layout, bundle.turns, bundle.modes
        self.tools, self.known_words = bundle.tools, bundle.known_words
        self.plan_words = bundle.plan_words
