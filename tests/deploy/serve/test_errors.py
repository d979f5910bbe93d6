"""One table from EdgeTwin's errors to statuses; what outsiders see of an error."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator

import httpx2
import pytest

import edgetwin
from edgetwin.deploy.live.errors import BusyError, UnknownError
from edgetwin.deploy.serve.errors import TABLE, told
from edgetwin.deploy.serve.server import Redacting
from edgetwin.twin.errors import EdgeTwinError, InputError, StepError

from .served import serve


def kinds(base: type[EdgeTwinError]) -> Iterator[type[EdgeTwinError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_every_error_that_requests_can_meet_is_mapped() -> None:
    for room in ("twin", "deploy.live", "deploy.stream", "deploy.serve", "reasoner"):
        package = importlib.import_module(f"edgetwin.{room}")
        for found in pkgutil.iter_modules(package.__path__, f"edgetwin.{room}."):
            importlib.import_module(found.name)
    rooms = ("edgetwin.twin", "edgetwin.deploy.live", "edgetwin.deploy.serve")
    found_kinds = {kind for kind in kinds(EdgeTwinError) if kind.__module__.startswith(rooms)}
    assert edgetwin.__name__
    assert len(found_kinds) >= 15
    assert found_kinds - set(TABLE) == set()


def test_the_nearest_class_counts() -> None:
    class OwnError(StepError):
        pass

    assert told(OwnError("x"))[:2] == (422, "step")
    assert told(InputError("x"))[:2] == (400, "input")
    assert told(UnknownError("x"))[:2] == (404, "unknown")
    assert told(BusyError("x"))[:2] == (429, "busy")
    assert told(BusyError("x", closing=True))[:2] == (503, "stopping")


def test_statuses_are_of_refusals() -> None:
    for status, code in TABLE.values():
        assert 400 <= status < 600
        assert code.isidentifier()


def test_messages_hold_no_credentials() -> None:
    _, _, message = told(InputError("expected a source, got rtsp://me:pl4nted@camera/x"))
    assert "pl4nted" not in message
    assert "camera/x" in message
    assert len(told(InputError("x" * 99_999))[2]) <= 2000


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/api/streams/nope", None, 404, "unknown"),
        ("GET", "/api/streams/nope/frame.jpg", None, 404, "unknown"),
        ("GET", "/api/streams/table/frame.jpg?ids=2000000", None, 404, "unknown"),
        ("GET", "/api/streams/table/objects/2000000", None, 404, "unknown"),
        ("GET", "/api/events/nope", None, 404, "unknown"),
        ("GET", "/api/nowhere", None, 404, "unknown"),
        ("GET", "/nowhere", None, 404, "unknown"),
        ("PUT", "/api/streams", None, 405, "method"),
        ("DELETE", "/api/streams/nope", None, 404, "unknown"),
        ("DELETE", "/api/standing/nope", None, 404, "unknown"),
        ("DELETE", "/api/sessions/nope", None, 404, "unknown"),
        ("POST", "/api/sessions", {"stream": "nope"}, 404, "unknown"),
        ("POST", "/api/streams/nope/questions", {"question": "x"}, 404, "unknown"),
        (
            "POST",
            "/api/streams/table/questions",
            {"question": "x", "session": "no"},
            404,
            "unknown",
        ),
        ("POST", "/api/streams/table/questions", {}, 422, "invalid"),
        ("POST", "/api/streams/table/questions", {"question": ""}, 422, "invalid"),
        ("POST", "/api/streams/table/questions", {"question": "x", "why": 1}, 422, "invalid"),
        ("POST", "/api/streams/table/questions", {"question": "x", "mode": "?"}, 422, "invalid"),
        ("POST", "/api/streams/table/questions", {"question": "x" * 2001}, 422, "invalid"),
        ("POST", "/api/streams/table/webrtc", {"sdp": "x", "type": "offer"}, 400, "input"),
        ("POST", "/api/streams", {"source": "cell.mp4"}, 400, "source"),
        ("POST", "/api/streams", {"source": "gst:videotestsrc"}, 400, "source"),
        ("POST", "/api/streams", {"source": "rtsp://x/y", "id": "../etc"}, 422, "invalid"),
        ("GET", "/api/streams/table/history?limit=0", None, 422, "invalid"),
        ("GET", "/api/streams/table/video.mjpeg?fps=0", None, 422, "invalid"),
        ("GET", "/api/streams/table/frame.jpg?ids=1,x", None, 422, "invalid"),
        ("POST", "/v1/chat/completions", {"model": "gpt", "messages": []}, 422, "invalid"),
    ],
)
def test_refusals_have_one_shape(
    web: httpx2.Client, method: str, path: str, body: object, status: int, code: str
) -> None:
    got = web.request(method, path, json=body)
    error = got.json()["error"]
    assert (got.status_code, error["code"]) == (status, code), error
    assert error["message"]
    assert set(got.json()) == {"error"}


def test_what_was_wrong_is_not_given_back(web: httpx2.Client) -> None:
    body = {"source": "rtsp://me:pl4nted@camera/x", "passphrase": "pl4nted", "fps": "pl4nted"}
    got = web.post("/api/streams", json=body)
    assert got.status_code == 422
    assert "pl4nted" not in got.text
    broken = b'{"source": "rtsp://me:pl4nted@camera/x"'
    got = web.post("/api/streams", content=broken)
    assert got.status_code == 422
    assert "pl4nted" not in got.text


class Broken:
    """A hub in which something is wrong that nobody thought of."""

    def __init__(self) -> None:
        self.standing = self

    def listen(self, heard: object) -> Callable[[], None]:
        return lambda: None

    def streams(self) -> list[object]:
        return []

    def stream(self, stream_id: str) -> object:
        raise RuntimeError("rtsp://me:pl4nted@camera/x")


def test_a_fault_of_the_server_tells_outsiders_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR", "uvicorn.error")
    with serve(Broken()) as broken:
        got = httpx2.get(f"{broken.url}/api/streams/x")
        assert got.status_code == 500
        assert got.json()["error"]["code"] == "internal"
        assert "pl4nted" not in got.text
        assert "default-src 'none'" in got.headers["content-security-policy"]
        assert httpx2.get(f"{broken.url}/healthz").status_code == 200
    (logged,) = [r for r in caplog.records if r.exc_info and r.name == "uvicorn.error"]
    text = Redacting("%(message)s").format(logged)
    assert "RuntimeError" in text
    assert "pl4nted" not in text
