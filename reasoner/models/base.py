"""What the rollout needs of a language model: hold a text, insert, generate, rewind, fork.

A :class:`Context` is one sequence of tokens with its cache. Four backends give it (ONNX Runtime
GenAI, llama.cpp, transformers, an OpenAI-compatible endpoint); a queue of scripted replies is
the fifth, for tests. ``tests/reasoner/conformance.py`` is what each of them has to pass.

Decoding is greedy. Not covered: batches, sampling, log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ...twin.text import Layout
from ..grammar import Grammar
from ..prompts import Mode, Style

__all__ = ["Context", "End", "LanguageModel", "Piece", "Read"]

End = Literal["stop", "eos", "length", "time"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Generated text.

    ``tokens`` counts all of its tokens; ``forced`` of them were given by the grammar and cost no
    step of the model. ``end`` says why it ended: a stop, the end-of-text token, the budget of
    tokens (or the end of the context), or the deadline.
    """

    text: str
    tokens: int
    end: End
    forced: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """Prompt tokens that a context holds now, and how many of them came from its cache."""

    tokens: int
    reused: int


class Context(Protocol):
    """A sequence of tokens that can be read, appended to, continued, rewound and forked.

    After :meth:`close` every call raises :class:`~edgetwin.twin.errors.ModelError`, a second
    :meth:`close` aside.
    """

    @property
    def length(self) -> int:
        """Tokens held: prompt, inserted and generated."""

    def read(self, segments: Sequence[str]) -> Read:
        """Hold exactly these texts, each encoded for itself.

        The longest common prefix of tokens with what is held already is kept.

        Raises:
            ModelError: if they do not fit into the model's context; what was held stays.
        """

    def append(self, text: str) -> int:
        """Insert text of the environment; returns its tokens.

        Raises:
            ModelError: if it does not fit into the model's context; what was held stays.
        """

    def rewind(self, length: int) -> None:
        """Go back to the first ``length`` tokens.

        Raises:
            ModelError: if it holds fewer than that.
        """

    def fork(self) -> Context:
        """An independent copy; runtimes that cannot copy their cache read it again."""

    def generate(
        self,
        stops: Sequence[str],
        max_tokens: int,
        deadline_s: float,
        grammar: Grammar | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> Piece:
        """Go on until one of the stops (part of the text), ``max_tokens`` or the deadline.

        Args:
            stops: texts after which generation ends.
            max_tokens: the most tokens of this piece, forced ones counted.
            deadline_s: on ``time.monotonic``'s clock, checked before every step of the model.
            grammar: what the piece has to follow from its first token on; models whose
                ``guided`` is False ignore it.
            heard: told the text of the piece as it is generated, all of it and in order.

        Raises:
            ModelError: if the runtime or the grammar fails.
        """

    def close(self) -> None:
        """Free the cache."""


class LanguageModel(Protocol):
    """A model of text and what is known about how it was trained."""

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
    def layout(self) -> Layout:
        """Which form of the twin's text it wants."""

    @property
    def known_words(self) -> frozenset[str] | None:
        """Lower-case words of questions that it was trained on; None: not limited."""

    @property
    def plan_words(self) -> tuple[str, ...]:
        """Words that it may give to ``find`` besides the twin's own."""

    @property
    def tools(self) -> frozenset[str] | None:
        """Names of the tools that it was trained with; None: any."""

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Modes of explanation that it knows."""

    @property
    def turns(self) -> int:
        """Earlier questions that it may be shown; 0: none."""

    @property
    def guided(self) -> bool:
        """Whether it obeys grammars."""

    @property
    def max_tokens(self) -> int:
        """Size of its context in tokens."""

    def count(self, text: str) -> int:
        """Tokens of a text."""

    def open(self) -> Context:
        """An empty context.

        Raises:
            ModelError: if the runtime has no room for it.
        """
