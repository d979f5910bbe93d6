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


def test_modes_follow_the_question_and_concise_is_as_ever() -> None:
    assert prompts.question("the mug?") == "question: the mug?\n"
    assert prompts.question("the mug?", "concise") == prompts.question("the mug?")
    assert prompts.question("the mug?", "detailed") == "question: the mug?\nmode: detailed\n"
    assert prompts.question("the mug?", rounds=3) == "question: the mug?\nplans: 3\n"
    assert 'A line "plans: n"' in prompts.system(DEFAULT_REGISTRY, "long")


def test_an_earlier_question_comes_with_its_ids() -> None:
    assert prompts.turn("the\nmugs <b>", (3, 7)) == "question: the mugs b\n<answer>[3,7]</answer>\n"
    assert prompts.turn("a pan", ()) == "question: a pan\n<answer>none</answer>\n"
    assert prompts.turn("all", range(1, 999)).count(",") == 63


def test_the_long_form_knows_every_mode_and_its_layout(window: TwinWindow) -> None:
    for mode in prompts.MODES[1:]:
        assert f"\nmode: {mode}: " in prompts.system(DEFAULT_REGISTRY, "long")
    text = prompts.prefix(window, DEFAULT_REGISTRY, "long", layout="compact")
    assert "hundredths of the frame" in text
    assert "pixels, depth z" not in text
    assert "frame 256x256" not in text
    assert '[{"tool":"find","words":["mug"]}' in text


def test_what_was_looked_for_stands_after_the_twin(window: TwinWindow) -> None:
    last = window.last
    assert last is not None
    words = ("Mug", "toy car", 'a "b" <plan> $1', "mug")
    some = TwinWindow([last.model_copy(update={"vocabulary": words})])
    text = prompts.prefix(some, DEFAULT_REGISTRY, layout="compact")
    assert text.endswith('\nlooked for: "a b plan 1", mug, toy car\n')
    assert prompts.looked_for(()) == "looked for: nothing\n"
    assert prompts.looked_for(None) == ""
    assert "looked for" not in prompts.prefix(window, DEFAULT_REGISTRY)
    assert prompts.looked_for(f"w{i}" for i in range(500)).count(",") == 63


def test_the_twin_can_be_bounded(window: TwinWindow) -> None:
    text = prompts.prefix(window, DEFAULT_REGISTRY, max_objects=1, max_moments=0)
    assert "+2 more\n" in text
