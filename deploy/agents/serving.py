"""The MCP server over standard input and output, or over HTTP; both end the backend with them.

Over HTTP every request goes through the layer that guards ``edgetwin serve``: ``Host``, ``Origin``
and, beyond this machine, a token. Requests are stateless: nothing is kept of a client that left.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import anyio

from ...twin.errors import InputError
from ..serve.config import ServeSettings
from .backend import Backend
from .mcp_server import TwinServer

__all__ = ["PATH", "serve_http", "serve_stdio"]

PATH = "/mcp"
_BODY_BYTES = 256 * 1024  # a question has at most 2000 characters; the rest is envelope
_CONNECTIONS = 64  # open at a time; more are answered 503
_DRAIN_S = 2  # that calls get when the server is told to stop


def serve_stdio(backend: Backend) -> None:
    """Serve until standard input ends or a signal comes; the backend is closed in any case."""
    try:
        anyio.run(_stdio, TwinServer(backend))
    finally:
        backend.close()


def serve_http(backend: Backend, settings: ServeSettings) -> None:
    """Serve over streamable HTTP until a signal comes; the backend is closed in any case.

    Raises:
        InputError: if the address cannot be listened on.
    """
    try:
        with _listening(settings) as sock, _ended_by_signal():
            host, port = sock.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"MCP at http://{shown}:{port}{PATH}", file=sys.stderr, flush=True)
            _uvicorn(TwinServer(backend), settings, sock)
    finally:
        backend.close()


async def _stdio(server: TwinServer) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancelled_by_signal, tasks.cancel_scope)
        await server.run_stdio_async()
        tasks.cancel_scope.cancel()


async def _cancelled_by_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """End quietly at SIGTERM and Ctrl-C, so that what follows is closed.

    uvicorn drains at the signal and raises it again afterwards, which this takes.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise _Ended

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except _Ended:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Ended(BaseException):
    """A signal said so."""


def _uvicorn(server: TwinServer, settings: ServeSettings, sock: socket.socket) -> None:
    import uvicorn

    from ..serve.access import Access, Logins
    from ..serve.limits import BodyLimit
    from ..serve.server import http_protocol, quiet_logs

    app = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        json_response=True,
        max_request_body_size=_BODY_BYTES,
        host=settings.host,
    )
    bounded = BodyLimit(app, _BODY_BYTES, settings.limits.body_s)
    guarded = Access(bounded, settings, Logins(settings.token, most=1))
    quiet_logs()
    config = uvicorn.Config(
        guarded,
        http=http_protocol(settings.limits),
        ws="none",
        log_config=None,
        proxy_headers=False,  # anybody can send them
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_DRAIN_S,
        h11_max_incomplete_event_size=16 * 1024,
    )
    uvicorn.Server(config).run(sockets=[sock])


@contextmanager
def _listening(settings: ServeSettings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.host, settings.port))
            sock.listen(_CONNECTIONS)  # who reads the address may connect at once
        except OSError as error:
            raise InputError(
                f"expected to listen on {settings.host}:{settings.port}, got: {error}; choose "
                "another --port, or 0 for any"
            ) from error
        yield sock
    finally:
        sock.close()
