"""Tools on sets of ids."""

from __future__ import annotations

from typing import Annotated, Literal

from ..motion import depth_of, speed_px_s
from ..window import TwinWindow
from .base import AtLeast, Ids, Number

__all__ = ["and_", "count", "not_", "nth", "or_", "sort"]


def and_(window: TwinWindow, a: Ids, b: Ids) -> Ids:
    """Ids that are in both a and b."""
    return sorted(set(a) & set(b))


def or_(window: TwinWindow, a: Ids, b: Ids) -> Ids:
    """Ids that are in a or in b."""
    return sorted(set(a) | set(b))


def not_(window: TwinWindow, *, ids: Ids | None = None, of: Ids) -> Ids:
    """Ids that are not in of."""
    return sorted(set(window.ids() if ids is None else ids) - set(of))


def count(window: TwinWindow, ids: Ids) -> Number:
    """How many ids there are."""
    return len(ids)


def sort(
    window: TwinWindow,
    *,
    ids: Ids | None = None,
    by: Literal["left", "top", "size", "depth", "speed", "first_seen"],
    descending: bool = False,
) -> Ids:
    """Ids ordered from left, top, smallest, closest, slowest or first seen; unknown depth last."""

    def key(object_id: int) -> tuple[bool, float, int]:
        value = _measure(window, object_id, by)
        if value is None:
            return True, 0.0, object_id
        return False, -value if descending else value, object_id

    return sorted(window.ids() if ids is None else ids, key=key)


def nth(window: TwinWindow, ids: Ids, k: Annotated[int, AtLeast(1)]) -> Ids:
    """The k-th id of a list, counted from 1."""
    return [ids[k - 1]] if k <= len(ids) else []


def _measure(window: TwinWindow, object_id: int, by: str) -> float | None:
    obj = window.latest(object_id)
    match by:
        case "left":
            return obj.centroid[0]
        case "top":
            return obj.centroid[1]
        case "size":
            return obj.area
        case "depth":
            return depth_of(obj)
        case "speed":
            return speed_px_s(window, object_id)
        case _:
            return obj.first_seen
