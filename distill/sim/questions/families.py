"""Paraphrase families: every phrasing has a stable id and belongs to one split.

The id is the slot and the first 6 hex digits of the SHA-1 of the phrasing's text, so it does
not depend on the order of the tables, and adding a phrasing moves no other one. A second hash
of the id puts a tenth of the phrasings into validation, a tenth into test and the rest into
training. Words (nouns, their synonyms, colours, ordinals) are vocabulary, not phrasings: they
occur in every split. What :mod:`.wider` adds for training is in no table here.

Step combinations are split alike: about 8 % of the skeletons of level 3 and above never occur
in training (4 % for validation, 4 % for test). Levels 1 and 2 are the parts that others are
composed of and stay in training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

__all__ = [
    "USES",
    "Family",
    "Split",
    "UseWords",
    "held_out_skeleton",
    "pool",
    "read_sections",
    "slots",
    "trained",
    "use_slots",
]

Split = Literal["train", "val", "test"]

_SHARE = 0.1
_SKELETON_SHARE = 0.04


@dataclass(frozen=True, slots=True)
class Family:
    """One phrasing."""

    id: str
    text: str
    split: Split


@dataclass(frozen=True, slots=True)
class UseWords:
    """All phrasings of one property: after a noun, as a question, as a motive, as an action."""

    gist: str
    posts: tuple[str, ...]
    asks: tuple[str, ...]
    motives: tuple[str, ...]
    verbs: tuple[str, ...]


def read_sections(name: str) -> dict[str, tuple[str, ...]]:
    """Sections of a table beside this file: ``# title`` and one line per phrasing."""
    sections: dict[str, list[str]] = {}
    for line in (Path(__file__).parent / name).read_text("utf-8").splitlines():
        if line.startswith("# "):
            sections[line[2:].strip()] = []
        elif line.strip() and not line.startswith("##"):
            next(reversed(sections.values())).append(line.strip())
    return {title: tuple(lines) for title, lines in sections.items()}


def _use_words(lines: tuple[str, ...]) -> UseWords:
    def marked(mark: str) -> tuple[str, ...]:
        return tuple(line[1:].strip() for line in lines if line[0] == mark)

    return UseWords(
        gist=marked("=")[0],
        posts=tuple(line for line in lines if line[0] not in "=?!>"),
        asks=marked("?"),
        motives=marked("!"),
        verbs=marked(">"),
    )


USES: dict[str, UseWords] = {
    key: _use_words(lines) for key, lines in read_sections("uses.txt").items()
}


def _texts() -> dict[str, tuple[str, ...]]:
    return read_sections("phrases.txt") | _slots_of(USES)


def _slots_of(uses: Mapping[str, UseWords]) -> dict[str, tuple[str, ...]]:
    texts: dict[str, tuple[str, ...]] = {}
    for key, words in uses.items():
        texts[f"use.{key}"] = words.posts
        texts[f"ask.{key}"] = words.asks
        texts[f"why.{key}"] = words.motives
        if words.verbs:
            texts[f"verb.{key}"] = words.verbs
    return texts


def use_slots(sections: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Phrasings by slot from sections in the notation of ``uses.txt`` (the gist left out)."""
    return _slots_of({key: _use_words(("=", *found)) for key, found in sections.items()})


def _digest(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _place(text: str) -> float:
    """A hash of the text in [0, 1)."""
    return int(_digest(text)[:8], 16) / 0x1_0000_0000


def _split_of(text: str, share: float) -> Split:
    place = _place(text)
    if place < share:
        return "val"
    return "test" if place < 2 * share else "train"


def _family(slot: str, text: str) -> Family:
    name = f"{slot}.{_digest(text)[:6]}"
    return Family(name, text, _split_of(name, _SHARE))


def trained(slot: str, text: str) -> Family:
    """A phrasing that serves training only, whatever its hash (see :mod:`.wider`)."""
    return Family(f"{slot}.{_digest(text)[:6]}", text, "train")


@cache
def slots() -> dict[str, tuple[Family, ...]]:
    """Every slot with its phrasings."""
    return {slot: tuple(_family(slot, text) for text in texts) for slot, texts in _texts().items()}


@cache
def pool(slot: str, split: Split) -> tuple[Family, ...]:
    """Phrasings of a slot that belong to the split (empty where a small slot has none)."""
    return tuple(family for family in slots()[slot] if family.split == split)


@cache
def held_out_skeleton(skeleton: str, level: int) -> Split:
    """The split that a step combination is reserved for; ``"train"`` means it may occur anywhere."""
    return "train" if level < 3 else _split_of(skeleton, _SKELETON_SHARE)
