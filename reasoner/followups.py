"""Whether a question leans on the one before it: "and the one next to it?".

A question is taken for a follow-up when it begins as a continuation ("and", "what about"), names
"the other one" or "the same", or has a pronoun that nothing in the question itself can be meant
by. The rest is asked without its history: a question that stands alone is answered alike
whatever was asked before.

Not covered: questions that lean on an earlier one without saying so ("the red one?"), and
pronouns for people.
"""

from __future__ import annotations

import re

__all__ = ["is_follow_up"]

_BEGINS = re.compile(
    r"(?:(?:ok(?:ay)?|so|now|well|no|yes|then|thanks|alright)\b[ ,]*)*"
    r"(?:and|but|or|what about|how about|what of|same for|also)\b",
    re.IGNORECASE,
)
# "closer than the others", "before the rest", "than anything else": compared, not pointed at.
_POINTS = re.compile(
    r"(?<!than )(?<!before )(?<!after )(?<!of )(?:"
    r"\bthe (?:others|rest)\b(?! of)|\b(?:the|any) other ones?\b|\bthe other (?:two|three)\b"
    r"|\bthe other(?=[?.!, ]*$)|\banother one\b|\b(?:that|this|those|these) ones?\b(?! that)"
    r"|\bthe (?:same|previous|remaining) ones?\b|\bthe same(?=[?.!, ]*$|, )"
    r"|\b(?:what|who|where|anything|something|which) else\b)"
    r"|\b(?:any|which|one|some|all|each|both|none|how many|left|nearest|closest) of"
    r" (?:them|those|these)\b(?! [a-z]+s\b)|\bbesides (?:it|them|that|those)\b"
    r"|\b(?:you|just) (?:found|named|said|showed|meant)\b",
    re.IGNORECASE,
)
_PRONOUN = re.compile(r"\b(?:it|its|it's|them|they|their|those|these|that)\b", re.IGNORECASE)
# What a pronoun in the same question can mean: a noun after an article or the like.
_NOUN = re.compile(
    r"\b(?:a|an|the|any|some|every|each|all|which|what|whichever)\s+(?!one\b|ones\b|is\b|are\b|other\b)"
    r"[a-z]",
    re.IGNORECASE,
)
_JOINS = re.compile(
    r",|\b(?:and|or|then|but|that|which|who|whose|where|when|while|after|before|if|so|as|with|for"
    r"|because)\b",
    re.IGNORECASE,
)
# "that", "those" and "these" are pronouns only where no noun and no clause follows them.
_ALONE = re.compile(r"\s*(?:[?.!,]|$)")
_PLACED = re.compile(
    r"(?:next to|left of|right of|near|by|behind|beside|under|above|below|on|to|from|of|in|with|like|at"
    r"|closest to|front of|than|inside|touching|hiding|covering)\s+$",
    re.IGNORECASE,
)


def is_follow_up(query: str) -> bool:
    """Whether the question seems to refer to an earlier one."""
    text = " ".join(query.split())
    if _BEGINS.match(text) or _POINTS.search(text):
        return True
    return any(_leans(text, match) for match in _PRONOUN.finditer(text))


def _leans(text: str, pronoun: re.Match[str]) -> bool:
    before, after = text[: pronoun.start()], text[pronoun.end() :]
    word = pronoun[0].lower()
    if word == "that" and not (_ALONE.match(after) and _PLACED.search(before)):
        return False
    if word in ("those", "these") and not (_ALONE.match(after) or _PLACED.search(before)):
        return False
    nouns = list(_NOUN.finditer(before))
    if word in ("its", "it's", "their"):  # "the one that kept its place"
        return not nouns and not _JOINS.search(before)
    if not nouns:
        return True
    # "the box and what is behind it": the pronoun is in another clause than the noun.
    return len(nouns) == 1 and not _JOINS.search(before, nouns[0].end())
