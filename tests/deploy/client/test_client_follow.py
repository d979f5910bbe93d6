"""Events followed over connections that break: each once, none missed."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from edgetwin.deploy.client import AsyncClient, Client
from edgetwin.deploy.client.errors import UnreachableError
from edgetwin.deploy.client.replies import Following
from edgetwin.deploy.live.records import Event, FrameCounts, SourceStatus, StreamStatus
from edgetwin.twin.errors import InputError

STATUS = StreamStatus(
    id="cam",
    source=SourceStatus(uri="rtsp://camera", kind="rtsp", live=True, state="running"),
    frames=FrameCounts(),
    started_at=1.0,
)


def event(number: int, stream: str = "cam") -> Event:
    return Event(
        id=f"e{number:014d}-0000", standing="s1", stream=stream, question="is there a mug?",
        at=float(number), timestamp_s=0.0, frame_index=number, ids=[], objects=[], reason="a mug",
        delay_ms=1.0,
    )  # fmt: skip


class Fake:
    """Speaks the events of the API: the list over HTTP and the socket, from a script.

    Each connection's script is what is sent: events, or "break", "removed", "stopping"; an event
    in ``meanwhile`` of a connection enters the list before that connection begins.
    """

    def __init__(self) -> None:
        self.book: list[Event] = []
        self.scripts: list[list[Event | str]] = []
        self.meanwhile: list[list[Event]] = []
        self.connections = 0

    def listed(self, connection: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path)
        if parts.path != "/api/events":
            return None
        query = parse_qs(parts.query)
        found = sorted(self.book, key=lambda one: one.id)
        limit = int(query["limit"][0])
        if "after" in query:
            found = [one for one in found if one.id > query["after"][0]][:limit]
        body = json.dumps({"events": [one.model_dump(mode="json") for one in found[-limit:]]})
        head = Headers({"Content-Type": "application/json", "Content-Length": str(len(body))})
        return Response(
            200, "OK", Headers([*head.raw_items(), ("Connection", "close")]), body.encode()
        )

    def talk(self, connection: ServerConnection) -> None:
        number, self.connections = self.connections, self.connections + 1
        if number >= len(self.scripts):
            connection.socket.close()
            return
        self.book += self.meanwhile[number]
        connection.send(
            json.dumps({"type": "status", "stream": "cam", **STATUS.model_dump(mode="json")})
        )
        for step in self.scripts[number]:
            if isinstance(step, Event):
                if step not in self.book:
                    self.book.append(step)
                connection.send(json.dumps({"type": "event", **step.model_dump(mode="json")}))
            elif step == "break":
                connection.socket.close()
                return
            else:
                connection.send(json.dumps({"type": "bye", "reason": step}))
                return


@contextmanager
def speaking(fake: Fake, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    with serve(fake.talk, "127.0.0.1", 0, process_request=fake.listed, ssl=tls) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            scheme = "http" if tls is None else "https"
            yield f"{scheme}://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


def scripted() -> Fake:
    fake = Fake()
    fake.book = [event(1), event(2)]  # before: not meant
    fake.scripts = [
        [event(3), event(4, "other"), event(5), "break"],
        ["break"],
        [event(8), event(9), "stopping"],  # 8 comes by the list and by the socket
        [event(11), "removed"],
    ]
    fake.meanwhile = [[], [], [event(6), event(7), event(8)], [event(10)]]
    return fake


EXPECTED = [event(n).id for n in (3, 5, 6, 7, 8, 9, 10, 11)]


def test_events_are_followed_over_breaks_and_restarts() -> None:
    fake = scripted()
    with speaking(fake) as url, Client(url, retries=3, timeout_s=5) as client:
        found = [one.id for one in client.follow("cam")]
    assert found == EXPECTED
    assert fake.connections == 4


def test_the_asynchronous_client_follows_as_well() -> None:
    async def use(url: str) -> list[str]:
        async with AsyncClient(url, retries=3, timeout_s=5) as client:
            return [one.id async for one in client.follow("cam")]

    with speaking(scripted()) as url:
        assert asyncio.run(use(url)) == EXPECTED


def test_following_begins_after_the_event_that_is_named() -> None:
    fake = scripted()
    fake.scripts, fake.meanwhile = [["removed"]], [[]]
    fake.book = [event(n) for n in range(1, 2500)]
    with speaking(fake) as url, Client(url, retries=0, timeout_s=5) as client:
        found = [one.id for one in client.follow(after=event(3).id)]
    assert found == [event(n).id for n in range(4, 2500)]


def test_following_ends_when_there_is_no_connection_any_more() -> None:
    fake = scripted()
    fake.scripts, fake.meanwhile = [[event(3), "break"]], [[]]
    with speaking(fake) as url, Client(url, retries=2, timeout_s=5) as client:
        following = client.follow()
        assert next(following).id == event(3).id
        with pytest.raises(UnreachableError):
            next(following)
        assert fake.connections == 3  # the first one, and two more attempts after its break


def test_a_certificate_that_is_named_is_trusted_and_no_other(tmp_path: Path) -> None:
    """Over HTTP and over the socket."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = ["-nodes", "-days", "1", "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", *words, "-keyout", key, "-out", cert],
        capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("openssl is not here to make a certificate")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    with speaking(scripted(), tls) as url:
        with Client(url, retries=3, timeout_s=5, ca_file=cert) as client:
            assert [one.id for one in client.follow("cam")] == EXPECTED
        with Client(url, retries=0, timeout_s=5) as client:
            with pytest.raises(UnreachableError, match=r"(?i)certificate"):
                client.events()
            with pytest.raises(UnreachableError, match=r"(?i)certificate"):
                next(client.watch())
    with pytest.raises(InputError, match="certificates in PEM"):
        Client(url, ca_file=key)


def test_events_that_come_in_another_order_are_told_once() -> None:
    following = Following((), event(5).id)
    told: list[Any] = [following.takes(event(n)) for n in (7, 6, 7, 8, 6)]
    assert told == [True, True, False, True, False]
    assert following.after == event(5).id
    assert not following.takes(event(4))
