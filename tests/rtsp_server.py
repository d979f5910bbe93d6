"""A small RTSP server on loopback: H.264 over interleaved TCP, with faults to order.

Speaks what RFC 2326 and RFC 6184 ask of one video track: OPTIONS, DESCRIBE, SETUP, PLAY,
GET_PARAMETER, TEARDOWN; Basic or Digest passwords. Every client gets its own encoder.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

Fault = Literal["", "silent", "garbage", "noise", "mute", "refuse"]
"""``silent``: answers nothing any more; ``garbage``: RTP payloads of random bytes; ``noise``: random
bytes instead of the protocol; ``mute``: answers, but sends no picture; ``refuse``: 404."""

_MOST_BYTES = 1200  # of an RTP payload


class RtspServer:
    """Serves ``picture(n, width, height)`` to every client.

    Attributes:
        fault: what is wrong now, for old and new clients.
        size: (width, height); a change is sent in-band, as by a camera whose mode changes.
        requests: request lines and headers as they came.
    """

    def __init__(
        self,
        picture: Callable[[int, int, int], NDArray[np.uint8]],
        fps: float = 20.0,
        user: str = "",
        password: str = "",
        digest: bool = False,
    ) -> None:
        self.fault: Fault = ""
        self.size = 128, 96
        self.requests: list[str] = []
        self.connections = 0
        self._picture, self._fps = picture, fps
        self._user, self._password, self._digest = user, password, digest
        self._clients: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/live"

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Listen; after :meth:`close` on the same port again."""
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._start(self._listen, self._listener, self._over)

    def close(self) -> None:
        """Go away: the port and every connection."""
        self._over.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self.drop()
        for thread in self._threads:
            thread.join(5)
        self._threads.clear()

    def drop(self, reset: bool = False) -> None:
        """End every connection, politely or with a reset."""
        with self._lock:
            clients, self._clients = self._clients, set()
        for client in clients:
            with contextlib.suppress(OSError):
                if reset:
                    linger = struct.pack("ii", 1, 0)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    client.close()
                else:
                    client.shutdown(socket.SHUT_RDWR)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name="rtsp-server", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self, listener: socket.socket, over: threading.Event) -> None:
        while not over.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.settimeout(10)
            with self._lock:
                self._clients.add(client)
                self.connections += 1
            self._start(self._serve, client, over)

    def _serve(self, client: socket.socket, over: threading.Event) -> None:
        playing = False
        buffer = b""
        try:
            while not over.is_set():
                data = client.recv(65536)
                if not data:
                    return
                if self.fault == "silent":
                    continue
                buffer += data
                while b"\r\n\r\n" in buffer and not playing:
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    playing = self._answer(client, head.decode(errors="replace"))
                if playing:
                    self._play(client, over)
                    return
        except OSError:
            return
        finally:
            with self._lock:
                self._clients.discard(client)
            client.close()

    def _answer(self, client: socket.socket, request: str) -> bool:
        self.requests.append(request)
        method, url, _ = request.split("\r\n")[0].split(" ", 2)
        found = re.search(r"(?im)^cseq:\s*(\d+)", request)
        head = f"CSeq: {found[1] if found else 0}\r\n"
        if self.fault == "noise":
            client.sendall(os.urandom(4096))
            return False
        if self.fault == "refuse":
            client.sendall(f"RTSP/1.0 404 Not Found\r\n{head}\r\n".encode())
            return False
        if self._user and not self._allowed(method, request):
            kind = 'Digest realm="camera", nonce="1f2e"' if self._digest else 'Basic realm="camera"'
            client.sendall(
                f"RTSP/1.0 401 Unauthorized\r\n{head}WWW-Authenticate: {kind}\r\n\r\n".encode()
            )
            return False
        body = ""
        if method == "OPTIONS":
            head += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n"
        elif method == "DESCRIBE":
            body = (
                "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=live\r\nt=0 0\r\na=control:*\r\n"
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
                "a=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
            )
            head += f"Content-Base: {url}/\r\nContent-Type: application/sdp\r\n"
            head += f"Content-Length: {len(body)}\r\n"
        elif method in ("SETUP", "PLAY"):
            head += "Session: 4711\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        client.sendall(f"RTSP/1.0 200 OK\r\n{head}\r\n{body}".encode())
        return method == "PLAY"

    def _allowed(self, method: str, request: str) -> bool:
        found = re.search(r"(?im)^authorization:\s*(\w+) (.*?)\r?$", request)
        if not found:
            return False
        if found[1].lower() == "basic" and not self._digest:
            return base64.b64decode(found[2]).decode() == f"{self._user}:{self._password}"
        said = dict(re.findall(r'(\w+)="([^"]*)"', found[2]))
        ours = _md5(f"{self._user}:camera:{self._password}")
        asked = _md5(f"{method}:{said.get('uri', '')}")
        return said.get("response") == _md5(f"{ours}:1f2e:{asked}")

    def _play(self, client: socket.socket, over: threading.Event) -> None:
        """Send pictures until the connection ends; what the client says is not read any more."""
        sequence, began = 0, time.monotonic()
        size = (0, 0)
        encoder: Any = None
        number = 0
        while not over.wait(max(0.0, began + number / self._fps - time.monotonic())):
            number += 1
            if client not in self._clients:
                return
            if self.fault in ("silent", "mute"):
                continue
            if size != self.size:
                size = self.size
                encoder = _encoder(size, self._fps)
            stamp = int(number * 90000 / self._fps) & 0xFFFFFFFF
            payloads = [
                p for nal in _nals(encoder, self._picture(number, *size)) for p in _cut(nal)
            ]
            for place, payload in enumerate(payloads):
                if self.fault == "garbage":
                    payload = os.urandom(len(payload))
                marker = 0x80 if place == len(payloads) - 1 else 0
                rtp = struct.pack(">BBHII", 0x80, 96 | marker, sequence & 0xFFFF, stamp, 4711)
                sequence += 1
                packet = rtp + payload
                if self.fault == "noise":
                    client.sendall(os.urandom(len(packet)))
                    continue
                client.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)


def _encoder(size: tuple[int, int], fps: float) -> Any:
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height = size
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, round(fps))
    encoder.framerate = Fraction(round(fps))
    encoder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": "keyint=10:repeat-headers=1:threads=1",
    }
    return encoder


def _nals(encoder: Any, picture: NDArray[np.uint8]) -> Iterator[bytes]:
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
    for packet in encoder.encode(frame):
        for nal in re.split(rb"\x00\x00\x00\x01|\x00\x00\x01", bytes(packet)):
            if nal:
                yield nal


def _cut(nal: bytes) -> Iterator[bytes]:
    """One NAL unit as RTP payloads: whole, or as FU-A pieces."""
    if len(nal) <= _MOST_BYTES:
        yield nal
        return
    indicator, kind = (nal[0] & 0xE0) | 28, nal[0] & 0x1F
    pieces = [nal[at : at + _MOST_BYTES] for at in range(1, len(nal), _MOST_BYTES)]
    for place, piece in enumerate(pieces):
        edge = 0x80 if place == 0 else 0x40 if place == len(pieces) - 1 else 0
        yield bytes((indicator, edge | kind)) + piece


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
