"""Webhooks: signed, only where the operator allowed it, tried again within bounds, never in the way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgetwin.deploy.live.records import Event
from edgetwin.deploy.live.standing import StandingDesk
from edgetwin.deploy.live.webhooks import Webhooks, sign, verify
from edgetwin.twin.errors import InputError

from .standings import MUG, Hub, thing, twin, until

pytest.importorskip("httpx2", reason="httpx2 (extra remote) is not installed")
SECRET = b"between you and me"


@dataclass
class Receiver:
    """A real server that answers what a test tells it to."""

    statuses: list[int] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    server: ThreadingHTTPServer | None = None

    @property
    def host(self) -> str:
        assert self.server is not None
        return f"127.0.0.1:{self.server.server_address[1]}"

    def url(self, path: str = "/hook") -> str:
        return f"http://{self.host}{path}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append((self.path, dict(self.headers), body))
            receiver.hold.wait(20)
            status = receiver.statuses.pop(0) if receiver.statuses else 204
            try:
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:
                return  # the sender gave up, which is what the test is about

        def log_message(self, format: str, *args: Any) -> None:
            return

    receiver.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.server.daemon_threads = True
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield receiver
    receiver.hold.set()
    receiver.server.shutdown()
    receiver.server.server_close()
    thread.join(5)


def event(number: int = 1) -> Event:
    return Event(
        id=f"e{number:014d}-0000",
        standing="s1",
        stream="table",
        question="tell me when a mug moves",
        at=1.0,
        timestamp_s=1.0,
        frame_index=10,
        ids=[1],
        objects=[],
        reason="#1 red mug: mug that moved",
        delay_ms=12.0,
    )


def hooks(receiver: Receiver, **more: Any) -> Webhooks:
    return Webhooks([receiver.host], SECRET, **{"first_s": 0.01, "timeout_s": 0.5, **more})


def test_an_event_arrives_signed(receiver: Receiver) -> None:
    sender, told = hooks(receiver), list[tuple[str, bool]]()
    assert sender.send(event(), receiver.url(), lambda *over: told.append(over))
    until(lambda: bool(told))
    assert told == [(event().id, True)]
    ((path, headers, body),) = receiver.got
    assert path == "/hook"
    assert json.loads(body) == event().model_dump(mode="json")
    assert headers["X-EdgeTwin-Event"] == event().id
    signature = headers["X-EdgeTwin-Signature"]
    assert verify(SECRET, body, signature)
    assert not verify(b"another", body, signature)
    assert not verify(SECRET, body + b" ", signature)
    assert not verify(SECRET, body, signature, now=time.time() + 1000)
    assert not verify(SECRET, body, "nonsense")
    assert verify(SECRET, body, sign(SECRET, body, 5.0), now=6.0)
    assert sender.counts().delivered == 1
    assert sender.close()


def test_without_a_secret_nothing_is_signed(receiver: Receiver) -> None:
    sender = Webhooks([receiver.host])
    sender.send(event(), receiver.url())
    until(lambda: sender.counts().delivered == 1)
    assert "X-EdgeTwin-Signature" not in receiver.got[0][1]
    assert sender.close()


@pytest.mark.parametrize("status", [500, 503, 429])
def test_what_may_pass_is_tried_again(receiver: Receiver, status: int) -> None:
    receiver.statuses = [status, status]
    sender = hooks(receiver)
    sender.send(event(), receiver.url())
    until(lambda: sender.counts().delivered == 1)
    assert sender.counts().retried == 2
    assert len({headers["X-EdgeTwin-Event"] for _, headers, _ in receiver.got}) == 1
    assert sender.close()


def test_attempts_are_bounded_and_the_dead_are_counted(receiver: Receiver) -> None:
    receiver.statuses = [500] * 20
    sender, told = hooks(receiver, attempts=3), list[bool]()
    sender.send(event(), receiver.url(), lambda _, done: told.append(done))
    until(lambda: told == [False])
    assert len(receiver.got) == 3
    assert (sender.counts().dead, sender.counts().waiting) == (1, 0)
    assert "status 500" in sender.counts().error
    assert sender.close()


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 410])
def test_redirects_and_refusals_are_final(receiver: Receiver, status: int) -> None:
    receiver.statuses = [status]
    sender = hooks(receiver)
    sender.send(event(), receiver.url())
    until(lambda: sender.counts().dead == 1)
    assert [path for path, _, _ in receiver.got] == ["/hook"]
    assert sender.close()


def test_nobody_there_is_tried_and_given_up(receiver: Receiver) -> None:
    assert receiver.server is not None
    sender = Webhooks(["127.0.0.1:1"], SECRET, attempts=2, first_s=0.01)
    sender.send(event(), "http://127.0.0.1:1/hook")
    until(lambda: sender.counts().dead == 1)
    assert sender.counts().retried == 1
    assert sender.close()


def test_sending_never_waits_and_the_queue_is_bounded(receiver: Receiver) -> None:
    receiver.hold.clear()
    sender, told = hooks(receiver, most=4, attempts=1, timeout_s=20), list[bool]()
    began = time.monotonic()
    sent = [sender.send(event(k), receiver.url(), lambda _, d: told.append(d)) for k in range(30)]
    assert time.monotonic() - began < 2
    assert 4 <= sum(sent) <= 6  # two on their way, four that wait
    assert sender.counts().refused == 30 - sum(sent)
    receiver.hold.set()
    until(lambda: sender.counts().delivered == sum(sent))
    assert sorted(told) == [False] * (30 - sum(sent)) + [True] * sum(sent)
    assert sender.close()


def test_an_address_that_is_silent_holds_up_half_at_most(receiver: Receiver) -> None:
    receiver.hold.clear()
    sender = hooks(receiver, attempts=1, timeout_s=0.3)
    sender.send(event(), receiver.url())
    until(lambda: sender.counts().dead == 1)
    assert "Timeout" in sender.counts().error
    assert sender.close()


def test_close_ends_in_time_whatever_waits(receiver: Receiver) -> None:
    receiver.hold.clear()
    sender = hooks(receiver, timeout_s=0.3, attempts=4, first_s=30)
    for k in range(20):
        sender.send(event(k), receiver.url())
    began = time.monotonic()
    sender.close(1.0)
    assert time.monotonic() - began < 2.5
    until(lambda: sender.counts().waiting == 0)
    assert not sender.send(event(99), receiver.url())


# ---- what may be called

ALLOWED = [
    "hooks.example.com",
    "10.0.0.5:9000",
    "https://example.com/hooks/",
    "https://exact.example.com/one",
]


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/any/path?x=1",
        "http://hooks.example.com/",
        "http://10.0.0.5:9000/x",
        "https://example.com/hooks/mine",
        "https://EXAMPLE.com/hooks/mine",
        "https://example.com:443/hooks/mine",
        "https://exact.example.com/one",
        "https://exact.example.com/one/two",
    ],
)  # fmt: skip
def test_allowed(url: str) -> None:
    Webhooks(ALLOWED).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com/x",
        "ftp://hooks.example.com/x",
        "file:///etc/passwd",
        "https://example.com/",
        "https://example.com/hooks",  # the folder was allowed, not a page of its name
        "https://example.com/hooksmine",
        "http://example.com/hooks/mine",
        "https://example.com:8443/hooks/mine",
        "https://example.com/hooks/../admin",
        "https://example.com/hooks/%2e%2e/admin",
        "https://example.com/hooks/..%2fadmin",
        "https://example.com/hooks/%2E./admin",
        "https://example.com.evil.org/hooks/x",
        "https://evil.org/https://example.com/hooks/",
        "https://hooks.example.com@evil.org/",
        "https://user:secret@hooks.example.com/",
        "https://hooks.example.com:8443/",
        "http://10.0.0.5/x",
        "http://10.0.0.5:90000/x",
        "http://[::1]:9000/",
        "http://hooks.example.com\\@evil.org/",
        "http://hooks.example.com/\r\nX: y",
        "http://hooks.example.com /",
        "https://hooks.example.com#@evil.org/",
        "https://exact.example.com/onetwo",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/x",
        "https://hooks.example.com/" + "x" * 3000,
    ],
)
def test_not_allowed(url: str) -> None:
    with pytest.raises(InputError) as refused:
        Webhooks(ALLOWED).check(url)
    assert "secret" not in str(refused.value)


def test_by_default_nothing_is_allowed() -> None:
    with pytest.raises(InputError, match="the operator allowed"):
        Webhooks().check("https://example.com/")


@pytest.mark.parametrize("entry", ["", "a/b", "user@host", "https://", "ftp://x", "host:port"])
def test_an_operator_who_allows_nonsense_is_told(entry: str) -> None:
    with pytest.raises(InputError):
        Webhooks([entry])


# ---- with questions


def test_an_event_of_a_question_is_delivered_and_says_so(
    receiver: Receiver, tmp_path: Path
) -> None:
    hub = Hub()
    hub.plans["Find the mug."] = MUG
    desk = StandingDesk(hub, folder=tmp_path, webhooks=hooks(receiver))
    with pytest.raises(InputError, match="the operator allowed"):
        desk.add("table", "tell me when you see a mug", webhook="https://example.com/")
    standing = desk.add("table", "tell me when you see a mug", webhook=receiver.url("/mug"))
    assert standing.webhook
    for k in range(12):
        hub.stream("table").show(twin(k / 10, *([thing(1)] if k > 2 else [])))
        time.sleep(0.01)
    until(lambda: bool(desk.events()) and desk.events()[0].delivered == "yes")
    ((path, headers, body),) = receiver.got
    assert path == "/mug"
    assert json.loads(body)["reason"] == "#1 red mug: mug"
    assert verify(SECRET, body, headers["X-EdgeTwin-Signature"])
    assert desk.counts()["webhooks"]["delivered"] == 1
    memory = hub.stream("table").memory
    until(lambda: any(e.delivered == "yes" for e in memory.kept.values()))
    assert desk.close()
