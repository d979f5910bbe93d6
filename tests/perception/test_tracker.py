"""The tracker on scripted boxes: crossing, hiding, entering, leaving, votes, bounds."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from edgetwin.perception.assignment import assign
from edgetwin.perception.matching import Look
from edgetwin.perception.records import Detections, Masks
from edgetwin.perception.tracker import Tracker, TrackerConfig
from edgetwin.perception.tracks import Crop, Votes
from edgetwin.twin.errors import InputError

SIZE = (256, 256)


def box(cx: float, cy: float, side: float = 40) -> list[float]:
    return [cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2]


def look(*rows: tuple[list[float], str, str, float]) -> Detections:
    return Detections(
        np.array([r[0] for r in rows], np.float32).reshape(-1, 4),
        np.array([r[3] for r in rows], np.float32),
        tuple(r[1] for r in rows),
        tuple(r[2] for r in rows),
    )


def mug(cx: float, cy: float, score: float = 0.9) -> tuple[list[float], str, str, float]:
    return box(cx, cy), "mug", "red", score


def bowl(cx: float, cy: float, score: float = 0.9) -> tuple[list[float], str, str, float]:
    return box(cx, cy, 60), "bowl", "blue", score


def square(x0: int, y0: int, side: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y0 : y0 + side, x0 : x0 + side] = True
    return mask


def masks_of(*masks: np.ndarray, score: float = 0.9) -> Masks:
    return Masks(np.stack(masks), np.full(len(masks), score, np.float32))


# ---- assignment


def test_assign_by_hand() -> None:
    # Greedy would take 0-0 (1) and pay 9; the best total is 2 + 2 = 4.
    assert assign(np.array([[1.0, 2.0], [2.0, 9.0]])) == [(0, 1), (1, 0)]


def test_assign_keeps_a_good_pair_rather_than_two_poor_ones() -> None:
    """One object hid and one came: a chain of shifted pairs would be one pair more."""
    cost = np.array([[0.1, 0.8], [0.8, np.inf]])
    assert assign(cost, 0.85) == [(0, 1), (1, 0)]
    assert assign(cost, 0.85, most=False) == [(0, 0)]
    assert assign(np.array([[0.1, 0.8], [0.3, np.inf]]), 0.85, most=False) == [(0, 0)]
    assert assign(np.array([[0.6, 0.7], [0.3, np.inf]]), 0.85, most=False) == [(0, 1), (1, 0)]


def test_assign_leaves_out_what_is_forbidden_or_too_dear() -> None:
    inf = np.inf
    assert assign(np.array([[inf, 1.0], [inf, 0.5]])) == [(1, 1)]
    assert assign(np.array([[0.2, 3.0], [3.0, 0.9]]), max_cost=0.5) == [(0, 0)]
    assert assign(np.full((2, 2), inf)) == []
    assert assign(np.zeros((0, 3))) == []


@pytest.mark.parametrize("seed", range(4))
def test_assign_equals_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for k in range(60):
        n, m = rng.integers(1, 20, 2)
        cost = rng.normal(size=(n, m)) if k % 2 else rng.integers(0, 4, (n, m)).astype(float)
        pairs = assign(cost)
        rows, columns = linear_sum_assignment(cost)
        assert len(pairs) == len({r for r, _ in pairs}) == len({c for _, c in pairs}) == min(n, m)
        assert sum(cost[r, c] for r, c in pairs) == pytest.approx(cost[rows, columns].sum())


def test_assign_refuses_nan() -> None:
    with pytest.raises(InputError, match="without NaN"):
        assign(np.array([[np.nan]]))


# ---- crops and votes


def test_crop_by_hand() -> None:
    mask = np.zeros((5, 6), bool)
    mask[1, 2:5] = True
    mask[3, 2] = True
    crop = Crop.of(mask)
    assert crop is not None
    assert (crop.x, crop.y, crop.area, crop.box_xyxy) == (2, 1, 4, (2.0, 1.0, 5.0, 4.0))
    assert crop.centroid == (11 / 4 + 0.5, 6 / 4 + 0.5)
    other = Crop.of(np.roll(mask, 1, axis=1))
    assert other is not None
    assert crop.shared(other) == 2  # columns 3 and 4 of row 1
    assert crop.iou(other) == pytest.approx(2 / 6)
    assert crop.iou(other, (1.0, 0.0)) == 1.0
    assert crop.shared(other, (90.0, 0.0)) == 0
    assert Crop.of(np.zeros((3, 3), bool)) is None


def test_votes_are_stable_and_bounded() -> None:
    votes = Votes()
    votes.add("mug", 0.5)
    votes.add("bowl", 0.52)  # not a tenth more
    assert votes.winner == "mug"
    votes.add("bowl", 0.1)
    assert votes.winner == "bowl"
    assert votes.share("mug") == pytest.approx(0.5 / 1.12)
    for k in range(500):
        votes.add(f"word{k}", 0.5)
    assert sum(votes.weights.values()) <= 12.0 + 1e-6
    assert len(votes.weights) <= 260


# ---- identities


def test_first_frame_needs_no_confirmation_but_a_better_score() -> None:
    tracker = Tracker()
    assert tracker.update(look(mug(60, 60), bowl(180, 180, 0.4)), None, 0.0, SIZE) == (1, 0)


def test_what_the_start_overlooks_is_taken_at_once_if_sure() -> None:
    tracker = Tracker(TrackerConfig(settle_s=0.3))
    tracker.update(look(mug(60, 60)), None, 0.0, SIZE)
    assert tracker.settling(0.3)
    assert not tracker.settling(0.31)
    late = look(mug(60, 60), bowl(180, 180), (box(220, 30, 20), "ball", "red", 0.4))
    assert tracker.update(late, None, 0.2, SIZE) == (1, 2, 0)


def test_entering_object_gets_its_id_at_the_second_look() -> None:
    tracker = Tracker(TrackerConfig(settle_s=0.0))
    tracker.update(look(mug(60, 60)), None, 0.0, SIZE)
    assert tracker.update(look(mug(60, 60), bowl(180, 180)), None, 0.1, SIZE) == (1, 0)
    assert tracker.update(look(bowl(183, 180), mug(60, 60)), None, 0.2, SIZE) == (2, 1)
    entered = tracker.get(2)
    assert entered.first_seen == 0.1
    assert entered.labels.winner == "bowl"
    assert entered.velocity == pytest.approx([15.0, 0.0])  # half of 3 px in 0.1 s


def test_single_false_alarm_never_becomes_an_object() -> None:
    tracker = Tracker()
    tracker.update(look(mug(60, 60)), None, 0.0, SIZE)
    tracker.update(look(mug(60, 60), bowl(180, 180)), None, 0.5, SIZE)
    for t in (1.0, 1.5, 2.0):
        tracker.update(look(mug(60, 60)), None, t, SIZE)
    assert [t.id for t in tracker.tracks] == [1]
    assert tracker.counts.suppressed == 1


def test_unsure_object_of_the_first_frame_is_given_up() -> None:
    tracker = Tracker()
    tracker.update(look(mug(60, 60), bowl(180, 180, 0.5)), None, 0.0, SIZE)
    for t in (0.1, 0.2):
        tracker.update(look(mug(60, 60)), None, t, SIZE)
    assert [t.id for t in tracker.tracks] == [1]


@pytest.mark.parametrize("dt", [1 / 30, 1 / 8])
def test_crossing_objects_keep_their_ids(dt: float) -> None:
    tracker = Tracker()
    steps = round(2.0 / dt)
    for k in range(steps + 1):
        x = 180.0 * k / steps
        rows = look(mug(40 + x, 120), mug(220 - x, 135))
        assert tracker.update(rows, None, k * dt, SIZE) == (1, 2)


def test_order_of_detections_does_not_matter() -> None:
    tracker = Tracker()
    tracker.update(look(mug(60, 60), bowl(180, 180)), None, 0.0, SIZE)
    assert tracker.update(look(bowl(181, 180), mug(61, 60)), None, 0.1, SIZE) == (2, 1)


def test_hidden_object_comes_back_under_its_id() -> None:
    tracker = Tracker()
    for k in range(5):
        tracker.update(look(mug(60 + 5 * k, 120), bowl(110, 120)), None, k * 0.1, SIZE)
    for k in range(5, 15):
        tracker.update(look(bowl(110, 120)), None, k * 0.1, SIZE)
        assert tracker.get(1).state == "occluded"
        assert tracker.get(1).last_seen == pytest.approx(0.4)
    assert tracker.update(look(bowl(110, 120), mug(160, 122)), None, 1.5, SIZE) == (2, 1)
    assert tracker.get(1).state == "visible"
    assert tracker.counts.reidentified == 1


def test_another_noun_or_colour_is_not_the_hidden_object() -> None:
    tracker = Tracker()
    for k in range(4):
        tracker.update(look(mug(60, 120)), None, k * 0.1, SIZE)
    tracker.update(look(), None, 0.5, SIZE)
    green = (box(62, 120), "mug", "green", 0.9)
    tracker.update(look(green), None, 0.6, SIZE)
    assert tracker.update(look(green), None, 0.7, SIZE) == (2,)
    assert tracker.get(1).state == "occluded"


def test_hidden_for_too_long_is_left_and_then_remembered() -> None:
    tracker = Tracker(TrackerConfig(occluded_s=1.0))
    tracker.update(look(mug(120, 120)), None, 0.0, SIZE)
    tracker.update(look(), None, 0.5, SIZE)
    assert tracker.get(1).state == "occluded"
    tracker.update(look(), None, 1.1, SIZE)
    assert tracker.get(1).state == "left"
    tracker.update(look(), None, 1.2, SIZE)
    assert tracker.tracks == ()
    assert tracker.update(look(mug(200, 40)), None, 2.0, SIZE) == (1,)


def test_remembering_ends() -> None:
    tracker = Tracker(TrackerConfig(occluded_s=1.0, remember_s=5.0))
    tracker.update(look(mug(120, 120)), None, 0.0, SIZE)
    for t in (0.5, 1.1, 6.0):
        tracker.update(look(), None, t, SIZE)
    tracker.update(look(mug(120, 120)), None, 6.1, SIZE)
    assert tracker.update(look(mug(120, 120)), None, 6.2, SIZE) == (2,)


def test_object_that_moves_out_of_the_frame_leaves_at_once() -> None:
    tracker = Tracker()
    for k in range(5):
        tracker.update(look(mug(20 + 50 * (4 - k) / 4, 120)), None, k * 0.1, SIZE)
    tracker.update(look(), None, 0.5, SIZE)
    assert tracker.get(1).state == "left"


def test_still_object_at_the_edge_is_hidden_not_gone() -> None:
    tracker = Tracker()
    for k in range(3):
        tracker.update(look(mug(20, 120)), None, k * 0.1, SIZE)
    tracker.update(look(), None, 0.3, SIZE)
    assert tracker.get(1).state == "occluded"


def test_one_wrong_name_does_not_change_the_label() -> None:
    tracker = Tracker()
    for k in range(6):
        name = ("bowl", "blue") if k == 3 else ("mug", "red")
        assert tracker.update(look((box(60, 60), *name, 0.9)), None, k * 0.1, SIZE) == (1,)
        assert (tracker.get(1).labels.winner, tracker.get(1).colors.winner) == ("mug", "red")


def test_repeat_of_a_matched_object_begins_nothing() -> None:
    tracker = Tracker()
    tracker.update(look(mug(60, 60)), None, 0.0, SIZE)
    for t in (0.1, 0.2, 0.3):
        part = (box(60, 64, 30), "mug", "red", 0.8)
        assert tracker.update(look(mug(60, 60), part), None, t, SIZE) == (1, 0)
    assert tracker.counts.duplicates == 3


def test_masks_tell_apart_what_boxes_cannot() -> None:
    """Two L-shapes with one bounding box: the masks decide."""
    a, b = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    a[100:150, 100:110] = a[140:150, 100:150] = True
    b[100:110, 112:150] = b[100:138, 140:150] = True
    same = [100.0, 100.0, 150.0, 150.0]
    rows = look((same, "mug", "red", 0.9), (same, "mug", "red", 0.9))
    tracker = Tracker()
    assert tracker.update(rows, masks_of(a, b), 0.0, SIZE) == (1, 2)
    assert tracker.update(rows, masks_of(b, a), 0.1, SIZE) == (2, 1)


# ---- following between looks


def test_follow_moves_the_objects_and_their_predictions() -> None:
    tracker = Tracker()
    ids = tracker.update(look(mug(60, 60)), masks_of(square(40, 40, 40)), 0.0, SIZE)
    assert tracker.follow(ids, masks_of(square(44, 40, 40)), 0.1, SIZE) == ()
    track = tracker.get(1)
    assert track.centroid == pytest.approx([64, 60])
    assert track.velocity == pytest.approx([20.0, 0.0])
    assert track.predicted_box(0.2) == pytest.approx([46, 40, 86, 80])
    assert (track.hits, track.looks) == (1, 1)


@pytest.mark.parametrize(
    ("mask", "score"),
    [
        (np.zeros(SIZE, bool), 0.9),  # empty
        (square(40, 40, 40), 0.1),  # unsure
        (square(40, 40, 90), 0.9),  # grew five-fold
        (square(150, 150, 40), 0.9),  # somewhere else
    ],
)
def test_follow_refuses_masks_that_cannot_be_the_object(mask: np.ndarray, score: float) -> None:
    tracker = Tracker()
    ids = tracker.update(look(mug(60, 60)), masks_of(square(40, 40, 40)), 0.0, SIZE)
    assert tracker.follow(ids, masks_of(mask, score=score), 0.1, SIZE) == (1,)
    assert tracker.get(1).state == "occluded"
    assert tracker.get(1).centroid == pytest.approx([60, 60])


def test_follow_gives_a_shared_mask_to_the_better_one() -> None:
    tracker = Tracker()
    both = masks_of(square(40, 40, 40), square(60, 40, 40))
    ids = tracker.update(look(mug(60, 60), mug(80, 60)), both, 0.0, SIZE)
    same = Masks(np.stack([square(50, 40, 40)] * 2), np.array([0.8, 0.9], np.float32))
    assert tracker.follow(ids, same, 0.1, SIZE) == (1,)


def test_mask_keeps_an_overlooked_object_for_a_few_looks() -> None:
    tracker = Tracker(TrackerConfig(coast_looks=2))
    still = masks_of(square(40, 40, 40))
    for k in range(6):
        tracker.update(look(mug(60, 60)), still, k * 0.1, SIZE)
    for t, visible in ((0.6, True), (0.7, True), (0.8, False)):
        tracker.update(look(), Masks.empty(*SIZE), t, SIZE)
        assert [m.id for m in tracker.missed()] == ([1] if visible else [])
        if visible:
            assert tracker.follow([1], still, t, SIZE) == ()
        assert (tracker.get(1).state == "visible") is visible
    tracker.update(look(mug(60, 60)), still, 0.9, SIZE)
    assert (tracker.get(1).state, tracker.get(1).misses) == ("visible", 0)


def test_mask_of_the_cover_does_not_keep_the_covered_object() -> None:
    tracker = Tracker()
    mug_mask, bowl_mask = square(40, 40, 40), square(35, 35, 60)
    for k in range(3):
        both = masks_of(mug_mask, square(150, 150, 60))
        tracker.update(look(mug(60, 60), bowl(180, 180)), both, k * 0.1, SIZE)
    for k in range(3, 9):  # the bowl comes nearer, seen at every look
        at = 150 - 23 * (k - 3)
        found = look(mug(60, 60), bowl(at + 30, at + 30))
        tracker.update(found, masks_of(mug_mask, square(at, at, 60)), k * 0.1, SIZE)
    tracker.update(look(bowl(65, 65)), masks_of(bowl_mask), 0.9, SIZE)
    assert [m.id for m in tracker.missed()] == [1]
    assert tracker.follow([1], masks_of(bowl_mask & square(40, 40, 40)), 0.9, SIZE) == (1,)
    assert tracker.get(1).state == "occluded"


# ---- memory and appearance


@dataclass
class Remembered:
    """What the segmenter's memory gives."""

    masks_nhw: np.ndarray
    scores_n: np.ndarray
    object_logits_n: np.ndarray

    def __len__(self) -> int:
        return len(self.masks_nhw)


def remembered(*masks: np.ndarray, score: float = 0.9, logit: float = 5.0) -> Remembered:
    n = len(masks)
    return Remembered(np.stack(masks), np.full(n, score), np.full(n, logit))


def test_memory_finds_what_went_too_far() -> None:
    """A mug three of its sides away is another one, unless memory shows that it went there."""
    for by_memory, ids in ((True, (1,)), (False, (0,))):
        tracker = Tracker(TrackerConfig(settle_s=0.0))
        for k in range(3):
            tracker.update(look(mug(60, 60)), masks_of(square(40, 40, 40)), k * 0.1, SIZE)
        there = masks_of(square(160, 40, 40))
        followed = ([1, 77], remembered(*[square(162, 40, 40)] * 2)) if by_memory else None
        assert tracker.update(look(mug(180, 60)), there, 0.3, SIZE, followed=followed) == ids


def test_memory_keeps_an_overlooked_object_visible_for_so_many_looks() -> None:
    tracker = Tracker(TrackerConfig(hold_looks=2))
    still = square(40, 40, 40)
    for k in range(6):
        tracker.update(look(mug(60, 60)), masks_of(still), k * 0.1, SIZE)
    for k, visible in enumerate((True, True, False)):
        followed = ([1], remembered(still))
        tracker.update(look(), Masks.empty(*SIZE), 0.6 + 0.1 * k, SIZE, followed=followed)
        assert (tracker.get(1).state == "visible") is visible


@pytest.mark.parametrize("followed", [remembered(square(40, 40, 40), logit=-1.0),
                                      remembered(square(40, 40, 40), score=0.2),
                                      remembered(square(0, 0, 0))])  # fmt: skip
def test_memory_that_shows_nothing_hides_the_object_and_keeps_its_id(followed: Remembered) -> None:
    tracker = Tracker()
    for k in range(6):
        tracker.update(look(mug(60, 60)), masks_of(square(40, 40, 40)), k * 0.1, SIZE)
    tracker.update(look(), Masks.empty(*SIZE), 0.6, SIZE, followed=([1], followed))
    assert tracker.get(1).state == "occluded"
    back = tracker.update(look(mug(62, 60)), masks_of(square(42, 40, 40)), 0.7, SIZE)
    assert back == (1,)


def test_memory_revives_a_hidden_object_before_the_detector_does() -> None:
    tracker = Tracker(TrackerConfig(revivals=2))
    for k in range(6):
        tracker.update(look(mug(60, 60)), masks_of(square(40, 40, 40)), k * 0.1, SIZE)
    nothing = Masks.empty(*SIZE)
    tracker.update(look(), nothing, 0.6, SIZE)
    for t, state in ((0.7, "occluded"), (0.8, "visible")):
        tracker.update(look(), nothing, t, SIZE, followed=([1], remembered(square(60, 40, 40))))
        assert tracker.get(1).state == state
    assert tracker.counts.revived == 1
    assert tracker.get(1).centroid == pytest.approx([80, 60])


def test_memory_on_the_cover_does_not_revive() -> None:
    tracker = Tracker()
    both = look(mug(60, 60), bowl(180, 180))
    tracker.update(both, masks_of(square(40, 40, 40), square(150, 150, 60)), 0.0, SIZE)
    for k in range(1, 6):  # the bowl stands where memory says the mug is
        rows, mask = look(bowl(180, 180)), masks_of(square(150, 150, 60))
        followed = ([1], remembered(square(150, 150, 50)))
        tracker.update(rows, mask, k * 0.1, SIZE, followed=followed)
    assert tracker.get(1).state == "occluded"


def vectors(*angles: float) -> np.ndarray:
    """Unit vectors at angles in degrees; 30 degrees apart is surely another object."""
    a = np.radians(angles)
    return np.stack([np.cos(a), np.sin(a)], axis=1).astype(np.float32)


def test_appearance_tells_two_hidden_mugs_apart() -> None:
    tracker = Tracker()
    both = look(mug(60, 120), mug(110, 120))
    for k in range(3):
        tracker.update(both, None, k * 0.1, SIZE, appearance_nd=vectors(0, 30))
    tracker.update(look(), None, 0.3, SIZE)
    came = look(mug(82, 122), mug(88, 118))  # from behind one thing, in the other order
    assert tracker.update(came, None, 0.4, SIZE, appearance_nd=vectors(30, 0)) == (2, 1)


def test_misread_noun_of_a_covered_object_costs_no_id_if_it_looks_the_same() -> None:
    for angle, ids in ((2.0, (1,)), (30.0, (0,))):
        tracker = Tracker(TrackerConfig(settle_s=0.0))
        for k in range(4):
            tracker.update(look(mug(60, 120)), None, k * 0.1, SIZE, appearance_nd=vectors(0))
        tracker.update(look(), None, 0.4, SIZE)
        glass = Detections(
            np.array([box(110, 120)], np.float32), np.array([0.9], np.float32), ("glass",),
            ("red",), np.array([0.6], np.float32), np.array([0.9], np.float32),
        )  # fmt: skip
        assert tracker.update(glass, None, 0.5, SIZE, appearance_nd=vectors(angle)) == ids


def test_new_object_that_turns_out_to_be_a_hidden_one_gets_its_id() -> None:
    tracker = Tracker(TrackerConfig(settle_s=0.0))
    red = {"appearance_nd": vectors(0)}
    for k in range(4):
        tracker.update(look(mug(60, 120)), None, k * 0.1, SIZE, **red)
    tracker.update(look(), None, 0.4, SIZE)
    misread, right = look((box(110, 120), "pan", "red", 0.99)), look(mug(110, 120))
    assert tracker.update(misread, None, 0.5, SIZE, **red) == (0,)
    assert tracker.update(misread, None, 0.6, SIZE, **red) == (2,)
    for t in (0.7, 0.8):
        assert tracker.update(right, None, t, SIZE, **red) == (2,)
    assert tracker.update(right, None, 0.9, SIZE, **red) == (1,)  # most of its votes by now
    assert tracker.counts.split == 1
    assert tracker.counts.reidentified == 0
    assert [t.id for t in tracker.reported()] == [1]


def test_of_two_objects_on_one_mask_one_hides() -> None:
    tracker = Tracker(TrackerConfig(double_looks=3))
    far, near = square(40, 40, 40), square(43, 40, 40)
    both = look(mug(60, 60), bowl(180, 180))
    tracker.update(both, masks_of(far, square(160, 160, 40)), 0.0, SIZE)
    for k in range(1, 5):  # memory drags the bowl onto the mug, a fifth of its way at a time
        tracker._tracks[1].crop = Crop.of(near)
        tracker._tracks[1].state = "visible"
        tracker._mend(Look(look(), Masks.empty(*SIZE), k * 0.1, SIZE))
        assert (tracker.get(2).state == "visible") is (k < 3)
        if k == 3:
            break
    assert tracker.counts.merged == 1
    assert tracker.get(1).state == "visible"


def test_contested_are_hidden_objects_and_those_that_touch() -> None:
    tracker = Tracker()
    rows = look(mug(60, 60), mug(90, 60), bowl(180, 180), mug(30, 220))
    tracker.update(rows, None, 0.0, SIZE)
    assert tracker.contested(0.1) == (1, 2)
    tracker.update(rows.take([0, 1, 2]), None, 0.1, SIZE)
    assert tracker.contested(0.2) == (1, 2, 4)
    assert Tracker().contested(0.0) == ()


def test_visible_object_does_not_take_what_a_hidden_one_comes_back_as() -> None:
    """A ball rolls behind a mug; when it comes out before it, the mug is not called a ball."""
    tracker = Tracker()
    seen = {"appearance_nd": vectors(0, 20)}
    for k in range(4):
        rows = look(mug(60 + 10 * k, 60), (box(120, 60), "ball", "red", 0.9))
        assert tracker.update(rows, None, 0.1 * k, SIZE, **seen) == (1, 2)
    tracker.update(look((box(120, 60), "ball", "red", 0.9)), None, 0.4, SIZE)
    assert tracker.get(1).state == "occluded"
    came = look(mug(118, 60))  # where the ball was, which it covers now
    assert tracker.update(came, None, 0.5, SIZE, appearance_nd=vectors(0)) == (1,)
    assert tracker.get(2).state == "occluded"


def test_pending_counts_candidates() -> None:
    tracker = Tracker(TrackerConfig(settle_s=0.0, first_score=0.5))
    tracker.update(look(mug(60, 60)), None, 0.0, SIZE)
    assert tracker.pending == 0
    tracker.update(look(mug(60, 60), bowl(180, 180)), None, 0.1, SIZE)
    assert tracker.pending == 1


# ---- bounds and errors


def test_number_of_tracks_is_bounded_and_drops_are_counted() -> None:
    tracker = Tracker(TrackerConfig(max_tracks=5))
    grid = [mug(20 + 50 * (k % 4), 20 + 50 * (k // 4)) for k in range(8)]
    ids = tracker.update(look(*grid), None, 0.0, SIZE)
    assert sorted(ids) == [0, 0, 0, 1, 2, 3, 4, 5]
    assert tracker.counts.dropped_full == 3


def test_nothing_grows_over_a_long_stream() -> None:
    tracker = Tracker(TrackerConfig(max_left=8))
    rng = np.random.default_rng(0)
    for k in range(400):
        rows = [
            (box(*rng.uniform(30, 226, 2)), str(rng.integers(6)), "red", float(rng.uniform(0.3, 1)))
            for _ in range(4)
        ]
        tracker.update(look(*rows), None, k / 8, SIZE)
        assert len(tracker.tracks) + len(tracker._candidates) <= 64
        assert len(tracker._left) <= 8
        assert len({t.id for t in tracker.tracks}) == len(tracker.tracks)


def test_time_may_not_run_backwards_and_columns_must_fit() -> None:
    tracker = Tracker()
    tracker.update(look(mug(60, 60)), None, 1.0, SIZE)
    with pytest.raises(InputError, match=r"do not decrease, got 0\.5 after 1"):
        tracker.update(look(), None, 0.5, SIZE)
    with pytest.raises(InputError, match="expected 1 masks"):
        tracker.update(look(mug(60, 60)), Masks.empty(*SIZE), 1.1, SIZE)
    with pytest.raises(InputError, match="expected 1 vectors"):
        tracker.update(look(mug(60, 60)), None, 1.1, SIZE, appearance_nd=vectors())
    with pytest.raises(InputError, match="expected 2 followed masks"):
        tracker.update(look(), None, 1.1, SIZE, followed=([1, 2], remembered(square(0, 0, 9))))
    with pytest.raises(InputError, match="id of a track, got 9"):
        tracker.follow([9], masks_of(square(0, 0, 9)), 1.2, SIZE)


def test_reserved_ids_are_never_given() -> None:
    t = Tracker()
    assert t.update(look(mug(60, 60)), None, 0.0, SIZE) == (1,)
    assert (t.reserve(3), t.reserve(1)) == (2, 5)
    assert t.update(look(mug(60, 60), bowl(180, 180)), None, 0.1, SIZE) == (1, 6)


def test_ids_are_reserved_from_many_threads_once_each() -> None:
    t = Tracker()
    given: list[int] = []

    def take() -> None:
        given.extend(t.reserve(1) for _ in range(2000))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given) == list(range(1, 8001))
