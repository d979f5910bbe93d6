"""What the rollout needs of a language model: open a prompt, generate, append, go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ..prompts import Style

__all__ = ["Generation", "LanguageModel", "Piece"]

End = Literal["stop", "eos", "length", "time"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Generated text, the number of its tokens and why it ended."""

    text: str
    tokens: int
    end: End


class Generation(Protocol):
    """One prompt being continued."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of prefix and question."""

    def generate(self, stops: Sequence[str], max_tokens: int, deadline_s: float) -> Piece:
        """Go on until one of the stops (it is part of the text), ``max_tokens`` or the deadline.

        ``deadline_s`` is on ``time.monotonic``'s clock.
        """

    def append(self, text: str) -> int:
        """Insert text of the environment; returns its tokens."""


class LanguageModel(Protocol):
    """A model of text; ``known_words`` is None when it is not limited to a vocabulary."""

    @property
    def name(self) -> str:
        """Identifier shown in answers."""

    @property
    def sha256(self) -> str:
        """Hash of the weights, empty when there are none here."""

    @property
    def style(self) -> Style:
        """Which form of the prompt it wants."""

    @property
    def known_words(self) -> frozenset[str] | None:
        """Lower-case words of questions that it was trained on."""

    @property
    def plan_words(self) -> tuple[str, ...]:
        """Words that it may give to ``find`` besides the twin's own."""

    def open(self, prefix: str, question: str, grammar: str | None) -> Generation:
        """Begin to continue ``prefix + question``; backends without guidance ignore the grammar.

        Raises:
            ModelError: if the prompt does not fit.
        """
