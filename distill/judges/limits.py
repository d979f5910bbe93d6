"""What an endpoint may be asked: how often (:class:`Pace`) and how much in all (:class:`Ledger`).

Both are shared by the threads that ask. Times are of ``time.monotonic``.

Not covered: limits per day, several processes (each keeps its own pace).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from ...twin.errors import InputError, ModelError

__all__ = ["Ledger", "Pace", "Spending", "Spent"]

_LONGEST_HOLD_S = 300.0  # a server that asks for an hour is asked again all the same, and counted


class Spent(ModelError):
    """The budget of requests or tokens is used up."""


class Pace:
    """Requests and tokens per minute, evenly spaced: no burst, so no window can be overrun.

    Args:
        requests_per_minute: None: no limit.
        tokens_per_minute: prompt and reply, by estimate; None: no limit.

    Raises:
        InputError: for limits that are not positive.
    """

    def __init__(
        self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None
    ) -> None:
        for limit in (requests_per_minute, tokens_per_minute):
            if limit is not None and limit <= 0:
                raise InputError(f"expected limits per minute above 0 or none, got {limit:g}")
        self._per_request = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._per_token = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._lock = threading.Lock()
        self._request_at = self._token_at = self._held_until = 0.0

    def reserve(self, tokens: int) -> float:
        """Take the next place for a request of so many tokens; return the seconds until then."""
        now = time.monotonic()
        with self._lock:
            at = max(now, self._request_at, self._token_at)
            self._request_at = at + self._per_request
            self._token_at = at + self._per_token * tokens
            return at - now

    def hold(self, seconds: float) -> None:
        """Let nobody ask for so long (at most five minutes); a server said that it was too much."""
        until = time.monotonic() + min(seconds, _LONGEST_HOLD_S)
        with self._lock:
            self._held_until = max(self._held_until, until)

    def held(self) -> float:
        """Seconds until asking is allowed again, 0 when it is."""
        with self._lock:
            return max(0.0, self._held_until - time.monotonic())


@dataclass(frozen=True, slots=True)
class Spending:
    """Requests sent, and tokens of prompts and replies."""

    requests: int = 0
    tokens: int = 0


class Ledger:
    """What may be spent in all; what is on its way counts as spent by its estimate.

    Args:
        requests: requests sent, repetitions included; None: no limit.
        tokens: of prompts and replies as the server counts them, by estimate where it does not;
            None: no limit.
        spent: what was spent before, such as by the run that is resumed.
    """

    def __init__(
        self,
        requests: int | None = None,
        tokens: int | None = None,
        spent: Spending | None = None,
    ) -> None:
        self._requests, self._tokens = requests, tokens
        self._spent = spent or Spending()
        self._lock = threading.Lock()

    @property
    def spent(self) -> Spending:
        """So far, with what is on its way."""
        with self._lock:
            return self._spent

    def take(self, tokens: int) -> None:
        """Reserve one request of so many tokens.

        Raises:
            Spent: if it does not fit the budget.
        """
        with self._lock:
            after = Spending(self._spent.requests + 1, self._spent.tokens + tokens)
            most_requests, most_tokens = self._requests, self._tokens
            if most_requests is not None and after.requests > most_requests:
                raise Spent(
                    f"expected at most {most_requests} requests to the judge, all are spent: "
                    "raise budget_requests"
                )
            if most_tokens is not None and after.tokens > most_tokens:
                raise Spent(
                    f"expected at most {most_tokens} tokens for the judge, got "
                    f"{self._spent.tokens} spent and {tokens} asked for: raise budget_tokens"
                )
            self._spent = after

    def correct(self, estimate: int, tokens: int) -> None:
        """Replace the estimate of one request by what it cost."""
        with self._lock:
            old = self._spent
            self._spent = Spending(old.requests, max(0, old.tokens + tokens - estimate))

    def catch_up(self, spent: Spending) -> None:
        """Take over what other processes of the run have spent, if that is more."""
        with self._lock:
            old = self._spent
            self._spent = Spending(max(old.requests, spent.requests), max(old.tokens, spent.tokens))
