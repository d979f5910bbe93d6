"""Following what a model pointed at: ids, bounds, memory or boxes, and what is told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetwin.deploy.vision import perceiver as module
from edgetwin.deploy.vision.base import Log, Proposal
from edgetwin.deploy.vision.perceiver import VisionPerceiver
from edgetwin.perception.bundle import load_bundle
from edgetwin.perception.segmenter import Segmenter
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import InputError, ModelError
from edgetwin.twin.frame import Frame

from .truth import frames, iou, true_mask, truths

GLASS, BOOK, PAN, LAMP, BOTTLE, SCISSORS = range(1, 7)
SEGMENTER = Segmenter(load_bundle("embedded"))


class Pointer:
    """Points at true objects of a frame; what it was asked is kept."""

    def __init__(self, *ids: int, step: Callable[[int], int] = lambda _: 0) -> None:
        self.ids, self.calls, self.step = ids, 0, step

    def propose(self, image_hw3: NDArray[np.uint8], query: str, deadline_s: float | None = None) -> Proposal:  # fmt: skip
        step = self.step(self.calls)
        self.calls += 1
        log = Log()
        log.trace["policy"] = "pointer"
        rows = [(true_mask(i, step), 0.9, f"thing {i}", "red") for i in self.ids]
        return log.close(image_hw3, rows)


def play(perceiver: VisionPerceiver, steps: range) -> list[dict[int, NDArray[np.bool_] | None]]:
    """Masks by id of every fourth frame of the clip."""
    found = []
    for step in steps:
        twin = perceiver.observe(Frame(step, step * 0.5, frames()[4 * step]))
        objects = twin.objects.values()
        found.append({o.id: None if o.mask is None else rle.decode(o.mask) for o in objects})
    return found


@pytest.mark.parametrize("remembers", [True, False])
def test_masks_follow_by_memory_and_by_boxes(remembers: bool) -> None:
    pointer = Pointer(GLASS, LAMP)
    perceiver = VisionPerceiver(pointer, SEGMENTER, ["what?"], remembers=remembers)
    shown = play(perceiver, range(4))
    assert pointer.calls == 1
    for step, masks in enumerate(shown):
        for own, object_id in ((1, GLASS), (2, LAMP)):
            mask = masks[own]
            assert mask is not None
            assert iou(mask, true_mask(object_id, step)) > 0.85


def test_a_moving_object_is_followed_and_its_speed_told() -> None:
    perceiver = VisionPerceiver(Pointer(SCISSORS), SEGMENTER, ["what?"], remembers=True)
    twins = [
        perceiver.observe(Frame(step, step * 0.1, frames()[4 * step]))
        for step in range(len(truths()))
    ]
    moved = truths()[-1].objects[SCISSORS].centroid[0] - truths()[0].objects[SCISSORS].centroid[0]
    assert moved < -30
    own = [twin.objects[1] for twin in twins]
    assert own[-1].centroid[0] - own[0].centroid[0] == pytest.approx(moved, abs=6)
    summed = sum(o.velocity[0] * 0.1 for o in own)
    assert summed == pytest.approx(moved, abs=8)
    assert (own[0].first_seen, own[-1].first_seen) == (0.0, 0.0)
    assert own[-1].last_seen == pytest.approx(twins[-1].timestamp_s)


def test_the_same_object_keeps_its_id_and_a_new_one_gets_another() -> None:
    pointer = Pointer(GLASS, step=lambda call: call)
    perceiver = VisionPerceiver(pointer, SEGMENTER, ["a?", "b?"], frozenset({0, 2}), remembers=True)
    pointer.step = lambda call: 0 if call < 2 else 2
    shown = play(perceiver, range(3))
    assert pointer.calls == 4
    assert [asked.ids for asked in perceiver.asked.values()] == [[1], [1]]
    pointer.ids = (BOOK,)
    perceiver._keyframes = frozenset({3})
    pointer.step = lambda call: 3
    assert set(play(perceiver, range(3, 4))[0]) == {1, 2}
    assert set(shown[-1]) == {1}
    assert [asked.ids for asked in perceiver.asked.values()] == [[1, 2], [1, 2]]


def test_what_memory_cannot_find_is_occluded_where_it_was_last() -> None:
    perceiver = VisionPerceiver(Pointer(GLASS), SEGMENTER, ["what?"], remembers=True)
    perceiver.observe(Frame(0, 0.0, frames()[0]))
    empty = np.full_like(frames()[0], 110)
    twin = perceiver.observe(Frame(1, 0.5, empty))
    glass = twin.objects[1]
    assert (glass.state, glass.mask, glass.velocity) == ("occluded", None, (0.0, 0.0))
    assert glass.last_seen == 0.0
    back = perceiver.observe(Frame(2, 1.0, frames()[8])).objects[1]
    assert back.state == "visible"
    assert back.mask is not None
    assert iou(rle.decode(back.mask), true_mask(GLASS, 2)) > 0.85


def test_objects_are_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FOLLOWED", 2)
    perceiver = VisionPerceiver(Pointer(GLASS, BOOK, LAMP), SEGMENTER, ["what?"], remembers=True)
    shown = play(perceiver, range(2))
    assert set(shown[-1]) == {1, 2}
    assert perceiver.left_out == 1


def test_a_model_that_fails_is_not_asked_again() -> None:
    class Broken(Pointer):
        def propose(self, image_hw3: NDArray[np.uint8], query: str, deadline_s: float | None = None) -> Proposal:  # fmt: skip
            self.calls += 1
            raise ModelError("expected an answer, got none: start the server")

    broken = Broken()
    perceiver = VisionPerceiver(broken, SEGMENTER, ["what?"], frozenset({0, 1}))
    assert play(perceiver, range(2)) == [{}, {}]
    assert broken.calls == 1
    assert perceiver.asked["what?"].error.endswith("start the server")


def test_proposals_are_checked() -> None:
    log = Log()
    with pytest.raises(InputError, match="status ok only"):
        Proposal("ok", np.zeros((0, 4, 4), bool), np.zeros(0, np.float32), (), ())
    with pytest.raises(InputError, match="one per mask"):
        Proposal("ok", np.ones((1, 4, 4), bool), np.zeros(0, np.float32), (), ())
    found = log.close(np.zeros((4, 4, 3), np.uint8), [(np.ones((4, 4), bool), 1.7, "x", None)])
    assert found.scores_n.tolist() == [1.0]
