"""Tools on what an object is."""

from __future__ import annotations

from ..window import TwinWindow
from ..words import matches
from .base import Ids

__all__ = ["attribute", "find"]


def find(window: TwinWindow, words: list[str]) -> Ids:
    """Ids whose label is one of the words (case ignored); the word object finds everything."""
    wanted = {word.strip().casefold() for word in words}
    return [
        i
        for i in window.ids()
        if "object" in wanted or matches(window.latest(i).semantic_label, wanted)
    ]


def attribute(window: TwinWindow, *, ids: Ids | None = None, name: str, value: str) -> Ids:
    """Ids whose attribute name (such as color) has the value (case ignored)."""
    key, wanted = [name.strip().casefold()], [value.strip().casefold()]
    return sorted(
        i
        for i in (window.ids() if ids is None else ids)
        if any(
            matches(k, key) and matches(v, wanted) for k, v in window.latest(i).attributes.items()
        )
    )
