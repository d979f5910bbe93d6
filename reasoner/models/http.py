"""One bounded HTTP POST: within its time, within its size, or a typed error.

The HTTP library's own limits hold per read, so that a server which sends a byte now and then
would never be given up; a timer ends the connection when the time is over.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import Any

from ...twin.errors import MissingExtraError, ModelError

__all__ = ["Answered", "Broken", "TimedOut", "open_client", "post", "tidy_text"]

_SHOWN = 200  # characters of a server's text in an error


class TimedOut(ModelError):
    """The time allowed ended before the server's reply."""


class Broken(ModelError):
    """The server could not be reached or its reply was cut: another try may do better."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply read whole: status, media type, body, and the seconds it asks to wait."""

    status: int
    media_type: str
    body: bytes
    retry_after_s: float | None = None

    @property
    def text(self) -> str:
        """The body as text, for errors."""
        return self.body[: 8 * _SHOWN].decode(errors="replace")


def open_client(*, from_environment: bool) -> Any:
    """An HTTP client that keeps no connection; what costs time is its list of certificates.

    ``from_environment``: proxies may come from the environment (``HTTPS_PROXY``). A new connection
    for each request costs nothing beside a language model's answer, and can be ended in time.

    Raises:
        MissingExtraError: if the HTTP library is not installed.
    """
    http = _library()
    limits = http.Limits(max_connections=1, max_keepalive_connections=0)
    return http.Client(trust_env=from_environment, follow_redirects=False, limits=limits)


def post(
    client: Any,
    url: str,
    payload: bytes,
    headers: Mapping[str, str],
    until: float,
    *,
    max_bytes: int,
) -> Answered:
    """Post and read the reply; ``until`` is on ``time.monotonic``'s clock.

    Raises:
        TimedOut: if the time ended first.
        Broken: if the server cannot be reached or its reply is cut.
        ModelError: if the reply is compressed or larger than ``max_bytes``.
    """
    http = _library()
    left = until - time.monotonic()
    if left <= 0:
        raise _late(url)
    watch = _Watch(left)
    try:
        with (
            watch,
            client.stream(
                "POST",
                url,
                content=payload,
                headers=dict(headers),
                timeout=left,
                extensions={"trace": watch.trace},
            ) as reply,
        ):
            return _read(reply, url, max_bytes)
    except http.TimeoutException:
        raise _late(url) from None
    except (http.HTTPError, http.InvalidURL, http.StreamError, OSError) as error:
        if watch.over:
            raise _late(url) from None
        raise Broken(
            f"expected a reply from {url}, got {type(error).__name__}: {tidy_text(str(error))}; "
            "check that the server runs and the address is right"
        ) from error


def tidy_text(text: str) -> str:
    """The first 200 characters of a foreign text on one line, without control characters."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in text[: 8 * _SHOWN]).split())
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"


def _library() -> Any:
    try:
        return import_module("httpx2")
    except ImportError:
        raise MissingExtraError("httpx2", "remote") from None


def _read(reply: Any, url: str, max_bytes: int) -> Answered:
    if reply.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise ModelError(
            f"expected an uncompressed reply from {url}, as asked for, got "
            f"{tidy_text(reply.headers['content-encoding'])}: switch compression off there"
        )
    body = bytearray()
    for chunk in reply.iter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise ModelError(
                f"expected a reply of at most {max_bytes >> 20} MiB from {url}, got more: check "
                "that it is a language model's server, and max_tokens"
            )
    media_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    wait = _seconds(reply.headers.get("retry-after", ""))
    return Answered(reply.status_code, tidy_text(media_type), bytes(body), wait)


def _seconds(text: str) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date."""
    with suppress(ValueError, TypeError, OverflowError):
        if text.strip().isdigit():
            return float(text.strip()[:9])
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    return None


def _late(url: str) -> TimedOut:
    return TimedOut(
        f"expected a reply from {url} in the time allowed, got none: allow more seconds, fewer "
        "tokens or smaller pictures"
    )


class _Watch:
    """Ends a request's connections when its time is over, whatever the server is doing."""

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note of new connections; the HTTP library calls it at each of its steps."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            found = info["return_value"].get_extra_info("socket")
            if isinstance(found, socket.socket):
                self._sockets.append(found)
            if self.over:
                self._end()

    def _end(self) -> None:
        self.over = True
        for each in list(self._sockets):
            with suppress(OSError, ValueError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)  # wakes whoever reads from it

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
