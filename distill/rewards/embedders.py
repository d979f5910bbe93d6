"""Sentence embeddings for WISE's reward: what a text means, as one row of numbers.

* :class:`EncoderEmbedder`: a sentence encoder of transformers (mean of the last hidden states
  over the text's tokens, as sentence-transformers does it), from a folder or ``owner/name@commit``.
* :class:`HashedEmbedder`: needs no network and no weights. It counts runs of letters: two texts
  are alike as far as they are *worded* alike. It does not know that "mug" and "cup" mean the
  same. That is enough for rationales in a closed vocabulary, where the detailed explanation
  names the same objects, colours and relations as the concise rationale; for free text take an
  encoder.

The policy's (or teacher's) own hidden states would need no further model either, but are worse
here: those of small causal models point nearly the same way for any two texts, and a policy in
training can move them, and so its own reward.

Not covered: texts longer than an encoder's positions; they are cut.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import InputError, MissingExtraError, ModelError

__all__ = [
    "PINNED",
    "Embedder",
    "EncoderEmbedder",
    "HashedEmbedder",
    "embedder_of",
    "library_of",
    "place_of",
]

PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{7,40}")
_MAX_CHARS = 4000  # about a thousand tokens: more than any explanation may have
_WORD = re.compile(r"[^\W_]+")
_BATCH = 64  # texts at once: bounds the memory of an encoder
_MAX_TOKENS = 512


class Embedder(Protocol):
    """Turns texts into vectors whose cosine says how alike they are."""

    name: str

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Rows (N, D), one per text."""
        ...


class HashedEmbedder:
    """Counts of words and of runs of letters inside them, hashed into a fixed width.

    Every word counts as a whole and by its runs of ``low`` to ``high`` letters, with its bounds
    marked, so that "mug" and "mugs" are alike. A count c weighs ``1 + log(c)``: saying a thing
    often adds little. Hashing is CRC-32, the same on every machine.

    Raises:
        InputError: if the width or the runs are out of range.
    """

    def __init__(self, width: int = 4096, low: int = 3, high: int = 5) -> None:
        if not 64 <= width <= 65_536 or not 1 <= low <= high <= 8:
            raise InputError(
                f"expected a width of 64 to 65536 and runs of 1 to 8 letters, got {width}, "
                f"{low} to {high}"
            )
        self.name = f"hashed-{width}-{low}-{high}"
        self._width, self._runs = width, range(low, high + 1)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Rows (N, width) of length 1; a text without letters is zero."""
        rows = np.zeros((len(texts), self._width), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for part, count in self._parts(text).items():
                row[zlib.crc32(part.encode()) % self._width] += 1 + np.log(count)
            length = float(np.linalg.norm(row))
            if length:
                row /= length
        return rows

    def _parts(self, text: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for word in _WORD.findall(text[:_MAX_CHARS].casefold()):
            marked = f"<{word}>"
            found[marked] += 1
            for n in self._runs:
                if n < len(marked):
                    found.update(marked[k : k + n] for k in range(len(marked) - n + 1))
        return found


class EncoderEmbedder:
    """A transformers encoder with mean pooling; only safetensors, no code of the checkpoint.

    Args:
        source: a folder with config.json, model.safetensors and tokenizer files, or a checkpoint
            of the hub as ``owner/name@commit``.
        device: such as ``cpu`` or ``cuda:0``.

    Raises:
        MissingExtraError: if torch or transformers is missing.
        ModelError: if the checkpoint cannot be used.
    """

    def __init__(self, source: str | Path, *, device: str = "cpu") -> None:
        place, options = place_of(source)
        self._torch, library = library_of("torch"), library_of("transformers")
        self.name, self.device = str(source), device
        try:
            self._tokenizer: Any = library.AutoTokenizer.from_pretrained(
                place, trust_remote_code=False, **options
            )
            model: Any = library.AutoModel.from_pretrained(
                place, use_safetensors=True, trust_remote_code=False, **options
            )
        except Exception as error:  # the libraries raise OSError, ValueError, KeyError and more
            raise ModelError(
                f"expected {source} to load in transformers as an encoder of safetensors, got: "
                f"{str(error).splitlines()[0][:200]}"
            ) from error
        self._model = model.float().eval().requires_grad_(False).to(device)
        most = int(getattr(self._model.config, "max_position_embeddings", _MAX_TOKENS))
        self._most = min(most, _MAX_TOKENS)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Rows (N, D) of length 1."""
        parts = [self._embed(texts[k : k + _BATCH]) for k in range(0, len(texts), _BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        shown = [text[:_MAX_CHARS] or " " for text in texts]
        given = self._tokenizer(
            shown, padding=True, truncation=True, max_length=self._most, return_tensors="pt"
        ).to(self.device)
        with self._torch.inference_mode():
            hidden_ntd = self._model(**given).last_hidden_state
            mask_nt1 = given["attention_mask"][:, :, None].to(hidden_ntd.dtype)
            mean_nd = (hidden_ntd * mask_nt1).sum(1) / mask_nt1.sum(1).clamp(min=1)
            rows = self._torch.nn.functional.normalize(mean_nd, dim=-1)
        return np.asarray(rows.cpu().numpy(), np.float32)


def embedder_of(source: str | Path = "hashed", *, device: str = "cpu") -> Embedder:
    """The embedder ``hashed``, or an encoder by folder or ``owner/name@commit``.

    Raises:
        ModelError: if the encoder cannot be used.
    """
    return HashedEmbedder() if source == "hashed" else EncoderEmbedder(source, device=device)


def place_of(source: str | Path) -> tuple[str, dict[str, str]]:
    """A folder, or a hub id with its revision, as transformers wants them.

    Raises:
        ModelError: for anything else.
    """
    if isinstance(source, str) and PINNED.fullmatch(source):
        name, _, revision = source.partition("@")
        return name, {"revision": revision}
    if Path(source).is_dir():
        return str(source), {}
    raise ModelError(
        f"expected a folder or a pinned checkpoint such as owner/name@commit, got "
        f"{str(source)[:80]!r}; 'hashed' is the embedder and 'embedded' the similarity that "
        "work offline"
    )


def library_of(name: str) -> Any:
    """Import a training package when it is first needed.

    Raises:
        MissingExtraError: if it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(name, "train") from error
