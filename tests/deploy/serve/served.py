"""A server of the real application on a real socket, in this process or as a command."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anyio

from edgetwin.deploy.serve.app import create_app
from edgetwin.deploy.serve.config import ServeSettings
from edgetwin.deploy.serve.server import Server, bound


@dataclass
class Served:
    host: str
    port: int
    app: Any
    server: Server
    thread: threading.Thread

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def raw(self, data: bytes, timeout_s: float = 5.0, most: int = 1 << 20) -> bytes:
        """Send bytes as they are; return all that comes back until the server closes."""
        with socket.create_connection((self.host, self.port), timeout_s) as link:
            link.sendall(data)
            got = b""
            while len(got) < most:
                try:
                    piece = link.recv(65536)
                except (TimeoutError, ConnectionResetError):
                    break
                if not piece:
                    break
                got += piece
        return got

    def drain(self) -> None:
        self.server._loop.call_soon_threadsafe(self.server.drain)


@contextmanager
def serve(hub: Any, settings: ServeSettings | None = None) -> Iterator[Served]:
    settings = settings or ServeSettings(port=0)
    listening = bound(settings)
    app = create_app(hub, settings)
    server = Server(app, settings)
    began = threading.Event()
    server.ready = began.set
    thread = threading.Thread(
        target=lambda: anyio.run(server.serve, [listening]), name="served", daemon=True
    )
    thread.start()
    assert began.wait(10), "the server did not begin"
    host, port = listening.getsockname()[:2]
    try:
        yield Served(host, port, app, server, thread)
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
        assert not thread.is_alive(), "the server did not end"
