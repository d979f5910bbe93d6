"""Sizes of the models that recipes name, without loading them.

Not covered: architectures other than dense Qwen3.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ...reasoner.bundle import EMBEDDED
from ...twin.errors import InputError, ModelError
from .recipe import ModelChoice

__all__ = ["QWEN3", "Shape", "shape_of"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A Qwen3's widths, as in its ``config.json``."""

    layers: int
    hidden: int
    heads: int
    key_heads: int
    head_dim: int
    mlp: int
    vocabulary: int
    tied: bool

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of a layer's seven matrices."""
        h, q, k, m = self.hidden, self.heads * self.head_dim, self.kv, self.mlp
        return ((h, q), (h, k), (h, k), (q, h), (h, m), (h, m), (m, h))

    @property
    def kv(self) -> int:
        """Width of a layer's keys, and of its values."""
        return self.key_heads * self.head_dim

    @property
    def layer(self) -> int:
        """Parameters of a layer: matrices, two norms, the norms of queries and keys."""
        return sum(i * o for i, o in self.linears) + 2 * self.hidden + 2 * self.head_dim

    @property
    def parameters(self) -> int:
        """All parameters; a tied output counts once."""
        tables = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return tables + self.layers * self.layer + self.hidden

    def lora(self, r: int) -> int:
        """Parameters of an adapter of rank ``r`` on all matrices of the layers."""
        return self.layers * sum(r * (i + o) for i, o in self.linears)


# config.json of Qwen/Qwen3-0.6B, -1.7B and -8B at the commits that the recipes name.
QWEN3: dict[str, Shape] = {
    "Qwen/Qwen3-0.6B": Shape(28, 1024, 16, 8, 128, 3072, 151936, True),
    "Qwen/Qwen3-1.7B": Shape(28, 2048, 16, 8, 128, 6144, 151936, True),
    "Qwen/Qwen3-8B": Shape(36, 4096, 32, 8, 128, 12288, 151936, False),
}


def shape_of(choice: ModelChoice) -> Shape:
    """The size of a recipe's model; ``stage:…`` is for the caller to follow.

    Raises:
        InputError: if it is neither known nor a folder with a Qwen3's ``config.json``.
    """
    source = choice.source
    name = source.partition("@")[0]
    if name in QWEN3:
        return QWEN3[name]
    folder = EMBEDDED if source in ("embedded", "scratch") else Path(source)
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(
            f"expected {', '.join(QWEN3)}, embedded, scratch or a folder with config.json, "
            f"got {source!r}; give the folder of the model"
        )
    record = json.loads(path.read_text(encoding="utf-8")) | (choice.widths or {})
    try:
        return Shape(
            record["num_hidden_layers"],
            record["hidden_size"],
            record["num_attention_heads"],
            record["num_key_value_heads"],
            record["head_dim"],
            record["intermediate_size"],
            record["vocab_size"],
            bool(record.get("tie_word_embeddings", False)),
        )
    except KeyError as error:
        raise ModelError(f"{path}: expected a Qwen3's widths, got none for {error}") from error
