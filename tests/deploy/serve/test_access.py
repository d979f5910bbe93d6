"""Who may use what: a table over every route, generated from the application."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from edgetwin.deploy.serve.access import COOKIE, Logins
from edgetwin.deploy.serve.config import ServeSettings, read_token
from edgetwin.twin.errors import InputError

from .conftest import TOKEN
from .served import Served, serve

OPEN = {
    ("GET", "/"),
    ("GET", "/favicon.ico"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/static/{name}"),
    ("POST", "/api/login"),
    ("DELETE", "/api/login"),
}
GUARDED = {
    ("GET", "/api/events"),
    ("GET", "/api/events/{eid}"),
    ("GET", "/api/events/{eid}/clip.mp4"),
    ("GET", "/api/events/{eid}/picture.jpg"),
    ("GET", "/api/info"),
    ("GET", "/api/openapi.json"),
    ("GET", "/api/sessions"),
    ("POST", "/api/sessions"),
    ("DELETE", "/api/sessions/{sid}"),
    ("GET", "/api/standing"),
    ("DELETE", "/api/standing/{sid}"),
    ("GET", "/api/streams"),
    ("POST", "/api/streams"),
    ("GET", "/api/streams/{id}"),
    ("DELETE", "/api/streams/{id}"),
    ("GET", "/api/streams/{id}/frame.jpg"),
    ("GET", "/api/streams/{id}/history"),
    ("GET", "/api/streams/{id}/masks"),
    ("GET", "/api/streams/{id}/masks.png"),
    ("GET", "/api/streams/{id}/objects"),
    ("GET", "/api/streams/{id}/objects/{oid}"),
    ("GET", "/api/streams/{id}/questions"),
    ("POST", "/api/streams/{id}/questions"),
    ("GET", "/api/streams/{id}/standing"),
    ("POST", "/api/streams/{id}/standing"),
    ("GET", "/api/streams/{id}/twin"),
    ("GET", "/api/streams/{id}/video.mjpeg"),
    ("POST", "/api/streams/{id}/webrtc"),
    ("GET", "/metrics"),
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/models"),
    ("WS", "/api/ws"),
}
# what a request shows -> the statuses that it may get at (open, guarded) routes; None: any other
SHOWN: dict[str, tuple[dict[str, str], int | None, int | None]] = {
    "no token": ({}, None, 401),
    "a wrong token": ({"Authorization": f"Bearer {TOKEN}x"}, None, 401),
    "half a token": ({"Authorization": f"Bearer {TOKEN[:-1]}"}, None, 401),
    "a token of another scheme": ({"Authorization": f"Basic {TOKEN}"}, None, 401),
    "a made-up cookie": ({"Cookie": f"{COOKIE}={TOKEN}"}, None, 401),
    "the right token": ({"Authorization": f"Bearer {TOKEN}"}, None, None),
    "another Host": ({"Authorization": f"Bearer {TOKEN}", "Host": "rebound.example"}, 421, 421),
    "a foreign Origin": (
        {"Authorization": f"Bearer {TOKEN}", "Origin": "https://foreign.example"},
        403,
        403,
    ),
    "no Origin to speak of": ({"Authorization": f"Bearer {TOKEN}", "Origin": "null"}, 403, 403),
}
REFUSED = {401, 403, 421}


def routes(found: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for route in found:
        if hasattr(route, "original_router"):
            yield from routes(route.original_router.routes)
        elif getattr(route, "methods", None):
            yield from ((method, route.path) for method in set(route.methods) - {"HEAD"})
        else:
            yield "WS", route.path


def filled(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda m: "1" if m[1] == "oid" else "nope", path)


def status(served: Served, method: str, path: str, headers: dict[str, str]) -> int:
    if method == "WS":
        host = {"Host": headers["Host"]} if "Host" in headers else {}
        given = {k: v for k, v in headers.items() if k != "Host"}
        if host:  # the client library sets its own: by hand
            lines = "".join(f"{k}: {v}\r\n" for k, v in {**host, **given}.items())
            upgrade = (
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            )
            text = f"GET {path} HTTP/1.1\r\n{lines}{upgrade}\r\n"
            return int(served.raw(text.encode(), 3.0, 64).split()[1])
        try:
            with connect(f"{served.url.replace('http', 'ws')}{path}", additional_headers=given):
                return 101
        except InvalidStatus as error:
            return error.response.status_code
    link = HTTPConnection(served.host, served.port, timeout=10)
    link.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        link.putheader(name, value)
    link.endheaders()
    with closing(link):
        return link.getresponse().status


def test_every_route_is_listed(guarded: Served) -> None:
    assert sorted(routes(guarded.app.routes)) == sorted(OPEN | GUARDED)


@pytest.mark.parametrize("shown", SHOWN)
def test_the_table_of_routes_and_what_is_shown(guarded: Served, shown: str) -> None:
    headers, at_open, at_guarded = SHOWN[shown]
    wrong = []
    for method, path in sorted(OPEN | GUARDED):
        wanted = at_open if (method, path) in OPEN else at_guarded
        if (method, path) == ("GET", "/api/openapi.json") and wanted is None:
            continue
        got = status(guarded, method, filled(path), headers)
        right = got not in REFUSED if wanted is None else got == wanted
        login = path == "/api/login" and wanted is None  # 422: no body; 401 is for its own reason
        if not right and not login:
            wrong.append((method, path, got))
    assert not wrong


def test_the_right_token_reaches_what_is_there(guarded: Served) -> None:
    with httpx2.Client(base_url=guarded.url, headers={"Authorization": f"Bearer {TOKEN}"}) as web:
        for path in ("/api/info", "/api/streams", "/api/streams/table/twin", "/metrics"):
            assert web.get(path).status_code == 200, path
        assert web.get("/api/info").json()["auth"] is True


def test_unknown_paths_say_nothing_without_a_token(guarded: Served) -> None:
    assert httpx2.get(f"{guarded.url}/nowhere").status_code == 401
    assert httpx2.get(f"{guarded.url}/api/streams/nope").status_code == 401


def test_the_page_logs_in_with_a_cookie_and_out(guarded: Served) -> None:
    with httpx2.Client(base_url=guarded.url) as web:
        wrong = web.post("/api/login", json={"token": TOKEN + "x"})
        assert wrong.status_code == 401
        assert "set-cookie" not in wrong.headers
        right = web.post("/api/login", json={"token": TOKEN})
        assert right.status_code == 204
        cookie = right.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert TOKEN not in cookie
        assert web.get("/api/streams").status_code == 200
        assert web.get("/api/streams", headers={"Origin": guarded.url}).status_code == 200
        foreign = web.get("/api/streams", headers={"Origin": "https://foreign.example"})
        assert foreign.status_code == 403
        assert web.delete("/api/login").status_code == 204
        web.cookies.set(COOKIE, right.cookies[COOKIE])
        assert web.get("/api/streams").status_code == 401


def test_a_socket_opens_with_a_cookie_and_not_from_elsewhere(guarded: Served) -> None:
    with httpx2.Client(base_url=guarded.url) as web:
        web.post("/api/login", json={"token": TOKEN})
        cookie = f"{COOKIE}={web.cookies[COOKIE]}"
    url = guarded.url.replace("http", "ws") + "/api/ws?stream=table"
    with connect(url, additional_headers={"Cookie": cookie}, origin=Origin(guarded.url)) as link:
        assert '"type": "status"' in str(link.recv(5))
    with pytest.raises(InvalidStatus) as refused:
        connect(
            url, additional_headers={"Cookie": cookie}, origin=Origin("https://foreign.example")
        )
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ("Host: 127.0.0.1:{port}", 200),
        ("Host: localhost:{port}", 200),
        ("Host: LOCALHOST", 200),
        ("Host: [::1]:{port}", 200),
        ("Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}", 200),
        ("Host: 127.0.0.1:{port}\r\nSec-Fetch-Site: same-origin", 200),
        ("Host: 127.0.0.1:{port}\r\nSec-Fetch-Site: none", 200),
        ("Host: rebound.example", 421),
        ("Host: 127.0.0.1.rebound.example", 421),
        ("Host: localhost.rebound.example", 421),
        ("Host: 192.168.7.7", 421),
        ("Host: localhost@rebound.example", 421),
        ("Host: localhost/x", 421),
        ("Host: localhost:99999999", 421),
        ("Host: ", 421),
        ("X: no Host", 400),
        ("Host: localhost\r\nHost: rebound.example", 400),
        ("Host: localhost\r\nX-Forwarded-Host: rebound.example", 200),
        ("Host: rebound.example\r\nX-Forwarded-Host: localhost", 421),
        ("Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:1", 403),
        ("Host: 127.0.0.1:{port}\r\nOrigin: http://localhost:{port}", 403),
        ("Host: 127.0.0.1:{port}\r\nOrigin: null", 403),
        ("Host: 127.0.0.1:{port}\r\nOrigin: ", 403),
        ("Host: 127.0.0.1:{port}\r\nSec-Fetch-Site: cross-site", 403),
        ("Host: 127.0.0.1:{port}\r\nSec-Fetch-Site: same-site", 403),
        ("Host: 127.0.0.1:{port}\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors", 403),
    ],
)
def test_host_and_origin_without_a_token(served: Served, headers: str, wanted: int) -> None:
    lines = headers.format(port=served.port)
    text = f"GET /api/streams HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n"
    assert int(served.raw(text.encode()).split()[1]) == wanted


def test_a_link_from_elsewhere_may_open_the_page_and_nothing_else(served: Served) -> None:
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert httpx2.get(f"{served.url}/", headers=visit).status_code == 200
    assert httpx2.get(f"{served.url}/api/streams", headers=visit).status_code == 403


def test_names_and_pages_that_the_operator_adds(hub: Any) -> None:
    settings = ServeSettings(port=0, hosts=("twin.lan",), origins=("https://console.example",))
    with serve(hub, settings) as served:
        for headers, wanted in (
            ({"Host": "twin.lan"}, 200),
            ({"Host": "twin.lan.example"}, 421),
            ({"Origin": "https://console.example"}, 200),
            ({"Origin": "https://console.example.org"}, 403),
        ):
            assert httpx2.get(f"{served.url}/healthz", headers=headers).status_code == wanted


def test_answers_are_strict_with_browsers(served: Served) -> None:
    for path in ("/", "/api/streams", "/nowhere", "/static/app.js"):
        headers = httpx2.get(f"{served.url}{path}").headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "twin.lan"])
def test_beyond_this_machine_only_with_a_token(host: str) -> None:
    with pytest.raises(InputError, match="token"):
        ServeSettings(host=host)
    assert not ServeSettings(host=host, token=TOKEN).loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    assert ServeSettings(host=host).loopback


@pytest.mark.parametrize("token", ["", "short", "x" * 513, "with a space in it!", "täöken" * 4])
def test_tokens_that_are_none(token: str) -> None:
    with pytest.raises(InputError) as refused:
        ServeSettings(token=token)
    assert not token or token not in str(refused.value)


def test_a_token_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        read_token(path)
    path.chmod(0o600)
    assert read_token(path) == TOKEN
    with pytest.raises(InputError, match="readable token file"):
        read_token(tmp_path / "none")
    path.write_bytes(b"\xff\xfe" * 20)
    with pytest.raises(InputError, match="no text"):
        read_token(path)


def test_a_token_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGETWIN_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("EDGETWIN_TOKEN", TOKEN)
    assert read_token(None) == TOKEN
    assert TOKEN not in repr(ServeSettings(token=TOKEN))


def test_page_sessions_are_bounded_and_no_tokens() -> None:
    logins = Logins(TOKEN, most=3)
    names = [logins.begin()[0] for _ in range(5)]
    assert [logins.holds(name) for name in names] == [False, False, True, True, True]
    assert not logins.holds(TOKEN)
    assert not logins.right("")
    logins.end(names[-1])
    assert not logins.holds(names[-1])


def test_what_requests_show_is_never_logged(
    guarded: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "uvicorn.error")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = guarded.url.replace("http", "ws")
    with connect(f"{url}/api/ws?stream=table&token={TOKEN}", additional_headers=headers) as link:
        link.recv(5)
    with pytest.raises(InvalidStatus):
        connect(f"{url}/api/ws?token={TOKEN}")
    httpx2.get(f"{guarded.url}/metrics?token={TOKEN}", headers=headers)
    logged = [record for record in caplog.records if record.name.startswith("uvicorn")]
    assert not [record for record in logged if TOKEN in record.getMessage()]
    assert not [record for record in logged if record.levelno >= 40]
