"""Which words of a question a model was never trained on.

A model of a limited vocabulary answers anything, so its owner has to be told. A word counts as
known if it is in the training questions, in the twin, or one slip of the keyboard away from
such a word (training questions have slips too). Words of follow-ups ("and the other one?") carry
no object of their own: such a question says nothing unknown.

Not covered: known words in a meaning that was never trained.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from ..twin.window import TwinWindow
from ..twin.words import words_of

__all__ = ["content_words", "says_nothing_known", "unknown_words"]

_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SHORTEST_SLIP = 4  # shorter words are one letter away from too many others
# Words that carry no object: a question of these and unknown words asks for nothing known.
_FUNCTION_TEXT = """
a about all am an and any are at be been being by can could did do does find for from get
    give had has have here how if in into is it its just let me mark may mask my no not now object
objects of on one ones or out over please point see segment should show so some someone
something tell that the their them then there these they thing things this those to under up
us want was we were what when where which while who whose will with would you your item items
highlight select pick locate identify give look need
again also and another both but each either else how its itself neither next or other others
previous same still theirs too what's which's ones thanks okay ok
"""
_FUNCTION = frozenset(_FUNCTION_TEXT.split())


def content_words(text: str) -> list[str]:
    """Lower-case words of two letters or more, in order."""
    return [word for word in _WORD.findall(text.casefold()) if len(word) > 1]


def unknown_words(query: str, known: Collection[str], window: TwinWindow) -> list[str]:
    """Words of a question that are neither known nor of the twin, each once, in order."""
    everything = {*known, *_FUNCTION, *_twin_words(window)}
    return [
        word
        for word in dict.fromkeys(content_words(query))
        if word not in everything and not _is_slip(word, everything)
    ]


def says_nothing_known(query: str, unknown: Collection[str]) -> bool:
    """Whether every word that could name an object or property is unknown."""
    telling = [word for word in content_words(query) if word not in _FUNCTION]
    return bool(unknown) and all(word in unknown for word in telling)


def _twin_words(window: TwinWindow) -> set[str]:
    words = {word for label in words_of(window) for word in label.split()}
    for i in window.ids():
        words |= {value.casefold() for value in window.latest(i).attributes.values()}
    return words


def _is_slip(word: str, known: Collection[str]) -> bool:
    return len(word) >= _SHORTEST_SLIP and any(near in known for near in _one_slip(word))


def _one_slip(word: str) -> Iterator[str]:
    """Every text one deletion, swap, replacement or insertion away."""
    for i in range(len(word) + 1):
        head, tail = word[:i], word[i:]
        if tail:
            yield head + tail[1:]
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]
        for letter in _LETTERS:
            yield head + letter + tail
            if tail:
                yield head + letter + tail[1:]
