"""The language thread: bounded, fair between callers, a deadline for each, closed in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from edgetwin.deploy.live.desk import LanguageDesk
from edgetwin.deploy.live.errors import BusyError

from .taps import until


class Gate:
    """Occupies the desk until it is opened."""

    def __init__(self, desk: LanguageDesk, pool: ThreadPoolExecutor) -> None:
        self._go, at_it = threading.Event(), threading.Event()

        def wait(deadline: float) -> str:
            at_it.set()
            assert self._go.wait(30)
            return "gate"

        self.job = pool.submit(desk.do, "gate", wait, 30.0)
        assert at_it.wait(10)

    def open(self) -> None:
        self._go.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def desk() -> Iterator[LanguageDesk]:
    desk = LanguageDesk(8, 4)
    yield desk
    assert desk.close(1.0)


def asked(
    desk: LanguageDesk, pool: ThreadPoolExecutor, caller: str, work: Callable[[float], Any]
) -> Future[Any]:
    """A job that waits, put in before the next one is."""
    before = desk.counts()["waiting"]
    job = pool.submit(desk.do, caller, work, 30.0)
    until(lambda: desk.counts()["waiting"] > before)
    return job


def test_work_is_done_in_one_thread_and_told_its_deadline(desk: LanguageDesk) -> None:
    threads = {desk.do(str(k), lambda until_s: threading.current_thread(), 5) for k in range(3)}
    assert len(threads) == 1
    assert threads != {threading.current_thread()}
    left = desk.do("me", lambda until_s: until_s - time.monotonic(), 5.0)
    assert 4 < left <= 5


def test_what_work_raises_is_its_callers(desk: LanguageDesk) -> None:
    def wrong(deadline: float) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        desk.do("me", wrong, 5)
    assert desk.do("me", lambda deadline: 7, 5) == 7


def test_callers_take_turns(desk: LanguageDesk, pool: ThreadPoolExecutor) -> None:
    """One who asks four times waits behind himself, not before the others."""
    gate, order = Gate(desk, pool), list[str]()
    jobs = [
        asked(desk, pool, who, lambda deadline, who=who: order.append(who))  # type: ignore[misc]
        for who in ("much", "much", "much", "much", "little", "less")
    ]
    gate.open()
    for job in jobs:
        job.result(10)
    assert order == ["much", "little", "less", "much", "much", "much"]


def test_too_much_is_refused_at_once_with_the_time_to_come_back(
    desk: LanguageDesk, pool: ThreadPoolExecutor
) -> None:
    gate = Gate(desk, pool)
    jobs = [asked(desk, pool, "much", lambda deadline: 1) for _ in range(4)]
    began = time.monotonic()
    with pytest.raises(BusyError, match="got 4 of yours already") as refused:
        desk.do("much", lambda deadline: 1, 30)
    jobs += [asked(desk, pool, "little", lambda deadline: 1) for _ in range(4)]
    with pytest.raises(BusyError, match="got 8 already"):
        desk.do("less", lambda deadline: 1, 30)
    assert time.monotonic() - began < 10
    assert 0 < refused.value.retry_after_s < 60
    assert not refused.value.closing
    gate.open()
    assert [job.result(10) for job in jobs] == [1] * 8
    assert desk.counts() == {"waiting": 0, "running": 0, "done": 9, "refused": 2, "late": 0}


def test_a_job_whose_time_is_over_before_its_turn_is_never_done(
    desk: LanguageDesk, pool: ThreadPoolExecutor
) -> None:
    gate, done = Gate(desk, pool), list[int]()
    with pytest.raises(BusyError, match=r"expected a turn within 0\.1 s"):
        desk.do("late", lambda deadline: done.append(1), 0.1)
    gate.open()
    assert gate.job.result(10) == "gate"
    assert desk.do("next", lambda deadline: 1, 5) == 1
    assert done == []
    assert desk.counts()["late"] == 1


def test_chores_are_done_between_jobs_and_may_fail(desk: LanguageDesk) -> None:
    done: list[str] = []

    def broken() -> None:
        raise OSError("broken")

    desk.later(broken)
    desk.later(lambda: done.append(threading.current_thread().name))
    until(lambda: done == ["edgetwin-language"])
    assert desk.alive


def test_closing_finishes_what_waits(pool: ThreadPoolExecutor) -> None:
    ended: list[str] = []
    desk = LanguageDesk(8, 4, at_end=lambda: ended.append(threading.current_thread().name))
    gate = Gate(desk, pool)
    job = asked(desk, pool, "me", lambda deadline: "done")
    closing = pool.submit(desk.close, 10.0)
    until(lambda: desk._closing)
    with pytest.raises(BusyError, match="closing") as refused:
        desk.do("new", lambda deadline: 1, 5)
    assert refused.value.closing
    gate.open()
    assert job.result(10) == "done"
    assert closing.result(10)
    assert not desk.alive
    assert ended == ["edgetwin-language"]


def test_closing_refuses_what_the_grace_does_not_reach(pool: ThreadPoolExecutor) -> None:
    desk = LanguageDesk(8, 4)
    gate = Gate(desk, pool)
    job = asked(desk, pool, "me", lambda deadline: "done")
    assert not desk.close(0.05)
    for waiting in (job, gate.job):  # nobody waits, for the one that runs neither
        with pytest.raises(BusyError, match="closing"):
            waiting.result(10)
    assert desk.alive
    gate.open()
    until(lambda: not desk.alive)
