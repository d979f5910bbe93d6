"""OpenAI's own client library talks to a real ``edgetwin serve``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from edgetwin.twin import mask as rle
from edgetwin.twin.geometry import box_iou
from edgetwin.twin.schema import Rle

from ...test_cli import embedded
from .serving import served, truth

TOKEN = "a-token-for-these-tests-only"
DRINK = [{"role": "user", "content": "what could I drink from?"}]

pytestmark = embedded


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    folder = tmp_path_factory.mktemp("chat")
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with (
        served(folder, "affordance", "spatial", token_file=str(token)) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key=TOKEN, max_retries=0, timeout=30) as made,
    ):
        yield made


def extra(message: Any) -> dict[str, Any]:
    """What EdgeTwin adds to a message, which the client carries along."""
    return dict(message.model_extra["edgetwin"])


def test_streams_are_models(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == ["edgetwin", "edgetwin/affordance", "edgetwin/spatial"]


def test_an_answer_has_text_ids_and_masks(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model="edgetwin/affordance", messages=DRINK)
    (choice,) = done.choices
    told = extra(choice.message)
    assert choice.finish_reason == "stop"
    assert "glass" in (choice.message.content or "")
    assert told["status"] == "ok"
    (glass,) = [o["id"] for o in told["objects"] if o["label"] == "glass"]
    mask = Rle(**told["masks"][str(glass)])
    true = truth("affordance", "glass")["box_xyxy"]
    assert box_iou(rle.to_box(mask), tuple(true)) > 0.8
    assert told["frame_index"] == 31
    assert done.usage is not None
    assert done.usage.prompt_tokens > 0
    assert done.usage.total_tokens >= done.usage.prompt_tokens


def test_the_first_stream_is_meant_without_a_name(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model="edgetwin", messages=DRINK)
    assert extra(done.choices[0].message)["stream"] == "affordance"


def test_a_streamed_answer_is_the_same(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="edgetwin/affordance", messages=DRINK)
    text, reasoning, found, finished = "", "", None, []
    with client.chat.completions.create(
        model="edgetwin/affordance", messages=DRINK, stream=True
    ) as chunks:
        for chunk in chunks:
            (choice,) = chunk.choices
            text += choice.delta.content or ""
            more = choice.delta.model_extra or {}
            reasoning += more.get("reasoning_content", "")
            found = more.get("edgetwin", found)
            finished.append(choice.finish_reason)
    assert text == whole.choices[0].message.content
    assert found is not None
    assert found["ids"] == extra(whole.choices[0].message)["ids"]
    assert found["rationale"].split()[0] in reasoning
    assert finished[-1] == "stop"
    assert set(finished[:-1]) == {None}


def test_a_chat_goes_on(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="edgetwin/affordance", messages=DRINK)
    said = first.choices[0].message
    follow = [
        *DRINK,
        {"role": "assistant", "content": said.content},
        {"role": "user", "content": "which of them is the closest?"},
    ]
    second = client.chat.completions.create(model="edgetwin/affordance", messages=follow)
    told = extra(second.choices[0].message)
    assert set(told["ids"]) <= set(extra(said)["ids"])
    assert told["warnings"] == []  # the server knew what was said before
    other = [*DRINK, {"role": "assistant", "content": "#99 dragon"}, *DRINK]
    third = client.chat.completions.create(model="edgetwin/affordance", messages=other)
    assert "remembers" in extra(third.choices[0].message)["warnings"][0]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"model": "gpt-4"}, openai.NotFoundError, "edgetwin/STREAM"),
        ({"model": "edgetwin/nowhere"}, openai.NotFoundError, "nowhere"),
        ({"messages": []}, openai.UnprocessableEntityError, "messages"),
        (
            {"messages": [{"role": "assistant", "content": "hello"}]},
            openai.BadRequestError,
            "last message of the user",
        ),
    ],
)
def test_refusals_are_the_clients_own_errors(
    client: openai.OpenAI,
    arguments: dict[str, Any],
    error: type[openai.APIStatusError],
    said: str,
) -> None:
    given: dict[str, Any] = {"model": "edgetwin/affordance", "messages": DRINK, **arguments}
    with pytest.raises(error) as raised:
        client.chat.completions.create(**given)
    assert said in str(raised.value)
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["message"]


def test_a_question_that_cannot_be_answered_says_so(client: openai.OpenAI) -> None:
    blank: Any = [{"role": "user", "content": " "}]
    done = client.chat.completions.create(model="edgetwin/affordance", messages=blank)
    told = extra(done.choices[0].message)
    assert (told["status"], told["ids"]) == ("error", [])
    assert "question" in told["message"]
    assert told["message"] in (done.choices[0].message.content or "")


@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_key_is_an_authentication_error(client: openai.OpenAI, stream: bool) -> None:
    other = client.with_options(api_key="wrong-key-of-some-length")  # on the same connections
    with pytest.raises(openai.AuthenticationError) as raised:
        other.chat.completions.create(model="edgetwin", messages=DRINK, stream=stream)
    assert TOKEN not in str(raised.value)


def test_the_asynchronous_client_reads_the_same(client: openai.OpenAI) -> None:
    import anyio

    async def ask() -> Any:
        async with openai.AsyncOpenAI(
            base_url=str(client.base_url), api_key=TOKEN, max_retries=0, timeout=30
        ) as other:
            return await other.chat.completions.create(model="edgetwin/affordance", messages=DRINK)

    assert extra(anyio.run(ask).choices[0].message)["status"] == "ok"
