"""Identities over time: matches what each frame shows to the objects already known.

Three rounds of minimum-cost assignment per look of the detector (after ByteTrack's order of
rounds, arXiv 2110.06864, with shape, name and appearance in the cost): visible objects, then
hidden ones, then candidates that were seen once. Where the caller gives the masks that SAM 2's
memory found, they count as places too; objects that the detector overlooks stay visible by
them, and hidden ones come back. At last split and doubled ids are mended (:mod:`.mending`).
Every memory is bounded. Not covered: two objects alike in name and looks that hide behind one
thing and come out elsewhere may swap.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError
from .assignment import assign
from .boxes import intersections
from .matching import Look, Sighting, going_out, hidden_cost, visible_costs
from .mending import doubles, reunion_cost
from .records import Detections, Masks
from .tracker_config import FollowedMasks, TrackerConfig, TrackerCounts
from .tracks import Crop, Track

__all__ = ["FollowedMasks", "Tracker", "TrackerConfig", "TrackerCounts"]


class Tracker:
    """Keeps identities. The caller reports each look of the detector, or each following mask.

    :meth:`update` takes a full look: what it does not contain is hidden or gone.
    :meth:`follow` takes masks of known objects between looks. Both need times that do not
    decrease, and the frame's (height, width).
    """

    def __init__(self, config: TrackerConfig | None = None) -> None:
        self.config = config or TrackerConfig()
        self.counts = TrackerCounts()
        self._tracks: list[Track] = []  # visible, occluded, and those that left just now
        self._candidates: list[Track] = []
        self._left: list[Track] = []  # remembered for re-identification only
        self._next_id = 1
        self._giving = Lock()  # of ids: another thread may reserve some
        self._start_s: float | None = None
        self._last_s = 0.0

    def reserve(self, count: int) -> int:
        """Set ids aside for objects that others found; returns the first of ``count`` in a row.

        From any thread, unlike everything else here.
        """
        with self._giving:
            first, self._next_id = self._next_id, self._next_id + count
        return first

    @property
    def pending(self) -> int:
        """How many candidates wait for another look to confirm them."""
        return len(self._candidates)

    def settling(self, timestamp_s: float) -> bool:
        """Tell whether the stream has just begun: what is found now was there before."""
        return self._start_s is None or timestamp_s - self._start_s <= self.config.settle_s

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Confirmed objects by rising id: visible, occluded, or left at the last update."""
        return tuple(sorted(self._tracks, key=lambda track: track.id))

    def visible(self) -> tuple[Track, ...]:
        """Confirmed objects that are visible, by rising id."""
        return tuple(track for track in self.tracks if track.state == "visible")

    def reported(self) -> tuple[Track, ...]:
        """All objects that a twin should list, by rising id: those that left are remembered."""
        return tuple(sorted([*self._tracks, *self._left], key=lambda track: track.id))

    def forget(self) -> None:
        """Drop every object, as after a change of picture size; ids are never used again."""
        self._tracks, self._candidates, self._left = [], [], []
        self._start_s = None

    def get(self, object_id: int) -> Track:
        """Return the confirmed object of this id.

        Raises:
            InputError: if there is none.
        """
        for track in self._tracks:
            if track.id == object_id:
                return track
        raise InputError(f"expected the id of a track, got {object_id}")

    def update(
        self,
        found: Detections,
        masks: Masks | None,
        timestamp_s: float,
        size_hw: tuple[int, int],
        *,
        followed: tuple[Sequence[int], FollowedMasks] | None = None,
        appearance_nd: NDArray[np.float32] | None = None,
    ) -> tuple[int, ...]:
        """Take one look; returns the object id of every detection, 0 for those not (yet) one.

        ``masks`` has one mask per detection, or is None when boxes are all there is.
        ``followed`` are ids with the masks that memory gave for them at this frame, of visible
        and of hidden objects; ids that are no longer known are left out. ``appearance_nd``
        has a vector per detection (:func:`~edgetwin.perception.appearance.describe`).

        Raises:
            InputError: if masks, vectors and detections differ in number, or ids and followed
                masks do, or time runs backwards.
        """
        for name, rows in (("masks", masks), ("vectors", appearance_nd)):
            if rows is not None and len(rows) != len(found):
                raise InputError(
                    f"expected {len(found)} {name}, one per detection, got {len(rows)}"
                )
        self._advance(timestamp_s)
        sightings = self._sightings(followed)
        look = Look(found, masks, timestamp_s, size_hw, sightings, appearance_nd)
        taken: dict[int, Track] = {}
        self._match_known(look, taken)
        self._match_left(look, taken)
        self._drop_duplicates(look, taken)
        self._match_candidates(look, taken)
        self._begin(look, taken)
        held = self._hold(look, taken)
        self._miss(look, taken, held)
        self._promote(look)
        self._mend(look)
        if self._start_s is None:
            self._start_s = timestamp_s
        return tuple(taken[j].id if j in taken else 0 for j in range(len(found)))

    def missed(self) -> tuple[Track, ...]:
        """Objects that only the last look missed: a mask at their place may still show them."""
        limit = self.config.coast_looks
        return tuple(
            t
            for t in self.tracks
            if t.state == "occluded" and 0 < t.misses <= limit and t.lost_at == self._last_s
        )

    def contested(self, timestamp_s: float) -> tuple[int, ...]:
        """Ids, rising, of hidden objects and of those whose predicted box touches another's.

        They are the ones that may be taken for one another: where memory is costly, it is
        asked about these.
        """
        known = [t for t in self.tracks if t.state != "left"]
        if not known:
            return ()
        boxes = np.stack([t.predicted_box(timestamp_s) for t in known]).astype(np.float32)
        touching = intersections(boxes, boxes) > 0
        hidden = np.array([t.state == "occluded" for t in known])
        asked = hidden | (touching.sum(axis=1) > 1)
        return tuple(t.id for t, ask in zip(known, asked, strict=True) if ask)

    def follow(
        self,
        ids: Sequence[int],
        masks: Masks,
        timestamp_s: float,
        size_hw: tuple[int, int],
        min_score: float = 0.3,
    ) -> tuple[int, ...]:
        """Take masks of known objects; returns the ids of those that were lost.

        They are those visible before, between looks, or those of :meth:`missed` after one.
        A mask is refused (its object is lost, and stays where it was) when its score is below
        ``min_score``, it is empty, its area changed more than 2.5-fold since the last frame,
        it left the place where it was predicted, or it covers a better one's object.

        Raises:
            InputError: if ids and masks differ in number, an id is unknown, or time runs
                backwards.
        """
        if len(ids) != len(masks):
            raise InputError(f"expected {len(ids)} masks, one per id, got {len(masks)}")
        self._advance(timestamp_s)
        crops = [Crop.of(mask) for mask in masks.masks_nhw]
        lost: list[int] = []
        kept = [t.crop for t in self.visible() if t.crop is not None and t.id not in set(ids)]
        order = sorted(range(len(ids)), key=lambda i: -float(masks.scores_n[i]))
        for i in order:
            track, crop = self.get(ids[i]), crops[i]
            good = crop is not None and float(masks.scores_n[i]) >= min_score
            if not good or crop is None or not self._plausible(track, crop, timestamp_s, kept):
                lost.append(ids[i])
                continue
            kept.append(crop)
            track.see(np.array(crop.box_xyxy), crop.centroid, crop.area, crop, timestamp_s)
        for object_id in lost:
            self._hide(self.get(object_id), timestamp_s, size_hw)
        return tuple(sorted(lost))

    # ---- one look, step by step

    def _advance(self, timestamp_s: float) -> None:
        if timestamp_s < self._last_s:
            raise InputError(
                f"expected times that do not decrease, got {timestamp_s} after {self._last_s}"
            )
        self._last_s = timestamp_s
        gone = [t for t in self._tracks if t.state == "left"]
        self._left = [*self._left, *gone]
        self._left = [t for t in self._left if timestamp_s - t.last_seen <= self.config.remember_s]
        self._left = self._left[-self.config.max_left :]
        self._tracks = [t for t in self._tracks if t.state != "left"]

    def _match_known(self, look: Look, taken: dict[int, Track]) -> None:
        """Match visible and hidden objects at once, or one would take the other's detection."""
        shown = [t for t in self._tracks if t.state == "visible"]
        hidden = [t for t in self._tracks if t.state == "occluded"]
        rows = list(range(len(look)))
        limit = self.config.max_cost
        scaled = self._hidden_costs(hidden, look, rows) * limit / self.config.hidden_max_cost
        cost = np.concatenate([visible_costs(shown, look, rows), scaled + self.config.hidden_extra])
        self.counts.reidentified += self._give([*shown, *hidden], rows, cost, limit, look, taken)

    def _match_left(self, look: Look, taken: dict[int, Track]) -> None:
        rows = [j for j in range(len(look)) if j not in taken]
        cost = self._hidden_costs(self._left, look, rows)
        pool, limit = list(self._left), self.config.hidden_max_cost
        self.counts.reidentified += self._give(pool, rows, cost, limit, look, taken)
        self._tracks += [t for t in pool if t.state == "visible"]
        self._left = [t for t in pool if t.state != "visible"]

    def _match_candidates(self, look: Look, taken: dict[int, Track]) -> None:
        rows = [j for j in range(len(look)) if j not in taken]
        cost = visible_costs(self._candidates, look, rows)
        self._give(self._candidates, rows, cost, self.config.max_cost, look, taken)

    def _hidden_costs(
        self, pool: Sequence[Track], look: Look, rows: Sequence[int]
    ) -> NDArray[np.float64]:
        cost = np.full((len(pool), len(rows)), np.inf)
        for k, j in enumerate(rows):
            if look.score(j) >= self.config.start_score:
                cost[:, k] = [hidden_cost(t, look, j, self.config.reach) for t in pool]
        return cost

    def _give(
        self,
        tracks: Sequence[Track],
        rows: Sequence[int],
        cost: NDArray[np.float64],
        limit: float,
        look: Look,
        taken: dict[int, Track],
    ) -> int:
        """Let the best pairs be seen; returns how many of the tracks were hidden before."""
        back = 0
        for i, k in assign(cost, limit, most=False):
            back += tracks[i].state != "visible"
            look.give(rows[k], tracks[i])
            taken[rows[k]] = tracks[i]
        return back

    def _drop_duplicates(self, look: Look, taken: dict[int, Track]) -> None:
        """Mark detections that repeat an object already matched; they begin nothing."""
        for j in range(len(look)):
            if j in taken:
                continue
            for other, track in taken.items():
                same = track.labels.winner == look.found.labels[j]
                limit = self.config.duplicate_overlap if same else 0.9
                if look.overlap(j, other) > limit:
                    look.duplicates.add(j)
                    self.counts.duplicates += 1
                    break

    def _begin(self, look: Look, taken: dict[int, Track]) -> None:
        order = sorted(range(len(look)), key=lambda j: -look.score(j))
        for j in order:
            if j in taken or j in look.duplicates or look.score(j) < self.config.start_score:
                continue
            if len(self._tracks) + len(self._candidates) >= self.config.max_tracks:
                self.counts.dropped_full += 1
                continue
            track = look.begin(j)
            at_once = self.settling(look.timestamp_s) and look.score(j) >= self.config.first_score
            track.needed = 1 if at_once else self.config.confirmations
            self._candidates.append(track)
            taken[j] = track

    def _sightings(
        self, followed: tuple[Sequence[int], FollowedMasks] | None
    ) -> dict[int, Sighting]:
        """Keep of the followed masks those that show their object."""
        if followed is None:
            return {}
        ids, masks = followed
        if len(ids) != len(masks):
            raise InputError(f"expected {len(ids)} followed masks, one per id, got {len(masks)}")
        sightings: dict[int, Sighting] = {}
        for row, object_id in enumerate(ids):
            score = float(masks.scores_n[row])
            if masks.object_logits_n[row] <= 0 or score < self.config.memory_score:
                continue
            crop = Crop.of(masks.masks_nhw[row])
            if crop is not None:
                sightings[int(object_id)] = Sighting(crop, score)
        return sightings

    def _hold(self, look: Look, taken: dict[int, Track]) -> set[int]:
        """Let memory show what the look did not: visible objects stay, hidden ones come back.

        Returns the ids of those that it shows.
        """
        seen = {track.id for track in taken.values()}
        kept = [t.crop for t in taken.values() if t.crop is not None]
        held: set[int] = set()
        waiting = [t for t in self._tracks if t.id not in seen]
        for track in waiting:
            sighting = look.sightings.get(track.id)
            if sighting is None:
                track.back = 0
        order = [t for t in waiting if t.id in look.sightings]
        for track in sorted(order, key=lambda t: -look.sightings[t.id].score):
            crop = look.sightings[track.id].crop
            if track.state == "visible":
                good = track.held < self.config.hold_looks
                good = good and self._plausible(track, crop, look.timestamp_s, kept)
                track.held += 1
            else:
                good = self._returns(track, crop, look, kept)
                track.back = track.back + 1 if good else 0
                good = good and track.back >= self.config.revivals
                self.counts.revived += good
            if good:
                kept.append(crop)
                held.add(track.id)
                box = np.array(crop.box_xyxy)
                track.see(box, crop.centroid, crop.area, crop, look.timestamp_s)
        return held

    def _returns(self, track: Track, crop: Crop, look: Look, kept: Sequence[Crop]) -> bool:
        """Tell whether memory's mask of a hidden object is that object."""
        if not 0.25 <= crop.area / max(track.full_area, 1.0) <= 2.0:
            return False
        gap = float(np.hypot(*(np.array(crop.centroid) - track.centroid)))
        if gap > max(self.config.reach * look.diagonal, track.size):
            return False
        return all(crop.shared(other) <= 0.3 * min(crop.area, other.area) for other in kept)

    def _miss(self, look: Look, taken: dict[int, Track], held: set[int]) -> None:
        """Hide what was not seen; forget candidates and young tracks with little evidence."""
        seen = {id(track) for track in taken.values()}
        for track in list(self._tracks):
            if id(track) in seen:
                continue
            track.misses += 1
            track.looks += 1
            if track.id in held:
                continue
            # Unsure, and seen in fewer than half of its first looks: a false alarm.
            young = track.looks <= 5 and track.hits < 0.5 * track.looks
            if young and track.score < self.config.sure_score:
                self._tracks.remove(track)
                self.counts.suppressed += 1
                continue
            self._hide(track, look.timestamp_s, look.size_hw)
        limit = self.config.candidate_age_s
        fresh = [c for c in self._candidates if look.timestamp_s - c.last_seen <= limit]
        self.counts.suppressed += len(self._candidates) - len(fresh)
        self._candidates = fresh

    def _promote(self, look: Look) -> None:
        ready = [c for c in self._candidates if c.hits >= c.needed]
        self._candidates = [c for c in self._candidates if c.hits < c.needed]
        for track in ready:
            track.id = self.reserve(1)
            self.counts.created += 1
            self._tracks.append(track)

    def _mend(self, look: Look) -> None:
        """Give young objects back the id of the hidden one that they are; part doubles."""
        young = [
            t
            for t in self.visible()
            if look.timestamp_s - t.first_seen <= self.config.mend_s and t.first_seen > 0
        ]
        hidden = [t for t in self._tracks if t.state != "visible"] + self._left
        reach = self.config.reach * look.diagonal
        cost = np.array([[reunion_cost(h, y, reach) for y in young] for h in hidden])
        for i, k in assign(cost.reshape(len(hidden), len(young)), self.config.mend_max_cost):
            self._tracks.remove(young[k])
            if hidden[i] in self._left:
                self._left.remove(hidden[i])
                self._tracks.append(hidden[i])
            hidden[i].absorb(young[k])
            young[k].id = hidden[i].id  # what this look returns
            self.counts.split += 1
        double = doubles(self.visible())
        for track in self.visible():
            track.doubled = track.doubled + 1 if track in double else 0
            if track.doubled >= self.config.double_looks:
                self.counts.merged += 1
                track.doubled = 0
                self._hide(track, look.timestamp_s, look.size_hw)

    # ---- hiding and leaving

    def _hide(self, track: Track, timestamp_s: float, size_hw: tuple[int, int]) -> None:
        if track.state == "left":
            return
        too_long = timestamp_s - track.last_seen > self.config.occluded_s
        out = going_out(track, timestamp_s, size_hw)
        if track.state == "visible":
            track.lost_at = timestamp_s
        track.state = "left" if too_long or out else "occluded"

    def _plausible(
        self, track: Track, crop: Crop, timestamp_s: float, kept: Sequence[Crop]
    ) -> bool:
        ratio = crop.area / max(track.area, 1)
        if not 0.4 <= ratio <= 2.5:
            return False
        where = track.centroid + track.shift(timestamp_s)
        if float(np.hypot(*(np.array(crop.centroid) - where))) > 0.75 * track.size:
            return False
        return all(crop.shared(other) <= 0.7 * min(crop.area, other.area) for other in kept)
