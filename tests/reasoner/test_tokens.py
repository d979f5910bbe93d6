"""The decode loop over a runtime that says what a script wants, token by token."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from tokenizers import Tokenizer

from edgetwin.reasoner.grammar import build_grammar
from edgetwin.reasoner.models.base import Piece
from edgetwin.reasoner.models.constraint import Constraint
from edgetwin.reasoner.models.tokens import Row, TokenContext, common
from edgetwin.twin.errors import ModelError
from edgetwin.twin.tools.registry import DEFAULT_REGISTRY

PIECES = ("<eos>", "a", "b", "c", "</", "plan", ">", ">x", "</plan>", "\u00e9", " ", "ab")


class Scripted:
    """A model of words; after n tokens of ``says`` it says the next one."""

    def __init__(self, says: Sequence[str], max_tokens: int = 40) -> None:
        self.says = [PIECES.index(piece) for piece in says]
        self.max_tokens = max_tokens
        self.eos = frozenset({0})
        self.constraint: Constraint | None = None
        self.feeds: list[int] = []
        self.started = 0
        self.fails = False

    def encode(self, text: str) -> list[int]:
        found = []
        while text:
            best = max((p for p in PIECES if text.startswith(p)), key=len)
            found.append(PIECES.index(best))
            text = text[len(best) :]
        return found

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(PIECES[token] for token in tokens)

    def start(self) -> Replay:
        self.started += 1
        return Replay(self)


class Replay:
    def __init__(self, model: Scripted) -> None:
        self.model = model
        self.held: list[int] = []
        self.row: Row | None = None

    def feed(self, tokens: Sequence[int]) -> None:
        if self.model.fails:
            raise ModelError("expected the scripted runtime to go on, got a failure")
        assert tokens
        self.model.feeds.append(len(tokens))
        self.held += tokens
        self.row = np.zeros(len(PIECES), np.float32)
        place = len(self.held) - 1
        self.row[self.model.says[place] if place < len(self.model.says) else 0] = 1.0

    def logits(self) -> Row:
        assert self.row is not None
        return self.row

    def rewind(self, length: int) -> None:
        assert length <= len(self.held)
        del self.held[length:]
        self.row = None  # logits are gone: asking for them is an error

    def fork(self) -> None:
        return None

    def close(self) -> None:
        self.held = []


def opened(says: Sequence[str], max_tokens: int = 40) -> tuple[Scripted, TokenContext]:
    """A model that says these tokens after the text ``a``."""
    model = Scripted(says, max_tokens)
    context = TokenContext(model)
    context.read(["a"])
    return model, context


def go(context: TokenContext, stops: tuple[str, ...] = (), most: int = 20) -> Piece:
    return context.generate(stops, most, math.inf)


def test_end_of_text_is_neither_said_nor_held() -> None:
    model, context = opened(["b", "c", "<eos>"])
    assert go(context) == Piece("bc", 2, "eos")
    assert context.length == 3
    assert model.feeds == [1, 1, 1]


def test_the_last_token_is_fed_with_what_follows() -> None:
    model, context = opened(["b", "c", "b", "b", "<eos>"])
    assert go(context, ("c",)) == Piece("bc", 2, "stop")
    assert context.append("ab") == 1
    assert model.feeds == [1, 1]
    assert go(context).text == "b"
    assert model.feeds == [1, 1, 2, 1]


@pytest.mark.parametrize(
    ("says", "text"),
    [
        (["b", "</plan>"], "b</plan>"),
        (["b", "</", "plan", ">"], "b</plan>"),
        (["b", "</", "plan", ">x"], "b</plan>"),  # the token reaches beyond the stop
    ],
)
def test_stops_of_one_token_of_several_and_within_one(says: list[str], text: str) -> None:
    model, context = opened([*says, "c", "<eos>"])
    piece = go(context, ("</plan>",))
    assert (piece.text, piece.end, piece.tokens) == (text, "stop", len(says))
    assert model.decode(context.tokens) == "a" + text
    context.append("c")
    assert model.decode(context.tokens) == "a" + text + "c"


def test_text_is_heard_token_by_token_and_cut_at_the_stop() -> None:
    heard: list[str] = []
    _, context = opened(["b", "ab", "</", "plan", ">x", "c"])
    piece = context.generate(("</plan>",), 20, math.inf, None, heard.append)
    assert heard == ["b", "ab", "</", "plan", ">"]
    assert "".join(heard) == piece.text


def test_a_character_of_two_tokens_is_heard_whole() -> None:
    class Halves(Scripted):
        def decode(self, tokens: Sequence[int]) -> str:
            """Tokens b and c are the halves of one character."""
            text = super().decode(tokens).replace("bc", "\u00e9")
            return text.replace("b", "\ufffd")

    heard: list[str] = []
    context = TokenContext(Halves(["a", "b", "c", "ab", "c", "b", "<eos>"]))
    context.read(["a"])
    piece = context.generate((), 20, math.inf, None, heard.append)
    assert heard == ["a", "\u00e9", "a\u00e9", "\ufffd"]
    assert "".join(heard) == piece.text


def test_a_stop_before_the_piece_does_not_count() -> None:
    _, context = opened(["b", "<eos>"])
    context.read(["</plan>"])
    assert go(context, ("</plan>", "")).end in ("eos", "length")
    assert context.tokens[0] == PIECES.index("</plan>")


def test_reading_again_feeds_only_what_is_new() -> None:
    model, context = opened(["b"] * 30)
    context.read(["abc", "ab"])
    model.feeds.clear()
    held = context.read(["abc", "c"])
    assert (held.tokens, held.reused) == (3, 2)
    assert model.feeds == [1]
    model.feeds.clear()
    held = context.read(["abc"])  # shorter: nothing new, but its logits are gone
    assert (held.tokens, held.reused) == (2, 2)
    assert model.feeds == [1]
    go(context, most=1)
    assert model.feeds == [1]


def test_a_failing_runtime_is_given_up_and_read_again() -> None:
    model, context = opened(["b"] * 30)
    model.fails = True
    context.append("c")
    with pytest.raises(ModelError, match="scripted runtime"):
        go(context)
    assert context.length == 2
    model.fails = False
    assert go(context, most=2).text == "bb"
    assert model.started == 2
    assert model.feeds == [1, 2, 1]


def test_the_context_ends() -> None:
    _, context = opened(["b"] * 60, max_tokens=10)
    assert go(context, most=50) == Piece("b" * 9, 9, "length")
    assert go(context, most=50) == Piece("", 0, "length")
    with pytest.raises(ModelError, match="at most 10"):
        context.append("c")
    with pytest.raises(ModelError, match="at most 10"):
        context.read(["a", "b" * 10])
    assert context.length == 10


def test_a_fork_that_cannot_copy_reads_again() -> None:
    model, context = opened(["b"] * 30)
    go(context, most=3)
    fork = context.fork()
    model.feeds.clear()
    assert go(fork, most=1).text == "b"
    assert model.feeds == [4]
    assert fork.read(["a"]).reused == 1


def test_a_failing_grammar_is_ours() -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        Constraint("{}", 8, [0])
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        Constraint("[1]", 8, [0])
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        Constraint("not json", 8, [0])


def over(tokenizer_json: str) -> Constraint:
    return Constraint(tokenizer_json, Tokenizer.from_str(tokenizer_json).get_vocab_size(), [1950])


def test_compiled_grammars_are_few_and_reused(embedded_json: str) -> None:
    constraint = over(embedded_json)
    answers = [build_grammar((), (i,), (), ()) for i in range(1, 80)]
    for each in answers:
        constraint.matcher(each)
    assert constraint.compiled == 79
    constraint.matcher(build_grammar((), (79,), (), ()))
    assert constraint.compiled == 79
    constraint.matcher(answers[0])
    assert constraint.compiled == 80
    assert len(constraint._answers) == 48
    find = DEFAULT_REGISTRY.json_schemas()[:1]
    for i in range(20):
        constraint.matcher(build_grammar(find, (1,), (f"word {i}",), ()))
    assert (len(constraint._plans), len(constraint._answers)) == (12, 48)


def test_matchers_of_one_grammar_are_apart(embedded_json: str) -> None:
    constraint = over(embedded_json)
    rules = build_grammar((), (7,), (), (), plan=False, references=())
    one, two = constraint.matcher(rules), constraint.matcher(rules)
    assert one.forced() == [constraint.added["<answer>"]]
    assert two.forced() == [constraint.added["<answer>"]]
    row = np.zeros(2048, np.float32)
    with pytest.raises(ModelError, match="next token"):
        one.best(row[:0])
    assert not two.done


@pytest.fixture(scope="module")
def embedded_json() -> str:
    from edgetwin.reasoner.bundle import EMBEDDED

    path = EMBEDDED / "tokenizer.json"
    if not path.is_file():
        pytest.skip("no embedded weights")
    return path.read_text()


def test_common() -> None:
    assert common([1, 2, 3], [1, 2, 4]) == 2
    assert common([], [1]) == 0
    assert common([1, 2], [1, 2]) == 2
