"""Words into token ids for the detector's text tower, without a tokenizer library.

Reads two kinds of Hugging Face ``tokenizer.json``: ``WordLevel`` (the embedded set: one id
per word) and ``BPE`` with CLIP's byte alphabet (published OWLv2 checkpoints, which ship it as
``vocab.json`` and ``merges.txt``). Both put start-of-text before and end-of-text behind, and
pad with zeros to a fixed length.

Not covered: other normalisers, truncation inside a word, added tokens inside a phrase, and
Unicode of another version than Python's ``unicodedata``.
"""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError, ModelError

__all__ = ["QueryTokenizer", "clip_json", "word_level_json"]

_START, _END, _PAD, _UNKNOWN = "<start>", "<end>", "<pad>", "<unk>"
_SUFFIXES = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_WORD = re.compile(r"\w+|[^\w\s]+")


def word_level_json(words: Sequence[str]) -> dict[str, Any]:
    """Return the ``tokenizer.json`` of a vocabulary of single words.

    Ids: 0 padding, 1 unknown, then ``words`` in order, start-of-text, end-of-text (the
    highest, because the text tower reads its result there).

    Raises:
        InputError: if a word is repeated, not lower case, or not one word.
    """
    for word in words:
        if _WORD.fullmatch(word) is None or word != word.lower():
            raise InputError(f"expected single lower-case words, got {word!r}")
    if len(set(words)) != len(words):
        raise InputError("expected every word once, got a repeated one")
    tokens = [_PAD, _UNKNOWN, *words, _START, _END]
    vocab = {token: index for index, token in enumerate(tokens)}
    special = (_PAD, _UNKNOWN, _START, _END)
    flags = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }

    def piece(token: str) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": 0}}

    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": vocab[t], "content": t, **flags} for t in special],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece(_START), sequence, piece(_END)],
            "pair": [piece(_START), sequence, piece(_END)],
            "special_tokens": {
                t: {"id": t, "ids": [vocab[t]], "tokens": [t]} for t in (_START, _END)
            },
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": _UNKNOWN},
    }


def clip_json(vocab: Mapping[str, int], merges: Sequence[str]) -> dict[str, Any]:
    """Return the ``tokenizer.json`` of a CLIP ``vocab.json`` and the lines of ``merges.txt``.

    Only what :class:`QueryTokenizer` reads.
    """
    pairs = [line for line in merges if line.strip() and not line.startswith("#version")]
    return {
        "version": "1.0",
        "added_tokens": [],
        "model": {
            "type": "BPE",
            "end_of_word_suffix": "</w>",
            "vocab": dict(vocab),
            "merges": pairs,
        },
    }


class QueryTokenizer:
    """Turns phrases into the rows of ids that the text graph takes.

    ``length`` is the text tower's number of positions; longer phrases are refused, since a
    cut phrase would silently mean something else.

    Raises:
        ModelError: if the file is not a ``tokenizer.json`` of a kind named above.
    """

    def __init__(self, spec: Mapping[str, Any], length: int) -> None:
        self.length = length
        try:
            model = spec["model"]
            kind, vocab = model["type"], model["vocab"]
            self._vocab: dict[str, int] = {str(k): int(v) for k, v in vocab.items()}
            self._merges = {
                tuple(m.split(" ") if isinstance(m, str) else m): rank
                for rank, m in enumerate(model.get("merges", ()))
            }
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ModelError(
                f"expected a tokenizer.json with a model and its vocab, got {error!r} missing or "
                "malformed; restore the file"
            ) from error
        if kind not in ("WordLevel", "BPE"):
            raise ModelError(f"expected a WordLevel or BPE tokenizer, got {kind!r}")
        self._words = kind == "WordLevel"
        start, end = (_START, _END) if self._words else ("<|startoftext|>", "<|endoftext|>")
        added = {t["content"]: int(t["id"]) for t in spec.get("added_tokens", ())}
        ids = {**self._vocab, **added}
        if start not in ids or end not in ids or ids[end] != max(ids.values()) or ids[start] == 0:
            raise ModelError(
                f"expected {start!r} (not id 0) and {end!r} (the highest id) in the tokenizer, "
                "got other ids; the text tower finds the end of a phrase by the highest id"
            )
        self._start, self._end = ids[start], ids[end]
        self._bytes = _byte_alphabet()
        self._cache: dict[str, list[int]] = {}

    @classmethod
    def from_file(cls, path: str | Path, length: int) -> QueryTokenizer:
        """Read a ``tokenizer.json``.

        Raises:
            ModelError: if it is missing or malformed.
        """
        try:
            spec = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"expected a tokenizer.json at {path}, got {error}") from error
        if not isinstance(spec, dict):
            raise ModelError(f"expected a JSON object in {path}, got {type(spec).__name__}")
        return cls(spec, length)

    @property
    def vocab_size(self) -> int:
        """Number of ids, end-of-text being the last."""
        return self._end + 1

    def unknown(self, phrase: str) -> list[str]:
        """Return the words of a phrase that have no id (always none for BPE)."""
        if not self._words:
            return []
        return [w for w in _WORD.findall(phrase.lower()) if w not in self._vocab]

    def encode(self, phrases: Sequence[str]) -> NDArray[np.int64]:
        """Return ids (Q, length), padded with zeros behind end-of-text.

        Raises:
            InputError: if a phrase is empty, too long, or has words without an id.
        """
        rows = np.zeros((len(phrases), self.length), np.int64)
        for row, phrase in zip(rows, phrases, strict=True):
            ids = [self._start, *self._ids(phrase), self._end]
            if len(ids) == 2:
                raise InputError(f"expected a word to look for, got {phrase!r}")
            if len(ids) > self.length:
                raise InputError(
                    f"expected at most {self.length - 2} tokens in a phrase to look for, "
                    f"got {len(ids) - 2} in {phrase!r}; use fewer words"
                )
            row[: len(ids)] = ids
        return rows

    def _ids(self, phrase: str) -> list[int]:
        if self._words:
            words = _WORD.findall(phrase.lower())
            missing = self.unknown(phrase)
            if missing:
                raise InputError(f"expected words the detector knows, got {missing} in {phrase!r}")
            return [self._vocab[w] for w in words]
        ids: list[int] = []
        for word in _clip_words(phrase):
            ids += self._word_pieces(word)
        return ids

    def _word_pieces(self, word: str) -> list[int]:
        if word in self._cache:
            return self._cache[word]
        pieces = [self._bytes[b] for b in word.encode("utf-8")]
        pieces[-1] += "</w>"
        while len(pieces) > 1:
            ranks = [
                self._merges.get(pair, len(self._merges)) for pair in itertools.pairwise(pieces)
            ]
            best = min(range(len(ranks)), key=ranks.__getitem__)
            if ranks[best] == len(self._merges):
                break
            left, right = pieces[best], pieces[best + 1]
            merged: list[str] = []
            i = 0
            while i < len(pieces):
                if i + 1 < len(pieces) and pieces[i] == left and pieces[i + 1] == right:
                    merged.append(left + right)
                    i += 2
                else:
                    merged.append(pieces[i])
                    i += 1
            pieces = merged
        strange = [p for p in pieces if p not in self._vocab]
        if strange:
            raise ModelError(
                f"expected a vocabulary with every byte, got none for {strange} in {word!r}; "
                "restore the tokenizer's file"
            )
        ids = [self._vocab[p] for p in pieces]
        if len(self._cache) < 4096:  # bounded: phrases come from users
            self._cache[word] = ids
        return ids


def _byte_alphabet() -> list[str]:
    """Return GPT-2's and CLIP's printable stand-in for each byte."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    alphabet, extra = [], 0
    for byte in range(256):
        alphabet.append(chr(byte) if byte in printable else chr(256 + extra))
        extra += byte not in printable
    return alphabet


def _clip_words(phrase: str) -> list[str]:
    """Split as CLIP does: suffixes, runs of letters, single digits, runs of the rest.

    Its pattern is ``'s|'t|'re|'ve|'m|'ll|'d|\\p{L}+|\\p{N}|[^\\s\\p{L}\\p{N}]+`` on lower-case NFC.
    """
    # Letter by letter: the tokenizers library knows no final sigma.
    text = "".join(c.lower() for c in unicodedata.normalize("NFC", phrase))
    words: list[str] = []
    start = 0
    while start < len(text):
        kind = _kind(text[start])
        end = start + 1
        suffix = next((s for s in _SUFFIXES if text.startswith(s, start)), None)
        if suffix is not None:
            end = start + len(suffix)
        elif kind in "LO":
            while end < len(text) and _kind(text[end]) == kind:
                end += 1
        if kind != " ":
            words.append(text[start:end])
        start = end
    return words


def _kind(letter: str) -> str:
    """Return L (letter), N (number), a blank (white space) or O (anything else)."""
    if letter.isspace():
        return " "
    major = unicodedata.category(letter)[0]
    return major if major in "LN" else "O"
