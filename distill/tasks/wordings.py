"""Whether a text holds a phrasing that the benchmark keeps out of training.

Every held-out phrasing (see :mod:`..sim.questions.families`) becomes a pattern: its words in
order, without case, punctuation and articles, with one to twelve words where a part is filled in.
A pattern is *telling* only if no training phrasing fits it: "left of the bowl" stands in the
training phrasing "to the left of the bowl", so it tells nothing about where a text comes from,
though "left of" alone is held out. Whole sentences (requests, motives, questions about a
property) are looked for at the start of a sentence, the others anywhere.

Not covered: phrasings that are not telling, misspelt ones, and likeness in meaning.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from ..sim.questions import wider
from ..sim.questions.families import Family, slots

__all__ = ["Phrase", "held_out_phrasing", "plain_words", "telling"]

_GAP = "#"  # where a part is filled in
_ARTICLES = frozenset(("a", "an", "the"))
_TOKEN = re.compile(r"[a-z0-9']+|#")
_PART = re.compile(r"\{[a-z0-9]+\}")
_AGREE = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")
_FILLED = r"(?:[a-z0-9']+ ){1,12}"
_SENTENCES = ("open", "which", "what", "versus", "ask", "why", "count", "when", "distance", "again",
              "frame.ask", "frame.why", "given.which")  # fmt: skip
_WIDE_DRAWS = 12  # of every line of the wider tables


@dataclass(frozen=True, slots=True)
class Phrase:
    """A held-out phrasing that no training phrasing resembles, ready to be looked for."""

    family: Family
    words: frozenset[str]
    pattern: re.Pattern[str]


def plain_words(text: str) -> str:
    """The words of a text in small letters with one space between, without articles.

    A sentence's end is kept as ``.``, so that what begins a sentence can be told.
    """
    sentences = (_words(part) for part in re.split(r"[.?!]+", text.casefold().replace("’", "'")))
    return " . ".join(" ".join(words) for words in sentences if words)


def held_out_phrasing(text: str) -> Family | None:
    """The first held-out phrasing that a text holds, or None."""
    plain = plain_words(text)
    found = frozenset(plain.split())
    padded = f". {plain} "
    for phrase in telling():
        if phrase.words <= found and phrase.pattern.search(padded):
            return phrase.family
    return None


@cache
def telling() -> tuple[Phrase, ...]:
    """Every held-out phrasing that is telling; built once, in a second or two."""
    by_word: dict[str, list[str]] = {}
    for text in _trained_phrasings():
        for word in set(text.split()):
            by_word.setdefault(word, []).append(f". {text} ")
    kept = []
    for slot, families in slots().items():
        for family in families:
            if family.split == "train":
                continue
            for form in _forms(family.text):
                phrase = _phrase(family, slot, form)
                if phrase is None:
                    continue
                fewest = min((by_word.get(word, []) for word in phrase.words), key=len)
                if not any(phrase.pattern.search(text) for text in fewest):
                    kept.append(phrase)
    return tuple(kept)


def _phrase(family: Family, slot: str, form: str) -> Phrase | None:
    """A pattern of one form of a phrasing; None where nothing but parts is left."""
    tokens = _words(form)
    whole = slot.split(".")[0] in _SENTENCES or slot in _SENTENCES
    while tokens and tokens[-1] == _GAP and not (whole and len(tokens) > 2):
        tokens.pop()
    while tokens and tokens[0] == _GAP and not whole:
        tokens.pop(0)
    words = frozenset(t for t in tokens if t != _GAP)
    if not words:
        return None
    body = "".join(_FILLED if t == _GAP else f"{re.escape(t)} " for t in tokens)
    start = r"(?<=\. )(?:[a-z']+ ){0,3}?" if whole else r"(?<= )"
    end = r"(?=\.|$)" if whole and tokens[-1] != _GAP else ""
    return Phrase(family, words, re.compile(start + body + end))


def _trained_phrasings() -> Iterator[str]:
    """Every training phrasing as plain words, parts filled with a word that none has."""
    rng = random.Random(0)
    seen: set[str] = set()
    for slot, families in slots().items():
        texts = [f.text for f in families if f.split == "train"]
        for line in wider.lines(slot):
            drawn = (wider.resolve(line, rng) for _ in range(_WIDE_DRAWS))
            texts += [text for text in drawn if not wider.is_like_held_out(slot, text)]
        for text in texts:
            for form in _forms(text):
                words = " ".join("xx" if t == _GAP else t for t in _words(form))
                if words not in seen:
                    seen.add(words)
                    yield words


def _forms(text: str) -> set[str]:
    """Singular and plural of a phrasing, parts as gaps."""
    text = _PART.sub(f" {_GAP} ", text.casefold().lstrip("~").replace(" /", " "))
    return {_AGREE.sub(lambda m, n=n: str(m.group(n)), text) for n in (1, 2)}  # type: ignore[misc]


def _words(text: str) -> list[str]:
    return [t for t in _TOKEN.findall(text) if t not in _ARTICLES]
