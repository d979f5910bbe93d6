"""A TCP connection that native code reads and that can be cut from outside.

FFmpeg cannot be interrupted while it opens or reads an address. So the connection is made here,
and FFmpeg is given a loopback port that is joined to it: cutting both lets FFmpeg return at once.

Not covered: a look-up of a host name that hangs keeps its thread until the system gives it up (at
most four of them); an address that a server redirects to is connected to by FFmpeg itself; another
program of this machine could take the loopback port before FFmpeg does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import threading
import time
from typing import Any

__all__ = ["Tether"]

_CHUNK = 65536  # bytes held per direction: what the other side does not take is not read
_NAMES = threading.BoundedSemaphore(4)  # look-ups of names, which cannot be interrupted
_CONNECTING = {0, errno.EINPROGRESS}
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class _Cut(Exception):
    """It is to end."""


class Tether:
    """Joins one loopback connection to ``host:port``; made without blocking.

    Args:
        host: name or address.
        port: of the server.
        name: of the thread.
        connect_s: for the name's look-up and the connections together.

    Attributes:
        port: on 127.0.0.1, for one connection.
        error: why the server could not be reached or was lost, or empty.

    Raises:
        OSError: if this machine has no socket left.
    """

    def __init__(self, host: str, port: int, name: str, connect_s: float) -> None:
        self._host, self._host_port = host, port
        self._connect_s = connect_s
        self.error = ""
        with contextlib.ExitStack() as made:
            self._wake, self._woken = (made.enter_context(s) for s in socket.socketpair())
            self._listener = made.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
            self._listener.setblocking(False)
            self._ends = made.pop_all()
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End both connections; legal at any time, from any thread."""
        with contextlib.suppress(OSError):  # ended already
            self._wake.send(b"x")

    def join(self, timeout_s: float) -> bool:
        """Wait for what :meth:`cut` began; return whether its thread is gone."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with self._ends:
            try:
                until = time.monotonic() + self._connect_s
                with self._connected(until) as outer, self._accepted(until) as inner:
                    self._pump(inner, outer)
            except _Cut:
                pass
            except OSError as error:
                self.error = os.strerror(error.errno) if error.errno else str(error)

    def _wait(self, end: Any, events: int, until: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, _READ)
            selector.register(end, events)
            ready = selector.select(max(0.0, until - time.monotonic()))
        if any(key.fileobj is self._woken for key, _ in ready):
            raise _Cut
        if not ready:
            raise TimeoutError(f"no connection within {self._connect_s:g} s")

    def _connected(self, until: float) -> socket.socket:
        """Connect to the first of the host's addresses that answers."""
        problem = OSError(errno.EADDRNOTAVAIL, "")
        for family, address in self._resolved(until):
            outer = socket.socket(family, socket.SOCK_STREAM)
            try:
                outer.setblocking(False)
                code = outer.connect_ex(address)
                if code in _CONNECTING:
                    self._wait(outer, _WRITE, until)
                    code = outer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    outer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return outer
                problem = OSError(code, "")
            except BaseException:
                outer.close()
                raise
            outer.close()
        raise problem

    def _resolved(self, until: float) -> list[tuple[int, Any]]:
        with contextlib.suppress(OSError):  # an address needs no look-up, a name does
            return _addresses(self._host, self._host_port, socket.AI_NUMERICHOST)
        if not _NAMES.acquire(blocking=False):
            raise OSError("too many look-ups of host names hang")
        found: list[tuple[int, Any]] = []
        problem: list[OSError] = []
        here, there = socket.socketpair()

        def look_up() -> None:
            try:
                found.extend(_addresses(self._host, self._host_port))
            except (OSError, UnicodeError) as error:
                problem.append(OSError(f"no address for this host name ({error})"))
            finally:
                _NAMES.release()
                there.close()  # which the other end hears

        with here:
            name = f"{self._thread.name}-name"
            thread = threading.Thread(target=look_up, name=name, daemon=True)
            thread.start()
            self._wait(here, _READ, until)
            thread.join()
        if problem:
            raise problem[0]
        return found

    def _accepted(self, until: float) -> socket.socket:
        self._wait(self._listener, _READ, until)
        inner, _ = self._listener.accept()
        inner.setblocking(False)
        return inner

    def _pump(self, inner: socket.socket, outer: socket.socket) -> None:
        """Carry bytes both ways until either side ends."""
        held: dict[socket.socket, memoryview] = {}  # by the socket that is to get them
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, _READ)
            for end in (inner, outer):
                selector.register(end, _READ)
            while True:
                for end in (inner, outer):
                    other = outer if end is inner else inner
                    wanted = (_READ if other not in held else 0) | (_WRITE if end in held else 0)
                    _watch(selector, end, wanted)
                for key, events in selector.select():
                    if key.fileobj is self._woken:
                        return
                    end = inner if key.fileobj is inner else outer
                    other = outer if end is inner else inner
                    if events & _WRITE and end in held:
                        rest = held.pop(end)
                        rest = rest[end.send(rest) :]
                        if rest:
                            held[end] = rest
                    if events & _READ and other not in held:
                        data = end.recv(_CHUNK)
                        if not data:
                            return
                        sent = _send(other, data)
                        if sent < len(data):
                            held[other] = memoryview(data)[sent:]


def _addresses(host: str, port: int, flags: int = 0) -> list[tuple[int, Any]]:
    listed = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(entry[0], entry[4]) for entry in listed]


def _send(end: socket.socket, data: bytes) -> int:
    try:
        return end.send(data)
    except BlockingIOError:
        return 0


def _watch(selector: selectors.BaseSelector, end: socket.socket, wanted: int) -> None:
    known = selector.get_map().get(end)
    if known is None:
        if wanted:
            selector.register(end, wanted)
    elif not wanted:
        selector.unregister(end)
    elif known.events != wanted:
        selector.modify(end, wanted)
