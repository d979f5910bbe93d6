"""Labels and attributes as harmless words: they come from outside and the model reads them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from .schema import ObjectTwin
from .window import TwinWindow

__all__ = ["clean", "clean_label", "matches", "quoted", "words_of"]

_MAX_CHARS = 32
_MAX_PLAIN_WORDS = 3


def clean(text: str, max_chars: int = _MAX_CHARS) -> str:
    """Letters, marks, digits, hyphens, apostrophes and single spaces of ``text``; may be empty.

    Everything else becomes a space: tag brackets, quotes, ``$``, control and formatting
    characters, line ends. Compatibility forms are folded first (NFKC), so a full-width ``＜`` is
    no way around it.
    """
    folded = unicodedata.normalize("NFKC", text[: 4 * max_chars])
    kept = "".join(c if c in "-'" or unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    return " ".join(kept.split())[:max_chars].strip()


def clean_label(obj: ObjectTwin) -> str:
    """The object's label as harmless words; ``object`` if nothing is left of it."""
    return clean(obj.semantic_label) or "object"


def quoted(word: str) -> str:
    """A cleaned word as the model reads it: plain if it is up to three words, else in quotes."""
    parts = word.replace("-", " ").replace("'", " ").split()
    plain = 0 < len(parts) <= _MAX_PLAIN_WORDS and all(part.isalpha() for part in parts)
    return word if plain else f'"{word}"'


def matches(value: str, wanted: Iterable[str]) -> bool:
    """Whether a label or attribute is one of ``wanted`` (folded, see :func:`_folded`)."""
    return bool(_folded(value) & set(wanted))


def _folded(value: str) -> set[str]:
    return {value.strip().casefold(), clean(value).casefold()}


def words_of(window: TwinWindow) -> list[str]:
    """Every distinct cleaned label in the window, sorted: what ``find`` can be asked for."""
    return sorted({clean_label(window.latest(i)).casefold() for i in window.ids()})
