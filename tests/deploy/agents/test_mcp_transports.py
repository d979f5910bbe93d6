"""The transports: real pipes, real sockets, clients that leave, signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from edgetwin.deploy.agents.lines import MAX_LINE_BYTES, Lines

from .clients import INITIALIZE, fact, talk
from .fakes import FakeBackend

ROOT = Path(__file__).parents[3]
SERVER = [sys.executable, "-m", "edgetwin.tests.deploy.agents.stdio_main"]
STOP_S = 5.0  # it takes one to two on an idle machine; these may be busy ones
ASK = {
    "jsonrpc": "2.0",
    "id": 2,
    "method": "tools/call",
    "params": {"name": "ask", "arguments": {"stream": "cell", "question": "which?"}},
}
TOKEN = "a-token-for-these-tests-only"


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A stdio server with raw pipes."""
    pipe = subprocess.PIPE
    child = subprocess.Popen([*SERVER, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream is not None:
                stream.close()


def send(to: IO[bytes] | None, message: dict[str, Any]) -> None:
    assert to is not None
    to.write(json.dumps(message).encode() + b"\n")
    to.flush()


def begin(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The handshake; the server is up afterwards."""
    send(child.stdin, INITIALIZE)
    assert child.stdout is not None
    told: dict[str, Any] = json.loads(child.stdout.readline())
    send(child.stdin, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    return told


def ended(child: subprocess.Popen[bytes]) -> str:
    """What it said after it ended, in time and with nothing left."""
    began = time.monotonic()
    assert child.wait(timeout=10) == 0
    assert time.monotonic() - began < STOP_S
    assert child.stderr is not None
    said = child.stderr.read().decode()
    assert "closed=True left=[]" in said, said
    return said


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_over_pipes_lists_asks_and_reads(mode: str) -> None:
    server = StdioServerParameters(command=SERVER[0], args=SERVER[1:], cwd=ROOT)

    async def use(client: Client) -> tuple[int, list[int]]:
        tools = await client.list_tools()
        found = await client.call_tool("ask", {"stream": "cell", "question": "which?"})
        return len(tools.tools), fact(found)["ids"]

    assert talk(server, use, mode) == (11, [3])


def test_the_server_ends_when_its_input_does() -> None:
    with process() as child:
        assert begin(child)["result"]["serverInfo"]["name"] == "edgetwin"
        assert child.stdin is not None
        child.stdin.close()
        ended(child)


def test_it_ends_with_a_question_under_way() -> None:
    with process("hold") as child:
        begin(child)
        send(child.stdin, ASK)
        send(child.stdin, {"jsonrpc": "2.0", "id": 3, "method": "ping"})
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["id"] == 3  # the question is taken by now
        assert child.stdin is not None
        child.stdin.close()
        ended(child)


def test_it_ends_though_the_language_model_hangs() -> None:
    with process("hub") as child:
        begin(child)
        send(child.stdin, ASK)
        stream = {"name": "list_objects", "arguments": {"stream": "cell"}}
        send(child.stdin, {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": stream})
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["id"] == 3  # others are answered meanwhile
        assert child.stdin is not None
        child.stdin.close()
        began = time.monotonic()
        assert child.stderr is not None
        assert child.stderr.readline() == b"ended\n"
        assert time.monotonic() - began < STOP_S
        assert child.wait(timeout=30) == 0
        said = child.stderr.read().decode()
        assert "left=['edgetwin-language']" in said, said  # a daemon in the model's own code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_while_its_input_is_open(number: int) -> None:
    with process("hold") as child:
        begin(child)
        send(child.stdin, ASK)
        child.send_signal(number)
        ended(child)


def test_lines_that_are_no_messages_are_answered_or_skipped() -> None:
    with process() as child:
        begin(child)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"\xff\xfe not json\n" + b"[" * 100_000 + b"\n")
        child.stdin.write(b'"' + b"x" * (MAX_LINE_BYTES + 100_000) + b'"\n')
        send(child.stdin, {"jsonrpc": "2.0", "id": 9, "method": "ping"})
        answers = [json.loads(child.stdout.readline())]
        while answers[-1].get("id") != 9:
            answers.append(json.loads(child.stdout.readline()))
        assert "result" in answers[-1]
        assert all("error" in answer for answer in answers[:-1])
        child.stdin.close()
        ended(child)


def lines_of(data: bytes, tmp_path: Path, how: str) -> list[str]:
    """What the reader makes of bytes in a pipe or a file."""
    path = tmp_path / "input"
    path.write_bytes(data)
    if how == "file":
        fd = os.open(path, os.O_RDONLY)
        feeder = None
    else:
        fd, into = os.pipe()

        def feed() -> None:
            with os.fdopen(into, "wb") as file:
                file.write(data)

        feeder = threading.Thread(target=feed)
        feeder.start()

    async def main() -> list[str]:
        with anyio.fail_after(20), Lines(fd) as lines:
            return [line async for line in lines]

    try:
        return anyio.run(main)
    finally:
        if feeder is not None:
            feeder.join()
        os.close(fd)


@pytest.mark.parametrize("how", ["file", "pipe"])
def test_lines_are_whole_and_bounded(tmp_path: Path, how: str) -> None:
    long = b"y" * (MAX_LINE_BYTES + 200_000)
    data = b"one\n" + "zwei ü\n".encode() + long + b"\nthree\n\xff\nno end"
    assert lines_of(data, tmp_path, how) == ["one\n", "zwei ü\n", "\n", "three\n", "\ufffd\n"]


@contextmanager
def http(
    host: str = "127.0.0.1", token: str | None = None, slow_s: float = 10.0
) -> Iterator[tuple[int, FakeBackend]]:
    """An HTTP server in a process of its own; yields its port."""
    code = (
        "import sys\n"
        "from edgetwin.deploy.agents.serving import serve_http\n"
        "from edgetwin.deploy.serve.config import ServeLimits, ServeSettings\n"
        "from edgetwin.tests.deploy.agents.fakes import FakeBackend\n"
        f"limits = ServeLimits(body_s={slow_s!r}, header_s={slow_s!r})\n"
        f"settings = ServeSettings(host={host!r}, port=0, token={token!r}, limits=limits)\n"
        "serve_http(FakeBackend(), settings)\n"
        "print('ended', file=sys.stderr)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert child.stderr is not None
        line = child.stderr.readline()
        assert line.startswith("MCP at http://"), line + child.stderr.read()
        yield int(line.rsplit(":", 1)[1].split("/")[0]), FakeBackend()
        child.terminate()
        began = time.monotonic()
        assert child.wait(timeout=10) == 0
        assert time.monotonic() - began < STOP_S + 1
        assert child.stderr.read().strip() == "ended"
    finally:
        child.kill()
        child.wait()
        assert child.stderr is not None
        child.stderr.close()


def post(port: int, headers: dict[str, str], body: bytes | None = None) -> httpx2.Response:
    content = json.dumps(INITIALIZE).encode() if body is None else body
    given = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        **headers,
    }
    return httpx2.post(f"http://127.0.0.1:{port}/mcp", content=content, headers=given, timeout=10)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_clients_over_http_list_and_ask(mode: str) -> None:
    with http() as (port, _):

        async def use(client: Client) -> list[int]:
            assert len((await client.list_tools()).tools) == 11
            found = await client.call_tool("ask", {"stream": "cell", "question": "which?"})
            read = await client.read_resource("edgetwin://streams/cell/objects/1/mask.png")
            assert read.contents[0].mime_type == "image/png"
            return list(fact(found)["ids"])

        assert talk(f"http://127.0.0.1:{port}/mcp", use, mode) == [3]


def test_other_names_pages_and_huge_bodies_are_refused() -> None:
    with http() as (port, _):
        assert post(port, {}).status_code == 200
        assert post(port, {"host": "evil.example"}).status_code == 421
        assert post(port, {"host": f"evil.example:{port}"}).status_code == 421
        assert post(port, {"origin": "http://evil.example"}).status_code == 403
        assert post(port, {}, b" " * 300_000).status_code == 413
        assert post(port, {"content-type": "text/plain"}).status_code in (400, 415)


def test_headers_and_bodies_that_dribble_are_cut() -> None:
    head = (
        b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"accept: application/json\r\ncontent-length: 100\r\n\r\n{"
    )
    with http(slow_s=0.5) as (port, _):
        with socket.create_connection(("127.0.0.1", port), 5) as link:
            link.sendall(head)
            assert link.recv(65536).startswith(b"HTTP/1.1 408")
        with socket.create_connection(("127.0.0.1", port), 5) as link:
            link.sendall(head[:40])
            with suppress(ConnectionResetError):
                assert link.recv(65536) == b""
        assert post(port, {}).status_code == 200  # others are served


def test_beyond_this_machine_a_token_is_needed() -> None:
    with http("0.0.0.0", TOKEN) as (port, _):
        assert post(port, {}).status_code == 401
        assert post(port, {"authorization": "Bearer wrong-token-of-length"}).status_code == 401
        assert post(port, {"authorization": f"Bearer {TOKEN}"}).status_code == 200

        async def use() -> int:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            with anyio.fail_after(20):
                async with httpx2.AsyncClient(headers=headers) as own:
                    url = f"http://127.0.0.1:{port}/mcp"
                    transport = streamable_http_client(url, http_client=own)
                    async with Client(transport) as client:
                        return len((await client.list_tools()).tools)

        assert anyio.run(use) == 11


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    from edgetwin.deploy.agents.serving import serve_http
    from edgetwin.deploy.serve.config import ServeSettings
    from edgetwin.twin.errors import InputError

    backend = FakeBackend()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = ServeSettings(port=taken.getsockname()[1])
        with pytest.raises(InputError, match="choose another --port"):
            serve_http(backend, settings)
    assert backend.closed
