"""``edgetwin serve`` as people start it: a process, its output, its exit codes, its secrets."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from edgetwin.cli import app
from edgetwin.twin.errors import EdgeTwinError

from ...test_cli import edgetwin, embedded
from .conftest import TOKEN, VIDEO

PLANTED = "pl4nted-pa55word"
pytestmark = embedded


class Command:
    def __init__(self, *arguments: object, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "edgetwin.cli", "serve", *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", **(env or {})},
        )
        self.out = self.err = ""

    @property
    def url(self) -> str:
        if not self.out:
            assert self.process.stdout is not None
            self.out = self.process.stdout.readline()
            assert self.out.startswith("http"), self.process.communicate()
        return self.out.strip().rstrip("/")

    def stop(self, sig: int = signal.SIGTERM, seconds: float = 20) -> int:
        self.process.send_signal(sig)
        out, self.err = self.process.communicate(timeout=seconds)
        self.out += out
        return self.process.returncode


@contextmanager
def command(*arguments: object, env: dict[str, str] | None = None) -> Iterator[Command]:
    found = Command(*arguments, env=env)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.process.kill()
            found.process.communicate()


def test_a_file_is_served_until_sigterm(tmp_path: Path) -> None:
    with command(
        f"table={VIDEO}", "--loop", "--live", "--port", 0, "-o", tmp_path, "--report-s", 0.3
    ) as served:
        assert httpx2.get(f"{served.url}/healthz").status_code == 200
        assert httpx2.get(f"{served.url}/").text.startswith("<!doctype html>")
        deadline = time.monotonic() + 20
        while httpx2.get(f"{served.url}/api/streams/table/twin").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.7)
        assert served.stop() == 0
    assert (tmp_path / "table" / "twin.sqlite").is_file()
    lines = [line for line in served.err.splitlines() if line.startswith("table: ")]
    assert lines
    assert "frames" in lines[-1]
    assert "Traceback" not in served.err


def test_interrupting_it_is_130(tmp_path: Path) -> None:
    with command("--port", 0, "-o", tmp_path) as served:
        assert served.url
        assert served.stop(signal.SIGINT) == 130
    assert "Traceback" not in served.err


def test_sources_of_a_file(tmp_path: Path) -> None:
    listed = tmp_path / "sources"
    listed.write_text(f"# two\none={VIDEO}\n\n{VIDEO}\n")
    with command(f"@{listed}", "--port", 0, "-o", tmp_path / "live", "--loop") as served:
        got = httpx2.get(f"{served.url}/api/streams").json()["streams"]
        assert [stream["id"] for stream in got] == ["one", "video1"]
        served.stop()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], "token"),
        (["@nowhere"], "file of sources"),
        (["--token-file", "nowhere"], "token file"),
        (["--allow", "video"], "--media"),
        (["--allow", "http"], "kinds"),
        (["--media", "nowhere"], "folder of media"),
        (["--models", "nowhere"], "embedded"),
        (["--fps", "0", str(VIDEO)], "rate"),
        (["x" * 5000], "4096"),
    ],
)
def test_what_cannot_be_served_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGETWIN_TOKEN", raising=False)
    got = CliRunner().invoke(app, ["serve", *arguments, "--port", "0"])
    assert isinstance(got.exception, EdgeTwinError), got.output
    assert told in str(got.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_goes_with_a_key() -> None:
    got = CliRunner().invoke(app, ["serve", "--tls-cert", "a.pem"])
    assert got.exit_code == 2
    assert "together" in got.output


def test_a_source_that_is_none_is_told_in_one_line_with_code_2(tmp_path: Path) -> None:
    got = edgetwin("serve", "nowhere.mp4", "--port", 0, "-o", tmp_path)
    assert got.returncode == 2
    assert got.stderr.startswith("error: ")
    assert "nowhere.mp4" in got.stderr
    assert got.stderr.count("\n") == 1
    assert got.stdout == ""


def test_a_port_in_use_is_told_before_models_are_loaded(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        began = time.monotonic()
        got = edgetwin("serve", "--port", taken.getsockname()[1], "-o", tmp_path)
    assert got.returncode == 2
    assert "--port" in got.stderr
    assert time.monotonic() - began < 30


def test_over_tls_cookies_are_for_tls_alone(tmp_path: Path) -> None:
    made = subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("openssl is not here to make a certificate")
    options = ["--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem"]
    env = {"EDGETWIN_TOKEN": TOKEN}
    with command(*options, "--port", 0, "-o", tmp_path / "live", env=env) as served:
        assert served.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        with httpx2.Client(base_url=served.url, verify=trusted, timeout=20) as web:
            got = web.post("/api/login", json={"token": TOKEN})
            assert "Secure" in got.headers["set-cookie"]
            assert "max-age" in got.headers["strict-transport-security"]
            assert web.get("/api/streams", headers={"Origin": served.url}).status_code == 200
        served.stop()


def test_a_planted_password_is_found_nowhere(tmp_path: Path) -> None:
    """In no answer, log, figure, process title or file, whatever goes wrong with its source."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    folder = tmp_path / "live"
    secret = f"rtsp://planted-user:{PLANTED}@127.0.0.1:1/door?token={PLANTED}"
    seen: list[bytes] = []
    with command(
        f"door={secret}", "--port", 0, "-o", folder, "--report-s", 0.2, "--token-file", token
    ) as served:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx2.Client(base_url=served.url, headers=headers, timeout=20) as web:

            def took(got: httpx2.Response) -> None:
                seen.append(got.content + repr(got.headers).encode())

            title = Path(f"/proc/{served.process.pid}/cmdline")
            seen.append(title.read_bytes())
            assert b"door=rtsp" in seen[-1]
            for body in (
                {"source": secret, "id": "door"},
                {"source": secret, "id": "second"},
                {"source": secret, "id": "Third!"},
                {"source": secret, "words": ["nothing-known"]},
                {"source": f"gst:rtspsrc location={secret} user-pw={PLANTED} ! fakesink"},
                {"source": f"http://u:{PLANTED}@127.0.0.1/x"},
                {"source": f"/tmp/{PLANTED}@x", "fps": -1},
            ):
                took(web.post("/api/streams", json=body))
            took(web.post("/api/streams", content=f'{{"source": "{secret}"'))
            body = {"question": "what is there?", "budget_s": 1}
            took(web.post("/api/streams/door/questions", json=body))
            hook = {"question": "tell me of a mug", "webhook": f"https://u:{PLANTED}@example/"}
            took(web.post("/api/streams/door/standing", json=hook))
            for path in (
                "/api/info",
                "/api/streams",
                "/api/streams/door",
                "/api/streams/second",
                "/api/streams/door/twin",
                "/api/streams/door/history",
                "/api/standing",
                "/api/events",
                "/api/sessions",
                "/api/openapi.json",
                "/metrics",
                "/v1/models",
                "/readyz",
                f"/api/streams/{PLANTED[:0]}nope?token=x",
            ):
                took(web.get(path))
        assert served.stop() == 0
    assert sum(b'"door"' in text for text in seen) >= 3
    seen += [served.out.encode(), served.err.encode()]
    assert "door: " in served.err
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    seen += [path.read_bytes() for path in files]
    for text in seen:
        assert PLANTED.encode() not in text, text[:500]
        assert TOKEN.encode() not in text
