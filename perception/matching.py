"""What one look of the detector holds, and how well it fits the objects already known.

Costs mix place, shape and name; infinity forbids a match. See :mod:`.tracker`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .appearance import unlikeness
from .boxes import box_iou
from .records import Detections, Masks
from .tracks import Crop, Track

__all__ = ["Look", "Sighting", "going_out", "hidden_cost", "visible_cost", "visible_costs"]


_SURE_OF_NOUN = 0.9  # votes and score together that no misreading explains
_SAME_LOOKS = 0.2  # unlikeness of what is surely the same


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where memory sees a known object: its mask and how good the segmenter thinks it is."""

    crop: Crop
    score: float


class Look:
    """One look of the detector with everything that matching asks of it."""

    def __init__(
        self,
        found: Detections,
        masks: Masks | None,
        timestamp_s: float,
        size_hw: tuple[int, int],
        sightings: Mapping[int, Sighting] | None = None,
        appearance_nd: NDArray[np.float32] | None = None,
    ) -> None:
        self.found = found
        self.sightings = dict(sightings or {})
        self.appearance_nd = appearance_nd
        self.timestamp_s = timestamp_s
        self.size_hw = size_hw
        self.diagonal = float(np.hypot(*size_hw))
        n = len(found)
        self.crops = [None] * n if masks is None else [Crop.of(m) for m in masks.masks_nhw]
        boxes = found.boxes_xyxy_n4.astype(np.float64)
        self.boxes = np.array(
            [c.box_xyxy if c is not None else b for b, c in zip(boxes, self.crops, strict=True)]
        ).reshape(n, 4)
        self.duplicates: set[int] = set()
        self.centroids: list[tuple[float, float]] = []
        self.areas: list[int] = []
        for box, crop in zip(self.boxes, self.crops, strict=True):
            middle = (float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
            full = round(float((box[2] - box[0]) * (box[3] - box[1])))
            self.centroids.append(crop.centroid if crop is not None else middle)
            self.areas.append(crop.area if crop is not None else full)

    def __len__(self) -> int:
        return len(self.found)

    def score(self, j: int) -> float:
        """Return how sure the detector is of detection j."""
        return float(self.found.scores_n[j])

    def overlap(self, j: int, k: int) -> float:
        """Return the shared part of the smaller of two detections."""
        a, b = self.crops[j], self.crops[k]
        smaller = max(min(self.areas[j], self.areas[k]), 1)
        if a is not None and b is not None:
            return a.shared(b) / smaller
        p, q = self.boxes[j], self.boxes[k]
        sides = np.minimum(p[2:], q[2:]) - np.maximum(p[:2], q[:2])
        return float(np.clip(sides, 0, None).prod()) / smaller

    def begin(self, j: int) -> Track:
        """Make a candidate track of detection j."""
        track = Track(
            id=0,
            box_xyxy=self.boxes[j].copy(),
            centroid=np.array(self.centroids[j]),
            area=self.areas[j],
            crop=self.crops[j],
            score=self.score(j),
            first_seen=self.timestamp_s,
            last_seen=self.timestamp_s,
        )
        self._vote(j, track)
        if self.appearance_nd is not None:
            track.resembles(self.appearance_nd[j])
        return track

    def give(self, j: int, track: Track) -> None:
        """Let a track be seen as detection j, which votes on its name."""
        track.see(self.boxes[j], self.centroids[j], self.areas[j], self.crops[j], self.timestamp_s)
        track.score = 0.7 * track.score + 0.3 * self.score(j)
        track.hits += 1
        track.looks += 1
        track.misses = track.held = track.back = 0
        self._vote(j, track)
        if self.appearance_nd is not None:
            track.resembles(self.appearance_nd[j])

    def unlike(self, track: Track, j: int) -> float | None:
        """Return how little detection j looks like a track, 0 to 1; None if either is unknown."""
        if self.appearance_nd is None or track.appearance is None:
            return None
        return unlikeness(track.appearance, self.appearance_nd[j])

    def _vote(self, j: int, track: Track) -> None:
        assert self.found.label_scores_n is not None
        assert self.found.color_scores_n is not None
        track.labels.add(self.found.labels[j], float(self.found.label_scores_n[j]) + 1e-3)
        color = self.found.colors[j]
        if color is not None:
            track.colors.add(color, float(self.found.color_scores_n[j]) + 1e-3)


def _name_cost(track: Track, look: Look, j: int) -> float:
    """0 when noun and colour agree with all votes so far, 1 when neither ever was voted."""
    color = look.found.colors[j]
    noun = 1.0 - track.labels.share(look.found.labels[j])
    hue = 1.0 - track.colors.share(color) if color is not None else 0.5
    return 0.6 * noun + 0.4 * hue


def visible_cost(track: Track, look: Look, j: int) -> float:
    """Cost of seeing a visible track as detection j: place, shape, name, looks; inf if too far."""
    shift = track.shift(look.timestamp_s)
    box = track.box_xyxy + np.tile(shift, 2)
    pair = np.stack([box, look.boxes[j]]).astype(np.float32)
    overlap = float(box_iou(pair[:1], pair[1:])[0, 0])
    crop, sighting = look.crops[j], look.sightings.get(track.id)
    if overlap > 0 and track.crop is not None and crop is not None:
        overlap = max(0.5 * overlap, track.crop.iou(crop, (float(shift[0]), float(shift[1]))))
    gap = float(np.hypot(*(look.centroids[j] - track.centroid - shift)))
    if sighting is not None and crop is not None:
        there = np.array(look.centroids[j]) - sighting.crop.centroid
        overlap, gap = max(overlap, sighting.crop.iou(crop)), min(gap, float(np.hypot(*there)))
    reach = _reach(track, look)
    if overlap < 0.1 and gap > reach:
        return float("inf")
    name, unlike = _name_cost(track, look, j), look.unlike(track, j)
    if name > 0.9 and (overlap < 0.5 or (unlike is not None and unlike > 0.5)):
        return float("inf")  # neither noun nor colour nor looks: another thing in its place
    place = 0.6 * (1.0 - overlap) + 0.4 * min(gap / reach, 1.0)
    if unlike is None:
        return 0.75 * place + 0.25 * name
    return 0.6 * place + 0.2 * name + 0.2 * unlike


def visible_costs(tracks: Sequence[Track], look: Look, rows: Sequence[int]) -> NDArray[np.float64]:
    """Return :func:`visible_cost` of every track with every row; looks closer only at near ones."""
    costs = np.full((len(tracks), len(rows)), np.inf)
    if not tracks or not rows:
        return costs
    there = look.boxes[list(rows)]
    here = np.stack([t.predicted_box(look.timestamp_s) for t in tracks])
    low = np.maximum(here[:, None, :2], there[None, :, :2])
    high = np.minimum(here[:, None, 2:], there[None, :, 2:])
    touching = (high > low).all(axis=-1)
    where = np.stack([t.centroid + t.shift(look.timestamp_s) for t in tracks])
    gaps = np.hypot(
        *(where[:, None] - np.array(look.centroids)[list(rows)][None]).transpose(2, 0, 1)
    )
    reaches = np.array([_reach(t, look) for t in tracks])
    remembered = np.array([t.id in look.sightings for t in tracks])[:, None]
    for i, k in np.argwhere(touching | (gaps <= reaches[:, None]) | remembered):
        costs[i, k] = visible_cost(tracks[i], look, rows[k])
    return costs


def _reach(track: Track, look: Look) -> float:
    """How far from its prediction a visible object may be: its size and half its way."""
    speed = float(np.hypot(*track.velocity)) * max(look.timestamp_s - track.last_seen, 0.0)
    return track.size + 0.5 * speed


def hidden_cost(track: Track, look: Look, j: int, reach_fraction: float) -> float:
    """Cost of a hidden track reappearing as detection j: name first, then place, then size.

    Another colour is another object; another noun is too, unless the place is the same.
    """
    color = look.found.colors[j]
    if color is not None and track.colors.weights and track.colors.share(color) < 0.25:
        return float("inf")
    pair = np.stack([track.predicted_box(look.timestamp_s), look.boxes[j]]).astype(np.float32)
    near = track.state != "left" and box_iou(pair[:1], pair[1:])[0, 0] > 0.5
    there = visible_cost(track, look, j) if near else float("inf")
    if _other_noun(track, look, j):
        return there
    gap = float(np.hypot(*(look.centroids[j] - track.centroid - track.shift(look.timestamp_s))))
    reach = max(reach_fraction * look.diagonal, track.size)
    if track.state != "left" and gap > reach:
        return there
    place, name = min(gap / reach, 1.0), _name_cost(track, look, j)
    size = _size_cost(look.areas[j], track)
    unlike = look.unlike(track, j)
    if unlike is None:
        return min(there, 0.5 * name + 0.3 * place + 0.2 * size)
    return min(there, 0.35 * name + 0.35 * unlike + 0.2 * place + 0.1 * size)


def _other_noun(track: Track, look: Look, j: int) -> bool:
    """Tell whether a hidden track cannot be detection j by its noun.

    It can, though the noun is another, if the detector is not sure of it, and colour and looks
    are the same: what is partly covered is often misread.
    """
    share = track.labels.share(look.found.labels[j])
    if share >= 0.3:
        return False
    assert look.found.label_scores_n is not None
    against = (1.0 - share) * float(look.found.label_scores_n[j])
    told = look.found.colors[j] is not None and bool(track.colors.weights)
    unlike = look.unlike(track, j)
    return against > _SURE_OF_NOUN or not told or unlike is None or unlike > _SAME_LOOKS


def _size_cost(area: float, track: Track) -> float:
    """0 for the same size, 1 for e squared times it; part of a covered object is no other size."""
    ratio = max(area, 1.0) / max(track.full_area, 1.0)
    return min(abs(float(np.log(ratio))) / (2.0 if ratio > 1 else 4.0), 1.0)


def going_out(track: Track, timestamp_s: float, size_hw: tuple[int, int]) -> bool:
    """Tell whether the object went over the frame's edge.

    It did when it is predicted mostly outside, or was at the edge and moved out by more than
    4 % of the diagonal per second.
    """
    height, width = size_hw
    margin = 0.012 * float(np.hypot(height, width))
    box = track.predicted_box(timestamp_s)
    inside = np.clip(box, 0, [width, height, width, height])
    full = max(float((box[2] - box[0]) * (box[3] - box[1])), 1.0)
    part = float((inside[2] - inside[0]) * (inside[3] - inside[1])) / full
    if part < 0.4:
        return True
    last, (vx, vy) = track.box_xyxy, track.velocity
    fast = 0.04 * float(np.hypot(height, width))
    return bool(
        (last[0] <= margin and vx < -fast)
        or (last[1] <= margin and vy < -fast)
        or (last[2] >= width - margin and vx > fast)
        or (last[3] >= height - margin and vy > fast)
    )
