"""Stopping: new work is refused, what runs is finished, within a bound; then nothing is left."""

from __future__ import annotations

import json
import threading
import time

import httpx2
import pytest

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.serve.config import ServeLimits, ServeSettings

from .served import Served, serve

ASK = "/api/streams/table/questions"
DRINK = {"question": "what could I drink from?"}


def ended(served: Served, seconds: float) -> bool:
    served.thread.join(seconds)
    return not served.thread.is_alive()


def test_new_work_is_refused_while_the_old_is_finished(hub: LiveHub) -> None:
    with serve(hub) as served, httpx2.Client(base_url=served.url, timeout=10) as web:
        state = served.app.state.serving
        with state.questions.one():  # a question that is being answered
            served.drain()
            deadline = time.monotonic() + 5
            while web.get("/readyz").status_code == 200:
                assert time.monotonic() < deadline
            assert web.get("/healthz").status_code == 200
            for path, body in (
                (ASK, DRINK),
                ("/api/streams/table/standing", DRINK),
                ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
            ):
                got = web.post(path, json=body)
                assert got.status_code == 503, path
                assert got.json()["error"]["code"] == "stopping"
                assert int(got.headers["retry-after"]) >= 1
            video = web.get("/api/streams/table/video.mjpeg")
            assert video.status_code == 503
            assert web.get("/api/streams/table").status_code == 200  # looking is still possible
            assert not ended(served, 0.3)
        assert ended(served, 6)


def test_an_answer_that_is_being_streamed_is_finished(hub: LiveHub) -> None:
    with serve(hub) as served, httpx2.Client(base_url=served.url, timeout=20) as web:
        with web.stream("POST", ASK, json={**DRINK, "stream": True}) as got:
            lines = got.iter_lines()
            assert next(lines) == "event: text"
            served.drain()
            rest = list(lines)
        kinds = [line[7:] for line in rest if line.startswith("event: ")]
        assert kinds[-1] == "answer"
        record = json.loads([line for line in rest if line.startswith("data: ")][-1][6:])
        assert record["status"] == "ok"
        assert ended(served, 6)


def test_what_does_not_finish_is_not_waited_for_longer_than_the_bound(hub: LiveHub) -> None:
    with serve(hub, ServeSettings(port=0, limits=ServeLimits(drain_s=0.5))) as served:
        state = served.app.state.serving
        with state.questions.one():
            began = time.monotonic()
            served.drain()
            assert ended(served, 10)
            assert time.monotonic() - began >= 0.4


def test_every_question_is_answered_or_refused_never_cut(hub: LiveHub) -> None:
    seen: list[int] = []
    broken: list[str] = []

    def client(served: Served) -> None:
        with httpx2.Client(base_url=served.url, timeout=20) as web:
            while True:
                try:
                    got = web.post(ASK, json=DRINK)
                except httpx2.ConnectError:
                    return  # it has ended
                except httpx2.HTTPError as error:
                    # a connection kept alive may be closed between two requests, as anywhere
                    if "without sending a response" not in str(error):
                        broken.append(repr(error))
                    return
                seen.append(got.status_code)
                got.json()
                if got.status_code == 503:
                    return
                time.sleep(0.01)

    with serve(hub) as served:
        threads = [threading.Thread(target=client, args=(served,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while seen.count(200) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        served.drain()
        for thread in threads:
            thread.join(15)
        assert ended(served, 8)
    assert not broken
    assert set(seen) <= {200, 429, 503}


def test_stopping_twice_is_stopping_once(hub: LiveHub) -> None:
    with serve(hub) as served:
        served.drain()
        served.drain()
        assert ended(served, 6)


@pytest.mark.parametrize("times", [1, 2])
def test_a_hub_outlives_its_server(hub: LiveHub, times: int) -> None:
    for _ in range(times):
        with serve(hub) as served:
            assert httpx2.get(f"{served.url}/api/streams/table/twin").status_code == 200
    assert hub.ready()[0]
