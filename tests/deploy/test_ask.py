"""Sessions of questions: follow-ups, streams that go on, interrupts, and what is printed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgetwin.deploy.ask import Asker
from edgetwin.deploy.ask_feed import FileFeed, LiveFeed
from edgetwin.deploy.ask_loop import COMMANDS, Conversation
from edgetwin.deploy.ask_text import answer_lines, trace_lines
from edgetwin.deploy.models import Perception
from edgetwin.deploy.stream.source import open_source
from edgetwin.deploy.twin_check import check_twin
from edgetwin.deploy.twin_files import TwinFile
from edgetwin.reasoner.models.scripted import ScriptedModel
from edgetwin.reasoner.rollout import Reasoner
from edgetwin.twin.errors import InputError, ModelError, SchemaError
from edgetwin.twin.frame import Frame
from edgetwin.twin.jsonl import read_frames, write_frames
from edgetwin.twin.schema import FrameTwin
from edgetwin.twin.store import TwinStore

from .scenes import PLAN_RED, SquareFinder, write_clip
from .twins import tracked

PLAN_BLUE = PLAN_RED.replace("red", "blue")
ANSWER = "<answer>$1</answer>"
RED = (PLAN_RED, ANSWER)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tracked(tmp_path_factory.mktemp("twin"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "squares.mp4", 12)


def scripted(replies: Sequence[str], **more: Any) -> tuple[ScriptedModel, Reasoner]:
    model = ScriptedModel(replies, **more)
    return model, Reasoner(model)


def asking(folder: Path, *replies: str, **more: Any) -> Asker:
    return Asker(scripted(replies, **more)[1], FileFeed(TwinFile(folder)))


class Gate(SquareFinder):
    """Perceives as many frames as it was let through."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self.permits = threading.Semaphore(free)
        self.fails_at: int | None = None

    def observe(self, frame: Frame) -> FrameTwin:
        assert self.permits.acquire(timeout=30)
        if frame.index == self.fails_at:
            raise ModelError("expected a network that runs, got a broken one: get another")
        return super().observe(frame)


@pytest.fixture
def live(clip: Path, tmp_path: Path) -> Iterator[tuple[Gate, LiveFeed]]:
    gate = Gate(5)
    feed = LiveFeed(open_source(clip), Perception("squares", gate), tmp_path / "live")
    yield gate, feed
    gate.permits.release(100)
    feed.close()


# ---- answers


def test_an_answer_is_a_record_with_everything(folder: Path) -> None:
    asker = asking(folder, *RED)
    record = asker.ask("  what is\tred? ")
    assert record["question"] == "what is red?"
    assert (record["status"], record["ids"]) == ("ok", [1])
    (thing,) = record["objects"]
    assert (thing["id"], thing["label"], thing["attributes"]) == (1, "box", {"color": "red"})
    assert record["seen"] == {"frames": 8, "seconds": 0.7, "complete": True}
    assert record["plan"] == [{"tool": "attribute", "name": "color", "value": "red"}]
    assert record["results"] == [[1]]
    assert json.loads(json.dumps(record)) == record
    assert list(asker.history) == [record]


def test_follow_ups_see_the_question_before_until_it_is_forgotten(folder: Path) -> None:
    model, reasoner = scripted((*RED, *RED, *RED), turns=1)
    asker = Asker(reasoner, FileFeed(TwinFile(folder)))
    asker.ask("what is red?")
    asker.ask("and the one next to it?")
    asker.forget()
    asker.ask("and the one next to it?")
    first, second, third = ("".join(texts) for texts in model.reads)
    before = "question: what is red?\n<answer>[1]</answer>\n"
    assert before not in first
    assert before in second
    assert before not in third


def test_the_prompt_is_kept_between_questions(folder: Path) -> None:
    asker = asking(folder, *RED, *RED)
    asker.ask("what is red?")
    assert asker.cache()["reused"] == 0
    asker.ask("what is red now?")
    cache = asker.cache()
    assert 0.3 < cache["hit_rate"] == round(cache["reused"] / cache["prompt"], 4) < 0.6


def test_a_question_that_is_none_is_a_record_with_status_error(folder: Path) -> None:
    asker = asking(folder)
    for question, told in (("", "empty"), ("x" * 500, "at most 400 characters")):
        record = asker.ask(question)
        assert (record["status"], record["ids"]) == ("error", [])
        assert told in record["message"]


def test_an_interrupted_answer_loses_neither_twin_nor_history(folder: Path) -> None:
    class Interrupted(ScriptedModel):
        def open(self) -> Any:
            context = super().open()
            if len(self.replies) == 2:
                raise KeyboardInterrupt
            return context

    model = Interrupted((*RED, *RED), turns=1)
    asker = Asker(Reasoner(model), FileFeed(TwinFile(folder)))
    asker.ask("what is red?")
    asker._session.close()  # so that the next question opens a context, and is interrupted
    with pytest.raises(KeyboardInterrupt):
        asker.ask("and the other one?")
    model.replies.append("")
    assert asker.ask("and the other one?")["ids"] == [1]
    assert "what is red?" in "".join(model.reads[-1])
    assert len(asker.history) == 2


# ---- streams


def test_a_stream_is_asked_about_what_was_seen_so_far(live: tuple[Gate, LiveFeed]) -> None:
    gate, feed = live
    asker = Asker(scripted((*RED, *RED))[1], feed)
    feed.wait(5)
    record = asker.ask("what is red?")
    assert record["seen"] == {"frames": 5, "seconds": 0.4, "complete": False}
    assert record["ids"] == [1]
    gate.permits.release(100)
    feed.wait(None)
    record = asker.ask("what is red?")
    assert record["seen"] == {"frames": 12, "seconds": 1.1, "complete": True}


def test_what_was_perceived_and_answered_is_on_disk(live: tuple[Gate, LiveFeed]) -> None:
    gate, feed = live
    asker = Asker(scripted(RED)[1], feed)
    feed.wait(5)
    record = asker.ask("what is red?")
    gate.permits.release(1)  # the frame at hand is finished, the others are not begun
    asker.close()
    out = feed.store.path.parent
    assert len(read_frames(out / "twin.jsonl")) == 6
    assert [checked.count for checked in check_twin(out)] == [0, 0, 0]
    assert len(json.loads((out / "masks.json").read_text())["frames"]) == 6
    with TwinStore(out / "twin.sqlite") as store:
        assert store.answers() == [record]


def test_perception_that_fails_is_told_once_and_the_rest_answered(
    live: tuple[Gate, LiveFeed],
) -> None:
    gate, feed = live
    gate.fails_at = 7
    gate.permits.release(100)
    asker = Asker(scripted((*RED, *RED))[1], feed)
    feed._thread.join(30)
    first, second = asker.ask("what is red?"), asker.ask("what is red?")
    assert first["warnings"] == ["expected a network that runs, got a broken one: get another"]
    assert second["warnings"] == []
    assert first["ids"] == second["ids"] == [1]
    assert first["seen"]["frames"] == 7


def test_waiting_reports_progress_and_raises_what_went_wrong(live: tuple[Gate, LiveFeed]) -> None:
    gate, feed = live
    gate.fails_at = 9
    gate.permits.release(100)
    told: list[tuple[str, int, int | None]] = []
    with pytest.raises(ModelError, match="broken one"):
        feed.wait(None, lambda *step: told.append(step))
    assert told[-1] == ("perceive", 9, 12)


def test_a_cut_video_makes_answers_partial(clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    long = write_clip(tmp_path / "whole.mp4", 40, movflags="faststart").read_bytes()
    cut.write_bytes(long[: len(long) * 7 // 10])
    feed = LiveFeed(open_source(cut), Perception("squares", SquareFinder()), tmp_path / "live")
    asker = Asker(scripted(RED)[1], feed)
    feed.wait(None)
    record = asker.ask("what is red?")
    asker.close()
    assert record["status"] == "partial"
    assert "is cut" in record["message"]


def test_a_twin_that_is_still_written_is_followed_and_a_new_run_begins_anew(
    folder: Path, tmp_path: Path
) -> None:
    frames = read_frames(folder / "twin.jsonl")
    with TwinStore(tmp_path / "twin.sqlite") as store:
        for frame in frames[:4]:
            store.append(frame)
        store.flush()
        asker = asking(tmp_path, *RED, *RED, *RED)
        assert asker.ask("what is red?")["seen"]["frames"] == 4
        for frame in frames[4:]:
            store.append(frame)
        store.flush()
        assert asker.ask("what is red?")["seen"]["seconds"] == 0.7
        store.append(frames[0])  # the clock goes back: another recording
        store.flush()
        record = asker.ask("what is red?")
        assert record["seen"]["seconds"] == 0.0
        assert record["cache"]["reused"] == 0


def test_frames_that_a_window_drops_are_told(folder: Path, clip: Path, tmp_path: Path) -> None:
    few = FileFeed(TwinFile(folder), max_frames=5)
    assert (len(few.window), few.window.end_s) == (5, 0.7)
    assert few.warnings() == ["questions see the last 5 frames; earlier ones were dropped"]
    assert FileFeed(TwinFile(folder), max_frames=8).warnings() == []
    perception = Perception("squares", SquareFinder())
    live = LiveFeed(open_source(clip), perception, tmp_path / "live", max_frames=7)
    live.wait(None)
    live.close()
    assert (live.frames, len(live.window), live.window.end_s) == (12, 7, 1.1)
    assert live.warnings() == ["questions see the last 7 frames; earlier ones were dropped"]


def test_a_twin_out_of_order_is_refused_with_the_command_that_tells_more(
    folder: Path, tmp_path: Path
) -> None:
    frames = read_frames(folder / "twin.jsonl")
    write_frames(tmp_path / "twin.jsonl", [*frames, frames[2]])
    with pytest.raises(SchemaError, match="edgetwin twin check"):
        FileFeed(TwinFile(tmp_path))
    with pytest.raises(InputError, match="expected a twin"):
        FileFeed(TwinFile(tmp_path / "none"))


# ---- the conversation


def test_commands_do_what_help_says(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = Conversation(asking(folder, *RED, *RED), talking=True)
    lines = iter(
        ["what is red?", "/objects", "/mode detailed", "/mode loud", "/trace on", "what is red?",
         "/history", f"/save {tmp_path / 'a.jsonl'}", "/save /proc/none/a", "/wait", "/nonsense",
         "/forget", "", "/help"]
    )  # fmt: skip

    def read(prompt: str) -> str:
        assert prompt == "? "
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    talk.talk(read)
    told = capsys.readouterr().out
    assert told.count("#1 red box  0.0-0.7 s  (ok, ") == 2
    assert "2   blue   box    0.0-0.7 s" in told
    assert "error: expected a mode of concise, sentence, detailed, description, got loud" in told
    assert "$1  attribute(name=color, value=red) -> #1" in told
    assert "2  what is red?  ->  #1 red box  0.0-0.7 s" in told
    assert "error: expected to write /proc/none/a" in told
    assert "error: expected a command of /help, got /nonsense" in told
    assert all(name in told for name in COMMANDS)
    saved = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [(r["question"], r["mode"]) for r in saved] == [
        ("what is red?", "concise"), ("what is red?", "detailed")
    ]  # fmt: skip
    assert talk.asker.history[1] == saved[1]


def test_quit_ends_the_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk = Conversation(asking(folder, *RED))
    talk.run(["what is red?", "/quit", "what is blue?"])
    assert capsys.readouterr().out.count("\n") == 1
    assert not talk.failed


def test_a_pipe_gets_one_line_per_answer_and_commands_go_aside(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = Conversation(asking(folder, *RED, *RED), as_json=True)
    talk.run(["what is red?\n", "/objects\n", "\n", "what is red?\n", "x" * 500])
    out, aside = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert [r["status"] for r in records] == ["ok", "ok", "error"]
    assert "blue" in aside
    assert talk.failed


def test_ctrl_c_ends_the_answer_for_a_person_and_the_run_for_a_pipe(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(Asker):
        def ask(self, question: str, **chosen: Any) -> dict[str, Any]:
            if "slow" in question:
                raise KeyboardInterrupt
            return super().ask(question, **chosen)

    asker = Interrupted(scripted(RED)[1], FileFeed(TwinFile(folder)))
    Conversation(asker, talking=True).run(["a slow one", "what is red?"])
    told = capsys.readouterr().out
    assert "stopped; what was seen is kept" in told
    assert "#1 red box" in told
    with pytest.raises(KeyboardInterrupt):
        Conversation(asker).run(["a slow one"])


def test_nothing_that_a_terminal_acts_on_is_printed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = read_frames(folder / "twin.jsonl")
    evil = "\x1b[2J\x07[bold]mug[/bold]\u202e"
    spoilt = [
        f.model_copy(
            update={
                "objects": {
                    k: o.model_copy(update={"semantic_label": evil}) for k, o in f.objects.items()
                }
            }
        )
        for f in frames
    ]
    write_frames(tmp_path / "twin.jsonl", spoilt)
    replies = ("<reason>\x1b]0;owned\x07</reason>" + PLAN_RED.partition("</reason>")[2], ANSWER)
    asker = asking(tmp_path, *replies)
    Conversation(asker, trace=True, talking=True).run(
        ["what is\x1b[31m red?", "/objects", "/history"]
    )
    Conversation(asker).run(["x\x1b" * 300])
    told = "".join(capsys.readouterr())
    assert "mug" in told  # as text, whatever stands around it
    assert all(c.isprintable() or c == "\n" for c in told)


# ---- lines


def record(**more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "status": "ok", "objects": [], "intervals": [], "value": None, "message": "",
        "ms": {"total": 12.3}, "seen": {"frames": 9, "seconds": 1.5, "complete": True},
    }  # fmt: skip
    return {**base, **more}


def test_answers_are_said_in_one_line_or_two() -> None:
    mug = {"id": 3, "label": "mug", "attributes": {"color": "red"}}
    assert answer_lines(record(objects=[mug], intervals=[(0.0, 1.5)])) == [
        "#3 red mug  0.0-1.5 s  (ok, 12 ms)"
    ]
    assert answer_lines(record(value=2.0)) == ["2  (ok, 12 ms)"]
    assert answer_lines(record(intervals=[(k, k + 0.5) for k in range(6)])) == [
        "0.0-0.5, 1.0-1.5, 2.0-2.5, 3.0-3.5 s and 2 more times  (ok, 12 ms)"
    ]
    assert answer_lines(record(status="none", message="no object of the twin fits")) == [
        "nothing that was seen fits  (none, 12 ms)", "no object of the twin fits"
    ]  # fmt: skip
    assert answer_lines(record(status="error", message="why")) == ["error: why  (error, 12 ms)"]
    partial = record(status="partial", ended_by="seconds")
    assert answer_lines(partial) == ["no answer  (partial, 12 ms, ended by seconds)"]
    running = record(objects=[mug], seen={"frames": 9, "seconds": 1.5, "complete": False})
    assert answer_lines(running) == ["#3 red mug  (ok, 12 ms, seen 9 frames, 1.5 s)"]
    assert answer_lines(record(objects=[mug], description="a red mug, left")) == [
        "#3 red mug  (ok, 12 ms)", "a red mug, left"
    ]  # fmt: skip


def test_the_trace_goes_step_by_step() -> None:
    told = trace_lines(
        record(
            rationale="lamps, what is behind",
            plan=[{"tool": "find", "words": ["lamp"]}, {"tool": "behind", "of": "$1"}, {"tool": "count", "ids": "$2"}],
            results=[[2, 6], []],
            tokens={"prompt": 90, "reused": 60, "forced": 5, "rationale": 4, "plan": 11, "results": 9, "answer": 3, "total": 117},
            cache={"prompt": 180, "reused": 90, "hit_rate": 0.5},
            refine={"calls": {"detect": 1}, "frames": 32, "added": 1, "changed": 0, "ms": 88.2},
            rounds=2, repairs=1,
        )
    )  # fmt: skip
    assert told == [
        "reason  lamps, what is behind",
        "  $1  find(words=[lamp]) -> #2 #6",
        "  $2  behind(of=$1) -> none",
        "  $3  count(ids=$2) -> not computed",
        "tokens  prompt 90, reused 60, forced 5, generated 18: rationale 4, plan 11, results 9, answer 3",
        "ms      total 12.3",
        "cache   50% of 180 prompt tokens of this session",
        "looks   detect 1: 32 frames, 1 objects added, 0 changed, 88 ms in this session",
        "rounds  2, repairs 1",
    ]
