"""Large, slow and many requests: each bound holds and nobody else waits for it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.serve.config import ServeLimits, ServeSettings
from edgetwin.deploy.serve.sources import permitted
from edgetwin.twin.errors import InputError, SourceError

from .served import Served, serve

QUICK = ServeLimits(
    header_s=0.5, body_s=0.5, write_s=0.5, viewers=2, sockets=2, connections=40, rows=5
)


@pytest.fixture(scope="module")
def strict(hub: LiveHub) -> Iterator[Served]:
    with serve(hub, ServeSettings(port=0, limits=QUICK)) as found:
        yield found


def head(served: Served, rest: str) -> bytes:
    start = f"POST /api/sessions HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
    return (start + rest + "\r\n").encode()


def status(answer: bytes) -> int:
    return int(answer.split(maxsplit=2)[1])


def works(served: Served) -> bool:
    return httpx2.get(f"{served.url}/healthz", timeout=5).status_code == 200


@pytest.mark.parametrize(
    "length", ["65537", "99999999999999999999999999", "-1", "1e3", "0x10", "٣"], ids=ascii
)
def test_a_length_beyond_the_bound_is_refused_unread(strict: Served, length: str) -> None:
    answer = strict.raw(head(strict, f"Content-Length: {length}\r\n"))
    assert status(answer) in (400, 413)
    assert works(strict)


def test_a_body_is_counted_not_believed(strict: Served) -> None:
    begin = head(strict, "Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n")
    with socket.create_connection((strict.host, strict.port), 5) as link:
        link.sendall(begin)
        sent, chunk = 0, b"1000\r\n" + b" " * 4096 + b"\r\n"
        try:
            for _ in range(2560):  # ten megabytes, if it took them
                link.sendall(chunk)
                sent += 4096
        except (ConnectionError, TimeoutError):
            pass
        link.settimeout(2)
        try:
            answer = link.recv(4096)
        except ConnectionError:
            answer = b""  # reset before it was read: as good
    assert sent < 10 * 2**20
    assert not answer or status(answer) == 413
    assert works(strict)


def test_exactly_the_bound_is_taken(strict: Served) -> None:
    body = b'{"stream": "nope"' + b" " * (65536 - 18) + b"}"
    for content, wanted in ((body, 404), (body + b" ", 413)):
        headers = {"Content-Type": "application/json"}
        got = httpx2.post(f"{strict.url}/api/sessions", content=content, headers=headers)
        assert got.status_code == wanted


def test_two_lengths_or_a_length_and_chunks_are_no_smuggling(strict: Served) -> None:
    for lines in (
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
    ):
        answer = strict.raw(head(strict, lines) + b"0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n")
        assert status(answer) in (400, 408, 422, 501), lines
        assert b"edgetwin_frames" not in answer


def test_a_header_that_dribbles_is_cut(strict: Served) -> None:
    began = time.monotonic()
    with socket.create_connection((strict.host, strict.port), 5) as link:
        link.settimeout(0.1)
        with pytest.raises(ConnectionError):  # noqa: PT012
            link.sendall(b"GET /healthz HTTP/1.1\r\n")
            while time.monotonic() < began + 5:
                link.sendall(b"X: y\r\n")
                try:
                    if not link.recv(100):
                        raise ConnectionResetError
                except TimeoutError:
                    continue
    assert 0.3 < time.monotonic() - began < 3
    assert works(strict)


def test_a_silent_connection_is_cut(strict: Served) -> None:
    began = time.monotonic()
    assert strict.raw(b"") == b""
    assert time.monotonic() - began < 3


def test_a_second_request_that_dribbles_is_cut_too(strict: Served) -> None:
    whole = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{strict.port}\r\n\r\n"
    began = time.monotonic()
    answer = strict.raw(f"{whole}GET /hea".encode())
    assert answer.count(b"HTTP/1.1 200") == 1
    assert time.monotonic() - began < 3


def test_a_body_that_dribbles_is_refused(strict: Served) -> None:
    answer = strict.raw(head(strict, "Content-Length: 100\r\n") + b"{")
    assert status(answer) == 408
    assert b"connection: close" in answer.lower()


def test_a_header_that_is_too_large_is_refused(strict: Served) -> None:
    answer = strict.raw(head(strict, f"X: {'y' * 1_000_000}\r\n"))
    assert not answer or status(answer) in (400, 431)
    assert works(strict)


def test_an_answer_that_nobody_reads_is_cut(strict: Served) -> None:
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        link.connect((strict.host, strict.port))
        text = "GET /api/streams/table/video.mjpeg?overlay=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        link.sendall(text.encode())
        used = strict.app.state.serving.viewers
        deadline = time.monotonic() + 5
        while not used.used and time.monotonic() < deadline:
            time.sleep(0.01)
        assert used.used == 1
        deadline = time.monotonic() + 20  # what the kernel buffers goes first
        while used.used and time.monotonic() < deadline:
            time.sleep(0.05)
        assert used.used == 0


def test_viewers_are_so_many_and_the_next_is_told_when(strict: Served) -> None:
    url = f"{strict.url}/api/streams/table/video.mjpeg"
    with httpx2.stream("GET", url) as one, httpx2.stream("GET", url) as two:
        assert {one.status_code, two.status_code} == {200}
        third = httpx2.get(url)
        assert third.status_code == 429
        assert int(third.headers["retry-after"]) >= 1
        assert third.json()["error"]["code"] == "busy"
    deadline = time.monotonic() + 5
    while strict.app.state.serving.viewers.used and time.monotonic() < deadline:
        time.sleep(0.02)
    with httpx2.stream("GET", url) as again:
        assert again.status_code == 200


def test_connections_are_so_many(strict: Served) -> None:
    links = [socket.create_connection((strict.host, strict.port), 5) for _ in range(60)]
    try:
        answer = strict.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 2)
        assert status(answer) == 503
        assert b"retry-after: 1" in answer.lower()
        assert b'"busy"' in answer
    finally:
        for link in links:
            link.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if httpx2.get(f"{strict.url}/healthz").status_code == 200:
            return
        time.sleep(0.05)
    pytest.fail("it did not recover")


def test_history_is_bounded_whatever_is_asked(strict: Served) -> None:
    got = httpx2.get(f"{strict.url}/api/streams/table/history?limit=1000000").json()
    assert len(got["rows"]) <= 5
    assert got["truncated"] is True


def test_streams_are_so_many(hub: LiveHub) -> None:
    with serve(hub, ServeSettings(port=0, limits=ServeLimits(streams=1))) as served:
        got = httpx2.post(f"{served.url}/api/streams", json={"source": "rtsp://127.0.0.1:1/x"})
        assert got.status_code == 429
        assert int(got.headers["retry-after"]) >= 1


def test_sources_over_http_are_of_allowed_kinds(tmp_path: Path) -> None:
    settings = ServeSettings()
    assert permitted("rtsp://camera/x", settings) == "rtsp://camera/x"
    assert permitted("sim:cell?seed=7", settings) == "sim:cell?seed=7"
    for source in (
        "/etc/passwd",
        "video.mp4",
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
        "gst:filesrc location=/etc/passwd ! fakesink",
        "v4l2:/dev/video0",
        "/dev/video0",
        "concat:/etc/passwd|x",
        "GST:videotestsrc",
        " gst:videotestsrc",
        "",
    ):
        with pytest.raises(SourceError):
            permitted(source, settings)
    assert permitted("v4l2:/dev/video0", ServeSettings(allow=frozenset({"camera"})))
    with pytest.raises(SourceError):
        permitted("rtsp://camera/x", ServeSettings(allow=frozenset({"camera"})))
    with pytest.raises(InputError, match="kinds"):
        ServeSettings(allow=frozenset({"http"}))
    with pytest.raises(InputError, match="--media"):
        ServeSettings(allow=frozenset({"video"}))


def test_files_only_below_the_media_folder(tmp_path: Path) -> None:
    media = tmp_path / "media"
    (media / "deep").mkdir(parents=True)
    (media / "deep" / "a.mp4").write_bytes(b"x")
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"x")
    (media / "link.mp4").symlink_to(outside)
    (media / "up").symlink_to(tmp_path)
    settings = ServeSettings(media=media)
    assert permitted("deep/a.mp4", settings) == str((media / "deep" / "a.mp4").resolve())
    assert permitted(str(media / "deep"), settings) == str((media / "deep").resolve())
    for source in (
        "../outside.mp4",
        "deep/../../outside.mp4",
        str(outside),
        "link.mp4",
        "up/outside.mp4",
        "none.mp4",
        "~/x.mp4",
        "deep/a.mp4\0.jpg",
    ):
        with pytest.raises(SourceError) as refused:
            permitted(source, settings)
        assert str(tmp_path) not in str(refused.value)
