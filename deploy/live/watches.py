"""One standing question at work: its plan, what it held last, and when to ask for a new plan.

A :class:`Watch` belongs to two threads: the desk's evaluates it, the desk's other one brings
plans. What both touch is guarded by the desk's lock.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...twin.errors import EdgeTwinError, ProtocolError, ToolError
from ...twin.schema import FrameTwin
from ...twin.window import TwinWindow
from .compiling import NoPlanError, Rule, Scene, scene_of, wants_again
from .errors import BusyError
from .lookback import Lookback
from .records import Standing
from .watching import Edges, Held, holding
from .wordings import rewrite

__all__ = ["Watch", "WatchLimits"]

_FIRST_RETRY_S = 1.0
_MAX_RETRY_S = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """How a question is watched.

    Attributes:
        rise: evaluations in a row that something has to hold before it counts: at ten a second
            .1 s of delay, for a detector's wrong frame. More lost events and gained little on
            the tuning worlds of ``edgetwin eval standing``.
        fall_s: seconds that it must not hold before it may count anew.
        break_s: seconds after a stream broke off in which what holds is taken for old: objects
            get new ids then.
        compilations: plans asked for, ever.
        events_per_minute: more are counted and not raised: a plan on the verge must not flood.
    """

    rise: int = 2
    fall_s: float = 1.0
    break_s: float = 1.0
    compilations: int = 12
    events_per_minute: int = 30


class Watch:
    """A standing question of one stream.

    Args:
        standing_id, stream, question: of the record.
        created_s: the stream's seconds when it was added; what held before is nothing new.
        webhook: where events are sent.
        limits: see :class:`WatchLimits`.
        clock: seconds between attempts are counted on it.
    """

    def __init__(
        self,
        standing_id: str,
        stream: str,
        question: str,
        *,
        created_s: float = -math.inf,
        webhook: str | None = None,
        limits: WatchLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id, self.stream, self.question, self.webhook = standing_id, stream, question, webhook
        self.limits = limits or WatchLimits()
        self._clock = clock
        self.wanted = rewrite(question)
        self.created_at = time.time()
        self.rule: Rule | None = None
        self.asking = False
        self.compiled = self.evaluations = self.events = self.suppressed = 0
        self.spent_s = 0.0
        self.failed = ""
        self._edges = Edges(self.limits.rise, self.limits.fall_s)
        self._since_s = created_s
        self._fresh = False
        self._old_until_s = -math.inf
        self._already: tuple[str, ...] = ()
        self._problem = ""
        self._failures = 0
        self._tried: Scene | None = None
        self._due = 0.0
        self._retry_s = _FIRST_RETRY_S
        self._raised: deque[float] = deque(maxlen=self.limits.events_per_minute)

    # ---- plans

    def wish(self, window: TwinWindow) -> str:
        """Why the reasoner should be asked now, or empty."""
        if self.asking or self.failed or self._clock() < self._due or not window.ids():
            return ""
        if self.compiled >= self.limits.compilations:
            if self.rule is None:
                self.failed = f"no plan after {self.compiled} attempts: {self._problem}"
            return ""
        if self.rule is not None:
            return wants_again(self.rule, self.question, window, self._failures)
        if self._tried is None:
            return "there is no plan yet"
        scene = scene_of(window)
        return "something new is seen" if scene.labels - self._tried.labels else ""

    def take(self, rule: Rule) -> None:
        """Let a new plan run; one that is the same goes on as if nothing had been."""
        old, self.rule = self.rule, rule
        self._tried, self._problem, self._failures = rule.scene, "", 0
        self._retry_s = _FIRST_RETRY_S
        self._due = self._clock() + _FIRST_RETRY_S
        if old is None or old.plan != rule.plan:
            self._fresh = True
            if old is not None and (old.kind == "number") != (rule.kind == "number"):
                self._edges = Edges(self.limits.rise, self.limits.fall_s)

    def refuse(
        self, error: EdgeTwinError, scene: Scene | None, retry_s: float | None = None
    ) -> None:
        """There was no plan; ``scene``: it depends on what is seen, None: it may be tried again."""
        self._problem = str(error)
        self._tried = scene
        if isinstance(error, BusyError):  # the language model was not asked
            self.compiled -= 1
        self._retry_s = min(2 * self._retry_s, _MAX_RETRY_S)
        self._due = self._clock() + (self._retry_s if retry_s is None else retry_s)
        if isinstance(error, NoPlanError) and error.final:
            self.failed = str(error)

    # ---- evaluations

    def broke(self, now_s: float) -> None:
        """The stream began anew with other ids: what holds soon is what held before."""
        self._edges = Edges(self.limits.rise, self.limits.fall_s)
        self._old_until_s = now_s + self.limits.break_s
        self._since_s = -math.inf

    def look(
        self, window: TwinWindow, lookback: Lookback, frame: FrameTwin
    ) -> tuple[Held, list[int]] | None:
        """What holds on the newest frame, and which objects newly do (0 for a number)."""
        if self.rule is None or self.failed:
            return None
        began = time.perf_counter()
        now_s = frame.timestamp_s
        try:
            if self._fresh:
                self._settle(lookback)
            held = holding(self.rule, window)
        except (ToolError, ProtocolError) as error:
            self._fail(str(error))
            return None
        except Exception as error:  # a record that no tool expected must not stop the others
            _log.exception("a standing question could not be computed")
            self._fail(f"{type(error).__name__}: {error}"[:200])
            return None
        finally:
            self.evaluations += 1
            self.spent_s += time.perf_counter() - began
        self._failures, self._problem = 0, ""
        self._edges.forget(lookback.came_back)
        if now_s < self._old_until_s:
            self._edges.settle(held.keys, now_s)
        hidden = {i for i, obj in frame.objects.items() if obj.state == "occluded"}
        new = self._edges.step(held.keys, hidden, now_s)
        self._since_s = now_s
        return held, new

    def _fail(self, problem: str) -> None:
        self._failures += 1
        self._problem = problem

    def may_raise(self) -> bool:
        """Whether one more event is within the bound; counts it."""
        now = self._clock()
        if len(self._raised) == self._raised.maxlen and now - self._raised[0] < 60.0:
            self.suppressed += 1
            return False
        self._raised.append(now)
        self.events += 1
        return True

    def _settle(self, lookback: Lookback) -> None:
        """What held when the question was put, or under the plan before, is nothing new."""
        assert self.rule is not None
        self._fresh = False
        before = lookback.window(self._since_s + 1e-6)
        if before.last is None:
            return
        held = holding(self.rule, before)
        self._edges.settle(held.keys, before.end_s)
        if held.keys and not self.events:
            self._already = tuple(f"#{i}" for i in held.ids[:5])

    # ---- for people

    def record(self) -> Standing:
        """The question as it fares."""
        rule = self.rule
        return Standing(
            id=self.id,
            stream=self.stream,
            question=self.question,
            asked=rule.asked if rule is not None else self.wanted.asked,
            plan=rule.plan if rule is not None else [],
            state="failed" if self.failed else "active",
            message="; ".join(self._notes()),
            created_at=self.created_at,
            events=self.events,
            evaluations=self.evaluations,
            compiled=self.compiled,
            webhook=self.webhook is not None,
        )

    def _notes(self) -> Sequence[str]:
        if self.failed:
            return [self.failed]
        notes = []
        if self.rule is None:
            waiting = "no plan yet: it is made when there are objects to speak of"
            notes.append(f"{waiting} ({self._problem})" if self._problem else waiting)
        else:
            condition = self.rule.condition
            notes += [f"when: {condition.text}"] if condition is not None else []
            notes += self.rule.notes
            if not self.wanted.known:
                notes.append("asked in words of its own: see whether the plan means it")
            if self._problem:
                notes.append(f"the plan cannot be computed at the moment: {self._problem}")
        if self._already:
            notes.append(
                f"already so when it was asked, which is no event: {', '.join(self._already)}"
            )
        if self.suppressed:
            notes.append(f"{self.suppressed} events were too many in a minute and left out")
        return notes
