"""The queue between a source and perception: where every frame went, at every moment."""

from __future__ import annotations

import random
import threading
import time

import numpy as np
import pytest

from edgetwin.deploy.live.queue import FrameQueue
from edgetwin.deploy.live.records import FrameCounts
from edgetwin.twin.errors import InputError
from edgetwin.twin.frame import Frame

PICTURE = np.zeros((2, 2, 3), np.uint8)


def frame(index: int) -> Frame:
    return Frame(index, index / 10, PICTURE)


def balanced(counts: FrameCounts) -> bool:
    return counts.read == counts.processed + sum(counts.dropped.values()) + counts.in_flight


def filled(queue: FrameQueue, count: int) -> FrameQueue:
    for index in range(count):
        queue.put(frame(index), float(index))
    return queue


def test_a_live_queue_drops_the_oldest_and_who_is_too_slow_gets_the_newest() -> None:
    queue = filled(FrameQueue(2, "drop_oldest"), 5)
    assert queue.counts() == FrameCounts(read=5, in_flight=2, dropped={"queue": 3})
    taken = queue.get()
    assert taken is not None
    assert (taken.frame.index, taken.captured_at) == (4, 4.0)
    assert queue.counts() == FrameCounts(read=5, in_flight=1, dropped={"queue": 4})


def test_a_burst_that_fits_is_kept_whole() -> None:
    queue = filled(FrameQueue(2, "drop_oldest"), 2)
    taken = [queue.get(), queue.get(), queue.get()]
    assert [t.frame.index for t in taken if t is not None] == [0, 1]


def test_every_step_of_a_frame_is_counted() -> None:
    queue = filled(FrameQueue(4, "drop_oldest"), 3)
    queue.get()
    queue.get()
    assert queue.counts() == FrameCounts(read=3, in_flight=3)
    queue.done()
    queue.done("failed")
    queue.lose("damaged", 2)
    assert queue.counts() == FrameCounts(
        read=5, processed=1, in_flight=1, dropped={"failed": 1, "damaged": 2}
    )
    queue.close()
    queue.close()
    assert not queue.put(frame(9), 0.0)
    counts = queue.counts()
    assert counts == FrameCounts(
        read=6, processed=1, dropped={"failed": 1, "damaged": 2, "stopped": 2}
    )
    assert balanced(counts)


def test_a_file_waits_for_room_and_loses_nothing() -> None:
    queue = FrameQueue(2, "wait")
    seen: list[int] = []
    feeder = threading.Thread(target=filled, args=(queue, 200))
    feeder.start()
    while len(seen) < 200:
        taken = queue.get(5.0)
        assert taken is not None
        assert len(queue) <= 2
        seen.append(taken.frame.index)
        queue.done()
    feeder.join(5)
    assert seen == list(range(200))
    assert queue.counts() == FrameCounts(read=200, processed=200)


def test_closing_lets_those_go_who_wait() -> None:
    full, empty = filled(FrameQueue(1, "wait"), 1), FrameQueue(1, "wait")
    results: list[object] = []
    waiting = [
        threading.Thread(target=lambda: results.append(full.put(frame(1), 0.0))),
        threading.Thread(target=lambda: results.append(empty.get(30.0))),
    ]
    for thread in waiting:
        thread.start()
    full.close()
    empty.close()
    for thread in waiting:
        thread.join(5)
        assert not thread.is_alive()
    assert sorted(map(str, results)) == ["False", "None"]
    assert full.counts() == FrameCounts(read=2, dropped={"stopped": 2})


def test_who_waits_for_a_frame_gets_it_when_it_comes() -> None:
    queue, got = FrameQueue(1, "drop_oldest"), threading.Event()

    def take() -> None:
        if queue.get(30.0) is not None:
            got.set()

    thread = threading.Thread(target=take)
    thread.start()
    queue.put(frame(0), 0.0)
    assert got.wait(5)
    thread.join(5)
    assert queue.get(0.01) is None


def test_ready_is_told_of_every_frame_outside_the_lock() -> None:
    told: list[int] = []
    queue = FrameQueue(2, "drop_oldest", ready=lambda: told.append(queue.counts().read))
    filled(queue, 3)
    assert told == [1, 2, 3]


@pytest.mark.parametrize("policy", ["drop_oldest", "wait"])
def test_the_accounts_are_exact_at_every_moment(policy: str) -> None:
    """Two threads put, two take, one watches: no snapshot is ever out of balance."""
    queue = FrameQueue(3, policy)  # type: ignore[arg-type]
    over, wrong, looks = threading.Event(), [], [0]

    def put() -> None:
        for index in range(2000):
            queue.put(frame(index), 0.0)
            if index % 100 == 7:
                queue.lose("damaged")

    def take(seed: int) -> None:
        chance = random.Random(seed)
        while queue.get(0.2) is not None or not over.is_set():
            if queue.counts().in_flight:
                try:
                    queue.done("failed" if chance.random() < 0.1 else "")
                except InputError:  # nothing was out: the other one was quicker
                    continue

    def watch() -> None:
        while not over.is_set():
            counts = queue.counts()
            looks[0] += 1
            if not balanced(counts) or counts.in_flight < 0:
                wrong.append(counts)

    putters = [threading.Thread(target=put) for _ in range(2)]
    others = [threading.Thread(target=take, args=(seed,)) for seed in (1, 2)]
    others.append(threading.Thread(target=watch))
    for thread in [*putters, *others]:
        thread.start()
    for thread in putters:
        thread.join(60)
    over.set()
    for thread in others:
        thread.join(10)
    queue.close()
    counts = queue.counts()
    assert wrong == []
    assert looks[0] > 10
    assert balanced(counts)
    assert counts.read == 4040
    assert (counts.dropped.get("queue", 0) == 0) == (policy == "wait")


def test_a_frame_that_was_not_taken_cannot_be_done() -> None:
    with pytest.raises(InputError, match="expected a frame that was taken"):
        FrameQueue(1, "wait").done()


@pytest.mark.parametrize(("capacity", "policy"), [(0, "wait"), (1, "drop_newest")])
def test_a_queue_is_bounded_and_its_policy_known(capacity: int, policy: str) -> None:
    with pytest.raises(InputError, match="expected a capacity"):
        FrameQueue(capacity, policy)  # type: ignore[arg-type]


def test_a_slow_taker_gets_what_is_new() -> None:
    """Ten frames come while one is worked on: the next one taken is the last that came."""
    queue = FrameQueue(2, "drop_oldest")
    for index in range(50):
        queue.put(frame(index), time.monotonic())
        if index % 10 == 9:
            taken = queue.get()
            assert taken is not None
            assert taken.frame.index == index
            queue.done()
    assert queue.counts() == FrameCounts(read=50, processed=5, dropped={"queue": 45})
