"""One thread for language: a bounded queue of jobs, fair between callers, a deadline for each.

The language model, its caches and the networks that look again belong to this thread. Callers
take turns; one that asks much waits behind its own jobs, not before others'. What does not fit
is refused at once with the time after which asking again may help.

Not covered: ending a job that runs; jobs are told their deadline and keep to it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from .errors import BusyError

__all__ = ["LanguageDesk"]

T = TypeVar("T")

_FIRST_GUESS_S = 0.5  # what a job takes before one was measured
_LATE_S = 5.0  # a running job may end this long after its deadline before its caller gives up
_WEIGHT = 0.2  # of the newest job in the mean


@dataclass(eq=False)
class _Job(Generic[T]):
    work: Callable[[float], T]
    until_s: float
    done: threading.Event = field(default_factory=threading.Event)
    began: bool = False
    given_up: bool = False
    result: list[T] = field(default_factory=list)
    error: BaseException | None = None


class LanguageDesk:
    """See the head of this file.

    Args:
        waiting: jobs that may wait.
        per_caller: of them, of one caller.
        at_end: done in the thread after all others.
    """

    def __init__(
        self, waiting: int, per_caller: int, *, at_end: Callable[[], object] = bool
    ) -> None:
        self._most, self._each, self._at_end = waiting, per_caller, at_end
        self._changed = threading.Condition()
        self._callers: OrderedDict[str, deque[_Job[Any]]] = OrderedDict()  # next one first
        self._chores: deque[Callable[[], object]] = deque()  # bounded by who makes them
        self._mean_s = _FIRST_GUESS_S
        self._at_hand: _Job[Any] | None = None
        self._closing = False
        self._refused = 0
        self._done = 0
        self._late = 0
        self._thread = threading.Thread(target=self._run, name="edgetwin-language", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def counts(self) -> dict[str, int]:
        """Jobs that wait, run, were done, were refused, and those whose deadline passed."""
        with self._changed:
            return {
                "waiting": self._waiting(),
                "running": int(self._at_hand is not None),
                "done": self._done,
                "refused": self._refused,
                "late": self._late,
            }

    def do(self, caller: str, work: Callable[[float], T], seconds: float) -> T:
        """Have ``work(deadline on time.monotonic)`` done in the thread; blocks.

        Raises:
            BusyError: if too much waits, the time is over before its turn, or the desk closes.
            Exception: whatever the work raises.
        """
        job = self._enter(caller, work, time.monotonic() + seconds)
        job.done.wait(max(job.until_s - time.monotonic(), 0.0))
        if not job.done.is_set():
            with self._changed:
                if not job.began:
                    job.given_up = True
                    self._forget(caller, job)
                    self._late += 1
                    raise BusyError(
                        f"expected a turn within {seconds:g} s, got none: {self._waiting()} "
                        "questions wait; ask again later or allow more time",
                        self._retry_s(),
                    )
            job.done.wait(_LATE_S)  # it keeps to the deadline, but a step may still run
        if job.error is not None:
            raise job.error
        if not job.result:
            self._late += 1
            raise BusyError(
                f"expected an answer within {seconds:g} s, got none {_LATE_S:g} s later: the "
                "language model hangs; ask again later",
                self._retry_s(),
            )
        return job.result[0]

    def later(self, chore: Callable[[], object]) -> None:
        """Have something small done in the thread between jobs, such as freeing a cache."""
        with self._changed:
            self._chores.append(chore)
            self._changed.notify_all()

    def close(self, grace_s: float) -> bool:
        """Refuse new jobs, finish those that wait within the grace, end; False if it still runs.

        After the grace no caller waits any longer, that of the job that runs neither.
        """
        until = time.monotonic() + grace_s
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting() and not self._at_hand, grace_s)
            self._refuse_rest()
            if self._at_hand is not None and not self._at_hand.done.is_set():
                self._at_hand.error = _closing()
                self._at_hand.done.set()
            self._changed.notify_all()
        self._thread.join(max(until - time.monotonic(), 0.5))
        return not self._thread.is_alive()

    # ---- pieces

    def _enter(self, caller: str, work: Callable[[float], T], until_s: float) -> _Job[T]:
        with self._changed:
            if self._closing:
                raise _closing()
            mine = self._callers.get(caller, ())
            if len(mine) >= self._each or self._waiting() >= self._most:
                self._refused += 1
                whose = "of yours " if len(mine) >= self._each else ""
                raise BusyError(
                    f"expected fewer than {self._each} questions of one caller and {self._most} "
                    f"in all waiting, got {len(mine) if whose else self._waiting()} {whose}"
                    "already: ask again later",
                    self._retry_s(),
                )
            job = _Job(work, until_s)
            self._callers.setdefault(caller, deque()).append(job)
            self._changed.notify_all()
            return job

    def _forget(self, caller: str, job: _Job[Any]) -> None:
        mine = self._callers.get(caller)
        if mine is not None and job in mine:
            mine.remove(job)
            if not mine:
                del self._callers[caller]

    def _waiting(self) -> int:
        return sum(map(len, self._callers.values()))

    def _retry_s(self) -> float:
        return round(max(self._mean_s * (self._waiting() + (self._at_hand is not None)), 0.1), 2)

    def _refuse_rest(self) -> None:
        for jobs in self._callers.values():
            for job in jobs:
                job.error = _closing()
                job.done.set()
        self._callers.clear()

    # ---- the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._callers and not self._chores and not self._closing:
                    self._changed.wait()
                chores, job = list(self._chores), self._next()
                self._chores.clear()
                if job is None and not chores:
                    break
                self._at_hand = job
            for chore in chores:
                _quietly(chore)
            if job is not None:
                self._work(job)
            with self._changed:
                self._at_hand = None
                self._changed.notify_all()
        _quietly(self._at_end)

    def _next(self) -> _Job[Any] | None:
        """The oldest job of the caller whose turn it is; then it is the next one's."""
        if not self._callers:
            return None
        caller, jobs = self._callers.popitem(last=False)
        job = jobs.popleft()
        if jobs:
            self._callers[caller] = jobs
        job.began = True
        return job

    def _work(self, job: _Job[Any]) -> None:
        began = time.monotonic()
        try:
            job.result.append(job.work(job.until_s))
        except BaseException as error:  # its caller's, in its caller's thread
            job.error = job.error or error
        self._mean_s += _WEIGHT * (time.monotonic() - began - self._mean_s)
        self._done += 1
        job.done.set()


def _quietly(chore: Callable[[], object]) -> None:
    with suppress(Exception):  # freeing something that is broken: nobody waits for it
        chore()


def _closing() -> BusyError:
    return BusyError(
        "expected an open hub, got one that is closing: start it again", 5.0, closing=True
    )
