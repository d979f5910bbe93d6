"""What can go wrong with a server elsewhere, and one table from its codes to errors.

::

    EdgeTwinError
    ├── RemoteError        the server failed, or what answered is none of ours
    │   ├── RefusedError   the token, the host name or the origin was not accepted
    │   └── NotReadyError  there is no frame yet, or the server is still starting
    └── UnreachableError   no connection, or it broke
        └── TimedOutError  no answer in time

What the server refuses for the same reasons as a hub in this process has the same class here:
``InputError``, ``QueryError``, ``SourceError``, ``UnknownError``, ``BusyError``, ``StoreError``, ….
"""

from __future__ import annotations

import json
from typing import Any

from ...twin import errors as twin_errors
from ...twin.errors import EdgeTwinError
from ..live.errors import BusyError, UnknownError

__all__ = [
    "CODES",
    "SOCKET",
    "TRANSPORT",
    "NotReadyError",
    "RefusedError",
    "RemoteError",
    "TimedOutError",
    "UnreachableError",
    "from_socket",
    "from_transport",
    "refusal",
]

_SHOWN = 2000  # characters of a server's message
_MOST_WAIT_S = 3600.0  # what a server may ask to wait


class RemoteError(EdgeTwinError):
    """The server failed, or what answered is no EdgeTwin server; ``status`` is HTTP's, or 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class RefusedError(RemoteError):
    """The token, the host name or the origin was not accepted."""


class NotReadyError(RemoteError):
    """There is no frame yet, or the server is still starting: the same may be asked again."""


class UnreachableError(EdgeTwinError):
    """There is no connection, or it broke before the answer was whole.

    ``sent``: whether the server may have got the request.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class TimedOutError(UnreachableError):
    """No answer came in time."""


# What a server's code becomes; tests hold that every code of ours is here.
CODES: dict[str, type[EdgeTwinError]] = {
    "busy": BusyError,
    "error": RemoteError,
    "forbidden": RefusedError,
    "host": RefusedError,
    "http": RemoteError,
    "input": twin_errors.InputError,
    "internal": RemoteError,
    "invalid": twin_errors.InputError,
    "method": RemoteError,
    "missing_extra": RemoteError,
    "model": twin_errors.ModelError,
    "no_plan": twin_errors.QueryError,
    "not_ready": NotReadyError,
    "origin": RefusedError,
    "output": twin_errors.OutputError,
    "protocol": twin_errors.ProtocolError,
    "question": twin_errors.QueryError,
    "schema": twin_errors.SchemaError,
    "source": twin_errors.SourceError,
    "step": twin_errors.StepError,
    "stopping": BusyError,
    "store": twin_errors.StoreError,
    "token": RefusedError,
    "too_large": twin_errors.InputError,
    "too_slow": UnreachableError,
    "tool": twin_errors.ToolError,
    "training": twin_errors.TrainingError,
    "unknown": UnknownError,
}
# What an exception of the HTTP library becomes, and whether the request may have been sent; the
# nearest class of its ancestry counts, by name, so that this module needs no library.
TRANSPORT: dict[str, tuple[type[UnreachableError], bool]] = {
    "ConnectError": (UnreachableError, False),
    "ConnectTimeout": (TimedOutError, False),
    "PoolTimeout": (TimedOutError, False),
    "ProxyError": (UnreachableError, False),
    "UnsupportedProtocol": (UnreachableError, False),
    "TimeoutException": (TimedOutError, True),
    "HTTPError": (UnreachableError, True),
    "StreamError": (UnreachableError, True),
    "InvalidURL": (UnreachableError, False),
}


# The same for the socket library, and for the system below it.
SOCKET: dict[str, tuple[type[UnreachableError], bool]] = {
    "TimeoutError": (TimedOutError, True),
    "ConnectionClosed": (UnreachableError, True),
    "WebSocketException": (UnreachableError, False),
    "OSError": (UnreachableError, False),
}


def from_transport(error: Exception, url: str) -> UnreachableError:
    """Return what an exception of the HTTP library means; it must be one of theirs."""
    kind, sent = next(TRANSPORT[c.__name__] for c in type(error).__mro__ if c.__name__ in TRANSPORT)
    what = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
    advice = "is it running, and is this its address?" if not sent else "try again"
    return kind(f"expected an answer of the server at {url}, got: {what}; {advice}", sent=sent)


def from_socket(error: Exception, url: str) -> Exception:
    """Return what an exception of the socket library means; what is not theirs stays itself."""
    names = [kind.__name__ for kind in type(error).__mro__]
    if isinstance(error, EdgeTwinError):
        return error
    if "InvalidStatus" in names:
        response = error.response  # type: ignore[attr-defined]
        if response.status_code == 403 and not response.body:
            return RefusedError(
                f"expected a socket of the server at {url}, got a refusal: is the stream there, "
                "and the token right?",
                403,
            )
        retry_after = response.headers.get("retry-after")
        return refusal(response.status_code, bytes(response.body or b""), retry_after)
    if not any(name in SOCKET for name in names):
        return error
    kind, sent = next(SOCKET[name] for name in names if name in SOCKET)
    what = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
    return kind(f"expected messages of the server at {url}, got: {what}; try again", sent=sent)


def refusal(status: int, body: bytes, retry_after: str | None = None) -> EdgeTwinError:
    """Return the error that a refusal of the server stands for."""
    try:
        told = json.loads(body)["error"]
        code, message = str(told["code"]), str(told["message"])[:_SHOWN]
    except (ValueError, KeyError, TypeError, RecursionError):
        return RemoteError(
            f"expected an EdgeTwin server, got status {status} and no error of ours: "
            "check the address",
            status,
        )
    kind = CODES.get(code, RemoteError)
    if kind is BusyError:
        return BusyError(message, _seconds(retry_after), closing=code == "stopping")
    if issubclass(kind, RemoteError):
        return kind(message, status)
    return kind(message)


def _seconds(text: Any) -> float:
    """``Retry-After`` in whole seconds; anything else counts as one."""
    digits = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10
    return min(_MOST_WAIT_S, float(text)) if digits else 1.0
