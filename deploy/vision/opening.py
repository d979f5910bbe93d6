"""One call for every vision-language model: from an address, a folder or a hub id to a model."""

from __future__ import annotations

import os

from ...reasoner.models.endpoint import Endpoint
from ...reasoner.models.opening import KEY_VARIABLE
from ...twin.errors import ModelError
from .base import VisionModel

__all__ = ["open_vision"]


def open_vision(source: str, *, timeout_s: float = 120.0, device: str = "auto") -> VisionModel:
    """Open a vision-language model.

    Args:
        source: an OpenAI-compatible endpoint as ``http(s)://host/v1#model`` (its key is taken
            from ``EDGETWIN_API_KEY`` if that is set), a folder with a Qwen-VL checkpoint, or one
            of the hub as ``owner/name@commit``.
        timeout_s: seconds that one question may take an endpoint, retries included.
        device: for transformers, such as ``cuda:0``.

    Raises:
        MissingExtraError: if the package that it needs is not installed.
        ModelError: if the source is none of these or cannot be used.
    """
    if source.startswith(("http://", "https://")):
        url, _, name = source.partition("#")
        if not name:
            raise ModelError(
                "expected an endpoint with its model's name, such as "
                f"http://localhost:8080/v1#qwen2.5-vl, got {source.rpartition('@')[2][:80]!r}"
            )
        variable = KEY_VARIABLE if os.environ.get(KEY_VARIABLE) else None
        return Endpoint(url, name, api_key_env=variable, timeout_s=timeout_s)
    from .qwen import QwenVl

    return QwenVl(source, device=device)
