"""Thresholds and counts of the tracker, and what it needs of memory's masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError

__all__ = ["FollowedMasks", "TrackerConfig", "TrackerCounts"]


class FollowedMasks(Protocol):
    """Masks from memory: ``SegmentedMasks`` of the segmenter."""

    @property
    def masks_nhw(self) -> NDArray[np.bool_]:
        """(N, H, W)."""
        ...

    @property
    def scores_n(self) -> NDArray[np.float32]:
        """(N,) predicted IoU."""
        ...

    @property
    def object_logits_n(self) -> NDArray[np.float32]:
        """(N,) above zero where the object is in the picture."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """Thresholds of the tracker; tuned on validation worlds.

    Scores are the detector's; times are seconds; fractions are of the frame's diagonal.
    """

    start_score: float = 0.4  # a detection above this may begin a new object
    first_score: float = 0.5  # at the stream's start, which asks for no confirmation
    settle_s: float = 0.3  # how long the start lasts: what it overlooks would seem to appear
    sure_score: float = 0.6  # a young object above this is hidden, not doubted, when missed
    max_cost: float = 0.85  # of a visible object's match
    hidden_max_cost: float = 0.6  # of a hidden object's match
    hidden_extra: float = 0.1  # cost of a hidden object's return against a visible one's match
    confirmations: int = 2
    memory_score: float = 0.5  # below this a mask from memory shows nothing
    hold_looks: int = 24  # looks in a row that memory alone may keep an object visible
    revivals: int = 2  # looks in a row at which memory must see a hidden object again
    mend_s: float = 1.0  # how long a new object may turn out to be one that hid
    mend_max_cost: float = 0.25
    double_looks: int = 3  # looks in a row after which of two objects on one mask one hides
    coast_looks: int = 3  # looks in a row that a mask alone may keep an object visible
    candidate_age_s: float = 1.0  # a candidate not seen again for so long is forgotten
    occluded_s: float = 3.0  # a hidden object counts as left after this
    remember_s: float = 10.0  # an object that left is recognised for so long
    reach: float = 0.35  # how far a hidden object may reappear from where it hid
    duplicate_overlap: float = 0.75  # shared part of the smaller mask of two equal names
    max_tracks: int = 64  # confirmed and candidates together: bounds every frame's work
    max_left: int = 64

    def __post_init__(self) -> None:
        if self.max_tracks < 1 or self.max_left < 1 or self.confirmations < 1:
            raise InputError(f"expected max_tracks, max_left, confirmations >= 1, got {self}")


@dataclass(slots=True)
class TrackerCounts:
    """How often something happened since the start."""

    created: int = 0
    dropped_full: int = 0  # detections that found no room among max_tracks
    suppressed: int = 0  # candidates that were never confirmed, and young tracks given up
    duplicates: int = 0  # detections of an object already there under the same name
    reidentified: int = 0  # hidden or left objects that a detection showed again
    split: int = 0  # new objects that turned out to be hidden ones: their ids are given up
    merged: int = 0  # objects hidden because they lay on another one's mask
    revived: int = 0  # hidden objects that memory showed again
