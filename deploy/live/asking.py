"""Questions about streams: who asks what on which window, in the language thread.

A session is one :class:`~edgetwin.deploy.ask.Asker` with a window of its own: follow-ups lean on
its earlier questions. Questions outside sessions share one asker per stream and lean on nothing.
The model's caches are kept for the few askers used last; sessions are bounded and end when idle.

Not covered: sessions over several streams.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ...reasoner.prompts import Mode
from ...reasoner.rollout import Reasoner
from ...reasoner.telling import Heard
from ...twin.errors import EdgeTwinError, InputError
from ...twin.schema import FrameTwin
from ...twin.window import TwinWindow
from ..ask import Asker
from ..ask_feed import Feed
from ..models import Models
from ..refine import Refiner
from ..refine.eyes import Eyes
from .errors import BusyError, UnknownError
from .stream import LiveStream

__all__ = ["Asking", "HubFeed", "Session"]

Looks = Literal["yes", "no"]


class HubFeed(Feed):
    """A stream's newest twins in a window that only the language thread touches."""

    def __init__(self, stream: LiveStream) -> None:
        super().__init__(stream.moments.max_twins)
        self.stream = stream
        self.captured_at: float | None = None  # of the newest twin taken in
        self._seq = 0
        self._run = 0

    def refresh(self) -> bool:
        """Take in what was seen since; True if another run began."""
        anew = False
        for seen in self.stream.after(self._seq):
            if seen.run != self._run:
                anew = anew or self.window.last is not None
                self.window, self._run = TwinWindow(max_frames=self.window.max_frames), seen.run
            anew = self._take(seen.twin) or anew
            self._seq = self.frames = seen.seq
            self.captured_at = seen.captured_at
        return anew

    def seen(self) -> dict[str, Any]:
        """How much was seen, and since when it is looked back on."""
        since = round(self.window.start_s, 3)
        return {**super().seen(), "since_s": since, "complete": self.stream.source.ended.is_set()}

    def warnings(self) -> list[str]:
        """What the stream has to tell."""
        source = self.stream.source.status()
        told = self.stream.sight.warnings()
        if source.state not in ("running", "opening") and not self.stream.source.ended.is_set():
            told.append(f"the source is {source.state}: the newest frame may be old")
        return told

    def record(self, answer: dict[str, Any], refined: Sequence[FrameTwin] = ()) -> None:
        """Keep an answer in the stream's store; frames that it changed stay in this window."""
        if self.stream.memory is not None:
            self.stream.memory.record_answer({**answer, "stream": self.stream.id})

    def close(self) -> None:
        """There is nothing to end."""


@dataclass(slots=True)
class Session:
    """A conversation about one stream."""

    id: str
    stream: str
    created_at: float
    used_at: float
    questions: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values; times are Unix seconds."""
        return {
            "id": self.id,
            "stream": self.stream,
            "created_at": self.created_at,
            "used_at": self.used_at,
            "questions": self.questions,
        }


class Asking:
    """Askers by stream and session. Sessions may be handled from any thread; :meth:`answer` and
    :meth:`drop` belong to the language thread.

    Args:
        models: with the reasoner that answers.
        sessions, idle_s: how many there may be, and how long one may be idle.
        warm: askers whose cache is kept: each holds the model's cache of one prompt.

    Raises:
        InputError: if the models' reasoner is none of ours.
    """

    def __init__(self, models: Models, *, sessions: int, idle_s: float, warm: int) -> None:
        if not isinstance(models.reasoner, Reasoner):
            raise InputError(
                f"expected models with a Reasoner, got {type(models.reasoner).__name__}"
            )
        self._reasoner = models.reasoner
        self._budget = self._reasoner.budget
        self._models, self._most, self._idle_s, self._warm = models, sessions, idle_s, warm
        self._eyes = None if models.bundle is None else Eyes(models.bundle)
        self._askers: OrderedDict[tuple[str, str], Asker] = OrderedDict()  # last used last
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    # ---- sessions, from any thread

    def open(self, stream_id: str) -> Session:
        """Begin a session.

        Raises:
            BusyError: if there are too many that were used lately.
        """
        with self._lock:
            self._end_idle()
            if len(self._sessions) >= self._most:
                oldest = min(s.used_at for s in self._sessions.values())
                raise BusyError(
                    f"expected fewer than {self._most} sessions, got as many: close one",
                    max(round(self._idle_s - (time.time() - oldest), 1), 1.0),
                )
            session = Session(secrets.token_hex(8), stream_id, time.time(), time.time())
            self._sessions[session.id] = session
            return session

    def sessions(self) -> list[dict[str, Any]]:
        """Those that are open, oldest first."""
        with self._lock:
            self._end_idle()
            return [session.as_dict() for session in self._sessions.values()]

    def close(self, session_id: str) -> None:
        """End a session; the caller has :meth:`sweep` run in the language thread.

        Raises:
            UnknownError: if there is none of this id.
        """
        with self._lock:
            if self._sessions.pop(session_id, None) is None:
                raise _no_session(session_id)

    def use(self, session_id: str, stream_id: str) -> Session:
        """Return a session and note that it is used.

        Raises:
            UnknownError: if there is none, or it is about another stream.
        """
        with self._lock:
            self._end_idle()
            session = self._sessions.get(session_id)
            if session is None:
                raise _no_session(session_id)
            if session.stream != stream_id:
                raise UnknownError(
                    f"expected a session about {stream_id}, got {session_id} about "
                    f"{session.stream}: open one for this stream"
                )
            session.used_at = time.time()
            session.questions += 1
            return session

    def forget(self, stream_id: str) -> None:
        """End the sessions of a stream that is gone."""
        with self._lock:
            for key in [s.id for s in self._sessions.values() if s.stream == stream_id]:
                del self._sessions[key]

    def _end_idle(self) -> None:
        before = time.time() - self._idle_s
        for key in [s.id for s in self._sessions.values() if s.used_at < before]:
            del self._sessions[key]

    # ---- in the language thread

    def answer(
        self,
        stream: LiveStream,
        question: str,
        until_s: float,
        *,
        mode: Mode = "concise",
        session: str = "",
        looks: bool = True,
        budget_s: float | None = None,
        heard: Heard | None = None,
    ) -> dict[str, Any]:
        """Answer a question on what the stream has seen by now; the record, with its staleness."""
        self.sweep()
        asker = self._asker(stream, session or ("look" if looks else "plan"), looks)
        left = max(until_s - time.monotonic(), 0.05)
        seconds = min(self._budget.seconds if budget_s is None else budget_s, left)
        self._reasoner.budget = replace(self._budget, seconds=seconds)
        asker.mode = mode
        try:
            record = asker.ask(question, alone=not session, heard=_isolated(heard))
        finally:
            self._reasoner.budget = self._budget
        return _with_staleness(record, asker)

    def sweep(self) -> None:
        """Free what belongs to sessions that ended."""
        with self._lock:
            self._end_idle()
            gone = [key for key in self._askers if key[1] not in {*self._sessions, "look", "plan"}]
        for key in gone:
            _free(self._askers.pop(key))

    def drop(self, stream_id: str | None = None) -> None:
        """Free the askers of a stream, or all."""
        for key in [key for key in self._askers if stream_id in (None, key[0])]:
            _free(self._askers.pop(key))

    def _asker(self, stream: LiveStream, who: str, looks: bool) -> Asker:
        key = (stream.id, who)
        asker = self._askers.pop(key, None)
        feed = asker.feed if asker is not None else None
        if asker is None or not isinstance(feed, HubFeed) or feed.stream is not stream:
            if asker is not None:  # of an earlier stream of this name
                _free(asker)
            look = self._look(stream) if looks else None
            asker = Asker(
                self._reasoner,
                HubFeed(stream),
                look=look,
                identities=self._models.identities,
                keep=0,  # the stream has the newest answers, its store all of them
            )
        self._askers[key] = asker
        for cold in list(self._askers.values())[: -self._warm]:
            cold.rest()
        return asker

    def _look(self, stream: LiveStream) -> Callable[[TwinWindow], Refiner] | None:
        eyes = self._eyes
        if eyes is None:
            return None
        return lambda window: Refiner(eyes, stream.recent, reserve=stream.sight.reserve)


def _with_staleness(record: dict[str, Any], asker: Asker) -> dict[str, Any]:
    """Add which frame the answer is about, how old it is now, and masks of what was answered."""
    feed = asker.feed
    assert isinstance(feed, HubFeed)
    window, captured = feed.window, feed.captured_at
    masks = {}
    for object_id in record["ids"]:
        mask = window.latest(object_id).mask if object_id in window else None
        if mask is not None:
            masks[str(object_id)] = mask.model_dump(mode="json")
    age_ms = None if captured is None else round((time.monotonic() - captured) * 1e3, 1)
    last = window.last
    return {
        **record,
        "stream": feed.stream.id,
        "frame_index": last.index if last else None,
        "timestamp_s": last.timestamp_s if last else None,
        "age_ms": age_ms,
        "masks": masks,
    }


def _isolated(heard: Heard | None) -> Heard | None:
    """A listener whose mistakes are its own: after the first it is told no more."""
    if heard is None:
        return None
    listeners = [heard]

    def tell(kind: str, data: Any) -> None:
        for listener in listeners:
            try:
                listener(kind, data)
            except Exception:  # who watches must not break the answer
                listeners.clear()
                return

    return tell


def _free(asker: Asker) -> None:
    try:
        asker.close()
    except EdgeTwinError:  # a runtime that cannot even close is given up
        return


def _no_session(session_id: str) -> UnknownError:
    return UnknownError(
        f"expected an open session, got {session_id[:40]!r}: it ended, or was idle too long; "
        "open another"
    )
