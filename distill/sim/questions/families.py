"""Paraphrase families: every phrasing has a stable id and belongs to one split.

The id is the slot and the first 6 hex digits of the SHA-1 of the phrasing's text, so it does
not depend on the order of the tables. Within a slot the phrasings are ranked by the hash of
their ids: the first tenth is for validation, the second for test, the rest for training (slots
with fewer than 6 phrasings are all training). Words (nouns, their synonyms, colours, ordinals)
are vocabulary, not phrasings: they occur in every split.

Step combinations are split alike: about 8 % of the skeletons of level 3 and above never occur
in training (4 % for validation, 4 % for test). Levels 1 and 2 are the parts that others are
composed of and stay in training.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Literal

from .phrases import PHRASES
from .uses_table import USES_TABLE
from .uses_things import USES_THINGS

__all__ = ["USES", "Family", "Split", "UseWords", "held_out_skeleton", "pool", "slots"]

Split = Literal["train", "val", "test"]

_SHARE = 0.1
_SMALLEST_SPLIT_SLOT = 6
_SKELETON_SHARE = 0.04


@dataclass(frozen=True, slots=True)
class Family:
    """One phrasing."""

    id: str
    text: str
    split: Split


@dataclass(frozen=True, slots=True)
class UseWords:
    """All phrasings of one property: after a noun, as a question, as a motive."""

    gist: str
    posts: tuple[str, ...]
    asks: tuple[str, ...]
    motives: tuple[str, ...]


def _parse(block: str) -> UseWords:
    lines = [line.strip() for line in block.strip().splitlines() if line.strip()]

    def marked(mark: str) -> tuple[str, ...]:
        return tuple(line[1:].strip() for line in lines if line[0] == mark)

    return UseWords(
        gist=marked("=")[0],
        posts=tuple(line for line in lines if line[0] not in "=?!"),
        asks=marked("?"),
        motives=marked("!"),
    )


USES: dict[str, UseWords] = {
    key: _parse(block) for key, block in {**USES_TABLE, **USES_THINGS}.items()
}


def _texts() -> dict[str, tuple[str, ...]]:
    texts = dict(PHRASES)
    for key, words in USES.items():
        texts[f"use.{key}"] = words.posts
        texts[f"ask.{key}"] = words.asks
        texts[f"why.{key}"] = words.motives
    return texts


def _digest(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _families(slot: str, texts: tuple[str, ...]) -> tuple[Family, ...]:
    ids = {text: f"{slot}.{_digest(text)[:6]}" for text in texts}
    ranked = sorted(ids.values(), key=_digest)
    held = max(1, round(_SHARE * len(ranked))) if len(ranked) >= _SMALLEST_SPLIT_SLOT else 0
    splits: dict[str, Split] = dict.fromkeys(ranked, "train")
    splits |= dict.fromkeys(ranked[:held], "val")
    splits |= dict.fromkeys(ranked[held : 2 * held], "test")
    return tuple(Family(ids[text], text, splits[ids[text]]) for text in texts)


@cache
def slots() -> dict[str, tuple[Family, ...]]:
    """Every slot with its phrasings."""
    return {slot: _families(slot, texts) for slot, texts in _texts().items()}


@cache
def pool(slot: str, split: Split) -> tuple[Family, ...]:
    """Phrasings of a slot that belong to the split (empty where a small slot has none)."""
    return tuple(family for family in slots()[slot] if family.split == split)


@cache
def held_out_skeleton(skeleton: str, level: int) -> Split:
    """The split that a step combination is reserved for; ``"train"`` means it may occur anywhere."""
    if level < 3:
        return "train"
    place = int(_digest(skeleton)[:8], 16) / 0x1_0000_0000
    if place < _SKELETON_SHARE:
        return "val"
    return "test" if place < 2 * _SKELETON_SHARE else "train"
