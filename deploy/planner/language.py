"""What a language model reads and computes per token: from its configuration and its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...twin.errors import InputError, ModelError

__all__ = ["BITS", "PUBLISHED", "LanguageCounts", "language_of", "published"]

BITS = {"fp32": 32.0, "fp16": 16.0, "q8_0": 8.5, "int8": 8.5, "q4_k_m": 4.85, "int4": 4.5}
"""Bits per weight, scales included: blocks of 32 with a half-precision scale; Q4_K_M keeps some
matrices at six bits (llama.cpp's own figure for Qwen3-0.6B is near 4.85 without embeddings)."""

_QWEN3 = {"head_dim": 128, "num_key_value_heads": 8, "vocab_size": 151936}
PUBLISHED: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": _QWEN3 | {
        "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
        "num_attention_heads": 16, "tie_word_embeddings": True,
    },
    "qwen3-1.7b": _QWEN3 | {
        "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
        "num_attention_heads": 16, "tie_word_embeddings": True,
    },
    "qwen3-4b": _QWEN3 | {
        "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
        "num_attention_heads": 32, "tie_word_embeddings": True,
    },
    "qwen3-8b": _QWEN3 | {
        "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
        "num_attention_heads": 32, "tie_word_embeddings": False,
    },
}  # fmt: skip
"""The published configurations by name (Qwen/Qwen3-0.6B/config.json and so on)."""


@dataclass(frozen=True, slots=True)
class LanguageCounts:
    """A decoder-only model.

    ``parameters`` all of them; ``token_parameters`` those multiplied for one token (everything
    but an embedding table that is only looked up); ``kv_bytes`` of one token of context, at two
    bytes a number; ``stored_bytes`` of its files where they are known.
    """

    name: str
    layers: int
    parameters: int
    token_parameters: int
    kv_bytes: int
    stored_bytes: int | None = None

    def weight_bytes(self, precision: str) -> float:
        """Bytes of all weights; those of the files where they are known.

        Raises:
            InputError: if the precision is unknown.
        """
        if self.stored_bytes is not None:
            return float(self.stored_bytes)
        return self.parameters * _bits(precision) / 8

    def token_bytes(self, precision: str, context: int) -> float:
        """Bytes that one generated token reads: weights, and keys and values of the context."""
        share = self.token_parameters / self.parameters
        return self.weight_bytes(precision) * share + self.kv_bytes * context

    def token_flops(self, context: int) -> float:
        """Operations of one token: two per weight, and attention over the context."""
        return 2.0 * self.token_parameters + 2.0 * self.kv_bytes * context


def published(name: str) -> LanguageCounts:
    """Return a published model by name.

    Raises:
        InputError: if it is not among :data:`PUBLISHED`.
    """
    if name not in PUBLISHED:
        raise InputError(
            f"expected a language model among {', '.join(PUBLISHED)} or a folder, got {name!r}"
        )
    return _from_config(name, PUBLISHED[name], None)


def language_of(folder: Path, parameters: int | None = None) -> LanguageCounts:
    """Read the model in a folder: ``config.json`` of transformers and the weights beside it.

    A folder of ONNX Runtime GenAI has ``genai_config.json`` in its place, which does not tell
    the number of ``parameters``: a bundle's manifest does. All of them count per token there.

    Raises:
        ModelError: if there is no configuration, or it is none of such a model.
    """
    kept = [f for f in folder.glob("model.onnx*") if f.is_file()]
    stored = sum(f.stat().st_size for f in kept) or None
    if (folder / "config.json").is_file() or parameters is None:
        return _from_config(folder.name, _read(folder / "config.json"), stored)
    decoder = _read(folder / "genai_config.json").get("model", {}).get("decoder", {})
    try:
        layers, groups = int(decoder["num_hidden_layers"]), int(decoder["num_key_value_heads"])
        kv_bytes = 2 * layers * groups * int(decoder["head_size"]) * 2
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"expected num_hidden_layers, num_key_value_heads and head_size in "
            f"{folder / 'genai_config.json'}, got {error!r}; export the bundle again"
        ) from error
    return LanguageCounts(folder.name, layers, parameters, parameters, kv_bytes, stored)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"expected a language model's configuration at {file}, got {error}; give a folder that "
            f"has one, or a published name ({', '.join(PUBLISHED)})"
        ) from error
    return found if isinstance(found, dict) else {}


def _from_config(name: str, config: Mapping[str, Any], stored: int | None) -> LanguageCounts:
    try:
        hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
        heads, inner = int(config["num_attention_heads"]), int(config["intermediate_size"])
        groups = int(config.get("num_key_value_heads") or heads)
        width = int(config.get("head_dim") or hidden // heads)
        vocabulary = int(config["vocab_size"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"expected hidden_size, intermediate_size, num_hidden_layers, num_attention_heads and "
            f"vocab_size in the configuration of {name}, got {error!r}"
        ) from error
    attention = hidden * width * (heads + 2 * groups) + heads * width * hidden
    norms = 2 * hidden + 2 * width
    blocks = layers * (attention + 3 * hidden * inner + norms) + hidden
    table = vocabulary * hidden
    tied = bool(config.get("tie_word_embeddings", False))
    return LanguageCounts(
        name, layers, blocks + table * (1 if tied else 2), blocks + table,
        2 * layers * groups * width * 2, stored,
    )  # fmt: skip


def _bits(precision: str) -> float:
    if precision not in BITS:
        raise InputError(f"expected a precision among {', '.join(BITS)}, got {precision!r}")
    return BITS[precision]
