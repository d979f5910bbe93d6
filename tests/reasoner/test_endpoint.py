"""The client of OpenAI-compatible endpoints: what it sends, and how every failure ends."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from edgetwin.reasoner.models.endpoint import Endpoint, Message, Picture, Sampling, Usage
from edgetwin.reasoner.models.http import TimedOut
from edgetwin.twin.errors import ModelError

from .loopback import Loopback, Say, choices, completed, said, serving

PNG = b"\x89PNG\r\n\x1a\nnot really"
HELLO = (Message("user", ("Hello",)),)
KEY = "sk-secret-123"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving() as loopback:
        yield loopback


def endpoint(server: Loopback, **more: Any) -> Endpoint:
    return Endpoint(server.url, "tiny", **{"timeout_s": 5.0, "backoff_s": 0.01, **more})


def test_a_chat_is_sent_and_read_exactly(server: Loopback) -> None:
    server.script.append(said("It is a mug."))
    client = endpoint(server, api_key=KEY, extra={"top_k": 1})
    messages = [
        Message("system", ("Be brief.",)),
        Message("user", ("What is this?", Picture(PNG), "Say it.")),
    ]
    sampling = Sampling(64, 0.5, ("</answer>",), seed=7, extra={"grammar": "root ::= x"})
    reply = client.chat(messages, sampling)
    assert (reply.text, reply.finish_reason, reply.stop) == ("It is a mug.", "stop", None)
    assert reply.usage == client.usage == Usage(30, 5, 20)
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["content-type"] == "application/json"
    url = asked.body["messages"][1]["content"][1]["image_url"]["url"]
    kind, _, data = url.partition(";base64,")
    assert kind == "data:image/png"
    assert base64.b64decode(data, validate=True) == PNG
    assert asked.body == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": url}},
                    {"type": "text", "text": "Say it."},
                ],
            },
        ],
        "max_tokens": 64,
        "temperature": 0.5,
        "stream": False,
        "stop": ["</answer>"],
        "seed": 7,
        "top_k": 1,
        "grammar": "root ::= x",
    }


def test_a_completion_is_sent_and_read_exactly(server: Loopback) -> None:
    server.script.append(completed(" is far", "length", stop_reason=None))
    reply = endpoint(server).complete("The moon", Sampling(max_tokens=3))
    assert (reply.text, reply.finish_reason, reply.stop) == (" is far", "length", "")
    (asked,) = server.asked
    assert asked.path == "/v1/completions"
    assert asked.body == {
        "model": "tiny", "prompt": "The moon", "max_tokens": 3, "temperature": 0.0, "stream": False
    }  # fmt: skip
    assert "authorization" not in asked.headers


def test_fields_that_a_server_refuses_are_taken_out(server: Loopback) -> None:
    server.script.append(said("ok"))
    extra = {"max_tokens": None, "temperature": None, "max_completion_tokens": 9}
    endpoint(server, extra=extra).chat(HELLO)
    assert set(server.asked[0].body) == {"model", "messages", "stream", "max_completion_tokens"}


def test_the_stop_that_a_server_names_is_told(server: Loopback) -> None:
    server.script.append(said("<answer>none", stop_reason="</answer>"))
    assert endpoint(server).chat(HELLO).stop == "</answer>"


def test_text_parts_are_joined(server: Loopback) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "odd"}]
    server.script.append(choices([{"message": {"content": parts}, "finish_reason": None}]))
    reply = endpoint(server).chat(HELLO)
    assert (reply.text, reply.finish_reason) == ("ab", "stop")


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_it_tries_again_where_that_helps(server: Loopback, status: int) -> None:
    server.script += [Say(b"{}", status), said("later")]
    assert endpoint(server).chat(HELLO).text == "later"
    assert len(server.asked) == 2


def test_it_waits_as_long_as_it_is_asked_to(server: Loopback) -> None:
    server.script += [Say(b"{}", 429, {"retry-after": "1"}), said("ok")]
    began = time.monotonic()
    assert endpoint(server).chat(HELLO).text == "ok"
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("when", ["600", "date"])
def test_it_does_not_wait_beyond_its_time(server: Loopback, when: str) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    body = json.dumps({"error": {"message": "slow down"}}).encode()
    server.script.append(Say(body, 429, {"retry-after": later if when == "date" else when}))
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"HTTP 429 \(slow down\); it asks to wait \d{3} s: wait"):
        endpoint(server).chat(HELLO)
    assert time.monotonic() - began < 10
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "advice"),
    [(400, "check that the model takes"), (401, "API key"), (404, "base URL"), (413, "smaller"),
     (302, "redirects are not followed"), (204, "log")],
)  # fmt: skip
def test_refusals_are_told_once(server: Loopback, status: int, advice: str) -> None:
    server.script.append(Say(b"" if status == 204 else b'{"error": "no"}', status))
    with pytest.raises(ModelError, match=f"HTTP {status}.*{advice}"):
        endpoint(server).chat(HELLO)
    assert len(server.asked) == 1


def test_it_gives_up_after_its_attempts(server: Loopback) -> None:
    server.script += [Say(b"boom\x00\nboom", 500)] * 3
    with pytest.raises(ModelError, match=r"HTTP 500 \(boom boom\)"):
        endpoint(server).chat(HELLO)
    assert len(server.asked) == 3


BROKEN = {
    "junk": (Say(b"<html>hello"), "a JSON reply"),
    "not an object": (Say(b"[1]"), "a JSON object"),
    "deep": (Say(b"[" * 100_000), "a JSON reply"),
    "wrong type": (
        Say(b"<html>", headers={"content-type": "text/html"}), "application/json.*text/html"
    ),
    "no choices": (choices([]), "one choice"),
    "no choice record": (choices([3]), "one choice"),
    "choices missing": (Say(b"{}"), "one choice"),
    "no text": (said(None), "a text"),
    "text is a number": (said(3), "a text"),
    "message is a list": (choices([{"message": []}]), "a text"),
    "huge": (Say(b" " * (5 << 20)), "at most 4 MiB"),
    "compressed": (
        Say(b"x", headers={"content-encoding": "gzip"}), "uncompressed.*gzip"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_replies_end_in_typed_errors(server: Loopback, name: str) -> None:
    say, match = BROKEN[name]
    server.script.append(say)
    with pytest.raises(ModelError, match=match):
        endpoint(server).chat(HELLO)
    assert len(server.asked) == 1


def test_a_cut_reply_is_asked_for_again(server: Loopback) -> None:
    cut = said("half")
    cut.cut = 10
    server.script += [cut, said("whole")]
    assert endpoint(server).chat(HELLO).text == "whole"
    server.script += [cut] * 3
    with pytest.raises(ModelError, match="check that the server runs"):
        endpoint(server).chat(HELLO)


@pytest.mark.parametrize(
    "say", [Say(b"{}", wait_s=30), Say(b" " * 600, drip_s=0.05)], ids=["silent", "dripping"]
)
def test_a_slow_server_is_left_in_time(server: Loopback, say: Say) -> None:
    server.script.append(say)
    began = time.monotonic()
    with pytest.raises(TimedOut, match="allow more seconds"):
        endpoint(server).chat(HELLO, deadline_s=began + 0.3)
    assert 0.25 < time.monotonic() - began < 10


def test_no_server_and_no_time_are_told() -> None:
    client = Endpoint("http://127.0.0.1:9/v1", "m", attempts=2, backoff_s=0.01)
    with pytest.raises(ModelError, match="ConnectError"):
        client.chat(HELLO)
    with pytest.raises(TimedOut):
        client.chat(HELLO, deadline_s=time.monotonic() - 1)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://x/v1", "localhost:80", "", "http://", "http://u:p@h/v1",
     "http://h/v1?q=1", "http://h:99999999/", "http://[::1"],
)  # fmt: skip
def test_only_plain_web_addresses_are_taken(url: str) -> None:
    with pytest.raises(ModelError, match="base URL such as") as error:
        Endpoint(url, "m")
    assert "u:p" not in str(error.value)


def test_the_key_is_shown_nowhere(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_TEST_KEY", KEY)
    client = endpoint(server, api_key_env="TWIN_TEST_KEY")
    assert KEY not in repr(client)
    for say in (Say(f"bad key {KEY}".encode(), 401), Say(f"oops {KEY}".encode())):
        server.script.append(say)
        with pytest.raises(ModelError, match=r"\*\*\*") as error:
            client.chat(HELLO)
        assert KEY not in str(error.value)
    monkeypatch.delenv("TWIN_TEST_KEY")
    with pytest.raises(ModelError, match="export TWIN_TEST_KEY"):
        endpoint(server, api_key_env="TWIN_TEST_KEY")
    for bad in ("a\nb: c", "schlüssel"):
        with pytest.raises(ModelError, match="printable ASCII") as error:
            endpoint(server, api_key=bad)
        assert bad not in str(error.value)


def test_a_request_is_bounded(server: Loopback) -> None:
    with pytest.raises(ModelError, match="at most 32 MiB"):
        endpoint(server).chat([Message("user", (Picture(bytes(30 << 20)),))])
    assert not server.asked


def test_a_missing_library_names_its_extra() -> None:
    code = (
        "import sys; sys.modules['httpx2'] = None\n"
        "from edgetwin.reasoner.models.endpoint import Endpoint\n"
        "Endpoint('http://127.0.0.1:9/v1', 'm').chat([])"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError" in got.stderr
    assert "pip install 'edgetwin[remote]'" in got.stderr
