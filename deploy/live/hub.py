"""Streams left running on one model set: add, list, remove; ask at any time; stop in order.

::

    from edgetwin.deploy.live.hub import LiveHub
    from edgetwin.deploy.live.records import StreamSpec
    from edgetwin.deploy.models import load_models

    with LiveHub(load_models("embedded"), folder=Path("hub")) as hub:
        hub.add(StreamSpec(id="table", source="rtsp://camera/stream"))
        print(hub.ask("table", "what could I drink from?")["ids"])

One thread perceives for all streams, one answers for all callers; each source has its own. The
networks and the language model are loaded once.

Not covered: several model sets, hubs that share a folder.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ...perception.perceiver import Perceiver
from ...reasoner.prompts import Mode
from ...reasoner.telling import Heard
from ...twin.errors import InputError, StoreError
from ..models import Models
from ..stream.live import LiveSource, Retry
from ..stream.sinks import make_folder
from ..stream.spec import Address, Opener, parse_address
from .asking import Asking
from .bounds import HubLimits
from .desk import LanguageDesk
from .errors import BusyError, UnknownError
from .memory import Retention, StreamMemory
from .pool import PerceptionPool
from .records import StreamSpec
from .sight import MakeObserver, Sight, observers, open_lanes
from .standing import DeskLimits, StandingDesk
from .stream import LiveStream, OpenSource
from .webhooks import Webhooks

__all__ = ["HubLimits", "LiveHub"]

_STUCK_S = 30.0  # perception of one frame that takes longer is not ready for more
_STOP_S = 2.0  # of a source from any state


class LiveHub:
    """See the head of this file; every method may be called from any thread.

    Args:
        models: what sees and what answers, loaded once for all streams.
        folder: what streams keep goes to ``folder/ID``.
        limits: bounds.
        openers: further schemes of sources, such as ``sim``.
        observe: makes the perceivers of streams; None: those of ``models``, sharing networks.
        open_source: makes what reads an address; None: a ``LiveSource`` with ``retry``.
        webhooks: where events may be sent; None: nowhere.
        standing: bounds of standing questions.
        retention: how long and how much a stream keeps on disk, where it is to record.
        retry: when failed sources are tried again.

    Attributes:
        models, folder, limits, openers: as given.
        words: what the model set can look for; empty: any noun.
        started_at: Unix seconds.
        standing: the standing questions.

    Raises:
        InputError: if the models' reasoner is none of ours.
        OutputError: if the folder cannot be made.
    """

    def __init__(
        self,
        models: Models,
        *,
        folder: Path,
        limits: HubLimits | None = None,
        openers: Mapping[str, Opener] | None = None,
        observe: MakeObserver | None = None,
        open_source: OpenSource | None = None,
        webhooks: Webhooks | None = None,
        standing: DeskLimits | None = None,
        retention: Retention | None = None,
        retry: Retry | None = None,
    ) -> None:
        self.models, self.limits = models, limits or HubLimits()
        self.folder, self.openers = Path(folder), dict(openers or {})
        self.words = models.bundle.words.nouns if models.bundle is not None else ()
        self.started_at = time.time()
        make_folder(self.folder)
        self._retry, self._retention = retry or Retry(), retention
        self._lanes = open_lanes()  # their threads begin with the first frame
        self._observe = observe or observers(models, self._lanes)
        self._open_source = open_source or self._live_source
        self._asking = Asking(
            models,
            sessions=self.limits.sessions,
            idle_s=self.limits.session_idle_s,
            warm=self.limits.warm,
        )
        self._lock = threading.RLock()
        self._streams: dict[str, LiveStream] = {}
        self._closing = False
        self._pool = PerceptionPool()
        self._desk = LanguageDesk(
            self.limits.questions, self.limits.questions_each, at_end=self._asking.drop
        )
        self.standing = StandingDesk(
            self, folder=self.folder / "events", limits=standing, webhooks=webhooks
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ---- streams

    def add(self, spec: StreamSpec) -> LiveStream:
        """Begin a stream.

        Raises:
            SourceError: if the source is none, or a file that cannot be read.
            OutputError: if its folder cannot be made.
            InputError: if the id is in use, or the set knows none of the words.
            BusyError: if there are as many streams as there may be, or the hub closes.
        """
        address = parse_address(
            spec.source, fps=spec.fps, live=spec.live, loop=spec.loop, openers=self.openers
        )
        sight = Sight(lambda: self._observe(spec.words))
        unknown = _unknown(sight, spec.words)
        with self._lock:
            self._check_room()
            stream_id = self._new_id(spec, address)
            memory, told = self._memory(stream_id) if spec.record else (None, "")
            stream = LiveStream(
                stream_id,
                spec,
                address,
                sight=sight,
                pool=self._pool,
                open_source=self._open_source,
                limits=self.limits.stream,
                memory=memory,
            )
            self._streams[stream_id] = stream
            if told:
                stream.warn(told)
            if unknown:
                stream.warn(f"the set does not know: {', '.join(unknown)}")
            stream.start()
        return stream

    def stream(self, stream_id: str) -> LiveStream:
        """A stream by its id.

        Raises:
            UnknownError: if there is none.
        """
        with self._lock:
            found = self._streams.get(stream_id)
            known = ", ".join(self._streams) or "none"
        if found is None:
            raise UnknownError(f"expected a stream ({known}), got {stream_id[:64]!r}: list them")
        return found

    def streams(self) -> list[LiveStream]:
        """All streams, in the order they came."""
        with self._lock:
            return list(self._streams.values())

    def remove(self, stream_id: str) -> bool:
        """End a stream and its sessions; what it kept stays. False if a thread did not end.

        Raises:
            UnknownError: if there is none.
        """
        with self._lock:
            stream = self.stream(stream_id)
            del self._streams[stream_id]
        self.standing.forget(stream_id)
        self._asking.forget(stream_id)
        self._desk.later(lambda: self._asking.drop(stream_id))
        return stream.stop(_STOP_S)

    # ---- questions

    def ask(
        self,
        stream_id: str,
        question: str,
        *,
        mode: Mode = "concise",
        session: str | None = None,
        budget_s: float | None = None,
        heard: Heard | None = None,
        caller: str = "",
    ) -> dict[str, Any]:
        """Answer a question on what a stream has seen by now; blocks.

        Args:
            stream_id: which stream.
            question: up to the language model what it understands.
            mode: how much to explain.
            session: whose earlier questions it may lean on; None: it stands alone.
            budget_s: seconds the caller will wait; None: the hub's ``question_s``.
            heard: told ("text" | "plan" | "results", data) as they come, in the language thread.
            caller: who asks, for fairness; None: the session.

        Returns:
            The record of ``answer.json`` with ``stream``, ``frame_index``, ``timestamp_s``,
            ``age_ms`` (of that frame, now) and ``masks`` by id (as text), each of the newest
            frame that shows the object. Questions that fail are records of status ``error``.

        Raises:
            UnknownError: if the stream or session is not there.
            BusyError: if too much waits, or the time is over.
        """
        stream = self.stream(stream_id)
        if session is not None:
            self._asking.use(session, stream_id)
        return self._answer(stream, question, mode, session or "", True, budget_s, heard, caller)

    def plan(self, stream_id: str, question: str) -> dict[str, Any]:
        """The same record for a standing question: alone, without looking again into pictures.

        Raises:
            UnknownError, BusyError: as :meth:`ask`.
        """
        stream = self.stream(stream_id)
        return self._answer(stream, question, "concise", "", False, None, None, "standing")

    def open_session(self, stream_id: str) -> str:
        """Begin a conversation about a stream; its id.

        Raises:
            UnknownError: if the stream is not there.
            BusyError: if there are too many sessions.
        """
        self.stream(stream_id)
        return self._asking.open(stream_id).id

    def sessions(self) -> list[dict[str, Any]]:
        """Open conversations: id, stream, created_at, used_at, questions."""
        return self._asking.sessions()

    def close_session(self, session_id: str) -> None:
        """End a conversation.

        Raises:
            UnknownError: if it is not there.
        """
        self._asking.close(session_id)
        self._desk.later(self._asking.sweep)

    # ---- the whole

    def ready(self) -> tuple[bool, str]:
        """Whether streams are perceived and questions answered, and if not, why."""
        if self._closing:
            return False, "closing"
        if not self._pool.alive or not self._desk.alive:
            return False, "a thread of the hub ended: restart it"
        busy = self._pool.busy_s
        if busy > _STUCK_S:
            return False, f"perception has been at one frame for {busy:.0f} s"
        return True, "ready"

    def load(self) -> dict[str, Any]:
        """What the hub does: questions by state; by stream, seconds of perception and listeners."""
        return {
            "questions": self._desk.counts(),
            "perception_s": self._pool.worked(),
            "listeners": {stream.id: stream.listeners.costs() for stream in self.streams()},
        }

    def close(self, grace_s: float = 5.0) -> bool:
        """Refuse what is new, answer what waits within the grace, end everything.

        A second time is legal. False if a thread did not end.
        """
        with self._lock:
            if self._closing:
                return True
            self._closing = True
            streams, self._streams = list(self._streams.values()), {}
        self.standing.close(grace_s)
        ended = self._desk.close(grace_s)
        if streams:  # at once: each may take its whole time
            with ThreadPoolExecutor(len(streams), "edgetwin-stop") as stopping:
                ended = all(stopping.map(lambda s: s.stop(_STOP_S), streams)) and ended
        ended = self._pool.close(_STOP_S) and ended
        for lane in self._lanes.values():
            lane.shutdown(wait=ended, cancel_futures=True)
        return ended

    # ---- pieces

    def _answer(
        self,
        stream: LiveStream,
        question: str,
        mode: Mode,
        session: str,
        looks: bool,
        budget_s: float | None,
        heard: Heard | None,
        caller: str,
    ) -> dict[str, Any]:
        limits = self.limits
        seconds = min(limits.question_s if budget_s is None else budget_s, limits.question_most_s)
        if not seconds > 0:
            raise InputError(f"expected a budget_s above 0, got {budget_s}")
        began = time.monotonic()
        stream.wait_for_new(seconds / 2)
        record = self._desk.do(
            caller or session or "anyone",
            lambda until_s: self._asking.answer(
                stream,
                question,
                until_s,
                mode=mode,
                session=session,
                looks=looks,
                budget_s=budget_s,
                heard=heard,
            ),
            seconds - (time.monotonic() - began),
        )
        stream.answers.append(record)
        return record

    def _live_source(
        self, address: Address, sink: Callable[[Any, float], None], stream_id: str
    ) -> LiveSource:
        return LiveSource(address, sink, stream_id=stream_id, retry=self._retry)

    def _memory(self, stream_id: str) -> tuple[StreamMemory | None, str]:
        """The store of a stream; without one, and why, if its file is damaged."""
        make_folder(self.folder / stream_id)
        try:
            return StreamMemory(self.folder / stream_id / "twin.sqlite", self._retention), ""
        except StoreError as error:
            return None, f"not recording: {error}"

    def _check_room(self) -> None:
        if self._closing:
            raise BusyError("expected an open hub, got one that is closing", 5.0, closing=True)
        if len(self._streams) >= self.limits.streams:
            raise BusyError(
                f"expected fewer than {self.limits.streams} streams, got as many: remove one", 10.0
            )

    def _new_id(self, spec: StreamSpec, address: Address) -> str:
        if spec.id is not None:
            if spec.id in self._streams:
                raise InputError(f"expected an id of its own, got {spec.id!r}, which is in use")
            return spec.id
        number = 1
        while f"{address.kind}{number}" in self._streams:
            number += 1
        return f"{address.kind}{number}"


def _unknown(sight: Sight, words: list[str] | None) -> list[str]:
    """Words that perception does not know; all of them are an error."""
    if not words or not isinstance(sight.observer, Perceiver):
        return []
    unknown = sight.observer.unknown(words)
    if len(unknown) == len(words):
        raise InputError(
            f"expected at least one word that the set knows, got {', '.join(unknown)[:200]}"
        )
    return unknown
