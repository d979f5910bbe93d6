"""Tasks: IoU by hand, with areas and with masks; simulated tasks are the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from edgetwin.distill.stages.recipe import DataChoice, WorldsChoice
from edgetwin.distill.tasks.task import Task, iou_of
from edgetwin.distill.tasks.worlds import Joined, Worlds, tasks_of, tools_of, validation_tasks
from edgetwin.tests.distill.questions_window import small_window
from edgetwin.twin import mask as masks
from edgetwin.twin.errors import InputError
from edgetwin.twin.schema import FrameTwin, ObjectTwin
from edgetwin.twin.window import TwinWindow


def task(ids: tuple[int, ...]) -> Task:
    return Task("t", small_window(), "Which?", ids)


@pytest.mark.parametrize(
    ("truth", "given", "iou"),
    [
        ((1,), (1, 2), 900 / 1476),  # areas (2 * 15)^2 = 900 and (2 * 12)^2 = 576
        ((1, 2), (1,), 900 / 1476),
        ((1,), (2,), 0.0),
        ((5,), (5,), 1.0),
        ((5,), (), 0.0),
        ((), (), 1.0),
        ((), (3,), 0.0),
        # the banana (784) is there in 10 of 16 frames: 6 frames 1, 10 frames 900 / 1684
        ((1, 5), (1,), (6 + 10 * 900 / 1684) / 16),
        ((1,), (99,), 0.0),
    ],
)
def test_iou_by_areas(truth: tuple[int, ...], given: tuple[int, ...], iou: float) -> None:
    assert iou_of(task(truth), given) == pytest.approx(iou)


def masked(rows: dict[int, tuple[slice, slice]], index: int) -> FrameTwin:
    """A 4x4 frame with objects that are rectangles of it."""
    objects = {}
    for i, where in rows.items():
        mask = np.zeros((4, 4), bool)
        mask[where] = True
        box = (where[1].start, where[0].start, where[1].stop, where[0].stop)
        objects[i] = ObjectTwin(
            id=i,
            semantic_label="mug",
            confidence=1.0,
            mask=masks.encode(mask),
            box_xyxy=box,
            centroid=(1.0, 1.0),
            area=int(mask.sum()),
            first_seen=0.0,
            last_seen=index / 8,
        )
    return FrameTwin(index=index, timestamp_s=index / 8, width=4, height=4, objects=objects)


def test_iou_by_true_masks_counts_pixels_and_frames() -> None:
    left, right = (slice(0, 4), slice(0, 2)), (slice(0, 4), slice(2, 4))
    window = TwinWindow([masked({1: left, 2: right}, 0), masked({2: right}, 1)])
    truth = np.zeros((4, 4), bool)
    truth[:, 1:3] = True  # half of each object
    task = Task("t", window, "Which?", (1,), truth={0: masks.encode(truth)})
    # object 1, frame 0: 4 of 8 + 8 - 4 pixels; frame 1: neither has a pixel
    assert iou_of(task, (1,)) == pytest.approx(4 / 12)
    # both, frame 0: 8 of 16; frame 1: the right object alone, nothing true
    assert iou_of(task, (1, 2)) == pytest.approx((8 / 16 + 0) / 2)
    assert iou_of(task, ()) == 0.0


def test_true_ids_must_be_in_the_twin() -> None:
    with pytest.raises(InputError, match="expected true ids of the twin"):
        task((7,))


def worlds(**more: object) -> Worlds:
    return Worlds(WorldsChoice(first=3, count=6, per_world=4, **more), seed=5)  # type: ignore[arg-type]


def test_simulated_tasks_are_the_same_in_any_order() -> None:
    one, other = worlds(), worlds()
    forward = [(t.key, t.question, t.ids) for t in one[:24]]
    backward = [(other[i].key, other[i].question, other[i].ids) for i in reversed(range(24))]
    assert forward == backward[::-1]
    assert one[-1].key == one[23].key
    with pytest.raises(IndexError):
        one[24]


def test_another_seed_asks_other_questions() -> None:
    choice = WorldsChoice(first=3, count=2, per_world=4)
    assert [t.question for t in Worlds(choice, 0)[:8]] != [
        t.question for t in Worlds(choice, 1)[:8]
    ]


def test_their_reference_answers_them() -> None:
    for one in worlds(restricted=1.0, follow_up=0.3)[:24]:
        assert one.reference is not None
        results = tools_of(one).run_plan(__import__("json").loads(one.reference.plan), one.scene)
        value = results[-1].value
        assert isinstance(value, list)
        assert sorted(value) == list(one.ids)  # type: ignore[type-var]
        assert one.whole is not None


def test_modes_of_the_recipe_are_asked_for() -> None:
    assert {t.mode for t in worlds(modes=["detailed"])[:24]} == {"detailed"}


def test_worlds_of_validation_and_test_cannot_be_named() -> None:
    with pytest.raises(ValueError, match="below 500000"):
        WorldsChoice(first=499_999, count=2)


def test_a_recipe_may_join_several_sources() -> None:
    data = DataChoice(worlds=WorldsChoice(count=2, per_world=2))
    joined = Joined([tasks_of(data), tasks_of(data)])
    assert len(joined) == 8
    assert [joined[5].key, joined[-1].key] == [joined[1].key, joined[3].key]
    with pytest.raises(IndexError):
        joined[8]
    with pytest.raises(ValueError, match="got neither"):
        DataChoice()


def test_validation_asks_in_unseen_words_too() -> None:
    asked = validation_tasks(2, 4)
    assert len(asked) == 8
    assert asked == validation_tasks(2, 4)
    assert all(t.key.startswith("validation/") for t in asked)
