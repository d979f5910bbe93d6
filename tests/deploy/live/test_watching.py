"""What newly holds: windows of bounded time, edges without doubles, rules on twins."""

from __future__ import annotations

from typing import Any

import pytest

from edgetwin.deploy.live.compiling import NoPlanError, Rule, Scene, stand
from edgetwin.deploy.live.errors import BusyError
from edgetwin.deploy.live.lookback import Lookback
from edgetwin.deploy.live.watches import Watch, WatchLimits
from edgetwin.deploy.live.watching import Edges, Held, holding
from edgetwin.deploy.live.wordings import Condition, Wanted
from edgetwin.twin.schema import FrameTwin, State
from edgetwin.twin.window import TwinWindow

from .standings import MOVED, MUG, thing, twin

NEAR: list[dict[str, Any]] = [
    {"tool": "find", "words": ["mug"]},
    {"tool": "find", "words": ["bowl"]},
    {"tool": "distance", "a": "$1", "b": "$2", "space": "pixel"},
]
COUNT = [*MUG, {"tool": "count", "ids": "$1"}]


def rule(plan: list[dict[str, Any]], condition: Condition | None = None) -> Rule:
    return stand(Wanted("asked", condition), {"plan": plan}, Scene())


# ---- windows


def test_a_lookback_is_bounded_in_time_and_rate() -> None:
    lookback = Lookback(2.0, 10.0)
    taken = 0
    for k in range(300):  # 30 frames/s, ten seconds
        at = k / 30
        if lookback.wants(at):
            lookback.add(twin(at, thing(1)))
            taken += 1
    assert 98 <= taken <= 103
    window = lookback.window()
    assert window.end_s - window.start_s <= 2.0 + 1e-6
    assert 20 <= len(window) <= 22


def test_every_frame_of_a_slow_stream_is_taken() -> None:
    lookback = Lookback(4.0, 10.0)
    for k in range(80):
        assert lookback.wants(k / 8)
        lookback.add(twin(k / 8))


def test_a_clock_that_goes_back_begins_anew() -> None:
    lookback = Lookback(4.0, 10.0)
    lookback.add(twin(5.0, thing(1)))
    assert lookback.wants(1.0)
    lookback.add(twin(1.0, thing(2)))
    assert lookback.window().ids() == [2]


def test_what_comes_out_of_hiding_did_not_appear() -> None:
    lookback = Lookback(1.0, 10.0)
    appeared = rule([{"tool": "appeared"}])
    for k in range(30):
        state = "visible" if k < 5 or k > 20 else "occluded"
        lookback.add(twin(k / 10, thing(1, state=state)))
        if k > 11:
            assert holding(appeared, lookback.window()).keys == frozenset()
    for k in range(30, 36):
        lookback.add(twin(k / 10, thing(1), *([thing(2)] if k > 32 else [])))
    assert holding(appeared, lookback.window()).keys == {2}


# ---- edges


def steps(edges: Edges, held: str, hidden: str = "") -> list[int]:
    """Where object 1 newly counts; one letter an evaluation, .1 s apart: # it holds."""
    hiding = hidden.ljust(len(held))
    found = []
    for k, (a, b) in enumerate(zip(held, hiding, strict=True)):
        if edges.step({1} if a == "#" else set(), {1} if b == "h" else set(), k / 10):
            found.append(k)
    return found


@pytest.mark.parametrize(
    ("held", "hidden", "rises"),
    [
        ("####......", "", [2]),
        ("##.##.##.##", "", []),  # flicker never counts
        ("###.#.#.###.###", "", [2]),  # and does not count twice
        ("###.........###", "", [2]),  # .9 s without is not enough
        ("###..........###", "", [2, 15]),
        ("###............###", "   hhhhhhhhhhhh", [2]),  # hidden: not known, so nothing new
        ("..", "", []),
        ("##", "", []),
    ],
)
def test_edges_forgive_flicker(held: str, hidden: str, rises: list[int]) -> None:
    assert steps(Edges(rise=3, fall_s=1.0), held, hidden) == rises


def test_what_held_before_is_nothing_new() -> None:
    edges = Edges(rise=1, fall_s=0.5)
    edges.settle([1], 0.0)
    assert edges.step({1, 2}, set(), 0.1) == [2]


def test_edges_forget() -> None:
    edges = Edges(rise=2, fall_s=0.2)
    for k in range(1000):
        edges.step({k}, set(), k / 10)
    assert len(edges._states) <= 4


# ---- rules on twins


def at(*frames: FrameTwin) -> TwinWindow:
    return TwinWindow(frames)


def test_objects_that_are_gone_are_not_there() -> None:
    here = thing(1)
    gone = at(twin(0, here), twin(0.1, thing(1, state="left")))
    assert holding(rule(MUG), at(twin(0, here))) == Held(frozenset({1}), (1,))
    assert holding(rule(MUG), gone) == Held()
    hidden = at(twin(0, here), twin(0.1, thing(1, state="occluded")))
    assert holding(rule(MUG), hidden).keys == {1}
    left = rule([*MUG, {"tool": "disappeared", "ids": "$1"}])
    assert holding(left, gone).keys == {1}


def test_a_count_is_of_what_is_there() -> None:
    more = rule(COUNT, Condition(">", 1.0))
    two = at(twin(0, thing(1), thing(2, 20)))
    assert holding(more, two) == Held(frozenset({0}), (1, 2), 2.0)
    assert holding(more, at(twin(0, thing(1), thing(2, 20, state="left")))).keys == frozenset()
    none = rule(COUNT, Condition("==", 0.0))
    assert holding(none, at(twin(0, thing(3, label="bowl")))).keys == {0}


def test_near_is_a_part_of_the_diagonal() -> None:
    near = rule(NEAR, Condition("<", 0.2, "diagonal"))
    bowl = thing(2, 50, label="bowl")
    close = holding(near, at(twin(0, thing(1, 30), bowl)))
    assert close.keys == {0}
    assert close.value == pytest.approx(20 / 141.42, rel=0.01)
    assert holding(near, at(twin(0, thing(1, 10), bowl))).keys == frozenset()
    assert holding(near, at(twin(0, bowl))).keys == frozenset()


@pytest.mark.parametrize(
    ("x", "y", "edge", "holds"),
    [(12, 50, "left", True), (12, 50, "right", False), (90, 50, "any", True), (50, 50, "any", False),
     (50, 12, "top", True), (50, 93, "bottom", True)],
)  # fmt: skip
def test_edges_of_the_picture(x: float, y: float, edge: str, holds: bool) -> None:
    near = rule(MUG, Condition(edge=edge))
    assert bool(holding(near, at(twin(0, thing(1, x, y)))).keys) == holds


def test_times_hold_while_they_last() -> None:
    hidden = rule([*MUG, {"tool": "when", "ids": "$1", "event": "hidden"}])
    frames = [twin(0, thing(1)), twin(0.1, thing(1, state="occluded"))]
    assert holding(hidden, at(*frames)).keys == {1}
    assert holding(hidden, at(*frames, twin(0.2, thing(1)))).keys == frozenset()


# ---- one question at work


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def watching(plan: list[dict[str, Any]], **limits: Any) -> tuple[Watch, Lookback, Clock]:
    clock = Clock()
    watch = Watch(
        "s1", "table", "tell me when a mug is there", limits=WatchLimits(**limits), clock=clock
    )
    watch.take(rule(plan))
    return watch, Lookback(4.0, 10.0), clock


def run(watch: Watch, lookback: Lookback, frames: list[FrameTwin]) -> list[tuple[float, int]]:
    found = []
    for frame in frames:
        lookback.add(frame)
        seen = watch.look(lookback.window(), lookback, frame)
        found += [(frame.timestamp_s, key) for key in (seen[1] if seen else ())]
    return found


def test_a_motion_is_one_event() -> None:
    watch, lookback, _ = watching(MOVED, rise=2)
    xs = (
        [20.0] * 10
        + [20 + 4 * k for k in range(10)]
        + [60.0] * 60
        + [60 - 4 * k for k in range(10)]
    )
    found = run(watch, lookback, [twin(k / 10, thing(1, x)) for k, x in enumerate(xs)])
    assert [key for _, key in found] == [1, 1]
    assert 1.0 < found[0][0] < 1.6
    assert found[1][0] > 8.0


def test_after_a_break_what_holds_soon_is_old() -> None:
    watch, lookback, _ = watching(MUG, rise=1, break_s=0.5)
    assert run(watch, lookback, [twin(0, thing(1))]) == [(0.0, 1)]
    watch.broke(1.0)
    lookback = Lookback(4.0, 10.0)
    frames = [twin(1 + k / 10, thing(5), *([thing(6)] if k > 6 else [])) for k in range(10)]
    assert [key for _, key in run(watch, lookback, frames)] == [6]


def test_events_are_bounded_in_a_minute() -> None:
    watch, _, clock = watching(MUG, events_per_minute=3)
    assert [watch.may_raise() for _ in range(5)] == [True, True, True, False, False]
    assert "2 events were too many" in watch.record().message
    clock.now = 61.0
    assert watch.may_raise()


def test_plans_are_asked_for_a_bounded_number_of_times() -> None:
    clock = Clock()
    watch = Watch(
        "s1", "table", "tell me when a mug moves", limits=WatchLimits(compilations=3), clock=clock
    )
    window = at(twin(0, thing(1)))
    assert watch.wish(at(twin(0))) == ""  # nothing to speak of yet
    for k in range(3):
        clock.now += 100
        labels = ["mug", "bowl", "spoon"][: k + 1]
        window = at(twin(0, *(thing(i + 1, label=label) for i, label in enumerate(labels))))
        assert watch.wish(window) != ""
        watch.compiled += 1
        watch.refuse(NoPlanError("expected a plan, got none"), Scene(frozenset(labels)))
        assert watch.wish(window) == ""  # the same would come of it
    clock.now += 100
    assert watch.wish(window) == ""
    assert watch.record().state == "failed"
    assert "no plan after 3 attempts" in watch.record().message


def test_a_busy_reasoner_is_asked_later() -> None:
    clock = Clock()
    watch = Watch("s1", "table", "tell me when a mug moves", clock=clock)
    window = at(twin(0, thing(1)))
    watch.compiled += 1
    watch.refuse(BusyError("expected room", 2.0), None, 2.0)
    assert watch.compiled == 0
    assert watch.wish(window) == ""
    clock.now = 2.1
    assert watch.wish(window) != ""


def test_a_plan_that_fails_is_told_and_made_anew() -> None:
    watch, lookback, clock = watching([{"tool": "moved", "ids": [1]}])
    run(watch, lookback, [twin(k / 10, thing(2)) for k in range(4)])
    assert "cannot be computed at the moment" in watch.record().message
    clock.now = 10.0
    assert "#1, which is gone" in watch.wish(lookback.window())


# ---- what went and came back


@pytest.mark.parametrize(
    ("away", "to", "state", "again"),
    [
        (7, 90, "occluded", True),  # elsewhere
        (7, 50, "occluded", False),  # where it was: perception missed it
        (3, 90, "occluded", False),  # too short
        (32, 50, "occluded", True),  # some seconds
        (3, 50, "left", True),  # it was told to have left
        (7, 95, "occluded", True),  # at the picture's edge
    ],
)
def test_what_was_gone_comes_in_again(away: int, to: float, state: State, again: bool) -> None:
    watch, lookback, _ = watching([*MUG, {"tool": "appeared", "ids": "$1"}], rise=1)
    frames = [twin(k / 10) for k in range(10)]
    frames += [twin(1 + k / 10, thing(1, 50)) for k in range(20)]
    frames += [twin(3 + k / 10, thing(1, 50, state=state)) for k in range(away)]
    frames += [twin(3 + away / 10 + k / 10, thing(1, to)) for k in range(20)]
    assert len(run(watch, lookback, frames)) == 1 + again


def test_what_comes_out_behind_something_did_not_come_in() -> None:
    watch, lookback, _ = watching([*MUG, {"tool": "appeared", "ids": "$1"}], rise=1)
    box = thing(2, 50, 55, label="box", size=30)
    frames = [twin(k / 10, thing(1, 50), box) for k in range(10)]
    frames += [twin(1 + k / 10, thing(1, 50, state="occluded"), box) for k in range(40)]
    frames += [twin(5 + k / 10, thing(1, 80), box) for k in range(20)]
    assert run(watch, lookback, frames) == []


def test_what_is_remembered_of_objects_is_bounded() -> None:
    lookback = Lookback(1.0, 10.0)
    for k in range(3000):
        lookback.add(twin(k / 2, thing(k + 1)))
    assert len(lookback._seen) <= 300
    assert len(lookback._back_s) <= 10
