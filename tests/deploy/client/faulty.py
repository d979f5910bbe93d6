"""A server that answers what a test tells it to, in order; it counts what came."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# status, headers and body; or "break": the connection is closed unanswered; "hang": nothing comes.
Step = tuple[int, dict[str, str], bytes] | str
BUSY: Step = (429, {"Retry-After": "0"}, b'{"error":{"code":"busy","message":"later"}}')
NOT_READY: Step = (503, {}, b'{"error":{"code":"not_ready","message":"no frame yet"}}')
FAULT: Step = (500, {}, b'{"error":{"code":"internal","message":"a fault"}}')
EMPTY: Step = (200, {}, b'{"streams":[],"sessions":[],"events":[]}')


class Faulty:
    """What the server was asked, and where it is."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[tuple[str, str, dict[str, str]]] = []  # method, path, headers
        self.steps: list[Step] = []
        self.over = threading.Event()

    @property
    def count(self) -> int:
        return len(self.asked)


@contextmanager
def faulty(*steps: Step) -> Iterator[Faulty]:
    """Serve these answers, the last one for ever."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found.asked.append((self.command, self.path, dict(self.headers.items())))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            step = found.steps.pop(0) if len(found.steps) > 1 else found.steps[0]
            if isinstance(step, str):
                if step == "hang":
                    found.over.wait(10)
                self.close_connection = True
                return
            status, headers, body = step
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Faulty(f"http://127.0.0.1:{server.server_address[1]}")
    found.steps = list(steps)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield found
    finally:
        found.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
