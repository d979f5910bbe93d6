"""ONNX Runtime GenAI: the language model on the device.

One thread (faster than two for a network this small), greedy, guided by the grammar. The
last generator is kept: a question on the same twin rewinds to the end of the common tokens
instead of reading the twin again. A new grammar (other ids or words) needs a new generator.

Not covered: batches, sampling, several sessions at once (one generation is live per model).
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...twin.errors import ModelError
from ..bundle import ReasonerBundle, load_bundle
from ..prompts import Style
from .base import End, Piece

__all__ = ["OrtGenAiModel"]

_MAX_TOKENS = 2048  # context of the embedded network: prompt, plan, results and answer together
_RESERVE = 320  # tokens kept free for what is generated and inserted


class OrtGenAiModel:
    """A bundle opened with ONNX Runtime GenAI.

    Raises:
        ModelError: if the bundle or the runtime cannot be used.
    """

    def __init__(self, bundle: ReasonerBundle | str | Path = "embedded", threads: int = 1) -> None:
        og: Any = importlib.import_module("onnxruntime_genai")
        self.bundle = bundle if isinstance(bundle, ReasonerBundle) else load_bundle(bundle)
        self.name, self.sha256 = self.bundle.name, self.bundle.sha256
        self.style: Style = self.bundle.style
        self.known_words = self.bundle.known_words
        self.plan_words = self.bundle.plan_words
        options = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
        session = {"model": {"decoder": {"session_options": options}}}
        try:
            config = og.Config(str(self.bundle.path))
            config.overlay(json.dumps(session))
            self._model = og.Model(config)
            self._tokenizer = og.Tokenizer(self._model)
        except Exception as error:  # the runtime raises bare RuntimeError and the like
            raise ModelError(
                f"expected {self.bundle.path} to load in ONNX Runtime GenAI, got: {error}; "
                "check the installed onnxruntime-genai (0.18 or later)"
            ) from error
        self._og: Any = og
        self._generator: Any = None
        self._grammar: str | None = None
        self.live = 0  # number of the live generation; opening another one ends it
        self._limit = min(_MAX_TOKENS, int(self.bundle.config.get("max_tokens", _MAX_TOKENS)))

    def open(self, prefix: str, question: str, grammar: str | None) -> _Generation:
        """See :class:`~.base.LanguageModel`; reuses what the last prompt has in common."""
        tokens = [*self.encode(prefix), *self.encode(question)]
        if len(tokens) + _RESERVE > self._limit:
            raise ModelError(
                f"expected a prompt of at most {self._limit - _RESERVE} tokens, got {len(tokens)}; "
                "ask about a shorter window or fewer objects"
            )
        kept = 0
        try:
            if self._generator is None or grammar != self._grammar:
                self._generator, self._grammar = self._start(grammar), grammar
            else:
                held = self._generator.get_sequence(0).tolist()
                kept = _common(held, tokens[:-1])
                self._generator.rewind_to(kept)
            self._generator.append_tokens(tokens[kept:])
        except RuntimeError as error:
            raise self.failed("reading the prompt", error) from error
        self.live += 1
        return _Generation(self, self._generator, len(tokens), kept)

    @property
    def guided(self) -> bool:
        """Whether the live generation is held to a grammar."""
        return self._grammar is not None

    def failed(self, doing: str, error: RuntimeError) -> ModelError:
        """The runtime's failure as ours; the live generation is dropped."""
        self._generator = self._grammar = None
        self.live += 1
        first = str(error).splitlines()[0][:200] if str(error) else "no reason"
        return ModelError(f"expected ONNX Runtime GenAI to go on while {doing}, got: {first}")

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return [int(token) for token in self._tokenizer.encode(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids."""
        return str(self._tokenizer.decode(list(tokens)))

    def _start(self, grammar: str | None) -> Any:
        params = self._og.GeneratorParams(self._model)
        params.set_search_options(max_length=self._limit, do_sample=False)
        if grammar is not None:
            params.set_guidance("lark_grammar", grammar)
        return self._og.Generator(self._model, params)


class _Generation:
    """One live generation; opening another one on the same model ends it."""

    def __init__(self, model: OrtGenAiModel, generator: Any, prompt: int, reused: int) -> None:
        self._model, self._generator, self._number = model, generator, model.live
        self.prompt_tokens, self.reused_tokens = prompt, reused
        self._stop_ids: dict[str, int] = {}

    def generate(self, stops: Sequence[str], max_tokens: int, deadline_s: float) -> Piece:
        """See :class:`~.base.Generation`."""
        self._own()
        generator, ends = self._generator, self._ends(stops)
        tokens: list[int] = []
        end: End = "length"
        try:
            while len(tokens) < max_tokens:
                generator.generate_next_token()
                if generator.is_done():
                    end = "eos"
                    break
                tokens.append(int(generator.get_next_tokens()[0]))
                if tokens[-1] in ends:
                    end = "stop"
                    self._end_guidance()
                    break
                if time.monotonic() >= deadline_s:
                    end = "time"
                    break
        except RuntimeError as error:
            raise self._model.failed("generating", error) from error
        return Piece(self._model.decode(tokens), len(tokens), end)

    def _end_guidance(self) -> None:
        """Let the grammar take its end mark (it stays out of the sequence), so that it restarts."""
        if self._model.guided and not self._generator.is_done():
            self._generator.generate_next_token()
            self._generator.is_done()  # asking is what restarts the grammar after its end mark

    def append(self, text: str) -> int:
        """See :class:`~.base.Generation`."""
        self._own()
        tokens = self._model.encode(text)
        try:
            self._generator.append_tokens(tokens)
        except RuntimeError as error:
            raise self._model.failed("appending results", error) from error
        return len(tokens)

    def _own(self) -> None:
        if self._number != self._model.live:
            raise ModelError("expected the model's live generation, got one that another ended")

    def _ends(self, stops: Sequence[str]) -> set[int]:
        """Token ids of the stops; each of our tags is one token."""
        for stop in stops:
            if stop not in self._stop_ids:
                ids = self._model.encode(stop)
                if len(ids) != 1:
                    raise ModelError(
                        f"expected {stop} to be one token, got {len(ids)}; "
                        "the tokenizer does not belong to this protocol"
                    )
                self._stop_ids[stop] = ids[0]
        return set(self._stop_ids.values())


def _common(held: Sequence[int], wanted: Sequence[int]) -> int:
    """Number of leading tokens that both have."""
    count = 0
    for a, b in zip(held, wanted, strict=False):
        if a != b:
            break
        count += 1
    return count
