"""Webhooks: an event as a signed POST to an address that the operator allowed.

Deliveries wait in a bounded queue and never hold up anything else. Body: the event's JSON.
Headers: ``X-EdgeTwin-Event`` (its id: the same one may come twice), and with a secret
``X-EdgeTwin-Signature: t=SECONDS,v1=HEX``, the HMAC-SHA256 of ``SECONDS.BODY``; a receiver checks
it with :func:`verify`. Redirects are not followed, proxies of the environment not used.

Not covered: deliveries that outlive the process; a receiver's certificate of its own; an allowed
receiver that drips its answer (each read has a timeout, the whole has none).
"""

from __future__ import annotations

import hashlib
import hmac
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...twin.errors import InputError, MissingExtraError
from .clips import Scribe
from .records import Event

__all__ = ["DeliveryCounts", "Webhooks", "sign", "verify"]

_MAX_URL = 2048
_RETRY_FACTOR = 3.0

Told = Callable[[str, bool], None]


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """What became of deliveries: ``dead`` were given up, ``refused`` found no room."""

    delivered: int = 0
    retried: int = 0
    dead: int = 0
    refused: int = 0
    waiting: int = 0
    error: str = ""


class Webhooks:
    """Sends events.

    Args:
        allow: hosts (``hooks.example.com``, ``127.0.0.1:9000``: any path, https or http) or URL
            prefixes (``https://example.com/hooks/``); nothing else is ever called.
        secret: signs the bodies; None: they are not signed.
        attempts: how often one delivery is tried.
        first_s: before the second attempt; then three times as long each time.
        timeout_s: of one attempt.
        most: deliveries that wait.

    Raises:
        InputError: if an entry of ``allow`` is neither a host nor a URL.
        MissingExtraError: if there is something to allow and httpx2 is missing.
    """

    def __init__(
        self,
        allow: Sequence[str] = (),
        secret: bytes | None = None,
        *,
        attempts: int = 4,
        first_s: float = 1.0,
        timeout_s: float = 5.0,
        most: int = 64,
    ) -> None:
        self._allowed = [_entry(text) for text in allow]
        self._secret, self._attempts = secret, attempts
        self._first_s, self._timeout_s = first_s, timeout_s
        # Two, so that one address that does not answer holds up half, not all.
        self._threads = [Scribe(most // 2 or 1, f"edgetwin-webhook-{k}") for k in range(2)]
        self._turn = 0
        self._lock = threading.Lock()
        self._counts = {"delivered": 0, "retried": 0, "dead": 0, "refused": 0, "waiting": 0}
        self._error = ""
        self._closed = threading.Event()
        self._until = 0.0  # when closed: no attempt begins after it
        self._client: Any = _client(timeout_s) if self._allowed else None

    def check(self, url: str) -> None:
        """Refuse what may not be called.

        Raises:
            InputError: with the reason; the URL's password, if it has one, is not told.
        """
        if len(url) > _MAX_URL or any(ord(c) <= 32 or ord(c) == 127 for c in url) or "\\" in url:
            raise InputError(f"expected a plain URL of at most {_MAX_URL} characters, got another")
        scheme, host, port, path = _parts(url)
        for entry in self._allowed:
            if entry.admits(scheme, host, port, path):
                return
        raise InputError(
            f"expected a webhook that the operator allowed, got one at {host}: the server has to "
            "be started with this host or URL allowed"
        )

    def send(self, event: Event, url: str, told: Told | None = None) -> bool:
        """Deliver later; ``told(event id, delivered)`` is called when it is over, from a thread.

        Returns False if there was no room (counted).
        """
        self.check(url)
        body = event.model_dump_json().encode()
        with self._lock:
            self._turn += 1
            thread = self._threads[self._turn % len(self._threads)]
        return self._put(thread, _Delivery(event.id, url, body, told), 0.0)

    def counts(self) -> DeliveryCounts:
        """What became of the deliveries so far."""
        with self._lock:
            return DeliveryCounts(**self._counts, error=self._error)

    def plain_counts(self) -> dict[str, int]:
        """The numbers of :meth:`counts`, for metrics."""
        with self._lock:
            return dict(self._counts)

    def close(self, timeout_s: float = 5.0) -> bool:
        """End; what waits is tried once more, without retries. False if a thread did not end."""
        until = self._until = time.monotonic() + timeout_s
        self._closed.set()
        ended = [
            thread.close(max(until - time.monotonic(), 0.0), drop=False)  # each is told its end
            for thread in self._threads
        ]
        if self._client is not None and all(ended):
            self._client.close()
        return all(ended)

    def _put(self, thread: Scribe, delivery: _Delivery, due_s: float) -> bool:
        with self._lock:  # counted first: the thread may be done before this one goes on
            self._counts["waiting"] += 1
        if thread.put(lambda: self._attempt(thread, delivery), due_s):
            return True
        with self._lock:
            self._counts["waiting"] -= 1
            self._counts["refused"] += 1
        delivery.tell(False)
        return False

    def _attempt(self, thread: Scribe, delivery: _Delivery) -> None:
        delivery.attempts += 1
        error, again = ("closing", False) if self._over() else self._post(delivery)
        again = again and delivery.attempts < self._attempts and not self._closed.is_set()
        with self._lock:
            self._counts["waiting"] -= 1
            self._counts[
                "dead" if error and not again else "retried" if error else "delivered"
            ] += 1
            self._error = error or self._error
        if again:
            wait_s = self._first_s * _RETRY_FACTOR ** (delivery.attempts - 1)
            due_s = time.monotonic() + wait_s * random.uniform(0.8, 1.2)  # not all at once
            self._put(thread, delivery, due_s)
        else:
            delivery.tell(not error)

    def _over(self) -> bool:
        return self._closed.is_set() and time.monotonic() >= self._until

    def _post(self, delivery: _Delivery) -> tuple[str, bool]:
        """What went wrong, or empty; and whether trying again may help."""
        import httpx2

        headers = {"Content-Type": "application/json", "X-EdgeTwin-Event": delivery.event_id}
        if self._secret is not None:
            headers["X-EdgeTwin-Signature"] = sign(self._secret, delivery.body, time.time())
        host = _parts(delivery.url)[1]
        try:
            with self._client.stream(
                "POST", delivery.url, content=delivery.body, headers=headers
            ) as reply:
                status = int(reply.status_code)
        except httpx2.TransportError as error:
            return f"{host}: {type(error).__name__}", True
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            return f"{host}: {type(error).__name__}", False
        if 200 <= status < 300:
            return "", False
        # Others than these say that the same will not be taken later either.
        return f"{host}: status {status}", status >= 500 or status in (408, 425, 429)


@dataclass(slots=True)
class _Delivery:
    event_id: str
    url: str
    body: bytes
    told: Told | None
    attempts: int = 0

    def tell(self, delivered: bool) -> None:
        if self.told is not None:
            self.told(self.event_id, delivered)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Something allowed; ``scheme`` empty: a host with any path."""

    scheme: str
    host: str
    port: int | None
    path: str

    def admits(self, scheme: str, host: str, port: int, path: str) -> bool:
        if host != self.host or (self.scheme and scheme != self.scheme):
            return False
        usual = {"https": 443, "http": 80}[scheme]
        if port != (self.port if self.port is not None else usual):
            return False
        if not self.path:
            return True
        return path == self.path or path.startswith(self.path.rstrip("/") + "/")


def _entry(text: str) -> _Entry:
    if "://" not in text:
        parts = urlsplit(f"//{text}")
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.path or parts.query or parts.username is not None:
            raise InputError(
                f"expected a host such as hooks.example.com:8443 or a URL's beginning, got {text!r}"
            )
        return _Entry("", host, port, "")
    scheme, host, port, path = _parts(text)
    return _Entry(scheme, host, port, path if path not in ("", "/") else "")


def _parts(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of a URL that says nothing else to a client than to us.

    Raises:
        InputError: for other schemes, user names, fragments, and paths that climb.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InputError("expected a URL such as https://host/path, got none") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise InputError("expected a URL such as https://host/path, got another scheme or no host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InputError("expected a URL without user name and fragment, got one with them")
    folded = parts.path.casefold()
    if "%2e" in folded or "%2f" in folded or "%5c" in folded or ".." in folded.split("/"):
        raise InputError("expected a URL whose path does not climb, got one with .. in it")
    return (
        parts.scheme,
        parts.hostname,
        port or (443 if parts.scheme == "https" else 80),
        parts.path,
    )


def _client(timeout_s: float) -> Any:
    try:
        import httpx2
    except ImportError as error:
        raise MissingExtraError("httpx2", "remote") from error
    return httpx2.Client(
        timeout=timeout_s,
        follow_redirects=False,
        trust_env=False,
        limits=httpx2.Limits(max_connections=4, max_keepalive_connections=2),
        headers={"User-Agent": "edgetwin"},
    )


def sign(secret: bytes, body: bytes, at: float) -> str:
    """The signature header of a body sent at ``at`` (Unix seconds)."""
    seconds = int(at)
    mac = hmac.new(secret, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={mac}"


def verify(
    secret: bytes, body: bytes, header: str, *, now: float | None = None, tolerance_s: float = 300.0
) -> bool:
    """Whether a header is this body's signature, made lately: for receivers."""
    fields = dict(part.partition("=")[::2] for part in header.split(","))
    try:
        at = int(fields.get("t", ""))
    except ValueError:
        return False
    fresh = abs((time.time() if now is None else now) - at) <= tolerance_s
    return fresh and hmac.compare_digest(sign(secret, body, at).encode(), header.encode())
