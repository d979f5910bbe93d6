"""What both clients share: where the server is, who asks, how long, and what may be asked again.

The token is held where no ``repr`` and no log shows it, is sent to this one server only
(redirects are not followed), and never over a proxy unless the environment is to be used.
"""

from __future__ import annotations

import logging
import random
import ssl
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from ...twin.errors import EdgeTwinError, InputError, MissingExtraError
from ..live.errors import BusyError
from .calls import Call
from .errors import NotReadyError, RemoteError, UnreachableError, refusal
from .replies import Reply

__all__ = [
    "MOST_BODY_BYTES",
    "MOST_MESSAGE_BYTES",
    "Server",
    "http_library",
    "pause_s",
    "quiet_logger",
    "socket_library",
    "too_large",
    "whole",
]

MOST_BODY_BYTES = 64 * 2**20  # a clip of an event; any record is far smaller
MOST_MESSAGE_BYTES = 4 * 2**20  # of the socket: a light twin of some thousand objects
_MOST_PAUSE_S = 5.0  # before one repetition, whatever the server asks for
_FIRST_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Server:
    """One server as its clients see it.

    Attributes:
        url: its address, such as ``http://127.0.0.1:8300``.
        token: what it asks for beyond this machine; never shown.
        timeout_s: for a connection, and between two pieces of an answer.
        retries: how often a request is repeated at most, if that is safe.
        from_environment: whether proxies may come from the environment.
        ca_file: certificates to trust, PEM; None: the usual ones.

    Raises:
        InputError: if the address is none, or holds credentials, or a value is wrong.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    timeout_s: float = 10.0
    retries: int = 2
    from_environment: bool = False
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            named = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            named = False
        if not named or parts.query or parts.fragment:
            raise InputError("expected a server's address such as http://127.0.0.1:8300")
        if parts.username is not None or parts.password is not None:
            raise InputError("expected an address without credentials: give token=… instead")
        if not self.timeout_s > 0 or not 0 <= self.retries <= 10:
            raise InputError(
                f"expected timeout_s above 0 and retries of 0 to 10, got {self.timeout_s} and "
                f"{self.retries}"
            )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise InputError("expected a token of printable ASCII characters")
        object.__setattr__(self, "url", self.url.rstrip("/"))

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def request(self, call: Call[Any]) -> dict[str, Any]:
        """Arguments of the HTTP library's ``stream`` for a call."""
        return {
            "method": call.method,
            "url": self.url + call.path,
            "params": call.params or None,
            "json": call.body,
            "timeout": http_library().Timeout(
                call.timeout_s or self.timeout_s, connect=self.timeout_s
            ),
        }

    def options(self) -> dict[str, Any]:
        """Arguments of the HTTP library's clients."""
        return {
            "headers": self.headers(),
            "follow_redirects": False,
            "trust_env": self.from_environment,
            "verify": self.trust() or True,
        }

    def trust(self) -> ssl.SSLContext | None:
        """What certificates are checked with; None: the libraries' own way, or no TLS.

        Raises:
            InputError: if ``ca_file`` holds no certificates.
        """
        if self.ca_file is None or not self.url.startswith("https:"):
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"expected certificates in PEM at {self.ca_file}, got: {error}"
            ) from None

    def socket_url(self, streams: tuple[str, ...]) -> str:
        """The address of the socket for some streams, or for all."""
        base = "ws" + self.url.removeprefix("http")
        return f"{base}/api/ws?{urlencode([('stream', one) for one in streams])}".rstrip("?")

    def socket_options(self) -> dict[str, Any]:
        """Arguments of the socket library's ``connect``."""
        return {
            "additional_headers": self.headers(),
            "open_timeout": self.timeout_s,
            "close_timeout": 1.0,
            "max_size": MOST_MESSAGE_BYTES,
            "logger": quiet_logger(),
            "proxy": True if self.from_environment else None,
            **({"ssl": context} if (context := self.trust()) is not None else {}),
        }


def pause_s(call: Call[Any], error: EdgeTwinError, attempt: int, retries: int) -> float | None:
    """Seconds after which to send a call again, or None: not at all.

    Reading is repeated after a broken connection, a server that is busy, starting or failing for
    a moment. What changes something only if the server cannot have begun with it.
    """
    if attempt >= retries:
        return None
    pause = min(_MOST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt) * random.uniform(0.8, 1.2)
    if isinstance(error, BusyError):
        return None if error.closing else min(_MOST_PAUSE_S, max(pause, error.retry_after_s))
    if isinstance(error, UnreachableError):
        return pause if call.safe or not error.sent else None
    if isinstance(error, NotReadyError) or (
        isinstance(error, RemoteError) and error.status in (502, 503, 504)
    ):
        return pause if call.safe else None
    return None


def whole(status: int, headers: Any, body: bytes) -> Reply:
    """Return an answer, or raise what its refusal stands for."""
    if not 200 <= status < 300:
        raise refusal(status, body, headers.get("retry-after"))
    return Reply(status, {str(k).lower(): str(v) for k, v in headers.items()}, body)


def too_large(url: str) -> RemoteError:
    """Return the error of an answer that does not end."""
    return RemoteError(
        f"expected an answer of at most {MOST_BODY_BYTES} bytes from {url}, got more: is it an "
        "EdgeTwin server?"
    )


def http_library() -> Any:
    """Return the HTTP library.

    Raises:
        MissingExtraError: if it is not installed.
    """
    return _library("httpx2", "httpx2")


def socket_library(kind: str) -> Any:
    """Return the socket library's module of a ``kind``: ``sync.client`` or ``asyncio.client``.

    Raises:
        MissingExtraError: if it is not installed.
    """
    return _library("websockets", f"websockets.{kind}")


def _library(package: str, module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise MissingExtraError(package, "remote") from None


def quiet_logger() -> logging.Logger:
    """Return a logger for the socket library that never writes headers, which hold the token."""
    logger = logging.getLogger("edgetwin.client.socket")
    logger.setLevel(logging.INFO)  # its own debug lines are what it shows them in
    return logger
