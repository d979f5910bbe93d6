"""Two mistakes of identities, and how they are found: one object under two ids, two ids on one.

A *split*: a detection was taken for a new object, and its later looks say that it is one that
hid before. A *double*: for several looks two visible objects have nearly one mask, as when
memory followed a covered object onto its cover. Not covered: two ids that were exchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .appearance import unlikeness
from .tracks import Track, Votes

__all__ = ["doubles", "reunion_cost"]

_SAME = 0.6  # IoU of two masks that cannot be two objects


def doubles(visible: Sequence[Track]) -> list[Track]:
    """Return the objects that lie on another one's mask, the less well known of each two."""
    doubled: list[Track] = []
    for i, a in enumerate(visible):
        for b in visible[:i]:
            if a.crop is None or b.crop is None or a in doubled or b in doubled:
                continue
            shared = a.crop.shared(b.crop)
            if shared and shared > _SAME * (a.area + b.area - shared):
                doubled.append(min(a, b, key=lambda t: (-t.misses, t.hits, -t.id)))
    return doubled


def reunion_cost(old: Track, new: Track, reach_px: float) -> float:
    """Cost in 0 to 1 of a hidden track and a younger visible one being one object; inf if not.

    Judged by all votes and the appearance so far; by place unless the old one left.
    """
    if old.last_seen > new.first_seen or _agreement(old.colors, new.colors) < 0.5:
        return float("inf")
    gap = float(np.hypot(*(old.centroid - new.centroid))) / max(reach_px, old.size)
    if old.state != "left" and gap > 1.0:
        return float("inf")
    noun = 1.0 - _agreement(old.labels, new.labels)
    if old.appearance is None or new.appearance is None:
        return float("inf") if noun > 0.5 else 0.7 * noun + 0.3 * min(gap, 1.0)
    unlike = unlikeness(old.appearance, new.appearance)
    if unlike > 0.5 or (noun > 0.5 and unlike > 0.2):
        return float("inf")
    return 0.4 * noun + 0.4 * unlike + 0.2 * min(gap, 1.0)


def _agreement(a: Votes, b: Votes) -> float:
    """Part of the votes that two objects have in common, 1 before either has any."""
    if not a.weights or not b.weights:
        return 1.0
    return sum(min(a.share(word), b.share(word)) for word in b.weights)
