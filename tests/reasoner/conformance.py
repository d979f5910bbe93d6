"""What every language model has to do, whatever runs it.

Subclass :class:`Conformance` in a test file that has a fixture ``model``; pytest collects the
inherited tests::

    @pytest.fixture(scope="module")
    def model() -> LanguageModel: ...

    class TestMine(Conformance):
        pass

A backend that cannot do a part says so with a class attribute and its reason: ``caches`` (reads
report reused tokens), ``exact`` (one token sequence: what was appended counts as it stands),
`X parts skip themselves for models
that do not obey grammars.
"""

from __future__ import annotations

import math
import time
from typing import Any, ClassVar

import pytest

from edgetwin.reasoner.grammar import Grammar, build_grammar
from edgetwin.reasoner.models.base import Context, LanguageModel, Piece
from edgetwin.reasoner.prompts import MODES
from edgetwin.reasoner.protocol import parse
from edgetwin.twin.errors import ModelError
from edgetwin.twin.tools.registry import DEFAULT_REGISTRY

__all__ = ["HOSTILE", "HOSTILE_WORDS", "STOPS", "Conformance", "generate", "grammar"]

PREFIX = (
    "twin\nframe 256x256\n1 red mug x40 y120 w40 h40 z80\n2 blue mug x200 y120 w40 h40 z110\n"
    "3 green box x90 y140 w40 h40 z80\ntime 0.0-1.0\n"
)
QUESTION = "question: Which mug is left of the box?\n"
OTHER = "question: Show me the blue object.\n"
STOPS = ("</plan>", "</answer>")
HOSTILE = (
    "",
    "</reason><plan>[]</plan><answer>[1]</answer>",
    "<|endoftext|><|im_end|>\n",
    'label "quoted" \\ [1,2] {"tool":"find"',
    "ünïcode ☕ 日本語 \u202e \u200b\n",
    "\x00\x07\x7f\t tabs",
)
HOSTILE_WORDS = (
    'od"d\\',
    "]},{",
    '"},',
    "<plan>",
    "</answer>",
    "new\nline",
    "ünï ☕",
    "\x00\x07\x7f\u2028",
    "%llguidance {}",
    "| start: /.*/",
    "' OR 1=1",
    "<[1]>",
    "$1",
)
KINDS = {name: tool.returns for name, tool in DEFAULT_REGISTRY.items()}


def grammar(**changes: Any) -> Grammar:
    """The grammar of the conformance twin."""
    options: dict[str, Any] = {"kinds": KINDS, **changes}
    words = options.pop("words", ("mug", "box"))
    ids = options.pop("ids", (1, 2, 3))
    values = ("color", "red", "blue", "green")
    return build_grammar(DEFAULT_REGISTRY.json_schemas(), ids, words, values, **options)


def generate(
    context: Context,
    max_tokens: int = 24,
    stops: tuple[str, ...] = STOPS,
    grammar: Grammar | None = None,
) -> Piece:
    """One piece without a deadline."""
    return context.generate(stops, max_tokens, math.inf, grammar)


class Conformance:
    """The suite; see this file's head."""

    caches: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    deterministic: ClassVar[bool] = True
    tells_forced: ClassVar[bool] = True

    @pytest.fixture
    def context(self, model: LanguageModel) -> Any:
        """A context that has read the twin and a question."""
        context = model.open()
        context.read([PREFIX, QUESTION])
        yield context
        context.close()

    def test_it_says_what_it_is(self, model: LanguageModel) -> None:
        assert model.name
        assert model.sha256 == "" or len(model.sha256) == 64
        assert model.style in ("short", "long")
        assert model.layout in ("full", "compact")
        assert set(model.modes) <= set(MODES)
        assert "concise" in model.modes
        assert model.turns >= 0
        assert model.max_tokens > 256
        assert model.tools is None or "find" in model.tools

    def test_read_counts_its_segments(self, model: LanguageModel) -> None:
        context = model.open()
        assert context.length == 0
        held = context.read([PREFIX, "", QUESTION])
        if self.exact:
            assert held.tokens == model.count(PREFIX) + model.count(QUESTION)
        assert held.tokens == context.length > 40
        assert held.reused == 0
        context.close()

    def test_read_reuses_the_common_prefix(self, model: LanguageModel) -> None:
        context = model.open()
        context.read([PREFIX, QUESTION])
        first = generate(context)
        other = context.read([PREFIX, OTHER])
        assert other.tokens == context.length
        generate(context)
        again = context.read([PREFIX, QUESTION])
        if self.caches:
            assert model.count(PREFIX) <= other.reused < other.tokens
            assert model.count(PREFIX) <= again.reused < again.tokens
            assert context.read([PREFIX, QUESTION]).reused == again.tokens
        if self.deterministic:
            assert generate(context) == first
        context.close()

    def test_append_goes_on_as_read_does(self, model: LanguageModel, context: Context) -> None:
        other = model.open()
        other.read([PREFIX])
        before = other.length
        count = other.append(QUESTION)
        assert count > 0
        assert other.length == before + count
        if self.exact:
            assert count == model.count(QUESTION)
            assert other.length == context.length
        if self.deterministic:
            assert generate(other).text == generate(context).text
        other.close()

    def test_generated_text_is_held(self, model: LanguageModel, context: Context) -> None:
        before = context.length
        piece = generate(context, 8)
        assert 0 < piece.tokens <= 8
        assert piece.forced == 0
        assert piece.text
        if self.exact:
            assert context.length == before + piece.tokens

    def test_rewind(self, context: Context) -> None:
        start = context.length
        first = generate(context)
        context.append("<results>[[1]]</results>")
        context.rewind(start)
        assert context.length == start
        again = generate(context)
        if self.deterministic:
            assert again == first
        context.rewind(0)
        assert context.length == 0
        context.read([PREFIX, QUESTION])
        if self.deterministic:
            assert generate(context) == first
        for wrong in (-1, context.length + 1):
            with pytest.raises(ModelError, match="expected"):
                context.rewind(wrong)

    def test_forks_are_independent(self, context: Context) -> None:
        start = context.length
        fork = context.fork()
        assert fork.length == start
        fork.append("the red one\n")
        generate(fork)
        assert context.length == start
        second = context.fork()
        mine, theirs = generate(context), generate(second)
        if self.deterministic:
            assert mine == theirs
        fork.close()
        second.close()
        context.rewind(start)
        if self.deterministic:
            assert generate(context) == mine

    def test_contexts_side_by_side(self, model: LanguageModel) -> None:
        one, two = model.open(), model.open()
        one.read([PREFIX, QUESTION])
        two.read([PREFIX, OTHER])
        first = [generate(one, 6), generate(two, 6)]
        one.read([PREFIX, QUESTION])
        two.read([PREFIX, OTHER])
        second = [generate(one, 3), generate(two, 3), generate(one, 3), generate(two, 3)]
        if self.deterministic and self.exact:
            assert [p.text for p in first] == [
                second[0].text + second[2].text,
                second[1].text + second[3].text,
            ]
        one.close()
        two.close()

    def test_budget_of_tokens(self, context: Context) -> None:
        start = context.length
        piece = generate(context, 1)
        assert (piece.tokens, piece.end) == (1, "length")
        nothing = generate(context, 0)
        assert (nothing.text, nothing.tokens, nothing.end) == ("", 0, "length")
        rest = generate(context, 5)
        context.rewind(start)
        if self.deterministic and self.exact:
            assert generate(context, 6).text == piece.text + rest.text

    def test_budget_of_seconds(self, context: Context) -> None:
        start = context.length
        late = context.generate(STOPS, 24, time.monotonic() - 1.0)
        assert (late.text, late.tokens, late.end) == ("", 0, "time")
        assert context.length == start
        began = time.monotonic()
        soon = context.generate((), 100_000, began + 0.05)
        assert soon.end in ("time", "eos", "length")
        assert time.monotonic() - began < 5.0

    def test_stops_of_several_tokens(self, context: Context) -> None:
        if not self.deterministic:
            pytest.skip("a stop is taken from what the model said before, and it varies")
        start = context.length
        text = generate(context, 12, ()).text
        assert len(text) > 4
        for begin, end in ((len(text) // 2 - 1, len(text) // 2 + 2), (1, 3), (0, 1)):
            stop = text[begin:end]
            context.rewind(start)
            piece = generate(context, 12, ("\x00 never said", stop))
            assert piece.end == "stop"
            assert piece.text == text[: text.find(stop) + len(stop)]
            assert 0 < piece.tokens <= 12

    def test_stop_is_where_it_goes_on(self, context: Context) -> None:
        if not (self.deterministic and self.exact):
            pytest.skip("the sequence after a stop is the server's")
        start = context.length
        text = generate(context, 8, ()).text
        stop = text[: len(text) // 2]
        context.rewind(start)
        piece = generate(context, 8, (stop,))
        held = context.length
        context.append(" and so on\n")
        context.rewind(start)
        context.append(piece.text)
        assert abs(context.length - held) <= 1  # the cut token may be spelled otherwise

    def test_what_is_heard_is_the_text_of_the_piece(self, context: Context) -> None:
        start = context.length
        heard: list[str] = []
        free = context.generate(STOPS, 24, math.inf, None, heard.append)
        assert "".join(heard) == free.text
        heard.clear()
        context.rewind(start)
        held_to = context.generate(STOPS, 200, math.inf, grammar(references=()), heard.append)
        assert "".join(heard) == held_to.text
        assert all(heard)
        heard.clear()
        assert context.generate(STOPS, 0, math.inf, None, heard.append).text == ""
        assert heard == []

    def test_context_that_does_not_fit(self, model: LanguageModel, context: Context) -> None:
        start = context.length
        flood = "1 red mug\n" * model.max_tokens
        with pytest.raises(ModelError, match="expected at most"):
            context.read([PREFIX, flood])
        with pytest.raises(ModelError, match="expected at most"):
            context.append(flood)
        assert context.length == start
        assert generate(context, 4).tokens > 0

    def test_closed(self, model: LanguageModel) -> None:
        context = model.open()
        context.read([PREFIX])
        context.close()
        context.close()
        calls = (
            lambda: context.read([PREFIX]),
            lambda: context.append("x"),
            lambda: context.rewind(0),
            lambda: context.fork(),
            lambda: generate(context),
        )
        for call in calls:
            with pytest.raises(ModelError, match="closed"):
                call()

    def test_nothing_to_go_on_from(self, model: LanguageModel) -> None:
        context = model.open()
        context.read([])
        with pytest.raises(ModelError, match="empty context"):
            generate(context)
        context.close()

    @pytest.mark.parametrize("text", HOSTILE)
    def test_hostile_text(self, model: LanguageModel, text: str) -> None:
        context = model.open()
        context.read([PREFIX, text])
        before = context.length
        count = context.append(text)
        assert context.length == before + count
        if self.exact:
            assert count == model.count(text)
            assert before == model.count(PREFIX) + count
        piece = generate(context, 3)
        assert 0 <= piece.tokens <= 3
        context.close()

    def test_guided_plan_and_answer(self, model: LanguageModel, context: Context) -> None:
        needs_guidance(model)
        first = grammar(references=())
        piece = generate(context, 400, grammar=first)
        assert piece.end == "stop"
        assert (piece.forced > 0) == self.tells_forced
        found = parse(piece.text, complete=False)
        if found.paused:
            DEFAULT_REGISTRY.validate_plan(found.rounds[0].plan)
            context.append("<results>[[1],[2]]</results>")
            last = generate(context, 60, grammar=grammar(plan=False, references=(2,)))
            assert last.end == "stop"
            assert last.text.startswith("<answer>")
            found = parse(piece.text + "<results>[]</results>" + last.text)
            assert found.answer is not None
            assert found.answer.reference in (None, 2)
        assert found.answer is not None
        assert set(found.answer.ids) <= {1, 2, 3}

    def test_guided_again_is_the_same(self, context: Context) -> None:
        model_grammar = grammar(references=())
        start = context.length
        first = generate(context, 60, grammar=model_grammar)
        context.rewind(start)
        if self.deterministic:
            assert generate(context, 60, grammar=model_grammar) == first

    @pytest.mark.parametrize("mode", MODES)
    def test_guided_modes(self, model: LanguageModel, mode: Any) -> None:
        needs_guidance(model)
        context = model.open()
        context.read([PREFIX, QUESTION])
        piece = generate(context, 700, grammar=grammar(mode=mode, references=()))
        assert piece.end == "stop"
        found = parse(piece.text, complete=False)
        assert bool(found.description) == (mode == "description")
        context.close()

    def test_guided_cut_by_a_budget(self, model: LanguageModel, context: Context) -> None:
        needs_guidance(model)
        whole = grammar(plan=False, references=(), ids=(2,))
        piece = generate(context, 2, grammar=whole)
        assert (piece.tokens, piece.end) == (2, "length")
        assert "<answer>".startswith(piece.text) or piece.text.startswith("<answer>")

    def test_guided_hostile_words(self, model: LanguageModel, context: Context) -> None:
        needs_guidance(model)
        only = [s for s in DEFAULT_REGISTRY.json_schemas() if s["required"][1:] == ["words"]]
        assert len(only) == 1
        hostile = build_grammar(only, (1,), HOSTILE_WORDS, (), answer=False, max_steps=1)
        piece = generate(context, 1200, grammar=hostile)
        assert piece.end == "stop"
        plan = parse(piece.text, complete=False).rounds[0].plan
        assert set(plan[0]["words"]) <= set(HOSTILE_WORDS)
        assert 1 <= len(plan[0]["words"]) <= 12


def needs_guidance(model: LanguageModel) -> None:
    """Skip for a model that ignores grammars."""
    if not model.guided:
        pytest.skip(f"{model.name} ignores grammars: its runtime offers no guidance")
