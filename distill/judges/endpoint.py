"""A judge behind any OpenAI-compatible endpoint, with a rubric (:mod:`.rubric`).

FastReasonSeg (section 4): temperature 0.3, at most 512 tokens. Samples are asked by several
threads, each with a client of its own, within a pace, a budget and a time; see
:class:`EndpointOptions`. Equal samples are asked once, and what was judged before is read from
the cache, whichever run asked it.

Whatever happens the training goes on: a sample without a score is None and counted by its reason
(:data:`~.base.OUTCOMES`). Further counts: ``asked`` samples sent, ``requests`` sent with
repetitions, ``retried``, ``resting`` (failed without asking, since the judge had just failed many
times in a row), ``no_reference`` (judged without a teacher's or the generator's chain).

Not covered: streaming, batch interfaces, judges that want pictures.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ...reasoner.models.endpoint import Endpoint, Message, Sampling
from ...reasoner.models.http import TimedOut
from ...reasoner.models.openai import pieces
from ...twin.errors import ModelError
from ..rollouts.record import Rollout
from .base import chain_of, new_counts, says_nothing
from .cache import Entry, ScoreCache, key_of
from .limits import Ledger, Pace, Spending, Spent
from .rubric import RUBRIC, Rubric, parse_score

__all__ = ["EndpointJudge", "EndpointOptions"]

_NOTHING = Spending()


class EndpointOptions(BaseModel):
    """How an endpoint is asked; every field may stand in a recipe's ``judge.options``.

    ``patience_s`` is what one call of :meth:`EndpointJudge.score` may take in all, waiting for
    the pace included; ``timeout_s`` one sample's requests. After ``give_up_after`` samples that
    failed in a row the endpoint rests for ``rest_s``, in which samples fail at once. A budget
    counts what every run with the same cache has spent. ``strict`` takes a reply only if it is
    the JSON object and nothing else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = None
    api_key_env: str | None = None
    temperature: float = Field(default=0.3, ge=0, le=2)
    max_tokens: int = Field(default=512, ge=16, le=8192)
    concurrency: int = Field(default=8, ge=1, le=64)
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    budget_requests: int | None = Field(default=None, ge=0)
    budget_tokens: int | None = Field(default=None, ge=0)
    attempts: int = Field(default=3, ge=1, le=10)
    backoff_s: float = Field(default=0.5, ge=0)
    timeout_s: float = Field(default=60.0, gt=0)
    patience_s: float = Field(default=600.0, gt=0)
    give_up_after: int = Field(default=16, ge=1)
    rest_s: float = Field(default=60.0, ge=0)
    strict: bool = False
    extra: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class _Asked:
    """One message to judge, and the samples that share it."""

    key: str
    message: str
    tokens: int  # of request and reply, estimated
    rows: tuple[int, ...]


class EndpointJudge:
    """Scores chains by asking a language model.

    Args:
        url: base URL such as ``http://localhost:8000/v1``.
        model: the judge's name at the server.
        cache: the SQLite file of scores.
        options: see :class:`EndpointOptions`.
        teachers: transcripts of a teacher by (key, question) of their task, which chains are
            compared to.
        rubric: what the judge is told.

    Raises:
        ModelError: for a URL that is none, or a key that cannot be had.
        StoreError: if the cache cannot be used.
    """

    def __init__(
        self,
        url: str,
        model: str,
        cache: Path,
        options: EndpointOptions | None = None,
        *,
        teachers: Mapping[tuple[str, str], str] | None = None,
        rubric: Rubric = RUBRIC,
    ) -> None:
        given = options or EndpointOptions()
        self._options, self._rubric, self._teachers = given, rubric, teachers or {}
        self._model = model
        told = (rubric.version, rubric.sha256)
        self._cache = ScoreCache(cache, model=model, rubric=told, temperature=given.temperature)
        self._clients: queue.SimpleQueue[Endpoint] = queue.SimpleQueue()
        for _ in range(given.concurrency):
            self._clients.put(
                Endpoint(
                    url,
                    model,
                    api_key_env=given.api_key_env,
                    timeout_s=given.timeout_s,
                    attempts=given.attempts,
                    backoff_s=given.backoff_s,
                    extra=given.extra,
                    retry_wait=self._retrying,
                )
            )
        self._sampling = Sampling(given.max_tokens, given.temperature)
        self._pace = Pace(given.requests_per_minute, given.tokens_per_minute)
        self._ledger = Ledger(given.budget_requests, given.budget_tokens, self._cache.spent())
        self._counts = new_counts("asked", "requests", "retried", "resting", "no_reference")
        self._lock = threading.Lock()
        self._in_a_row, self._rests_until = 0, 0.0
        self.last_error = ""

    @property
    def counts(self) -> dict[str, int]:
        """See :class:`~.base.Judge`."""
        with self._lock:
            return dict(self._counts)

    @property
    def card(self) -> dict[str, Any]:
        """What a model card says of this judge; it names no address and no key."""
        return {
            "kind": "endpoint",
            "model": self._model,
            "rubric": self._rubric.version,
            "rubric_sha256": self._rubric.sha256,
            "temperature": self._options.temperature,
            "max_tokens": self._options.max_tokens,
            "teacher_chains": len(self._teachers),
            "tokens": self._ledger.spent.tokens,
            "last_error": self.last_error,
        }

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """One score in [0, 1] per rollout, None where there is none; see the module.

        Raises:
            MissingExtraError: if the HTTP library is not installed.
            StoreError: if the cache can no longer be read or written.
        """
        scores: list[float | None] = [None] * len(rollouts)
        wanted = self._wanted(rollouts, scores)
        known = self._cache.get([each.key for each in wanted])
        for each in wanted:
            if each.key in known:
                self._count("cached", len(each.rows))
                for row in each.rows:
                    scores[row] = known[each.key]
        fresh = [each for each in wanted if each.key not in known]
        if fresh:
            self._ledger.catch_up(self._cache.spent())
            self._ask_all(fresh, scores)
        return scores

    # ---- pieces

    def _wanted(self, rollouts: Sequence[Rollout], scores: list[float | None]) -> list[_Asked]:
        """What is to be judged, equal samples together; what says nothing is scored here."""
        messages: dict[str, list[int]] = {}
        for row, rollout in enumerate(rollouts):
            found = chain_of(rollout)
            if found is None:
                self._count("skipped")
                continue
            if says_nothing(found):
                self._count("empty")
                scores[row] = 0.0
                continue
            teacher = self._teachers.get((rollout.task.key, rollout.task.question))
            if teacher is None and rollout.task.reference is None:
                self._count("no_reference")
            messages.setdefault(self._rubric.message(rollout, found, teacher), []).append(row)
        about = {"model": self._model, "temperature": self._options.temperature}
        about |= {"rubric": self._rubric.version, "rubric_sha256": self._rubric.sha256}
        about |= {"max_tokens": self._options.max_tokens, "extra": self._options.extra}
        system = len(pieces(self._rubric.system))
        return [
            _Asked(
                key_of(message=message, **about),
                message,
                system + len(pieces(message)) + self._options.max_tokens,
                tuple(rows),
            )
            for message, rows in messages.items()
        ]

    def _ask_all(self, fresh: Sequence[_Asked], scores: list[float | None]) -> None:
        """Ask in threads; scores are kept one by one, so that a kill loses what is on its way."""
        until = time.monotonic() + self._options.patience_s
        ended = threading.Event()
        threads = min(self._options.concurrency, len(fresh))
        pool = ThreadPoolExecutor(threads, thread_name_prefix="judge")
        try:
            jobs: dict[Future[_Outcome], _Asked] = {
                pool.submit(self._ask, each, until, ended): each for each in fresh
            }
            for job in as_completed(jobs):
                each, outcome = jobs[job], job.result()
                kept: list[Entry] = []
                if outcome.score is not None:
                    kept = [(each.key, outcome.score, outcome.reply)]
                    for row in each.rows:
                        scores[row] = outcome.score
                    self._count("cached", len(each.rows) - 1)
                    self._count("scored")
                else:
                    self._count(outcome.why, len(each.rows))
                self._cache.put(kept, outcome.spent)
        finally:
            ended.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _ask(self, each: _Asked, until: float, ended: threading.Event) -> _Outcome:
        """Judge one message; runs in a thread."""
        if time.monotonic() < self._rests_until:
            self._count("resting")
            return _Outcome("failed")
        client = self._clients.get()
        sent = _Sent(self._ledger, each.tokens)
        _SENDING.sent = sent
        try:
            self._wait(each.tokens, until, ended)
            sent.begin()
            self._count("asked")
            system, user = (self._rubric.system,), (each.message,)
            messages = [Message("system", system), Message("user", user)]
            reply = client.chat(messages, self._sampling, until)
        except Spent as error:
            self.last_error = str(error)
            return _Outcome("over_budget", spent=sent.end(0))
        except ModelError as error:
            self._failed(str(error))
            late = isinstance(error, TimedOut)
            return _Outcome("failed", spent=sent.end(None if late else 0))
        finally:
            self._count("requests", sent.requests)
            self._clients.put(client)
            _SENDING.sent = None
        self._in_a_row = 0
        score = parse_score(reply.text, tolerant=not self._options.strict)
        cost = reply.usage.prompt + reply.usage.completion
        return _Outcome("malformed", score, reply.text, sent.end(cost or None))

    def _wait(self, tokens: int, until: float, ended: threading.Event) -> None:
        """Wait for a place in the pace and until no server asks to hold."""
        wait = self._pace.reserve(tokens)
        while wait > 0:
            if time.monotonic() + wait >= until or ended.wait(wait):
                raise TimedOut(
                    f"expected a place to ask the judge within {self._options.patience_s:g} s, "
                    "got none: raise patience_s or the limits per minute, or judge fewer samples"
                )
            wait = self._pace.held()

    def _retrying(self, status: int, seconds: float) -> float:
        """Before a repetition: it costs a request and a place, and a full server is left alone."""
        sent: _Sent = _SENDING.sent
        sent.begin()
        self._count("retried")
        if status == 429:
            self._pace.hold(seconds)
        return max(seconds, self._pace.reserve(sent.estimate))

    def _failed(self, message: str) -> None:
        with self._lock:
            self.last_error = message
            self._in_a_row += 1
            if self._in_a_row >= self._options.give_up_after:
                self._in_a_row = 0
                self._rests_until = time.monotonic() + self._options.rest_s

    def _count(self, name: str, number: int = 1) -> None:
        with self._lock:
            self._counts[name] += number


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of one message: a score, or why there is none; and what it cost."""

    why: str
    score: float | None = None
    reply: str = ""
    spent: Spending = _NOTHING


class _Sent:
    """The requests of one message; each is taken from the ledger before it goes out.

    A request that failed costs no tokens, one that came too late what was estimated.
    """

    def __init__(self, ledger: Ledger, estimate: int) -> None:
        self.estimate, self.requests = estimate, 0
        self._ledger = ledger

    def begin(self) -> None:
        """A request goes out (raises Spent); one before it has failed."""
        if self.requests:
            self._ledger.correct(self.estimate, 0)
        self._ledger.take(self.estimate)
        self.requests += 1

    def end(self, tokens: int | None = None) -> Spending:
        """What it came to; ``tokens``: the server's count, 0 if it gave none, None: as estimated."""
        if not self.requests:
            return _NOTHING
        cost = self.estimate if tokens is None else tokens
        self._ledger.correct(self.estimate, cost)
        return Spending(self.requests, cost)


class _Sending(threading.local):
    """What this thread is sending; the client's callback knows only its thread."""

    sent: Any = None


_SENDING = _Sending()
