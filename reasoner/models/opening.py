"""One call for every backend: from a name, folder, file, checkpoint or address to a model."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, get_args

from ...twin.errors import ModelError
from ..bundle import EMBEDDED
from .base import LanguageModel

__all__ = ["KEY_VARIABLE", "Backend", "open_model"]

Backend = Literal["auto", "ort", "llama", "transformers", "endpoint"]

KEY_VARIABLE = "EDGETWIN_API_KEY"
"""Environment variable whose value is sent to endpoints as the API key."""

_ADDRESS = re.compile(r"https?://")
_CHECKPOINT = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{7,40}")


def open_model(
    source: str | Path = "embedded",
    backend: Backend = "auto",
    *,
    threads: int = 1,
    device: str = "auto",
    guided: bool = True,
) -> LanguageModel:
    """Open a language model; the backend's packages are imported only now.

    Args:
        source: ``embedded``; a folder with an ONNX Runtime GenAI bundle, with ``model.gguf`` or
            with ``config.json`` and safetensors; a ``.gguf`` file; a checkpoint of the hub as
            ``owner/name@commit``; or an OpenAI-compatible endpoint as ``http(s)://host/v1#model``
            (its key is taken from ``EDGETWIN_API_KEY`` if that is set).
        backend: ``auto`` takes what the source is made for.
        threads: of the processor, where the model runs here.
        device: for transformers, such as ``cuda:0``, and for ONNX Runtime GenAI: ``cpu``,
            ``cuda``, or ``auto``, which is what the folder was made for.
        guided: False decodes without grammars; endpoints are never guided by this call.

    Raises:
        InputError: if ONNX Runtime GenAI does not know the device.
        MissingExtraError: if the backend's package is not installed.
        ModelError: if the source is none of these or cannot be used.
    """
    if backend not in get_args(Backend):
        raise ModelError(f"expected a backend of {', '.join(get_args(Backend))}, got {backend!r}")
    chosen = _backend_of(source) if backend == "auto" else backend
    if chosen == "endpoint":
        return _endpoint(str(source))
    if chosen == "ort":
        from .ort_genai import OrtGenAiModel

        return OrtGenAiModel(source, threads, guided=guided, device=device)
    if chosen == "llama":
        from .llama_cpp import LlamaCppModel

        return LlamaCppModel(source, threads=threads, guided=guided)
    from .transformers import TransformersModel

    return TransformersModel(source, device=device, threads=threads, guided=guided)


def _backend_of(source: str | Path) -> Backend:
    """What a source is made for."""
    text = str(source)
    if _ADDRESS.match(text):
        return "endpoint"
    path = EMBEDDED if text == "embedded" else Path(source)
    if path.suffix == ".gguf":
        return "llama"
    if (path / "genai_config.json").is_file():
        return "ort"
    if (path / "model.gguf").is_file():
        return "llama"
    if (path / "config.json").is_file() or _CHECKPOINT.fullmatch(text):
        return "transformers"
    raise ModelError(
        "expected a language model: 'embedded', a folder with genai_config.json, model.gguf or "
        "config.json, a .gguf file, a checkpoint as owner/name@commit, or an endpoint as "
        f"http://host/v1#model, got {text[:80]!r}"
    )


def _endpoint(address: str) -> LanguageModel:
    url, mark, name = address.partition("#")
    if not mark or not name:
        raise ModelError(
            f"expected an endpoint with its model's name, such as http://localhost:8080/v1#name, "
            f"got {address[:80]!r}"
        )
    from .endpoint import Endpoint
    from .openai import OpenAiModel

    variable = KEY_VARIABLE if os.environ.get(KEY_VARIABLE) else None
    return OpenAiModel(Endpoint(url, name, api_key_env=variable))
