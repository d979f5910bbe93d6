"""Sessions: what the model is shown of earlier questions, and what a growing stream costs."""

from __future__ import annotations

import random

import pytest

from edgetwin.reasoner import prompts
from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.reasoner.fitting import LEVELS, Fitter
from edgetwin.reasoner.models.ort_genai import OrtGenAiModel
from edgetwin.reasoner.models.scripted import ScriptedModel
from edgetwin.reasoner.rollout import Budget, Reasoner
from edgetwin.reasoner.session import CacheStats
from edgetwin.twin.errors import QueryError
from edgetwin.twin.schema import FrameTwin
from edgetwin.twin.tools.registry import DEFAULT_REGISTRY
from edgetwin.twin.window import TwinWindow

from ..attacks.broken_models import BrokenModel, broken
from .conftest import make_object

ANSWER = "<answer>[2]</answer>"
WORDS = ("mug", "box", "ball", "plate", "lamp", "book")
COLOURS = ("red", "blue", "green", "white")


def frame(k: int, count: int = 6, jitter_px: float = 0.4, moving: int = 6) -> FrameTwin:
    """Frame k of a table on which one object moves to the right and the others jitter."""
    rng, t = random.Random(k), k * 0.25
    objects = []
    for i in range(count):
        x = 30 + (i % 10) * 22 + rng.uniform(-jitter_px, jitter_px)
        y = 60 + (i // 10) * 30 + rng.uniform(-jitter_px, jitter_px)
        x += 6 * k if i + 1 == moving else 0
        objects.append(make_object(i + 1, WORDS[i % 6], COLOURS[i % 4], x, y, t=t))
    return FrameTwin(
        index=k, timestamp_s=t, width=256, height=256, objects={o.id: o for o in objects}
    )


def shown(model: ScriptedModel) -> str:
    """What the model read last, the twin left out."""
    return "".join(model.reads[-1][1:])


def test_only_follow_ups_are_shown_the_last_question(window: TwinWindow) -> None:
    model = ScriptedModel([ANSWER] * 6, turns=1)
    session = Reasoner(model).session(window)
    session.ask("Where is the blue mug?")
    session.ask("Where is the green box?")
    assert shown(model) == "question: Where is the green box?\n"
    session.ask("And the one next to it?")
    assert shown(model) == (
        "question: Where is the green box?\n<answer>[2]</answer>\n"
        "question: And the one next to it?\n"
    )
    session.ask("And the one next to it?", follow_up=False)
    assert shown(model) == "question: And the one next to it?\n"
    session.ask("Where is the red mug?", follow_up=True)
    assert shown(model).startswith("question: And the one next to it?\n<answer>")
    session.ask("Where is it?", history=[("the box", [3]), ("the mugs", [1, 2, 77])])
    assert shown(model) == ("question: the mugs\n<answer>[1,2]</answer>\nquestion: Where is it?\n")
    assert [ids for _, ids in session.history] == [(2,)] * 6


def test_models_without_turns_say_that_they_see_none(window: TwinWindow) -> None:
    model = ScriptedModel([ANSWER] * 4, turns=0)
    session = Reasoner(model).session(window, history=[("the mugs", (1, 2))])
    answer = session.ask("What is left of it?")
    assert "earlier one, which this model is not shown" in answer.message
    assert shown(model) == "question: What is left of it?\n"
    assert session.ask("Where is the mug?").message == ""
    told = Reasoner(model).answer("the mug", window, history=[("the box", [3])])
    assert "is not shown earlier questions" in told.message


def test_history_is_bounded_and_knows_no_errors(window: TwinWindow) -> None:
    model = ScriptedModel([ANSWER] * 40, turns=2)
    session = Reasoner(model).session(window)
    for k in range(40):
        session.ask(f"mug {k}")
    assert len(session.history) == 32
    assert session.ask("no reply is left").status == "error"
    assert session.history[-1][0] == "mug 39"
    model.replies.append(ANSWER)
    session.ask("and that one?")
    assert shown(model).count("question: ") == 3


@pytest.mark.parametrize("query", ["", 7, "x" * 401])
def test_what_is_no_question_raises(window: TwinWindow, query: str) -> None:
    with pytest.raises(QueryError):
        Reasoner(ScriptedModel([])).session(window).ask(query)


def test_modes(window: TwinWindow) -> None:
    model = ScriptedModel([ANSWER] * 3, modes=("concise", "detailed"))
    reasoner = Reasoner(model, mode="detailed")
    answer = reasoner.answer("the mug", window)
    assert (answer.mode, shown(model)) == ("detailed", "question: the mug\nmode: detailed\n")
    answer = reasoner.session(window).ask("the mug", "sentence")
    assert (answer.mode, shown(model)) == ("concise", "question: the mug\n")
    assert answer.message == "this model does not know the mode sentence; concise was used"
    assert reasoner.answer("the mug", window, mode="concise").message == ""
    with pytest.raises(QueryError, match="expected a mode of concise, sentence, detailed"):
        reasoner.answer("the mug", window, mode="verbose")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="got 'loud'"):
        Reasoner(model, mode="loud")  # type: ignore[arg-type]


def test_statistics(window: TwinWindow) -> None:
    model = ScriptedModel([ANSWER] * 3)
    session = Reasoner(model).session(window)
    assert session.stats == CacheStats(0, 0, 0)
    assert session.stats.hit_rate == 0.0
    first = session.ask("the mug")
    again = session.ask("the mug")
    assert first.tokens["reused"] == 0
    assert again.tokens["reused"] == again.tokens["prompt"]
    assert session.stats == CacheStats(2, 2 * first.tokens["prompt"], first.tokens["prompt"])
    assert session.stats.hit_rate == 0.5
    session.close()
    assert session.ask("the mug").tokens["reused"] == 0


def test_reasoner_keeps_a_context_of_its_own(window: TwinWindow) -> None:
    model = ScriptedModel([ANSWER] * 4)
    reasoner = Reasoner(model)
    session = reasoner.session(window)
    reasoner.answer("the mug", window)
    assert session.ask("the mug").tokens["reused"] == 0
    assert reasoner.answer("the mug", window).tokens["reused"] > 0
    reasoner.forget()
    assert reasoner.answer("the mug", window).tokens["reused"] == 0


# -- twins that are too long -----------------------------------------------------------------


def test_a_long_twin_is_shortened_until_it_fits() -> None:
    window = TwinWindow(frame(k, count=60, moving=3) for k in range(4))
    model = ScriptedModel([ANSWER], max_tokens=1600)
    answer = Reasoner(model, budget=Budget(tokens=100)).answer("the mug", window)
    assert answer.status == "ok"
    assert answer.tokens["prompt"] <= 1600 - 228
    assert "of 60 objects" in answer.message
    assert "the tools used all" in answer.message
    text = model.reads[-1][0]
    assert " more\n" in text
    assert text.endswith("time 0.0-0.8\n")


def test_moments_leave_before_objects() -> None:
    window = TwinWindow(frame(k, count=40, moving=0) for k in range(2))
    frames = list(window.frames)
    for k in range(2, 9):  # every object moves one after the other
        last = frames[-1]
        moved = {
            i: o.model_copy(update={"centroid": (o.centroid[0], o.centroid[1] + 40.0)})
            if i % 7 == k % 7 else o
            for i, o in last.objects.items()
        }  # fmt: skip
        frames.append(
            last.model_copy(update={"index": k, "timestamp_s": k * 0.5, "objects": moved})
        )
    window = TwinWindow(frames)
    full = len(prompts.prefix(window, DEFAULT_REGISTRY))
    model = ScriptedModel([], max_tokens=full - 40)
    start = Fitter(model).fit(window, DEFAULT_REGISTRY, (), (), 0)
    assert start.level in range(1, 4)
    assert "\nearlier " in start.prefix
    assert " more\n" not in start.prefix
    assert start.message.startswith(
        "the twin is longer than the model can read: it read the newest"
    )
    whole = Fitter(ScriptedModel([])).fit(window, DEFAULT_REGISTRY, (), (), 0)
    assert (whole.level, whole.message, len(whole.prefix)) == (0, "", full)


def test_every_level_is_shorter_than_the_one_before() -> None:
    window = TwinWindow(frame(k, count=64) for k in range(3))
    sizes = [
        len(prompts.prefix(window, DEFAULT_REGISTRY, max_objects=objects, max_moments=moments))
        for objects, moments in LEVELS
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 100


def test_a_session_keeps_its_level_until_there_is_room_again() -> None:
    window = TwinWindow(frame(k, count=40, moving=0) for k in range(2))
    full = len(prompts.prefix(window, DEFAULT_REGISTRY))
    model = ScriptedModel([ANSWER] * 3, max_tokens=full)
    session = Reasoner(model, budget=Budget(tokens=50)).session(window)
    session.ask("the mug")
    text = model.reads[-1][0]
    assert len(text) < full
    model.max_tokens = int(full * 1.2)  # enough, but not by far: the text stays, and the cache
    assert session.ask("the mug").tokens["reused"] == len(text) + len(shown(model))
    model.max_tokens = full * 10
    session.ask("the mug")
    assert len(model.reads[-1][0]) == full


def test_the_text_of_a_twin_is_written_once_until_the_twin_changes() -> None:
    window = TwinWindow(frame(k) for k in range(3))
    fitter = Fitter(ScriptedModel([]))
    first = fitter.fit(window, DEFAULT_REGISTRY, (), (), 0).prefix
    assert fitter.fit(window, DEFAULT_REGISTRY, (), ("question: a\n",), 9).prefix is first
    reasoner = Reasoner(ScriptedModel([], tools=["find", "moved"]))
    grammar = reasoner.grammar(window)
    assert reasoner.grammar(window) is grammar
    window.append(frame(3))
    assert reasoner.grammar(window) is not grammar
    assert reasoner.grammar(window) == grammar
    second = fitter.fit(window, DEFAULT_REGISTRY, (), (), 0).prefix
    assert second == prompts.prefix(window, DEFAULT_REGISTRY)
    assert second != first
    window.amend({3: [make_object(9, "lamp", "red", 99, 99)]}, ["lamp"])
    third = fitter.fit(window, DEFAULT_REGISTRY, (), (), 0).prefix
    assert third == prompts.prefix(window, DEFAULT_REGISTRY)
    assert "9 red lamp" in third


# -- the real model and a stream ---------------------------------------------------------------

real = pytest.mark.skipif(not (EMBEDDED / "manifest.json").exists(), reason="no embedded weights")


@pytest.fixture(scope="module")
def model() -> OrtGenAiModel:
    return OrtGenAiModel("embedded")


def still_part(before: str, after: str) -> str:
    """The lines at the beginning that two texts of a twin have in common."""
    same = []
    for a, b in zip(before.splitlines(True), after.splitlines(True), strict=False):
        if a != b:
            break
        same.append(a)
    return "".join(same)


@real
def test_a_stream_keeps_the_static_parts_cache(model: OrtGenAiModel) -> None:
    window = TwinWindow(frame(k) for k in range(8))
    session = Reasoner(model).session(window)
    before = prompts.prefix(window, DEFAULT_REGISTRY, layout=model.layout)
    session.ask("Where is the red mug?")
    for k in range(8, 16):
        session.observe(frame(k))
    after = prompts.prefix(window, DEFAULT_REGISTRY, layout=model.layout)
    still = still_part(before, after)
    # Jitter rewrites no line of the five objects that stay where they are.
    assert sum(line[0].isdigit() for line in still.splitlines()) == 5
    answer = session.ask("What moved?")
    assert answer.tokens["reused"] >= model.count(still)
    fresh = Reasoner(model).answer("What moved?", window)
    assert fresh.tokens["reused"] == 0
    assert fresh.transcript == answer.transcript


@real
def test_a_full_window_keeps_it_too(model: OrtGenAiModel) -> None:
    window = TwinWindow((frame(k) for k in range(64)), max_frames=64)
    session = Reasoner(model).session(window)
    session.ask("Where is the red mug?")
    shares = []
    for k in range(64, 70):
        session.observe(frame(k))
        answer = session.ask("Where is the red mug?")
        shares.append(answer.tokens["reused"] / answer.tokens["prompt"])
    assert sorted(shares)[len(shares) // 2] > 0.6


@real
def test_reading_ahead_leaves_the_question_to_be_read(model: OrtGenAiModel) -> None:
    window = TwinWindow(frame(k) for k in range(8))
    session = Reasoner(model).session(window)
    read = session.warm()
    assert read.reused == 0
    assert session.warm().reused == read.tokens
    answer = session.ask("Which objects are mugs?")
    assert answer.tokens["reused"] == read.tokens
    again = session.ask("Which objects are mugs?")
    assert again.tokens["reused"] >= again.tokens["prompt"] - 1
    assert again.transcript == answer.transcript
    assert session.stats.hit_rate > 0.8


@real
def test_a_long_real_twin_is_answered(model: OrtGenAiModel) -> None:
    window = TwinWindow(frame(k, count=120, jitter_px=0.0) for k in range(3))
    answer = Reasoner(model, budget=Budget(tokens=40)).answer(
        "Which object is the largest?", window
    )
    # Far beyond the twins of its training: what counts is that it was read and answered at all.
    assert answer.ended_by in ("", "tokens")
    assert answer.transcript
    assert "64 of 120 objects" in answer.message
    assert answer.tokens["prompt"] + 168 <= model.max_tokens


@real
def test_a_real_follow_up(model: OrtGenAiModel, window: TwinWindow) -> None:
    if not model.turns:
        pytest.skip("these weights were not trained on earlier questions")
    session = Reasoner(model).session(window)
    assert session.ask("Where is the green box?").ids == [3]
    answer = session.ask("What is left of it?")
    assert (answer.ids, answer.message) == ([1], "")
    assert session.ask("Where is the blue mug?").ids == [2]
    assert session.ask("And the red one?").ids == [1]


@real
def test_real_modes(model: OrtGenAiModel, window: TwinWindow) -> None:
    session = Reasoner(model).session(window)
    for mode in prompts.MODES:
        answer = session.ask("Which mug is left of the box?", mode)
        assert answer.ids == [1]
        assert (answer.mode == mode) == (mode in model.modes)
        assert bool(answer.description) == (answer.mode == "description")
        assert answer.tokens["rationale"] > 0
        assert (answer.tokens["description"] > 0) == bool(answer.description)


@real
def test_sessions_of_one_model_do_not_mix(model: OrtGenAiModel) -> None:
    windows = [TwinWindow(frame(k, count=n) for k in range(6)) for n in (4, 9)]
    reasoner = Reasoner(model)
    queries = ("Where is the red mug?", "What is left of the ball?", "What moved?")
    alone = []
    for window in windows:
        reasoner.forget()
        alone.append([reasoner.answer(query, window).transcript for query in queries])
    sessions = [reasoner.session(window) for window in windows]
    mixed: list[list[str]] = [[], []]
    for query in queries:
        for place, session in enumerate(sessions):
            mixed[place].append(session.ask(query, follow_up=False).transcript)
    assert mixed == alone
    assert all(session.stats.hit_rate > 0.5 for session in sessions)


def test_a_session_survives_any_order_of_things() -> None:
    rng = random.Random(3)
    window = TwinWindow((frame(k) for k in range(4)), max_frames=6)
    model = BrokenModel([text for _ in range(300) for text in broken(rng)], deaf=False)
    model.turns = 2
    session = Reasoner(model, budget=Budget(500, rounds=2, seconds=5)).session(window)
    newest, asked, prompt = 3, 0, 0
    for _ in range(400):
        match rng.randrange(6):
            case 0:
                newest += 1
                session.observe(frame(newest, count=rng.randint(0, 9)))
            case 1 if window.frames[-1].objects:
                window.amend({newest: [make_object(40 + newest, "lamp", "red", 99, 99)]}, ["lamp"])
            case 2:
                session.warm()
            case 3 if rng.random() < 0.2:
                session.close()
            case _:
                query = rng.choice(["the mug", "and the other one?", "what is left of it?"])
                answer = session.ask(query, rng.choice([None, *prompts.MODES]))
                asked, prompt = asked + 1, prompt + answer.tokens["prompt"]
                assert set(answer.ids) <= set(window.ids())
                assert answer.tokens["reused"] <= answer.tokens["prompt"]
    assert (session.stats.questions, session.stats.prompt_tokens) == (asked, prompt)
    assert 0 < session.stats.hit_rate < 1
    assert len(session.history) <= 32
