"""Paths that try to leave: over a raw socket, since clients tidy them up before they send."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.serve.config import ServeSettings
from edgetwin.deploy.serve.page import PAGE

from .served import Served, serve

UPS = (
    "..",
    "%2e%2e",
    "%2E%2E",
    ".%2e",
    "%252e%252e",
    "..%00",
    "%c0%ae%c0%ae",
    "%e0%80%ae%e0%80%ae",
    "%uff0e%uff0e",
    "..;",
    "....//..",
    "..%5c..",
    "%2e%2e%2f%2e%2e",
    "..%252f..",
    "..%c0%af..",
    "..%ef%bc%8f..",
)
TARGETS = ("etc/passwd", "app.py", "config.py", "secret.txt")
PLACES = (
    "/static/{up}/{target}",
    "/static/x/{up}/{up}/{target}",
    "/api/streams/{up}/{target}",
    "/api/events/{up}/clip.mp4",
    "/api/events/{up}%2f{target}/picture.jpg",
    "/api/streams/table/objects/{up}",
    "/{up}/{up}/{up}/{up}/{up}/{up}/{target}",
)
WHOLE = (
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/C:%5cwindows%5cwin.ini",
    "/static/file:///etc/passwd",
    "/static/index.html/../../app.py",
    "/static/index.html%00.js",
    "/static/.",
    "/static/",
    "/static",
    "//static/../app.py",
    "//etc/passwd",
    "/.//etc/passwd",
    "/static\\..\\app.py",
    "http://127.0.0.1/static/../app.py",
    "/static/..%0d%0aX-Injected:%20yes",
    "/static/__init__.py",
    "/static/app.py",
    "/static/%70age",
    "*",
    "/static/..?/../app.py",
)
TARGETS_ALL = sorted(
    {
        place.format(up=up, target=TARGETS[(i + j) % len(TARGETS)])
        for i, up in enumerate(UPS)
        for j, place in enumerate(PLACES)
    }
    | set(WHOLE)
)
# what such a file would hold: of the system, of this program, of the test
SIGNS = (b"root:", b"from __future__", b"import ", b"planted-outside", b"X-Injected: yes\r\n")


@pytest.fixture(scope="module")
def media(hub: LiveHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("outside") / "media"
    folder.mkdir()
    (folder.parent / "secret.txt").write_text("planted-outside")
    with serve(hub, ServeSettings(port=0, media=folder)) as found:
        yield found


def test_there_are_enough() -> None:
    assert len(TARGETS_ALL) >= 80


def test_none_of_them_leaves(media: Served) -> None:
    told = []
    for target in TARGETS_ALL:
        request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        answer = media.raw(request.encode(), 5)
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        leaked = [sign for sign in SIGNS if sign in (head if b":" in sign[-8:] else body)]
        if status not in (400, 404, 405, 422) or leaked:
            told.append((target, status, leaked))
    assert not told


@pytest.mark.parametrize("target", ["secret.txt", "etc/passwd"])
def test_none_of_them_is_opened_as_a_source(media: Served, target: str) -> None:
    with httpx2.Client(base_url=media.url, timeout=20) as web:
        for up in UPS:
            for source in (f"{up}/{target}", f"x/{up}/{up}/{target}", f"{up}/" * 12 + target):
                got = web.post("/api/streams", json={"source": source})
                assert got.status_code == 400, source
                assert "planted-outside" not in got.text
                assert "root:" not in got.text


@pytest.mark.parametrize("stream_id", ["../up", "a/b", "a\\b", ".", "..", "%2e", "a b", "A", "é"])
def test_no_stream_is_named_like_a_path(media: Served, stream_id: str) -> None:
    body = {"source": "rtsp://127.0.0.1:1/x", "id": stream_id}
    assert httpx2.post(f"{media.url}/api/streams", json=body).status_code == 422


def test_the_page_itself_is_there(media: Served) -> None:
    assert httpx2.get(f"{media.url}/").text == (PAGE / "index.html").read_text()
    for path in sorted(PAGE.iterdir()):
        if path.suffix in (".js", ".css", ".svg", ".html"):
            got = httpx2.get(f"{media.url}/static/{path.name}")
            assert got.content == Path(path).read_bytes()
            assert got.headers["content-type"].startswith(("text/", "image/"))
