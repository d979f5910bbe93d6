"""A wider language for training: phrasings with alternatives, drawn when they are needed.

``wider.txt`` and ``wider_uses.txt`` add to the slots of ``phrases.txt`` and ``uses.txt`` (same
notation) lines with alternatives: ``(big|sizeable)`` is one of them, ``<who>`` one line of the
section of that name; both nest. They serve training only. Validation and test keep exactly the
phrasings that they had, and what a line yields is thrown away if it is a held-out phrasing or
nearly one (:func:`is_like_held_out`), so the held-out wordings stay unseen whatever is written
into the tables.

A fifth of the phrasings drawn has single words exchanged for words of the same meaning, and
words that carry no meaning for the program (in requests and in motives that imply nothing) are
now and then replaced by invented ones, so that the model learns to read past words it does not
know.

Not covered: likeness in meaning (two phrasings without a common word are never alike here).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache

from .families import Family, pool, read_sections, slots, trained, use_slots

__all__ = [
    "LIKENESS",
    "count",
    "draw",
    "idle_words",
    "invented_word",
    "is_like_held_out",
    "lines",
    "resolve",
    "varied",
]

LIKENESS = 0.75
"""Shared words / all words (Jaccard, without articles) from which two phrasings are alike."""

_TRIES = 12
_SWAP_SHARE, _STRANGE_SHARE = 0.2, 0.08
_CHOICE = re.compile(r"\(([^()]*)\)")
_NAMED = re.compile(r"<([a-z]+)>")
_BAR = re.compile(r"\|(?![^\[]*\])")  # not within [singular|plural]
_AGREE = re.compile(r"\[([^|\]]*)\|[^\]]*\]")
_LETTERS = re.compile(r"[a-z]+(?:['-][a-z]+)*")
_TOKEN = re.compile(r"\{[a-z0-9]+\}|[a-z0-9']+")
_ARTICLES = frozenset(("a", "an", "the"))
_NEUTRAL = frozenset(
    ("open", "open.all", "open.some", "which", "what", "which.of", "why.any", "frame.why")
)
_FREE_WORD = re.compile(r"(?<![\w{\[|'-])[a-z]{4,}(?![\w}|\]'-])")
# Words that a request's meaning may hang on are never replaced by invented ones.
_KEPT_TEXT = "both each every them which that what whichever whatever with from"
_KEPT = frozenset(_KEPT_TEXT.split())


@cache
def _tables() -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """(lines by slot, alternatives by name)."""
    by_slot: dict[str, tuple[str, ...]] = {}
    named: dict[str, tuple[str, ...]] = {}
    for title, found in read_sections("wider.txt").items():
        if title.startswith("<"):
            named[title.strip("<>")] = found
        else:
            by_slot[title] = found
    by_slot |= use_slots(read_sections("wider_uses.txt"))
    return by_slot, named


def lines(slot: str) -> tuple[str, ...]:
    """The slot's lines, alternatives unresolved."""
    return _tables()[0].get(slot, ())


def count(slot: str) -> int:
    """How many phrasings the slot's lines stand for, before held-out ones are thrown away."""
    return sum(_count(line) for line in lines(slot))


def _count(text: str) -> int:
    """Product over the text's groups of the sum over their alternatives."""
    total, depth, start = 1, 0, 0
    for place, letter in enumerate(text):
        if letter == "(":
            start = place + 1 if depth == 0 else start
            depth += 1
        elif letter == ")":
            depth -= 1
            if depth == 0:
                total *= sum(_count(part) for part in _alternatives(text[start:place]))
    for name in _NAMED.findall(_outside(text)):
        total *= sum(_count(line) for line in _tables()[1][name])
    return total


def _outside(text: str) -> str:
    """The text without what stands in groups."""
    while _CHOICE.search(text) is not None:
        text = _CHOICE.sub("", text)
    return text


def _alternatives(text: str) -> list[str]:
    """Parts between bars that are in no inner group and no [singular|plural]."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


@cache
def idle_words() -> frozenset[str]:
    """Words that occur only in the motives that imply nothing ("somebody painted the bridge").

    The model has learnt to read past them, not what they mean.
    """
    by_slot, named = _tables()
    idle = {w for line in by_slot.get("why.any", ()) for w in _letters(_with_names(line))}
    telling = {w for families in slots().values() for f in families for w in _letters(f.text)}
    for slot, found in by_slot.items():
        if slot != "why.any":
            telling |= {word for line in found for word in _letters(line)}
    for name in ("swap", "see", "act", "mark", "where", "robot"):
        telling |= {word for line in named.get(name, ()) for word in _letters(line)}
    return frozenset(idle - telling)


def _letters(text: str) -> set[str]:
    return set(_LETTERS.findall(text.casefold()))


def _with_names(line: str) -> str:
    """A line with all alternatives of the names that it uses."""
    named = _tables()[1]
    while _NAMED.search(line):
        line = _NAMED.sub(lambda m: " ".join(named[m.group(1)]), line)
    return line


def draw(slot: str, rng: random.Random, fits: Callable[[str], bool] | None = None) -> Family | None:
    """A phrasing of the slot's lines that fits and is not like a held-out one, or None."""
    templates = lines(slot)
    if not templates:
        return None
    for _ in range(_TRIES):
        text = resolve(rng.choice(templates), rng)
        if (fits is None or fits(text)) and not is_like_held_out(slot, text):
            return trained(slot, text)
    return None


def resolve(text: str, rng: random.Random) -> str:
    """One of the phrasings that a line stands for."""
    named = _tables()[1]
    while True:
        text = _NAMED.sub(lambda m: rng.choice(named[m.group(1)]), text)
        group = _CHOICE.search(text)
        if group is None and not _NAMED.search(text):
            break
        if group is not None:
            choice = rng.choice(_BAR.split(group.group(1)))
            text = text[: group.start()] + choice + text[group.end() :]
    return re.sub(r" +([,.?!:;']|$)", r"\1", re.sub(r"  +", " ", text)).strip()


def varied(family: Family, rng: random.Random, fits: Callable[[str], bool] | None = None) -> Family:
    """The phrasing, at times with single words exchanged or replaced by invented ones."""
    slot, text = family.id.rpartition(".")[0], family.text
    if rng.random() < _SWAP_SHARE:
        text = _swapped(text, rng)
    if slot in _NEUTRAL and rng.random() < _STRANGE_SHARE:
        text = _with_invented_word(text, rng)
    if text == family.text or (fits is not None and not fits(text)) or is_like_held_out(slot, text):
        return family
    return trained(slot, text)


def _swapped(text: str, rng: random.Random) -> str:
    named = _swaps()

    def other(match: re.Match[str]) -> str:
        group = named.get(match.group())
        return rng.choice(group) if group and rng.random() < 0.6 else match.group()

    return _FREE_WORD_OR_LIST.sub(other, text)


_FREE_WORD_OR_LIST = re.compile(r"(?<![\w{\[|'-])[a-z]{3,}(?![\w}|\]'-])")


@cache
def _swaps() -> dict[str, tuple[str, ...]]:
    """Word -> words of the same meaning, from the sections ``<swap>`` (one group per line)."""
    found: dict[str, tuple[str, ...]] = {}
    for line in _tables()[1].get("swap", ()):
        words = tuple(line.split())
        found |= {word: tuple(w for w in words if w != word) for word in words}
    return found


def _with_invented_word(text: str, rng: random.Random) -> str:
    places = [m for m in _FREE_WORD.finditer(text) if m.group() not in _KEPT]
    if not places:
        return text
    place = rng.choice(places)
    return text[: place.start()] + invented_word(rng) + text[place.end() :]


_ONSETS = "b bl br c ch cl cr d dr f fl fr g gl gr h j k kl l m n p pl pr qu r s sc sh sk sl sm sn sp st str sw t th tr tw v w wh y z"
_VOWELS = "a e i o u a e i o ai ea ee oa oo ou y"
_ENDS = "b ck d ft g k l ll lt m mp n nd ng nk nt p r rd rk rm rn rt s sh sk ss st t tch th x ve se te me ne"
_SUFFIXES = ("", "", "", "", "ed", "ing", "er", "s", "ly", "ion", "y", "al", "ness", "able")


def invented_word(rng: random.Random) -> str:
    """A word of one to three syllables that no dictionary is meant to hold."""
    syllables = rng.choices((1, 2, 3), (3, 5, 2))[0]
    parts = [rng.choice(_ONSETS.split()) + rng.choice(_VOWELS.split()) for _ in range(syllables)]
    return "".join(parts) + rng.choice(_ENDS.split()) + rng.choice(_SUFFIXES)


def is_like_held_out(slot: str, text: str) -> bool:
    """Whether a phrasing has the words of a held-out one of the slot, or nearly (LIKENESS).

    Case, punctuation, articles, order and repetition do not count. A property's phrasings are
    compared with the held-out ones of all its kinds (after a noun, question, motive, action).
    """
    words = _words(text)
    for other in _held_out(slot):
        both = len(words & other)
        if both and both >= LIKENESS * (len(words) + len(other) - both):
            return True
    return False


def _words(text: str) -> frozenset[str]:
    plain = _AGREE.sub(r"\1", text.casefold())
    return frozenset(_TOKEN.findall(plain)) - _ARTICLES


@cache
def _held_out(slot: str) -> tuple[frozenset[str], ...]:
    kind, _, key = slot.partition(".")
    together = [slot]
    if kind in ("use", "ask", "why", "verb") and key != "any":
        together = [f"{other}.{key}" for other in ("use", "ask", "why", "verb")]
    return tuple(
        _words(family.text)
        for name in together
        if name in slots()
        for split in ("val", "test")
        for family in pool(name, split)
    )
