"""Whether a question leans on the one before it: "and the one next to it?".

A question is taken for a follow-up when it begins as a continuation ("and", "what about",
"sorry, I meant"), points at what was said ("the other one", "everything else", "that object"), has
a pronoun that nothing in the question itself can be meant by, or names no object at all ("the
blue one?", "which one is red?"). Other questions are asked without their history, so that they
are answered alike whatever was asked before.

Not covered: pronouns for people, and questions that lean on an earlier one by its subject alone.
"""

from __future__ import annotations

import re

__all__ = ["is_follow_up"]

_BEGINS = re.compile(
    r"(?:(?:ok(?:ay)?|so|now|well|no|yes|then|thanks|good|alright|sorry)\b[ ,]*)*"
    r"(?:(?:and|but|or|also|what about|how about|what of|the same\b(?! [a-z]+ (?:as|that))"
    r"|same (?:for|question|again)|i mean(?:t)?)\b)"
    r"|(?:no|sorry)\b,? (?!I\b|please\b)|(?:now|then) (?!I\b|please\b)",
    re.IGNORECASE,
)
_POINTS = re.compile(
    # "closer than the others", "before the rest", "than anything else": compared, not pointed at.
    r"(?<!than )(?<!before )(?<!after )(?<!of )(?:"
    r"\b(?:the|all the) others?\b(?! (?:than|side|end|half|way|hand))|\bthe rest\b(?! of)"
    r"|\b(?:what|who|where|everything|anything|something|which) else\b)"
    r"|\b(?:any|another) other\b|\banother one\b|\bthe remaining\b|\bleft over\b"
    r"|\b(?:that|this|those|these) (?:ones?|objects?|things?|items?)\b(?! that)"
    r"|\bthe (?:same|previous) ones?\b|\bthe ones? before(?=[?.!, ]*$)"
    r"|\b(?:among|of|from) (?:them|those|these)\b(?! [a-z]+s\b)|\bbesides (?:it|them|that)\b"
    r"|\b(?:is|are|was|were|did) (?:that|those|these)\b(?! of)"
    r"|\byou (?:found|named|said|showed|meant|marked)\b|\bdid you (?:find|leave|mark|mean)\b"
    r"|\binstead[?.!]*$",
    re.IGNORECASE,
)
# No object is named: "the blue one?", "which one is red?", "how many are there?".
_BARE = re.compile(
    r"(?:(?:where (?:is|are)|show me|only|just|find|mark) )?the (?:[a-z-]+ ){0,2}ones?[?.! ]*$"
    r"|(?:the|its|their) neighbou?rs?[?.! ]*$|(?:just|only) the ones? (?:that|which)\b"
    r"|how many (?:are|is|were) (?:there|that|they)[?.! ]*$"
    r"|how many (?:moved|are|were)\b[\w ]*[?.! ]*$"
    r"|which (?:ones? )?(?:is|are|was|were|moved|did|has|have|can)\b"
    r"(?: (?!the\b|an?\b)[a-z]+){0,2}(?: the [a-z]+(?:est|st))?[?.! ]*$",
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
    if _BEGINS.match(text) or _POINTS.search(text) or _BARE.match(text):
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
