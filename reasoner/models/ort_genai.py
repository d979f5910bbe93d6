"""ONNX Runtime GenAI: the language model on the device.

One thread (faster than two for a network this small). The runtime's own search and guidance are
not used: tokens are fed, logits read, and the one loop of :mod:`.tokens` decides. Each context
has its own generator and cache; a fork reads again, for the runtime cannot copy a cache.

Not covered: batches, sampling, several GPUs. CUDA, which takes onnxruntime-genai-cuda, has not
been run.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...twin.errors import InputError, ModelError
from ..bundle import ReasonerBundle, load_bundle
from .constraint import Constraint
from .local import LocalModel
from .tokens import Row

__all__ = ["DEVICES", "OrtGenAiModel"]

DEVICES = ("auto", "cpu", "cuda")
_MAX_TOKENS = 2048  # context of a bundle that names none; the whole cache is allocated ahead


class OrtGenAiModel(LocalModel):
    """A bundle opened with ONNX Runtime GenAI.

    Args:
        bundle: the set's name, its folder, or the folder opened.
        threads: of the processor.
        guided: False decodes without grammars.
        device: ``auto`` is what the folder's genai_config.json says; ``cpu`` and ``cuda`` replace
            it. A graph made for ``cpu`` runs on both.

    Attributes:
        device: where the model is, ``cpu`` or ``cuda``.

    Raises:
        InputError: if the device is none of these.
        ModelError: if the bundle or the runtime cannot be used, or has no CUDA.
    """

    def __init__(
        self,
        bundle: ReasonerBundle | str | Path = "embedded",
        threads: int = 1,
        *,
        guided: bool = True,
        device: str = "auto",
    ) -> None:
        if device not in DEVICES:
            raise InputError(f"expected a device among {', '.join(DEVICES)}, got {device!r}")
        og: Any = importlib.import_module("onnxruntime_genai")
        self.bundle = bundle if isinstance(bundle, ReasonerBundle) else load_bundle(bundle)
        self._take_from(self.bundle)
        options = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
        session = {"model": {"decoder": {"session_options": options}}}
        try:
            config = og.Config(str(self.bundle.path))
            config.overlay(json.dumps(session))
            if device != "auto":
                config.clear_providers()
            if device == "cuda":
                config.append_provider("cuda")
            self._model = og.Model(config)
            self._tokenizer = og.Tokenizer(self._model)
        except Exception as error:  # the runtime raises bare RuntimeError and the like
            raise ModelError(
                f"expected {self.bundle.path} to load in ONNX Runtime GenAI, got: {error}; "
                "check the installed onnxruntime-genai (0.18 or later; onnxruntime-genai-cuda for "
                "a GPU), or choose device 'cpu'"
            ) from error
        self.device = str(self._model.device_type).lower()
        self._og: Any = og
        self._sizes = self._read_sizes()
        most = int(self.bundle.config.get("max_tokens", _MAX_TOKENS))
        self.max_tokens = min(self._sizes["context_length"], most)
        self.eos = frozenset(int(token) for token in self._tokenizer.eos_token_ids)
        self.constraint = self._constraint() if guided else None

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        tokens: list[int] = self._tokenizer.encode(text).tolist()
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids."""
        return str(self._tokenizer.decode(list(tokens)))

    def start(self) -> _Sequence:
        """A generator that holds nothing."""
        try:
            params = self._og.GeneratorParams(self._model)
            params.set_search_options(max_length=self.max_tokens, do_sample=False)
            return _Sequence(self._og.Generator(self._model, params))
        except RuntimeError as error:
            raise _failed("opening a context", error) from error

    def _read_sizes(self) -> dict[str, int]:
        """Sizes from genai_config.json, which the runtime has read already."""
        path = self.bundle.path / "genai_config.json"
        try:
            model = json.loads(path.read_text(encoding="utf-8"))["model"]
            return {key: int(model[key]) for key in ("context_length", "vocab_size")}
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ModelError(
                f"{path}: expected the model's context_length and vocab_size, got {error!r}"
            ) from error

    def _constraint(self) -> Constraint:
        text = (self.bundle.path / "tokenizer.json").read_text(encoding="utf-8")
        return Constraint(text, self._sizes["vocab_size"], self.eos)


class _Sequence:
    """A generator fed by hand; see :class:`~.tokens.Runtime`."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator

    def feed(self, tokens: Sequence[int]) -> None:
        try:
            self._generator.append_tokens(np.asarray(tokens, np.int32))
        except RuntimeError as error:
            raise _failed("reading tokens", error) from error

    def logits(self) -> Row:
        try:
            rows: Any = self._generator.get_logits()
        except RuntimeError as error:
            raise _failed("computing a token", error) from error
        row: Row = rows[0, -1]
        return row

    def rewind(self, length: int) -> None:
        try:
            self._generator.rewind_to(length)
        except RuntimeError as error:
            raise _failed("going back", error) from error

    def fork(self) -> None:
        return None

    def close(self) -> None:
        self._generator = None


def _failed(doing: str, error: RuntimeError) -> ModelError:
    first = str(error).splitlines()[0][:200] if str(error) else "no reason"
    return ModelError(f"expected ONNX Runtime GenAI to go on while {doing}, got: {first}")
