"""The endpoint as a language model: conformance over real sockets, and the exact requests."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from edgetwin.reasoner.models.base import LanguageModel
from edgetwin.reasoner.models.endpoint import Endpoint, Sampling
from edgetwin.reasoner.models.openai import OpenAiModel, pieces
from edgetwin.reasoner.rollout import Reasoner
from edgetwin.twin.errors import ModelError
from edgetwin.twin.window import TwinWindow

from . import served
from .conformance import STOPS, Conformance, generate, grammar
from .loopback import Loopback, Say, completed, said, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with serving(served.answer) as loopback:
        yield loopback


@pytest.fixture
def script(server: Loopback) -> Iterator[Loopback]:
    server.asked.clear()
    server.script.clear()
    yield server
    assert not server.script


def model_of(server: Loopback, **options: Any) -> OpenAiModel:
    return OpenAiModel(Endpoint(server.url, "tiny", timeout_s=10, backoff_s=0.01), **options)


class TestCompletions(Conformance):
    @pytest.fixture
    def model(self, server: Loopback) -> LanguageModel:
        return model_of(server, api="completions")


class TestChat(Conformance):
    @pytest.fixture
    def model(self, server: Loopback) -> LanguageModel:
        return model_of(server)


class TestGuided(Conformance):
    """A server that decodes under the grammar it is sent."""

    tells_forced = False  # servers do not

    @pytest.fixture
    def model(self, server: Loopback) -> LanguageModel:
        return model_of(server, grammar_field="structured_outputs", grammar_form="lark")


TWIN = ["twin\n1 red mug\n", "question: what is red?\n"]
PLAN = '<reason>red</reason><plan>[{"tool":"find","words":["mug"]}]'


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_the_exact_requests_of_a_question(
    script: Loopback, api: Literal["chat", "completions"]
) -> None:
    say = said if api == "chat" else completed
    script.script += [say(PLAN), say("<answer>$1")]
    model = model_of(script, api=api, sampling=Sampling(seed=3, extra={"top_k": 1}))
    context = model.open()
    context.read(TWIN)
    first = generate(context, 50)
    assert (first.text, first.end) == (PLAN + "</plan>", "stop")
    context.append("<results>[[1]]</results>")
    second = generate(context, 20)
    assert (second.text, second.end) == ("<answer>$1</answer>", "stop")
    common = {
        "model": "tiny", "temperature": 0.0, "stream": False, "stop": list(STOPS), "seed": 3,
        "top_k": 1,
    }  # fmt: skip
    start, results = "".join(TWIN), "<results>[[1]]</results>"
    if api == "chat":
        user = {"role": "user", "content": start}
        turns = [{"role": "assistant", "content": PLAN + "</plan>"}, {"role": "user", "content": results}]  # fmt: skip
        bodies: list[dict[str, Any]] = [{"messages": [user]}, {"messages": [user, *turns]}]
    else:
        bodies = [{"prompt": start}, {"prompt": start + PLAN + "</plan>" + results}]
    wanted = [{**common, **body, "max_tokens": most} for body, most in zip(bodies, (50, 20), strict=True)]  # fmt: skip
    assert [asked.body for asked in script.asked] == wanted
    assert model.endpoint.usage.cached == 40


def test_a_text_that_ends_with_generated_words_is_continued(script: Loopback) -> None:
    script.script += [said("<reason>a", "length"), said(" mug</reason><answer>none")]
    context = model_of(script).open()
    context.read(TWIN)
    assert generate(context, 2).end == "length"
    assert generate(context, 9).text == " mug</reason><answer>none</answer>"
    body = script.asked[-1].body
    assert body["messages"][-1] == {"role": "assistant", "content": "<reason>a"}
    assert body["continue_final_message"] is True
    assert body["add_generation_prompt"] is False


@pytest.mark.parametrize(
    ("text", "finish", "want", "end"),
    [
        ("<reason>x</reason><answer>[1]</answer> and more", "stop", "<reason>x</reason><answer>[1]</answer>", "stop"),
        ("<answer>[1]", "stop", "<answer>[1]</answer>", "stop"),
        ("<answer>[1]", "length", "<answer>[1]", "length"),
        ("<reason>hm", "stop", "<reason>hm", "eos"),
        ("<plan>[]</plan>", "stop", "<plan>[]</plan>", "stop"),
        ("no tags", "stop", "no tags", "eos"),
        ("", "stop", "", "eos"),
        ("<plan>a <answer>[1]", "stop", "<plan>a <answer>[1]</answer>", "stop"),
    ],
)  # fmt: skip
def test_stops_are_put_back(script: Loopback, text: str, finish: str, want: str, end: str) -> None:
    script.script.append(said(text, finish))
    context = model_of(script).open()
    context.read(TWIN)
    piece = generate(context, 50)
    assert (piece.text, piece.end) == (want, end)


def test_a_server_that_ignores_its_budget_is_cut(script: Loopback) -> None:
    script.script.append(said("word " * 10_000))
    context = model_of(script).open()
    context.read(TWIN)
    piece = generate(context, 5)
    assert (piece.tokens, piece.end, len(piece.text)) == (5, "length", 80)


@pytest.mark.parametrize(
    ("field", "want"),
    [("grammar", "root ::= "), ("guided_grammar", "root ::= ")],
)
def test_grammars_go_where_the_server_takes_them(script: Loopback, field: Any, want: str) -> None:
    script.script.append(said("<answer>none"))
    context = model_of(script, grammar_field=field).open()
    context.read(TWIN)
    given = grammar(references=())
    generate(context, 50, grammar=given)
    assert script.asked[-1].body[field] == given.gbnf()
    assert want in given.gbnf()


def test_failures_are_typed_and_nothing_is_lost(script: Loopback) -> None:
    context = model_of(script).open()
    context.read(TWIN)
    before = context.length
    script.script += [Say(b"{}", 401), Say(b"junk")]
    for match in ("HTTP 401", "a JSON reply"):
        with pytest.raises(ModelError, match=match):
            generate(context)
    assert context.length == before
    script.script.append(Say(b"{}", wait_s=30))
    began = time.monotonic()
    late = context.generate(STOPS, 9, began + 1.0)
    assert (late.text, late.end) == ("", "time")
    assert time.monotonic() - began < 10
    slow = OpenAiModel(Endpoint(script.url, "tiny", timeout_s=1.0)).open()
    slow.read(TWIN)
    script.script.append(Say(b"{}", wait_s=30))
    with pytest.raises(ModelError, match="allow more seconds"):
        slow.generate(STOPS, 9, math.inf)


def test_pieces_are_the_text() -> None:
    text = 'A plan: [{"tool":"find"}] 12.5 über\tdie_Straße ☕²\n\n  end\x00'
    assert "".join(pieces(text)) == text
    assert len(pieces("1 red mug x40 y120 w40 h40 z80\n")) == 20


def test_what_cannot_be_is_refused(server: Loopback) -> None:
    wrong: Any = "telepathy"
    for options in ({"api": wrong}, {"grammar_field": wrong}):
        with pytest.raises(ModelError, match="expected api"):
            model_of(server, **options)


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_whole_answer_over_the_socket(
    script: Loopback, window: TwinWindow, api: Literal["chat", "completions"]
) -> None:
    say = said if api == "chat" else completed
    plan = '[{"tool":"find","words":["mug"]},{"tool":"attribute","name":"color","value":"red","ids":"$1"}]'  # fmt: skip
    script.script += [
        say("The mugs are at the left."),
        say(f"<reason>red mugs</reason><plan>{plan}"),
        say("<answer>$2"),
    ]
    answer = Reasoner(model_of(script, api=api)).answer("the red mug", window)
    assert (answer.status, answer.ids, answer.repairs) == ("ok", [1], 1)
    assert answer.results == [[1, 2], [1]]
    assert answer.rationale == "red mugs"
    first, last = script.asked[0].body, script.asked[-1].body
    sent = str(first["messages"] if api == "chat" else first["prompt"])
    assert "question: the red mug" in sent
    assert "find(words" in sent  # the tools are described to a model that was not trained on them
    assert "<results>[[1,2],[1]]</results>" in str(
        last["messages"] if api == "chat" else last["prompt"]
    )


def test_an_endpoint_that_fails_ends_in_a_status(script: Loopback, window: TwinWindow) -> None:
    reasoner = Reasoner(model_of(script))
    for say, match in ((Say(b"{}", 401), "HTTP 401"), (Say(b"<html>"), "a JSON reply")):
        script.script.append(say)
        answer = reasoner.answer("the red mug", window)
        assert (answer.status, answer.ids) == ("error", [])
        assert match in answer.message
