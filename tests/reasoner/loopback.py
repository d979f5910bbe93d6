"""A scripted OpenAI-compatible server on a real loopback socket, which can fail in many ways."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """One request as it came: path, headers in lower case, and the body read as JSON."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Say:
    """One reply as it goes out; ``cut`` bytes less than declared, a byte each ``drip_s``."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int = 0
    wait_s: float = 0.0
    drip_s: float = 0.0


Answer = Callable[[Asked], Say]


def said(text: str, finish: str = "stop", **more: Any) -> Say:
    """A chat completion; ``more`` goes into its choice."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, **more}
    return choices([{**choice, "finish_reason": finish}])


def completed(text: str, finish: str = "stop", **more: Any) -> Say:
    """A completion."""
    return choices([{"index": 0, "text": text, "finish_reason": finish, **more}])


def choices(rows: list[Any], **more: Any) -> Say:
    usage = {"prompt_tokens": 30, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 20}}  # fmt: skip
    return Say(json.dumps({"object": "x", "choices": rows, "usage": usage, **more}).encode())


class Loopback:
    """Answers each request by the next of ``script``, or by ``answer`` when that is empty."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.script: deque[Say] = deque()
        self.asked: list[Asked] = []
        self.answer = answer
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                body = json.loads(self.rfile.read(size))
                headers = {k.lower(): v for k, v in self.headers.items()}
                asked = Asked(self.path, headers, body)
                owner.asked.append(asked)
                say = owner.script.popleft() if owner.script else owner.default(asked)
                with suppress(OSError):  # a client that gave up
                    owner.send(self, say)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def default(self, asked: Asked) -> Say:
        return self.answer(asked) if self.answer else Say(b"{}", 500)

    def send(self, handler: BaseHTTPRequestHandler, say: Say) -> None:
        time.sleep(say.wait_s)
        handler.send_response(say.status)
        headers = {"content-type": "application/json", **say.headers}
        headers.setdefault("content-length", str(len(say.body)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        body = say.body[: len(say.body) - say.cut]
        if not say.drip_s:
            handler.wfile.write(body)
            return
        for byte in body:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(say.drip_s)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def serving(answer: Answer | None = None) -> Iterator[Loopback]:
    server = Loopback(answer)
    try:
        yield server
    finally:
        server.close()
