"""One perceiving thread for many streams: fair by time, and nobody's failure is another's."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edgetwin.deploy.live.pool import PerceptionPool
from edgetwin.deploy.live.queue import FrameQueue, Taken
from edgetwin.twin.errors import InputError, ModelError
from edgetwin.twin.frame import Frame

PICTURE = np.zeros((2, 2, 3), np.uint8)


class Clock:
    """Seconds that pass when work says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool(clock: Clock) -> Iterator[PerceptionPool]:
    pool = PerceptionPool(clock)
    yield pool
    assert pool.close(5)


class Stream:
    """A queue whose work takes some seconds of the clock and is written down."""

    def __init__(self, pool: PerceptionPool, clock: Clock, served: list[str], key: str) -> None:
        self.queue = FrameQueue(1000, "drop_oldest", ready=pool.wake)
        self.key, self.clock, self.served = key, clock, served
        self.cost_s = 1.0
        self.error: Exception | None = None
        self.told: list[str] = []

    def work(self, taken: Taken) -> None:
        self.clock.now += self.cost_s
        self.served.append(self.key)
        if self.error is not None:
            raise self.error

    def failed(self, taken: Taken, error: Exception) -> None:
        self.told.append(f"{taken.frame.index}: {error}")

    def put(self, count: int) -> None:
        for index in range(count):
            self.queue.put(Frame(index, index / 10, PICTURE), 0.0)


def until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.005)
    raise AssertionError("it did not come true in time")


@pytest.fixture
def stream(pool: PerceptionPool, clock: Clock) -> Callable[[str], Stream]:
    served: list[str] = []
    return lambda key: Stream(pool, clock, served, key)


def held(pool: PerceptionPool, stream: Stream) -> threading.Event:
    """Occupy the thread until the event is set, so that queues fill before anyone is chosen."""
    go, at_it = threading.Event(), threading.Event()

    def wait(taken: Taken) -> None:
        at_it.set()
        assert go.wait(30)

    pool.join("gate", stream.queue, wait, stream.failed)
    stream.put(1)
    assert at_it.wait(5)
    return go


def test_streams_share_seconds_not_frames(
    pool: PerceptionPool, stream: Callable[[str], Stream]
) -> None:
    """Frames that cost three times as much come a third as often."""
    large, small = stream("large"), stream("small")
    large.cost_s = 3.0
    go = held(pool, stream("gate"))
    for one in (large, small):
        pool.join(one.key, one.queue, one.work, one.failed)
        one.put(40)
    go.set()
    until(lambda: len(large.served) == 80)
    first = Counter(large.served[:40])
    assert first["large"] == 10
    assert first["small"] == 30
    assert pool.worked()["large"] == pytest.approx(120)


def test_a_newcomer_and_one_that_was_silent_start_at_the_present(
    pool: PerceptionPool, stream: Callable[[str], Stream]
) -> None:
    """Time that was not used is not owed: nobody may take the thread for himself."""
    old, new, silent = stream("old"), stream("new"), stream("silent")
    for one in (old, silent):
        pool.join(one.key, one.queue, one.work, one.failed)
    old.put(100)
    until(lambda: len(old.served) == 100)
    go = held(pool, stream("gate"))
    pool.join(new.key, new.queue, new.work, new.failed)
    for one in (old, new, silent):
        one.put(20)
    go.set()
    until(lambda: len(old.served) == 160)
    for share in (Counter(old.served[100:130]), Counter(old.served[130:])):
        assert set(share) == {"old", "new", "silent"}
        assert max(share.values()) - min(share.values()) <= 2


def test_work_that_raises_drops_its_frame_and_nothing_else(
    pool: PerceptionPool, stream: Callable[[str], Stream]
) -> None:
    bad, good = stream("bad"), stream("good")
    bad.error = ModelError("a network that is broken")
    for one in (bad, good):
        pool.join(one.key, one.queue, one.work, one.failed)
        one.put(10)
    until(lambda: len(bad.served) == 20 and good.queue.counts().processed == 10)
    until(lambda: not bad.queue.counts().in_flight)
    assert bad.queue.counts().dropped == {"failed": 10}
    assert len(bad.told) == 10
    assert bad.told[3] == "3: a network that is broken"
    bad.error = None
    bad.put(1)
    until(lambda: bad.queue.counts().processed == 1)


def test_a_failure_that_cannot_be_told_does_not_end_the_thread(
    pool: PerceptionPool, stream: Callable[[str], Stream]
) -> None:
    bad = stream("bad")
    bad.error = ValueError()

    def deaf(taken: Taken, error: Exception) -> None:
        raise error

    pool.join("bad", bad.queue, bad.work, deaf)
    bad.put(3)
    until(lambda: pool.untold == 3)
    assert pool.alive


def test_leaving_waits_for_the_frame_at_hand(
    pool: PerceptionPool, stream: Callable[[str], Stream]
) -> None:
    gate = stream("gate")
    go = held(pool, gate)
    assert not pool.leave("gate", 0.05)
    go.set()
    until(lambda: gate.queue.counts().processed == 1)
    assert pool.leave("gate")
    gate.put(1)
    other = stream("other")
    pool.join("other", other.queue, other.work, other.failed)
    other.put(1)
    until(lambda: other.queue.counts().processed == 1)
    assert gate.queue.counts().in_flight == 1  # nobody works on it any more
    assert pool.leave("never there")


def test_a_pool_says_how_long_it_has_been_at_a_frame(
    pool: PerceptionPool, clock: Clock, stream: Callable[[str], Stream]
) -> None:
    assert pool.busy_s == 0
    go = held(pool, stream("gate"))
    clock.now += 31
    assert pool.busy_s == 31
    go.set()
    until(lambda: pool.busy_s == 0)


def test_a_closed_pool_takes_nobody_in(
    stream: Callable[[str], Stream], pool: PerceptionPool
) -> None:
    one = stream("one")
    pool.join("one", one.queue, one.work, one.failed)
    with pytest.raises(InputError, match="twice"):
        pool.join("one", one.queue, one.work, one.failed)
    assert pool.close()
    assert pool.close()
    assert not pool.alive
    with pytest.raises(InputError, match="closed pool"):
        pool.join("two", one.queue, one.work, one.failed)
