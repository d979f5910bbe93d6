"""An OpenAI-compatible endpoint as the language model: contexts are texts, the server reads them.

Two ways to ask. ``"completions"`` continues the text as it stands, which fits the protocol best;
``"chat"`` (every server has it) sends what was read and inserted as the user's messages and what
was generated as the assistant's, and a text that ends with generated words is marked as to be
continued (``continue_final_message``, vLLM's name; llama.cpp continues anyway).

Tokens are an estimate, :func:`pieces` of the text, since the server's tokenizer is not here: it
says where a context ends and how long a rationale is, and :attr:`Endpoint.usage` has the
server's own sums, of them those from its prefix cache. ``reused`` of a read is what the context
held already: a server with a prefix cache need not read it again.

Servers cut the stop off. It is put back where the server names it (vLLM's ``stop_reason``), else
where a reply that ended by itself leaves exactly a block open that a stop closes.

A grammar goes to the server where it takes one: ``grammar_field="grammar"`` for llama.cpp,
``"structured_outputs"`` for vLLM (``"guided_grammar"`` for older ones).

Not covered: streaming (a reply that is late is lost whole), log-probabilities, forced tokens
(servers do not tell them), sharing one endpoint between threads.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from ...twin.errors import ModelError
from ...twin.text import Layout
from ..grammar import Grammar
from ..prompts import Mode, Style
from .base import Piece, Read
from .endpoint import Endpoint, Message, Reply, Sampling
from .http import TimedOut

__all__ = ["Api", "GrammarField", "OpenAiModel", "pieces"]

Api = Literal["chat", "completions"]
GrammarField = Literal["grammar", "structured_outputs", "guided_grammar"]
_PIECE = re.compile(r"\d| ?[^\W\d]{1,6}| ?[^\w\s]{1,3}|\s")
_CHARS_PER_TOKEN = 16  # no tokenizer's mean is above: a longer reply ignores max_tokens
_ROOM = 16  # tokens that a context keeps free, so that something can be said at all


def pieces(text: str) -> list[str]:
    """A text cut into what most tokenizers would need about one token for.

    Single digits, up to six letters or three signs with the space before them, and other white
    space. Joined they are the text.
    """
    return _PIECE.findall(text)


class OpenAiModel:
    """A model behind an endpoint.

    Args:
        endpoint: where it is.
        api: how it is asked; see the module.
        grammar_field: the field of the request that takes a grammar; None: it takes none.
        grammar_form: ``"gbnf"``, or ``"lark"`` for vLLM with the guidance backend.
        style: of the prompt; the long one documents protocol and tools.
        layout: of the twin's text.
        known_words: lower-case words of questions that it was trained on; None: not limited.
        plan_words: words for ``find`` besides the twin's own.
        tools: names of the tools that it was trained with; None: any.
        modes: modes of explanation that it may be asked for.
        turns: earlier questions that it is shown.
        max_tokens: of its context, by our estimate.
        sampling: temperature, seed and further fields of the request.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        api: Api = "chat",
        grammar_field: GrammarField | None = None,
        grammar_form: Literal["gbnf", "lark"] = "gbnf",
        style: Style = "long",
        layout: Layout = "full",
        known_words: Iterable[str] | None = None,
        plan_words: Iterable[str] = (),
        tools: Iterable[str] | None = None,
        modes: Sequence[Mode] = get_args(Mode),
        turns: int = 8,
        max_tokens: int = 8192,
        sampling: Sampling | None = None,
    ) -> None:
        if api not in get_args(Api) or grammar_field not in (None, *get_args(GrammarField)):
            raise ModelError(
                f"expected api of {get_args(Api)} and grammar_field of {get_args(GrammarField)} "
                f"or None, got {api!r} and {grammar_field!r}"
            )
        self.endpoint, self.api = endpoint, api
        self.name, self.sha256 = endpoint.model, ""
        self.style: Style = style
        self.layout: Layout = layout
        self.known_words = None if known_words is None else frozenset(known_words)
        self.plan_words = tuple(plan_words)
        self.tools = None if tools is None else frozenset(tools)
        self.modes: tuple[Mode, ...] = tuple(modes)
        self.turns, self.max_tokens = turns, max_tokens
        self.guided = grammar_field is not None
        self._field, self._form = grammar_field, grammar_form
        self._sampling = sampling or Sampling()

    def count(self, text: str) -> int:
        """Tokens of a text, estimated (:func:`pieces`)."""
        return len(pieces(text))

    def open(self) -> _Text:
        """An empty context."""
        return _Text(self)

    def ask(
        self,
        held: Sequence[tuple[bool, str]],
        stops: Sequence[str],
        max_tokens: int,
        deadline_s: float,
        grammar: Grammar | None,
    ) -> Reply:
        """Send what a context holds, as (whether it was generated, text) in order.

        Raises:
            TimedOut, ModelError: as :meth:`Endpoint.chat`.
        """
        extra: dict[str, Any] = dict(self._sampling.extra)
        if grammar is not None and self._field is not None:
            text = grammar.gbnf() if self._form == "gbnf" else grammar.lark({})
            nested = self._field == "structured_outputs"
            extra[self._field] = {"grammar": text} if nested else text
        sampling = replace(self._sampling, max_tokens=max_tokens, stop=tuple(stops), extra=extra)
        if self.api == "completions":
            text = "".join(part for _, part in held)
            return self.endpoint.complete(text, sampling, deadline_s)
        if held[-1][0]:
            going_on = {"continue_final_message": True, "add_generation_prompt": False}
            sampling = replace(sampling, extra={**extra, **going_on})
        messages = [Message("assistant" if own else "user", (part,)) for own, part in held]
        return self.endpoint.chat(messages, sampling, deadline_s)


class _Text:
    """A context: the pieces of its text, and of each whether the model wrote it."""

    def __init__(self, model: OpenAiModel, held: Sequence[tuple[bool, str]] = ()) -> None:
        self._model = model
        self._held = list(held)
        self._closed = False

    @property
    def length(self) -> int:
        """See :class:`~.base.Context`."""
        return len(self._held)

    def read(self, segments: Sequence[str]) -> Read:
        """See :class:`~.base.Context`."""
        self._open()
        wanted = [(False, piece) for text in segments for piece in pieces(text)]
        self._fits(len(wanted))
        same = 0
        for (_, held), (_, new) in zip(self._held, wanted, strict=False):
            if held != new:
                break
            same += 1
        self._held = wanted
        return Read(len(wanted), same)

    def append(self, text: str) -> int:
        """See :class:`~.base.Context`."""
        self._open()
        new = [(False, piece) for piece in pieces(text)]
        self._fits(len(self._held) + len(new))
        self._held += new
        return len(new)

    def rewind(self, length: int) -> None:
        """See :class:`~.base.Context`."""
        self._open()
        if not 0 <= length <= len(self._held):
            raise ModelError(
                f"expected to go back to 0 to {len(self._held)} tokens, got {length}; "
                "read the text again"
            )
        del self._held[length:]

    def fork(self) -> _Text:
        """See :class:`~.base.Context`."""
        self._open()
        return _Text(self._model, self._held)

    def generate(
        self,
        stops: Sequence[str],
        max_tokens: int,
        deadline_s: float,
        grammar: Grammar | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> Piece:
        """See :class:`~.base.Context`."""
        self._open()
        if not self._held:
            raise ModelError("expected a text to go on from, got an empty context: read first")
        most = min(max_tokens, self._model.max_tokens - len(self._held))
        if most <= 0:
            return Piece("", 0, "length")
        if time.monotonic() >= deadline_s:
            return Piece("", 0, "time")
        try:
            reply = self._model.ask(self._messages(), stops, most, deadline_s, grammar)
        except TimedOut:
            if time.monotonic() < deadline_s:  # the endpoint's own limit
                raise
            return Piece("", 0, "time")
        piece = self._take(reply, stops, most)
        if heard is not None:
            heard(piece.text)
        return piece

    def close(self) -> None:
        """See :class:`~.base.Context`."""
        self._held, self._closed = [], True

    # ---- pieces

    def _take(self, reply: Reply, stops: Sequence[str], most: int) -> Piece:
        """Cut a reply at its stop, or give it the stop that the server cut off."""
        text = reply.text[: _CHARS_PER_TOKEN * most]
        ends = [(text.find(stop), stop) for stop in stops if stop and stop in text]
        if ends:
            place, stop = min(ends)
            text, end = text[: place + len(stop)], "stop"
        elif reply.finish_reason == "length" or len(text) < len(reply.text):
            end = "length"
        else:
            last_own, last = self._messages()[-1]
            before = last if last_own else ""
            stop = _cut_off(before + text, stops) if reply.stop is None else reply.stop
            text, end = (text + stop, "stop") if stop in stops else (text, "eos")
        new = pieces(text)
        self._held += [(True, piece) for piece in new]
        return Piece(text, min(len(new), most), end)  # type: ignore[arg-type]

    def _messages(self) -> list[tuple[bool, str]]:
        """What is held as runs of one author."""
        runs: list[tuple[bool, list[str]]] = []
        for own, piece in self._held:
            if runs and runs[-1][0] == own:
                runs[-1][1].append(piece)
            else:
                runs.append((own, [piece]))
        return [(own, "".join(run)) for own, run in runs]

    def _fits(self, length: int) -> None:
        if length + _ROOM > self._model.max_tokens:
            raise ModelError(
                f"expected at most {self._model.max_tokens - _ROOM} tokens of prompt, got about "
                f"{length}; ask about a shorter window or fewer objects, or raise max_tokens"
            )

    def _open(self) -> None:
        if self._closed:
            raise ModelError("expected an open context, got a closed one: open another")


def _cut_off(text: str, stops: Sequence[str]) -> str:
    """The stop that closes the block which ``text`` leaves open; empty when none does."""
    for stop in stops:
        if not stop.startswith("</"):
            continue
        opening = stop.replace("</", "<", 1)
        _, found, inside = text.rpartition(opening)
        if found and stop not in inside and "<" not in inside:
            return stop
    return ""
