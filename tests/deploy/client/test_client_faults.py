"""What goes wrong between client and server: mapped, bounded, repeated only where that is safe."""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
import websockets.exceptions

from edgetwin.deploy.client import AsyncClient, Client
from edgetwin.deploy.client import calls as calls_module
from edgetwin.deploy.client import connection as connection_module
from edgetwin.deploy.client.errors import (
    CODES,
    NotReadyError,
    RefusedError,
    RemoteError,
    TimedOutError,
    UnreachableError,
    from_socket,
    from_transport,
    refusal,
)
from edgetwin.deploy.client.replies import Answering, Streamed, message
from edgetwin.deploy.live.errors import BusyError
from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.serve import access, errors, limits
from edgetwin.deploy.serve.config import ServeSettings
from edgetwin.twin.errors import EdgeTwinError, InputError

from ..serve.served import serve
from .faulty import BUSY, EMPTY, FAULT, NOT_READY, Step, faulty

SECRET = "planted-token-0123456789abcdef"
QUICK = {"retries": 2, "timeout_s": 2.0}


def ask(url: str, token: str | None = None, **options: Any) -> Client:
    return Client(url, token=token, **{**QUICK, **options})


# ---- mapped


def test_every_code_of_the_server_is_mapped() -> None:
    told = {code for _, code in errors.TABLE.values()} | set(errors._CODES.values())
    for module in (errors, access, limits):  # and those that are written where they are used
        tree = ast.parse(inspect.getsource(module))
        for call in ast.walk(tree):
            name = getattr(getattr(call, "func", None), "id", "")
            place = {"refusal": 4, "error_body": 0}.get(name)
            if place is not None and isinstance(call, ast.Call) and len(call.args) > place:
                argument = call.args[place]
                if isinstance(argument, ast.Constant):
                    told.add(str(argument.value))
    assert {"too_large", "too_slow", "internal", "invalid", "busy"} <= told
    assert told | {"token", "origin", "host", "http"} == set(CODES)


def test_a_refusal_is_the_class_that_the_server_raised() -> None:
    for raised, (status, code) in errors.TABLE.items():
        body = b'{"error":{"code":"%s","message":"why"}}' % code.encode()
        found = refusal(status, body, "3")
        assert str(found) == "why"
        remote = {errors.NotReadyError: NotReadyError, errors.DrainingError: BusyError}
        if CODES[code] is not RemoteError:
            assert type(found) is remote.get(raised, type(found))
            assert raised in remote or issubclass(raised, type(found))
        if isinstance(found, BusyError):
            assert (found.retry_after_s, found.closing) == (3.0, code == "stopping")
    for body in (b"", b"<html>", b"[]", b'{"error":"no"}', b'{"error":{"code":1}}', b"\xff" * 9):
        found = refusal(502, body)
        assert type(found) is RemoteError
        assert "no error of ours" in str(found)


def test_every_exception_of_the_libraries_is_mapped() -> None:
    def all_of(kind: type[Exception]) -> set[type[Exception]]:
        return {kind, *(found for sub in kind.__subclasses__() for found in all_of(sub))}

    request = httpx2.Request("GET", "http://x")
    raised = all_of(httpx2.HTTPError) | all_of(httpx2.StreamError) | {httpx2.InvalidURL}
    assert len(raised) > 15
    for kind in raised:
        error = kind.__new__(kind)
        Exception.__init__(error, "why")
        assert isinstance(from_transport(error, "http://x"), UnreachableError), kind
    connect = from_transport(httpx2.ConnectError("why", request=request), "http://x")
    read = from_transport(httpx2.ReadTimeout("why", request=request), "http://x")
    assert (connect.sent, read.sent, type(read)) == (False, True, TimedOutError)
    for kind in all_of(websockets.exceptions.WebSocketException) | {TimeoutError, OSError}:
        plain: type[Exception] = type(kind.__name__, (kind,), {"__str__": lambda self: "why"})
        if not issubclass(kind, websockets.exceptions.InvalidStatus):  # a refusal, see below
            assert isinstance(from_socket(plain.__new__(plain), "http://x"), UnreachableError), kind
    closed = websockets.exceptions.ConnectionClosedError(None, None)
    assert type(from_socket(closed, "http://x")) is UnreachableError
    own, bug = BusyError("why"), KeyError("a bug of ours")
    assert from_socket(own, "http://x") is own
    assert from_socket(bug, "http://x") is bug


# ---- repeated


def test_reading_is_repeated_and_no_oftener_than_told() -> None:
    for step in ("break", BUSY, NOT_READY):
        with faulty(step, step, EMPTY) as server, ask(server.url) as client:
            assert client.streams() == []
            assert server.count == 3
        with faulty(step) as server, ask(server.url) as client:
            with pytest.raises(EdgeTwinError):
                client.streams()
            assert server.count == 3
        with faulty(step) as server, ask(server.url, retries=0) as client:
            with pytest.raises(EdgeTwinError):
                client.streams()
            assert server.count == 1


def test_what_changes_something_is_repeated_only_if_it_was_not_begun() -> None:
    writes: list[Callable[[Client], Any]] = [
        lambda client: client.ask("cam", "what is it?"),
        lambda client: client.add_stream("rtsp://camera/1"),
        lambda client: client.add_standing("cam", "tell me"),
        lambda client: client.remove_stream("cam"),
    ]
    for write in writes:
        for step, count in (("break", 1), (NOT_READY, 1), (FAULT, 1), (BUSY, 3)):
            with faulty(step) as server, ask(server.url) as client:
                with pytest.raises(EdgeTwinError):
                    write(client)
                assert server.count == count, step


def test_what_cannot_get_better_is_not_repeated() -> None:
    stopping: Step = (503, {}, b'{"error":{"code":"stopping","message":"bye"}}')
    token: Step = (401, {}, b'{"error":{"code":"token","message":"who?"}}')
    for step, kind in ((stopping, BusyError), (token, RefusedError), (FAULT, RemoteError)):
        with faulty(step) as server, ask(server.url) as client:
            with pytest.raises(kind):
                client.streams()
            assert server.count == 1


def test_a_wait_that_the_server_asks_for_is_bounded() -> None:
    call = calls_module.streams()
    long = BusyError("later", retry_after_s=3600.0)
    assert connection_module.pause_s(call, long, 0, 2) == 5.0
    assert connection_module.pause_s(call, long, 2, 2) is None
    pauses = [connection_module.pause_s(call, UnreachableError("x"), n, 9) for n in range(3)]
    assert all(pause is not None and pause < 1.5 for pause in pauses)


def test_the_asynchronous_client_repeats_as_well() -> None:
    async def use(url: str) -> list[Any]:
        async with AsyncClient(url, retries=2, timeout_s=2) as client:
            return list(await client.streams())

    with faulty("break", BUSY, EMPTY) as server:
        assert asyncio.run(use(server.url)) == []
        assert server.count == 3


# ---- bounded


def test_a_server_that_does_not_answer_is_given_up() -> None:
    with faulty("hang") as server, ask(server.url, timeout_s=0.2, retries=0) as client:
        begin = time.monotonic()
        with pytest.raises(TimedOutError, match="try again"):
            client.streams()
        assert time.monotonic() - begin < 5


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgetwin.deploy.client.client.MOST_BODY_BYTES", 10_000)
    with faulty((200, {}, b"x" * 50_000)) as server, ask(server.url) as client:
        with pytest.raises(RemoteError, match="at most"):
            client.event_picture("e1")
        assert server.count == 1
    with pytest.raises(RemoteError, match="an event of more than"):
        Streamed().feed(b"data: " + b"x" * 2**21)


def test_clips_and_pictures_come_as_they_are() -> None:
    clip = bytes(range(256)) * 300
    with faulty((200, {"Content-Type": "video/mp4"}, clip)) as server, ask(server.url) as client:
        assert client.clip("e1") == clip
        assert client.event_picture("e1") == clip
        assert [path for _, path, _ in server.asked] == [
            "/api/events/e1/clip.mp4", "/api/events/e1/picture.jpg",
        ]  # fmt: skip


def test_answers_that_are_none_of_ours_are_told() -> None:
    for body in (b"<html>", b"{}", b"[]", b'{"streams":[{"id":1}]}', b'{"streams":{}}', b"\xff"):
        with (
            faulty((200, {}, body)) as server,
            ask(server.url) as client,
            pytest.raises(RemoteError, match="another"),
        ):
            client.streams()
    with (
        faulty((200, {}, b"jpeg")) as server,
        ask(server.url) as client,
        pytest.raises(RemoteError),
    ):
        client.frame("cam")
    for text in ("no json", "[]", '{"type":"twin"}'):
        with pytest.raises(RemoteError):
            message(text)
    assert message('{"type":"of a later version"}') is None


def test_a_streamed_answer_comes_in_any_pieces_and_must_end() -> None:
    text = "a line\u2028with what some take for its end"
    body = f'event: text\ndata: {{"text": "{text}"}}\n\nevent: plan\ndata: []\n\n'.encode()
    for size in (1, 7, len(body)):
        heard: list[tuple[str, Any]] = []
        answering = Answering(lambda kind, said, heard=heard: heard.append((kind, said)))  # type: ignore[misc]
        for start in range(0, len(body), size):
            answering.feed(body[start : start + size])
        assert heard == [("text", text), ("plan", [])]
        with pytest.raises(UnreachableError, match="expected an answer at the end"):
            answering.end()
    with pytest.raises(BusyError):
        answering.feed(b'event: error\ndata: {"error":{"code":"busy","message":"later"}}\n\n')


def test_ids_are_names_and_never_paths() -> None:
    with faulty(EMPTY) as server, ask(server.url) as client:
        for hostile in ("../../etc", "a/b", "a?b=c", "a#b", "a b", "ä%2e"):
            with pytest.raises(RemoteError):
                client.stream(hostile)
            path = server.asked[-1][1]
            assert path.startswith("/api/streams/")
            assert path.count("/") == 3
            assert "?" not in path
        for nothing in ("", ".", ".."):
            before = server.count
            with pytest.raises(InputError):
                client.stream(nothing)
            assert server.count == before


# ---- the token


def test_the_token_is_shown_nowhere(hub: LiveHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    with serve(hub, ServeSettings(port=0, token=SECRET)) as own:
        client = ask(own.url, SECRET)
        assert [stream.id for stream in client.streams()]
        next(client.watch("table"))
        told += [repr(client), str(client), repr(client._server), repr(vars(client))]
        for wrong in (lambda: client.stream("none"), lambda: next(client.watch("none"))):
            with pytest.raises(EdgeTwinError) as error:
                wrong()
            told += [str(error.value), repr(error.value), repr(error.value.__cause__)]
        client.close()
        with ask(own.url, SECRET + "x") as wrong_one:
            with pytest.raises(RefusedError):
                wrong_one.streams()
            with pytest.raises(RefusedError):
                next(wrong_one.watch())
    with ask(own.url, SECRET, retries=0) as late, pytest.raises(EdgeTwinError) as error:
        late.streams()
    # what the server of this process logs is its own matter
    logs = [r.getMessage() for r in caplog.records if not r.name.startswith("uvicorn")]
    assert logs
    assert SECRET not in "\n".join([*told, str(error.value), *logs])


def test_the_token_goes_to_no_other_server() -> None:
    with faulty(EMPTY) as other:
        step = (302, {"Location": other.url + "/api/streams"}, b"")
        with faulty(step) as server, ask(server.url, SECRET) as client:
            with pytest.raises(RemoteError, match="status 302"):
                client.streams()
            assert server.asked[0][2]["Authorization"] == f"Bearer {SECRET}"
        assert other.count == 0


@pytest.mark.parametrize(
    "url",
    ["", "camera", "ftp://x", "http://", "http://user:pw@host", "http://x/?token=1", "http://x:99999999"],
)  # fmt: skip
def test_addresses_that_are_none_are_refused_unread(url: str) -> None:
    with pytest.raises(InputError) as error:
        Client(url)
    assert "pw" not in str(error.value)


def test_bounds_and_tokens_are_checked() -> None:
    for wrong in ({"timeout_s": 0}, {"retries": 11}, {"retries": -1}, {"token": "a\nb"}):
        with pytest.raises(InputError) as error:
            Client("http://127.0.0.1:1", **wrong)  # type: ignore[arg-type]
        assert "a\nb" not in str(error.value)


def test_a_missing_library_names_the_pip_line() -> None:
    script = (
        "import sys\n"
        "sys.modules[sys.argv[1]] = None\n"
        "from edgetwin.deploy.client import Client\n"
        "from edgetwin.twin.errors import MissingExtraError\n"
        "try:\n    next(Client('http://127.0.0.1:9').watch())\n"
        "except MissingExtraError as error:\n    print(error)\n"
    )
    for package in ("httpx2", "websockets"):
        done = subprocess.run(
            [sys.executable, "-c", script, package], capture_output=True, text=True, check=True
        )
        assert f"{package} is needed" in done.stdout
        assert "pip install 'edgetwin[remote]'" in done.stdout
