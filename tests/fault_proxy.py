"""A TCP proxy on loopback that breaks connections to order."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import threading
from typing import Any, Literal

__all__ = ["FaultProxy"]

Mode = Literal["pass", "hole", "garbage"]


class FaultProxy:
    """Forwards to ``127.0.0.1:port``.

    Attributes:
        mode: ``hole``: connections stay open and nothing comes through, for ever for those that
            were there; ``garbage``: what the server sends arrives as random bytes.
    """

    def __init__(self, port: int) -> None:
        self.mode: Mode = "pass"
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket | None] = {}
        self._servers: set[socket.socket] = set()
        self._dead: set[socket.socket] = set()  # lost in a hole: nothing comes through again
        self._over = False
        self._resets = 0
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._thread.start()

    def reset(self) -> None:
        """Reset every connection (RST) within a fraction of a second."""
        self._resets += 1

    def close(self) -> None:
        """End it."""
        self._over = True
        self._thread.join(5)

    def _run(self) -> None:
        done = 0
        with self._listener:
            while not self._over:
                if done != self._resets:
                    done = self._resets
                    for end in list(self._pairs):
                        self._end(end, reset=True)
                if self.mode == "hole":
                    self._dead.update(self._pairs)
                with selectors.DefaultSelector() as selector:
                    selector.register(self._listener, selectors.EVENT_READ)
                    for end in self._pairs:
                        selector.register(end, selectors.EVENT_READ)
                    ready: list[Any] = [key.fileobj for key, _ in selector.select(0.05)]
                for one in ready:
                    if one is self._listener:
                        self._accept()
                    elif one in self._pairs:
                        self._forward(one)
            for end in list(self._pairs):
                self._end(end)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            if self.mode == "hole":
                self._pairs[client] = None
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), 2)
            except OSError:
                client.close()
                return
            server.settimeout(2)
            client.settimeout(2)
            self._pairs[client], self._pairs[server] = server, client
            self._servers.add(server)

    def _forward(self, end: socket.socket) -> None:
        other = self._pairs[end]
        try:
            data = end.recv(65536)
            if not data:
                self._end(end)
                return
            if other is None or end in self._dead:
                return
            if self.mode == "garbage" and end in self._servers:
                data = os.urandom(len(data))
            other.sendall(data)
        except OSError:
            self._end(end)

    def _end(self, end: socket.socket, reset: bool = False) -> None:
        other = self._pairs.pop(end, None)
        if other is not None:
            self._pairs.pop(other, None)
        for one in (end, other):
            if one is None:
                continue
            self._dead.discard(one)
            self._servers.discard(one)
            with contextlib.suppress(OSError):
                if reset:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.close()
