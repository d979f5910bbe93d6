"""The chat endpoint as OpenAI's own client library speaks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.serve.conversations import Conversations
from edgetwin.twin import mask as rle
from edgetwin.twin.schema import Rle

from .conftest import TOKEN
from .served import Served

DRINK = "what could I drink from?"


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_streams_are_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["edgetwin", "edgetwin/table"]


@pytest.mark.parametrize("model", ["edgetwin", "edgetwin/table"])
def test_an_answer_names_objects_and_carries_masks(client: openai.OpenAI, model: str) -> None:
    got = client.chat.completions.create(
        model=model,
        messages=[
            {"role": "system", "content": "You see a table."},
            {"role": "user", "content": [{"type": "text", "text": DRINK}]},
        ],
        temperature=0,
    )
    message = got.choices[0].message
    extra = message.model_extra["edgetwin"]
    assert extra["status"] == "ok"
    assert extra["ids"]
    for key in extra["ids"]:
        assert f"#{key} " in str(message.content)
        assert rle.area(Rle.model_validate(extra["masks"][str(key)])) > 0
    assert extra["plan"]
    assert got.usage.total_tokens == got.usage.prompt_tokens + got.usage.completion_tokens > 0
    assert got.choices[0].finish_reason == "stop"


def test_an_answer_streams(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="edgetwin", messages=[{"role": "user", "content": DRINK}], stream=True
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks]
    thought = "".join((d.model_extra or {}).get("reasoning_content", "") for d in deltas)
    extra = next(d.model_extra["edgetwin"] for d in deltas if d.content)
    assert thought.strip() == extra["rationale"]
    assert all(f"#{key} " in "".join(d.content or "" for d in deltas) for key in extra["ids"])
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_chat_goes_on_in_its_own_session(client: openai.OpenAI, served: Served) -> None:
    def ask(messages: list[Any]) -> tuple[str, list[str]]:
        got = client.chat.completions.create(model="edgetwin", messages=messages)
        message = got.choices[0].message
        return str(message.content), message.model_extra["edgetwin"].get("warnings", [])

    def counts() -> dict[str, int]:
        found = httpx2.get(f"{served.url}/api/sessions").json()["sessions"]
        return {one["session"]: one["questions"] for one in found}

    before = counts()
    chat = [{"role": "user", "content": "which objects are red or orange?"}]
    reply, _ = ask(chat)
    chat += [
        {"role": "assistant", "content": reply},
        {"role": "user", "content": "which of them is leftmost?"},
    ]
    _, warnings = ask(chat)
    assert not [w for w in warnings if "remembers" in w]
    new = {key: n for key, n in counts().items() if key not in before}
    assert list(new.values()) == [2]
    strange = [
        {"role": "user", "content": "something else"},
        {"role": "assistant", "content": "that was never said"},
        {"role": "user", "content": DRINK},
    ]
    _, warnings = ask(strange)
    assert [w for w in warnings if "remembers" in w]


def test_errors_are_the_librarys_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="edgetwin/STREAM"):
        client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(
            model="edgetwin/nope", messages=[{"role": "user", "content": "x"}]
        )
    with pytest.raises(openai.BadRequestError, match="last message of the user"):
        client.chat.completions.create(
            model="edgetwin", messages=[{"role": "assistant", "content": "x"}]
        )


def test_the_key_is_the_token(guarded: Served) -> None:
    url = f"{guarded.url}/v1"
    with openai.OpenAI(base_url=url, api_key=TOKEN, max_retries=0) as right:
        assert len(list(right.models.list())) == 2
    wrong = openai.OpenAI(base_url=url, api_key="wrong", max_retries=0)
    with wrong, pytest.raises(openai.AuthenticationError):
        wrong.models.list()


def test_sessions_of_chats_are_bounded(hub: LiveHub) -> None:
    found = Conversations(most=3)
    closed = []
    for number in range(10):
        closed += found.keep("table", [("user", str(number))], f"s{number}")
    assert closed == [f"s{number}" for number in range(7)]
    assert found.take("table", [("user", "9")]) == "s9"
    assert found.take("table", [("user", "9")]) is None
    assert found.take("other", [("user", "8")]) is None


def test_a_busy_server_refuses_a_chat_with_a_status_and_keeps_no_session(served: Served) -> None:
    state = served.app.state.serving
    before = httpx2.get(f"{served.url}/api/sessions").json()["sessions"]
    body = {"messages": [{"role": "user", "content": DRINK}]}
    with state.questions.one(), state.questions.one():
        for stream in (False, True):
            got = httpx2.post(f"{served.url}/v1/chat/completions", json={**body, "stream": stream})
            assert got.status_code == 429
            assert int(got.headers["retry-after"]) >= 1
    assert httpx2.get(f"{served.url}/api/sessions").json()["sessions"] == before
