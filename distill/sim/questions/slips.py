"""How people really type: slips of the finger, missing articles, contractions, stray case.

Used on training questions only; the benchmark's own questions have a rare typo and no more.
"""

from __future__ import annotations

import random
import re

__all__ = ["roughened", "slip"]

_NEIGHBOURS = dict(
    zip("abcdefghijklmnopqrstuvwxyz", "sxdfrghjukliknkpwtdryesczxa"[:26], strict=True)
)
_CONTRACTIONS = (
    (r"\bI am\b", "I'm"),
    (r"\b([Ii]s|[Ww]as|[Aa]re|[Dd]oes|[Dd]o|[Dd]id|[Ww]ould|[Cc]ould|[Hh]as) not\b", r"\1n't"),
    (r"\b([Cc])annot\b", r"\1an't"),
    (r"\b([Ww]hat|[Tt]hat|[Ww]here|[Ii]t) is\b", r"\1's"),
    (r"\b(I|[Yy]ou|[Ww]e|[Tt]hey) (?:would|had)\b", r"\1'd"),
    (r"\b(I|[Yy]ou|[Ww]e|[Tt]hey) will\b", r"\1'll"),
    (r"\b([Yy]ou|[Ww]e|[Tt]hey) are\b", r"\1're"),
)
_ENDS = ("", "", "!", "?", "??", "...", " ?", " .", "?!")


def roughened(text: str, rng: random.Random) -> str:
    """The text as a hasty or sloppy writer might send it; most texts stay as they are."""
    if rng.random() < 0.15:
        for long, short in _CONTRACTIONS:
            text = re.sub(long, short, text) if rng.random() < 0.7 else text
    if rng.random() < 0.05:
        text = text.replace("'", "")
    if rng.random() < 0.08:
        text = re.sub(r"(?<=[a-z,]) (?:the|a|an) ", " ", text)
    if rng.random() < 0.08:
        text = text.rstrip(".?!") + rng.choice(_ENDS)
    if rng.random() < 0.04:
        text = re.sub(r"[,;:]", "", text)
    if rng.random() < 0.02:
        text = text.upper()
    elif rng.random() < 0.02:
        text = text.title()
    slips = 0 if (draw := rng.random()) < 0.92 else 1 if draw < 0.98 else 2
    for _ in range(slips):
        text = slip(text, rng)
    return text.strip()


def slip(text: str, rng: random.Random, shortest: int = 4) -> str:
    """One slip of the finger in a word of ``shortest`` letters or more, not in its first letter."""
    places = list(re.finditer(rf"[a-z]{{{shortest},}}", text))
    if not places:
        return text
    word = rng.choice(places)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    match rng.randrange(4):
        case 0:
            return text[:at] + text[at + 1 :]
        case 1:
            return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        case 2:
            return text[:at] + text[at] + text[at:]
        case _:
            return text[:at] + _NEIGHBOURS.get(text[at], text[at]) + text[at + 1 :]
