"""Standing questions: compiled once by the reasoner, run on every twin without it.

::

    stream ──moments──▶ ear (newest 8) ──▶ one thread: lookback, plans, edges ──▶ events
                                             │ needs a plan                        │ picture, clip,
                                             ▼                                     ▼ memory, webhook
                               one thread: hub.plan, compiling            threads of their own

Nothing here runs in the perception thread but the put into a bounded queue.

Not covered: standing questions over several streams; keeping them over a restart.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...reasoner.prompts import clean_question
from ...twin.errors import EdgeTwinError, InputError
from ...twin.window import TwinWindow
from .clips import Shelf
from .compiling import NoPlanError, Scene, scene_of, stand
from .ears import Ear, Ears
from .errors import BusyError, UnknownError
from .events import EventBook, make_event
from .filing import Filing, Keep, keeper_of
from .moments import Moment
from .records import Event, Standing
from .watches import Watch, WatchLimits
from .watching import Held
from .webhooks import Webhooks

__all__ = ["DeskLimits", "HubLike", "StandingDesk"]

_log = logging.getLogger(__name__)
_JOIN_S = 1.0


class HubLike(Protocol):
    """What the desk needs of a hub: :class:`~.hub.LiveHub` is one."""

    def stream(self, stream_id: str) -> Any:
        """The stream of that id, a :class:`~.ears.StreamLike`; raises UnknownError."""
        ...

    def streams(self) -> Sequence[Any]:
        """All streams."""
        ...

    def plan(self, stream_id: str, question: str) -> dict[str, Any]:
        """The record of an answer, outside sessions."""
        ...


@dataclass(frozen=True, slots=True)
class DeskLimits:
    """What a desk may take.

    Attributes:
        standing: questions at once; each costs about a millisecond per evaluation.
        rate_hz: evaluations a second, of a stream's own seconds.
        window_s: seconds that a plan looks back on, as long as the worlds of its training.
        before_s, after_s: of a clip, around the event.
        events: kept in memory.
        files, bytes: pictures and clips kept on disk.
        wait_s: that ``add`` waits for the first plan.
        watch: see :class:`~.watches.WatchLimits`.
    """

    standing: int = 32
    rate_hz: float = 10.0
    window_s: float = 4.0
    before_s: float = 3.0
    after_s: float = 2.0
    events: int = 500
    files: int = 1000
    bytes: int = 512 * 2**20
    wait_s: float = 2.0
    watch: WatchLimits = field(default_factory=WatchLimits)


class StandingDesk:
    """The standing questions of a hub; every method may be called from any thread.

    Args:
        hub: gives streams and plans.
        folder: of pictures and clips; made when the first is written.
        limits: see :class:`DeskLimits`.
        webhooks: None: there are none.
    """

    def __init__(
        self,
        hub: HubLike,
        *,
        folder: Path,
        limits: DeskLimits | None = None,
        webhooks: Webhooks | None = None,
    ) -> None:
        self._hub = hub
        self._limits = limits = limits or DeskLimits()
        self._webhooks = webhooks
        self.book = EventBook(limits.events)
        shelf = Shelf(folder, limits.files, limits.bytes)
        self.filing = Filing(self.book, shelf, limits.before_s, limits.after_s)
        self._ears = Ears(limits.window_s, limits.rate_hz, limits.before_s + limits.after_s)
        self._lock = threading.Condition()
        self._watches: dict[str, Watch] = {}
        self._listeners: dict[int, Callable[[Event], None]] = {}
        self._numbers = itertools.count(1)
        # At most one entry a question (Watch.asking), and one to end the thread.
        self._wishes: queue.SimpleQueue[Watch | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closing = False
        self.unheard = self.stumbled = 0

    # ---- questions

    def add(self, stream_id: str, question: str, *, webhook: str | None = None) -> Standing:
        """Watch a stream for what a question asks; waits a little for its plan.

        Raises:
            UnknownError: if there is no such stream.
            QueryError: if the question is none.
            InputError: if the webhook is not allowed.
            BusyError: if there are too many, or the desk is closing.
        """
        question = clean_question(question)
        stream = self._hub.stream(stream_id)
        if webhook is not None:
            if self._webhooks is None:
                raise InputError("expected no webhook, got one: the operator allowed none")
            self._webhooks.check(webhook)
        newest = stream.latest()
        with self._lock:
            if self._closing:
                raise BusyError("expected an open hub, got one that is closing", 5.0, closing=True)
            if len(self._watches) >= self._limits.standing:
                raise BusyError(
                    f"expected at most {self._limits.standing} standing questions, got one more: "
                    "remove one",
                    30.0,
                )
            watch = Watch(
                f"s{next(self._numbers)}",
                stream_id,
                question,
                webhook=webhook,
                limits=self._limits.watch,
                **({"created_s": newest.twin.timestamp_s} if newest is not None else {}),
            )
            self._watches[watch.id] = watch
            self._ears.hear(stream_id, stream)
            self._start()
        if newest is not None:
            self._wish(watch, stream.window())
            self._await(watch)
        return watch.record()

    def list(self, stream_id: str | None = None) -> Sequence[Standing]:
        """All questions, or those of one stream, oldest first."""
        with self._lock:
            return [w.record() for w in self._watches.values() if stream_id in (None, w.stream)]

    def remove(self, standing_id: str) -> None:
        """Watch for it no more; its events stay.

        Raises:
            UnknownError: if it is not there.
        """
        with self._lock:
            watch = self._watches.pop(standing_id, None)
            if watch is None:
                raise UnknownError(
                    f"expected the id of a standing question, got {standing_id[:64]!r}: list them"
                )
            self._unhear(watch.stream)

    def forget(self, stream_id: str) -> None:
        """Let go of a stream that was removed, with its questions; its events stay."""
        with self._lock:
            for key in [k for k, w in self._watches.items() if w.stream == stream_id]:
                del self._watches[key]
            self._unhear(stream_id)

    # ---- events

    def events(
        self, stream: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[Event]:
        """The newest events; with ``after`` the first later than that one. Oldest first.

        Those of earlier runs come from the memories of the streams that are there.
        """
        return self.book.with_memories(self._memories(stream), stream, after, limit)

    def event(self, event_id: str) -> Event:
        """One event.

        Raises:
            UnknownError: if it is not there (any more).
        """
        return self.book.get(event_id, self._memories(None))

    def picture(self, event_id: str) -> Path:
        """The JPEG of an event; waits for it a little.

        Raises:
            UnknownError: if the event or its picture is not there (any more).
        """
        return self.filing.picture(self.event(event_id))

    def clip(self, event_id: str) -> Path:
        """The MP4 of an event.

        Raises:
            UnknownError: if the event is not there, or its clip not yet or not any more.
        """
        return self.filing.clip(self.event(event_id))

    def listen(self, heard: Callable[[Event], None]) -> Callable[[], None]:
        """Have every event told, in the desk's thread: be quick; returns what ends it.

        A listener that raises is told no more (counted in ``unheard``).
        """
        with self._lock:
            key = next(self._numbers)
            self._listeners[key] = heard
        return lambda: self._listeners.pop(key, None) and None

    def close(self, timeout_s: float = 5.0) -> bool:
        """End: files that wait are written, webhooks tried once. False if a thread did not end."""
        with self._lock:
            again, self._closing = self._closing, True
            self._lock.notify_all()
        if not again:
            self._wishes.put(None)
        self._ears.close()
        until = time.monotonic() + timeout_s
        for thread in self._threads:  # one may wait for the reasoner, which the hub lets go later
            if thread is not threading.current_thread():
                thread.join(min(max(until - time.monotonic(), 0.0), _JOIN_S))
        ended = not any(thread.is_alive() for thread in self._threads)
        ended = self.filing.close(max(until - time.monotonic(), 0.0)) and ended
        if self._webhooks is not None:
            ended = self._webhooks.close(max(until - time.monotonic(), 0.0)) and ended
        return ended

    def counts(self) -> dict[str, Any]:
        """How the desk fares, for metrics: plain numbers."""
        with self._lock:
            watches = list(self._watches.values())
        evaluations = sum(w.evaluations for w in watches)
        spent_ms = 1e3 * sum(w.spent_s for w in watches)
        return {
            "standing": len(watches),
            "evaluations": evaluations,
            "evaluation_ms": round(spent_ms / evaluations, 4) if evaluations else 0.0,
            "events": sum(w.events for w in watches),
            "suppressed": sum(w.suppressed for w in watches),
            "skipped": self._ears.skipped,
            "stumbled": self.stumbled,
            "unheard": self.unheard,
            **self.filing.counts(),
            **({"webhooks": self._webhooks.plain_counts()} if self._webhooks is not None else {}),
        }

    def _unhear(self, stream_id: str) -> None:
        if not any(w.stream == stream_id for w in self._watches.values()):
            self._ears.unhear(stream_id)

    # ---- the thread that evaluates

    def _start(self) -> None:
        if self._threads:
            return
        for work, name in ((self._evaluate, "standing"), (self._compile, "compiling")):
            thread = threading.Thread(target=work, name=f"edgetwin-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _evaluate(self) -> None:
        while (taken := self._ears.take()) is not None:
            with self._lock:
                watches = list(self._watches.values())
            for stream_id, ear, moment in taken:
                try:
                    self._look(ear, moment, [w for w in watches if w.stream == stream_id])
                except Exception:  # one moment that cannot be looked at must not end all questions
                    _log.exception("a moment could not be looked at")
                    self.stumbled += 1

    def _look(self, ear: Ear, moment: Moment, watches: Sequence[Watch]) -> None:
        window, broke = ear.take(moment)
        for watch in watches:
            with self._lock:
                if broke:
                    watch.broke(moment.twin.timestamp_s)
                if window is None:
                    continue
                found = watch.look(window, ear.lookback, moment.twin)
            if found is not None and found[1]:
                self._raise(watch, ear, moment, window, *found)
            self._wish(watch, window)

    def _raise(
        self,
        watch: Watch,
        ear: Ear,
        moment: Moment,
        window: TwinWindow,
        held: Held,
        new: Sequence[int],
    ) -> None:
        if watch.rule is None or not watch.may_raise():
            return
        event = make_event(watch, moment, window, held, new)
        self.book.add(event)
        event = self.filing.file(event, ear.tape, keeper_of(ear.stream))
        self._tell(event)
        if watch.webhook is not None and self._webhooks is not None:
            keep = keeper_of(ear.stream)
            self._webhooks.send(event, watch.webhook, lambda i, done: self._over(i, done, keep))

    def _tell(self, event: Event) -> None:
        for key, heard in list(self._listeners.items()):
            try:
                heard(event)
            except Exception:  # another's mistake must not stop the questions
                self._listeners.pop(key, None)
                self.unheard += 1

    def _over(self, event_id: str, delivered: bool, keep: Keep | None) -> None:
        event = self.book.change(event_id, delivered="yes" if delivered else "failed")
        if event is not None:
            self.filing.keep(event, keep)

    def _memories(self, stream: str | None) -> Sequence[Any]:
        """Memories of the streams that are there, or of one of them."""
        found = (getattr(s, "memory", None) for s in self._hub.streams() if stream in (None, s.id))
        return [memory for memory in found if memory is not None]

    # ---- the thread that asks the reasoner

    def _wish(self, watch: Watch, window: TwinWindow) -> None:
        with self._lock:
            if self._closing or not watch.wish(window):
                return
            watch.asking = True
        self._wishes.put(watch)

    def _await(self, watch: Watch) -> None:
        """Wait for the plan that is being asked for."""
        with self._lock:
            self._lock.wait_for(lambda: not watch.asking or self._closing, self._limits.wait_s)

    def _compile(self) -> None:
        while (watch := self._wishes.get()) is not None:
            if watch.id in self._watches:
                self._ask(watch)
            with self._lock:
                watch.asking = False
                self._lock.notify_all()

    def _ask(self, watch: Watch) -> None:
        scene: Scene | None = None
        try:
            window = self._hub.stream(watch.stream).window()
            watch.compiled += 1
            record = self._hub.plan(watch.stream, watch.wanted.asked)
            # No plan for what is seen is no plan until something else is; an error may pass.
            scene = None if record.get("status") == "error" else scene_of(window)
            rule = stand(watch.wanted, record, scene or scene_of(window))
        except Exception as error:
            if not isinstance(error, EdgeTwinError):  # it must not stop the other questions
                _log.exception("a standing question could not be compiled")
                error = NoPlanError(f"{type(error).__name__}: {error}"[:200])
            with self._lock:
                watch.refuse(error, scene, getattr(error, "retry_after_s", None))
        else:
            with self._lock:
                watch.take(rule)
