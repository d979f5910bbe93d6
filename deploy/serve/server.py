"""uvicorn as this server needs it: timeouts below ASGI, a drain before the end, quiet logs.

A connection must finish its header in time, whatever it dribbles, and one that reads nothing of
what it asked for is cut. At the first SIGTERM or SIGINT new work is refused with 503 while
questions being answered finish, sockets hear "bye", and then the server ends; the second one
does not wait.

Not covered: several processes; one hub perceives and answers for all.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

from ...twin.errors import InputError, MissingExtraError
from ..stream.secrets import redacted
from .config import ServeLimits, ServeSettings
from .errors import refusal
from .state import Serving

__all__ = ["Redacting", "Server", "bound", "http_protocol", "quiet_logs"]

_MAX_HEADER = 16 * 1024  # bytes
_ENDING_S = 3  # that connections get to end after the drain


class _Watched:
    """Cuts a connection whose reader takes nothing for too long."""

    _write_s = 10.0
    _stuck: asyncio.TimerHandle | None = None
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Hold nothing back here: a sender waits until the system has taken what it gave."""
        # Not 0: asyncio's TLS would then pause a writer that holds nothing back, for ever.
        transport.set_write_buffer_limits(high=1, low=0)
        super().connection_made(transport)  # type: ignore[misc]

    def pause_writing(self) -> None:
        """Begin to wait for the reader."""
        super().pause_writing()  # type: ignore[misc]
        loop = asyncio.get_running_loop()
        self._stuck = self._stuck or loop.call_later(self._write_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: it read."""
        super().resume_writing()  # type: ignore[misc]
        self._at_ease()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._at_ease()
        super().connection_lost(exc)  # type: ignore[misc]

    def _at_ease(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None


class _Http(_Watched, H11Protocol):
    """HTTP/1.1 whose header must come within a time, on so many connections."""

    _header_s = 10.0
    _most = 256
    _late: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._served, self.app = self.app, self._unless_crowded

    async def _unless_crowded(self, scope: Any, receive: Any, send: Any) -> None:
        if len(self.connections) > self._most:
            message = f"expected at most {self._most} connections, got more: try again in a moment"
            await refusal(scope, receive, send, 503, "busy", message, close=True)
        else:
            await self._served(scope, receive, send)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a header from now on."""
        super().connection_made(transport)
        self._await_header()

    def data_received(self, data: bytes) -> None:
        """Read; stop waiting once a request is there."""
        if self._idle():
            self._await_header()
        super().data_received(data)
        if not self._idle() or self.transport.get_protocol() is not self:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_header(self) -> None:
        if self._late is None:
            loop = asyncio.get_running_loop()
            self._late = loop.call_later(self._header_s, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def http_protocol(limits: ServeLimits) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP/1.1 with the time limits of headers and of readers."""
    return type("_TimedHttp", (_Http,), _times(limits))


def _times(limits: ServeLimits) -> dict[str, Any]:
    return {
        "_write_s": limits.write_s,
        "_header_s": limits.header_s,
        "_most": limits.connections,
    }


class _Discreet(logging.Filter):
    """Of uvicorn's entries those that tell something, and no headers or query strings."""

    def filter(self, record: logging.LogRecord) -> bool:
        # It says so of every handshake that was refused with a status, which is what was meant.
        return record.levelno >= logging.WARNING and "completing handshake" not in str(record.msg)


_DISCREET = _Discreet()


class Server(uvicorn.Server):
    """A server of one application.

    Args:
        app: as :func:`~edgetwin.deploy.serve.app.create_app` makes it.
        settings: the same as the application's.
        certificate: (certificate, key) files for TLS; None: plain HTTP.

    Attributes:
        ready: called once it listens.
        interrupted: whether SIGINT was among what ended it.
    """

    def __init__(
        self,
        app: FastAPI,
        settings: ServeSettings,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        limits = settings.limits
        logging.getLogger("uvicorn.error").addFilter(_DISCREET)
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                loop="asyncio",
                http=http_protocol(limits),
                ws=_watched(AutoWebSocketsProtocol, _times(limits)),
                ws_max_size=4096,  # nothing that is sent here is longer
                ws_max_queue=4,
                ws_per_message_deflate=False,  # a few bytes could become many
                lifespan="on",
                log_config=None,
                access_log=False,  # query strings are nobody's business
                proxy_headers=False,  # anybody can send them
                server_header=False,
                backlog=128,
                timeout_keep_alive=max(1, round(limits.header_s / 2)),
                timeout_graceful_shutdown=_ENDING_S,
                h11_max_incomplete_event_size=_MAX_HEADER,
                **_tls(certificate),
            )
        )
        self._serving: Serving = app.state.serving
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drained: asyncio.Task[None] | None = None
        self.ready: Callable[[], None] = lambda: None
        self.interrupted = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        if self.started:
            self.ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, end at the second."""
        self.interrupted = self.interrupted or sig == signal.SIGINT
        if self._loop is None or self._serving.draining.is_set():
            self.should_exit = self.force_exit = True
        else:
            self._loop.call_soon_threadsafe(self.drain)

    def drain(self) -> None:
        """Refuse new work, let what runs finish within its bound, then end; in the loop."""
        if self._drained is None:
            self._drained = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        self._serving.draining.set()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._serving.settings.limits.drain_s
        await asyncio.sleep(0.1)  # sockets say goodbye
        while self._serving.busy and loop.time() < until:
            await asyncio.sleep(0.05)
        self.should_exit = True


def _watched(protocol: Any, times: dict[str, Any]) -> type[asyncio.Protocol]:
    """The WebSocket protocol that is installed, watched."""
    if protocol is None:
        raise MissingExtraError("websockets", "serve")
    return type("_TimedWebSocket", (_Watched, protocol), times)


def bound(settings: ServeSettings) -> socket.socket:
    """Return a listening socket, so that a port in use is told before models are loaded.

    Raises:
        InputError: if it cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.limits.send_bytes)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise InputError(
            f"expected a free port to listen on, got {settings.host}:{settings.port}: "
            f"{error.strerror or error}; choose another with --port"
        ) from error
    return listening


class Redacting(logging.Formatter):
    """Takes credentials out of whole entries, tracebacks too."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry as text."""
        return redacted(super().format(record))


def quiet_logs() -> None:
    """Send warnings of the server and its libraries to stderr, without credentials."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting("%(levelname)s %(name)s: %(message)s"))
    for name in ("uvicorn", "edgetwin", "asyncio", "aiortc", "aioice"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.WARNING)
        logger.propagate = False


def _tls(certificate: tuple[Path, Path] | None) -> dict[str, Any]:
    if certificate is None:
        return {}
    for path in certificate:
        if not path.is_file():
            raise InputError(f"expected a certificate and its key, got {path}, which is no file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*certificate)
    except (ssl.SSLError, OSError) as error:
        raise InputError(
            f"expected a certificate and its own key in PEM, got {certificate[0]} and "
            f"{certificate[1]}: {getattr(error, 'reason', None) or error}"
        ) from error
    return {"ssl_certfile": certificate[0], "ssl_keyfile": certificate[1]}
