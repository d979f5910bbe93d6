"""Text from outside, made harmless before an agent's model reads it.

Labels come from detectors and files, questions of events from people, source names from the
network. They are told as data: bounded, one line, without the characters that tags, templates,
links and code are made of.
"""

from __future__ import annotations

import unicodedata

from ...twin.words import clean

__all__ = ["label_of", "plain", "word"]

_KEPT = frozenset(" .,:;?!%()+-/'=_#~")  # no <>{}[]`"$@\|*&^: nothing opens a tag, a link or code
_MAX_CHARS = 300


def label_of(text: str) -> str:
    """A label as harmless words; ``object`` if nothing is left."""
    return clean(text) or "object"


def word(text: str) -> str:
    """An attribute's name or value as harmless words."""
    return clean(text)


def plain(text: str, max_chars: int = _MAX_CHARS) -> str:
    """One line of letters, digits and plain punctuation; longer text ends in ``...``."""
    folded = unicodedata.normalize("NFKC", text[: 4 * max_chars])
    kept = "".join(c if c in _KEPT or unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    line = " ".join(kept.split())
    return line if len(line) <= max_chars else line[: max_chars - 3].rstrip() + "..."
