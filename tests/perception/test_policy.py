"""When the perceiver looks: one reason at a time, and within a budget of scripted costs."""

from __future__ import annotations

import numpy as np
import pytest

from edgetwin.perception.perceiver import Perceiver, PerceiverConfig
from edgetwin.perception.policy import Followed, Policy, PolicyConfig
from edgetwin.perception.sense import Preparer
from edgetwin.perception.timing import Timings
from edgetwin.perception.tracker import TrackerConfig
from edgetwin.twin.errors import InputError
from edgetwin.twin.frame import Frame

from .eyes import BLUE, RED, Clock, Eyes, Picture, bundle, picture, play

MUG = (RED, (10, 20, 30, 40))


def watching(eyes: Eyes, look_every: int = 100, **kwargs: object) -> Perceiver:
    """A perceiver that looks when something happens, and else hardly ever."""
    values = {"tracker": TrackerConfig(settle_s=0.0), "max_interval": 200} | kwargs
    config = PerceiverConfig(look_every=look_every, **values)
    return Perceiver(
        bundle(), config=config, detector=eyes, segmenter=eyes, depth=eyes, clock=eyes.clock
    )


def test_nothing_happens_nothing_is_looked_at() -> None:
    p = watching(Eyes())
    play(p, [picture(MUG)] * 40)
    assert p.counts.looks == {"start": 1}


def test_interval() -> None:
    p = watching(Eyes(), look_every=5)
    play(p, [picture(MUG)] * 21)
    assert p.counts.looks == {"start": 1, "interval": 4}


def test_scene() -> None:
    p = watching(Eyes())
    play(p, [picture()] * 3 + [np.full((64, 96, 3), 220, np.uint8)] * 5)
    assert p.counts.looks == {"start": 1, "scene": 1}
    assert p.counts.measured == 3  # first, scene, and four frames later


def test_new_region_is_looked_at_once_and_becomes_an_object() -> None:
    eyes = Eyes()
    p = watching(eyes, tracker=TrackerConfig(settle_s=0.0, confirmations=1))
    bowl = (BLUE, (60, 16, 80, 36))
    twins = play(p, [picture(MUG)] * 6 + [picture(MUG, bowl)] * 10)
    assert p.counts.looks == {"start": 1, "new": 1}
    assert twins[6].objects[2].semantic_label == "bowl"


def test_known_objects_that_move_are_nothing_new() -> None:
    p = watching(Eyes())
    play(p, [picture((RED, (10 + 2 * k, 20, 30 + 2 * k, 40))) for k in range(20)])
    assert p.counts.looks == {"start": 1}


def test_a_thing_without_a_word_does_not_ask_at_every_frame() -> None:
    """A green hand moves all over the picture; the detector has no name for it."""
    p = watching(Eyes(), policy=PolicyConfig(pause=4))
    hands = [picture(MUG, ((0, 160, 0), (34 + 4 * k, 10, 46 + 4 * k, 50))) for k in range(12)]
    play(p, [picture(MUG)] * 4 + hands)
    assert set(p.counts.looks) == {"start", "new"}
    assert p.counts.looks["new"] == 3  # at frames 4, 8 and 12


def test_lost() -> None:
    p = watching(Eyes(), policy=PolicyConfig(new_change=255.0))
    away = picture((RED, (45, 20, 65, 40)))
    twins = play(p, [picture(MUG)] * 3 + [away] * 5)
    assert p.counts.looks == {"start": 1, "lost": 1}
    assert twins[-1].objects[1].box_xyxy == (45, 20, 65, 40)


def test_quality() -> None:
    eyes = Eyes()
    p = watching(eyes)
    play(p, [picture(MUG)] * 4)
    eyes.quality = 0.4  # good enough to follow, too poor to be left alone
    play_on = [p.observe(Frame(k, k * 0.1, picture(MUG))) for k in range(4, 14)]
    assert p.counts.looks == {"start": 1, "quality": 4}  # at frames 4, 7, 10 and 13
    assert play_on[-1].objects[1].state == "visible"


def test_a_moving_camera_is_no_new_region() -> None:
    """A textured table shifts as a whole by up to twelve pixels; then something is put on it."""
    rng = np.random.default_rng(0)
    blobs = np.kron(rng.integers(30, 120, (40, 50)), np.ones((8, 8)))
    table = np.repeat(blobs[..., None], 3, axis=2).astype(np.uint8)

    def seen(k: int, patch: bool = False) -> Picture:
        frame = table[40 : 40 + 128, 40 + 2 * k : 40 + 2 * k + 192].copy()
        if patch:
            frame[20:60, 20:60] = 255
        return frame

    config = PolicyConfig(look_every=50, max_interval=50, scene_change=255.0)
    timings = Timings("prepare", "detector", "depth", "memory")
    prepare, policy = Preparer(640, timings), Policy(config, timings)
    reasons = []
    for k in range(8):
        view = prepare(Frame(k, k * 0.1, seen(min(k, 6), patch=k == 7)))
        reason = policy.before(view, settling=k == 0)
        reasons.append(reason or policy.after(view, [], Followed()))
        policy.finish(view, [])
    assert reasons == ["start", None, None, None, None, None, None, "new"]


def test_the_same_pictures_give_the_same_decisions() -> None:
    rng = np.random.default_rng(3)
    places = np.cumsum(rng.integers(-9, 10, (60, 2)), axis=0).clip(0, 40)
    pictures = [picture((RED, (x, y, x + 20, y + 20))) for x, y in places]
    first, second = watching(Eyes(), look_every=7), watching(Eyes(), look_every=7)
    assert play(first, pictures) == play(second, pictures)
    assert first.counts == second.counts
    assert sum(first.counts.looks.values()) < 60


# ---- budget: encoder 10 ms and one mask call 5 ms are always needed, a look is 20, depth 40


def budgeted(
    budget_ms: float | None, frames: int = 400, **kwargs: object
) -> tuple[Perceiver, float]:
    """Return a perceiver after so many frames, and its mean milliseconds per frame."""
    clock = Clock()
    eyes = Eyes(clock, encode=10.0, boxes=5.0, detect=20.0, depth=40.0)
    p = watching(eyes, 1, budget_ms=budget_ms, **{"max_interval": 30} | kwargs)
    play(p, [picture(MUG)] * frames)
    return p, clock.now * 1000 / frames


def test_without_a_budget_everything_runs() -> None:
    p, mean_ms = budgeted(None)
    assert mean_ms == pytest.approx(10 + 5 + 20 + 10)
    assert (p.counts.looks, p.counts.skipped) == ({"start": 1, "interval": 399}, {})


@pytest.mark.parametrize("budget_ms", [18.0, 25.0, 35.0])
def test_budget_is_kept_and_used(budget_ms: float) -> None:
    p, mean_ms = budgeted(budget_ms)
    assert 0.9 * budget_ms < mean_ms <= 1.02 * budget_ms
    assert p.counts.measured > 3
    assert sum(p.counts.looks.values()) > 13


def test_generous_budget_changes_nothing() -> None:
    p, mean_ms = budgeted(100.0)
    assert mean_ms == pytest.approx(45.0)
    assert p.counts.skipped == {}


def test_a_budget_below_the_least_leaves_the_floor() -> None:
    """Looks every 30 frames and depth every 120; nothing else that can wait."""
    p, mean_ms = budgeted(5.0)
    assert sum(p.counts.looks.values()) == 14
    assert p.counts.measured == 4
    assert mean_ms == pytest.approx(15 + (14 * 20 + 4 * 40) / 400)


def test_even_at_the_floor_new_objects_are_confirmed() -> None:
    """Nothing but the interval is left, and a thing must be seen twice within a second."""
    clock = Clock()
    eyes = Eyes(clock, encode=10.0, boxes=5.0, detect=20.0)
    p = watching(eyes, 1, budget_ms=1.0, max_interval=30)
    twins = play(p, [picture(MUG)] * 40 + [picture(MUG, (BLUE, (60, 16, 80, 36)))] * 40)
    assert [len(twin.objects) for twin in twins] == [1] * 61 + [2] * 19
    assert p.counts.looks == {"start": 1, "interval": 2, "confirm": 1}
    assert p.counts.skipped["new"] > 10


def test_reasons_in_the_picture_may_go_into_debt_but_not_for_ever() -> None:
    clock = Clock()
    eyes = Eyes(clock, encode=10.0, boxes=5.0, detect=20.0)
    p = watching(eyes, 4, budget_ms=17.0, max_interval=30)
    scenes = [np.full((64, 96, 3), 40 + 150 * (k % 2), np.uint8) for k in range(200)]
    play(p, scenes)
    assert p.counts.skipped["scene"] > 100
    assert clock.now * 1000 / 200 <= 1.02 * 17.0


def test_budget_spares_memories() -> None:
    timings = Timings("prepare", "detector", "depth", "memory")
    policy = Policy(PolicyConfig(budget_ms=10.0), timings)
    assert policy.memories(8) == 8
    prepare = Preparer(640, timings)
    for stage in ("detector", "depth"):
        timings.add(stage, 20.0)
    for k in range(20):
        view = prepare(Frame(k, k * 0.1, picture()))
        view.spent_ms[:] = [9.0]
        policy.before(view, settling=False)
        policy.finish(view, [])
    assert policy.memories(8) == 1
    assert policy.look_interval > 5


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="pause >= 1"):
        PolicyConfig(pause=0)
    with pytest.raises(InputError, match="max_interval >= look_every"):
        PolicyConfig(look_every=5, max_interval=4)
    with pytest.raises(InputError, match="budget_ms above 0"):
        PerceiverConfig(budget_ms=0.0)
