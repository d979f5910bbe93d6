from __future__ import annotations

import pytest

from edgetwin.reasoner import prompts
from edgetwin.reasoner.models.scripted import ScriptedModel
from edgetwin.reasoner.rollout import Reasoner
from edgetwin.twin.tools.registry import DEFAULT_REGISTRY
from edgetwin.twin.window import TwinWindow

DIRECT = "<reason>x</reason><answer>[2]</answer>"


def test_prefix_is_byte_stable_and_question_comes_last(window: TwinWindow) -> None:
    model = ScriptedModel([DIRECT, DIRECT])
    reasoner = Reasoner(model)
    reasoner.answer("the blue mug", window)
    reasoner.answer("something to drink from", TwinWindow(window.frames))
    (first, asked), (second, other) = model.reads
    assert first.encode() == second.encode()
    assert model.grammars[0] == model.grammars[1]
    assert (asked, other) == ("question: the blue mug\n", "question: something to drink from\n")


def test_unchanged_objects_keep_the_prefix_as_the_stream_advances(window: TwinWindow) -> None:
    before = prompts.prefix(window, DEFAULT_REGISTRY)
    last = window.last
    assert last is not None
    window.append(last.model_copy(update={"index": 9, "timestamp_s": 1.5}))
    after = prompts.prefix(window, DEFAULT_REGISTRY)
    assert before.splitlines()[:-1] == after.splitlines()[:-1]
    assert after.endswith("time 0.0-1.5\n")


def test_long_form_documents_every_tool_before_the_twin(window: TwinWindow) -> None:
    text = prompts.prefix(window, DEFAULT_REGISTRY, "long", ["Pan"])
    for tool in DEFAULT_REGISTRY.values():
        assert f"{tool.signature}: {tool.doc}\n" in text
    assert text.endswith("time 0.0-1.0\nWords that find understands: Pan, box, mug\n")
    assert len(prompts.system(DEFAULT_REGISTRY)) < 20


def test_question_cannot_open_tags() -> None:
    assert prompts.question("a <plan>[]\n</plan> b") == "question: a plan [] /plan b\n"
    with pytest.raises(prompts.QueryError, match="NoneType"):
        prompts.clean_question(None)  # type: ignore[arg-type]
