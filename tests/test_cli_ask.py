"""``edgetwin ask`` as users meet it: pipes, questions as options, a terminal, Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from edgetwin.deploy.track import track
from edgetwin.twin.jsonl import read_frames

from .deploy.scenes import write_clip
from .reasoner.loopback import said, serving
from .test_cli import CLIP, QUESTION, ROOT, assert_refused, edgetwin, embedded

PROMPT, CTRL_C, CTRL_D = b"? ", b"\x03", b"\x04"
COMMAND = [sys.executable, "-m", "edgetwin.cli", "ask"]


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One perceived twin that every test of this file asks."""
    out = tmp_path_factory.mktemp("asked") / "twin"
    track(CLIP, out, overlay=False)
    return out


def piped(text: bytes, *args: object) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, *map(str, args)]
    return subprocess.run(command, input=text, capture_output=True, timeout=120, check=False)


Mark = bytes | Callable[[], bool]


def talked(steps: Iterable[tuple[Mark, bytes]], *args: object) -> tuple[str, int]:
    """Type lines at a terminal, each after its mark; return the screen and the exit code.

    A mark is what has to be shown, or what has to come true.
    """
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execve(COMMAND[0], [*COMMAND, *map(str, args)], {**os.environ, "TERM": "xterm"})
    shown, place, until = b"", 0, time.monotonic() + 60
    for mark, typed in steps:
        while (found := _found(mark, shown, place)) is None and time.monotonic() < until:
            shown += _read(terminal)
        assert found is not None, shown
        place = found
        os.write(terminal, typed)
    again = time.monotonic() + 2
    while time.monotonic() < until:
        try:
            shown += _read(terminal)
        except EOFError:
            break
        # A key between the prompt's text and readline's sleep is missed: as a person does,
        # press it again.
        if typed in (CTRL_C, CTRL_D) and time.monotonic() > again:
            os.write(terminal, typed)
            again = time.monotonic() + 2
    else:
        os.kill(process, signal.SIGKILL)
    # Closed only afterwards: a process that is still on its way out would be hung up on.
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    os.close(terminal)
    return shown.decode(errors="replace"), code


def _found(mark: Mark, shown: bytes, place: int) -> int | None:
    """Where the mark ends in what was shown from ``place`` on; None if it is not there yet."""
    if not isinstance(mark, bytes):
        return len(shown) if mark() else None
    begins = shown.find(mark, place)
    return None if begins < 0 else begins + len(mark)


def _read(terminal: int) -> bytes:
    if not select.select([terminal], [], [], 0.2)[0]:
        return b""
    try:
        data = os.read(terminal, 65536)
    except OSError:  # how Linux tells that the other side is closed
        data = b""
    if not data:
        raise EOFError
    return data


@embedded
def test_questions_as_options_get_one_line_each(twin: Path) -> None:
    got = edgetwin("ask", twin, "-q", QUESTION, "-q", "What moved?")
    assert got.returncode == 0, got.stderr
    first, second = got.stdout.splitlines()
    assert first.startswith("#")
    assert "teapot" in first
    assert " ms)" in first
    assert second
    assert got.stderr == ""


@embedded
def test_json_lines_have_everything(twin: Path) -> None:
    got = edgetwin("ask", twin.joinpath("twin.sqlite"), "-q", QUESTION, "-q", QUESTION, "--json")
    assert got.returncode == 0, got.stderr
    first, second = map(json.loads, got.stdout.splitlines())
    assert first["status"] == "ok"
    assert [o["label"] for o in first["objects"]] == ["teapot"]
    assert first["mode"] == "concise"
    assert first["seen"] == {"frames": 32, "seconds": 3.875, "complete": True}
    assert first["ids"] == second["ids"]
    assert second["tokens"]["reused"] > 0.9 * second["tokens"]["prompt"]


@embedded
def test_a_trace_shows_plan_results_tokens_and_times(twin: Path) -> None:
    told = edgetwin("ask", twin, "-q", QUESTION, "--trace").stdout
    for text in (
        "reason  ",
        "$1  ",
        " -> #",
        "tokens  prompt ",
        "forced",
        "ms      prompt",
        "cache",
    ):
        assert text in told


@embedded
def test_a_pipe_gets_one_answer_per_line(twin: Path) -> None:
    got = piped(b"What moved?\n\n/mode detailed\nWhat is left of the blue glass?", twin, "--json")
    assert got.returncode == 0, got.stderr
    records = [json.loads(line) for line in got.stdout.splitlines()]
    assert [r["question"] for r in records] == ["What moved?", "What is left of the blue glass?"]
    assert b"mode detailed" in got.stderr
    bad = piped(b"\xff\xfe\x00 \x1b[2J\nWhat moved?\n" + b"x" * 5000, twin)
    assert bad.returncode == 2  # a line that is no question is an answer with status error
    assert len(bad.stdout.splitlines()) == 3
    assert b"Traceback" not in bad.stderr
    assert b"\x1b" not in bad.stdout


@embedded
def test_bad_input_is_refused_in_one_line(twin: Path, tmp_path: Path) -> None:
    assert_refused(edgetwin("ask", tmp_path / "none.mp4", "-q", "x"), "does not exist")
    assert_refused(edgetwin("ask", twin, "-q", " "), "question")
    assert_refused(edgetwin("ask", twin, "-q", "x", "--words", "mug"), "--words")
    assert_refused(edgetwin("ask", twin, "-q", "x", "--models", tmp_path / "no"), "embedded")
    assert_refused(
        edgetwin("ask", CLIP, "-q", "x", "--words", "zebra", "-o", tmp_path / "o"), "zebra"
    )
    assert edgetwin("ask", twin, "-q", "x", "--mode", "loud").returncode == 2
    assert not (tmp_path / "o").exists()


@embedded
def test_a_budget_that_ends_is_told(twin: Path) -> None:
    got = edgetwin("ask", twin, "-q", QUESTION, "--budget-s", 0.01, "--json")
    record = json.loads(got.stdout)
    assert (record["status"], record["ended_by"]) in {("partial", "seconds"), ("error", "seconds")}


@embedded
def test_another_language_model_answers_over_a_socket(twin: Path) -> None:
    pytest.importorskip("httpx2", reason="endpoints need the [remote] extra")
    plan = '<plan>[{"tool":"find","words":["teapot"]}]</plan>'
    with serving() as server:
        server.script.extend(
            [said(f"<reason>the teapot</reason>{plan}"), said("<answer>$1</answer>")]
        )
        got = edgetwin("ask", twin, "-q", "What pours tea?", "--json", "--language",
                       f"{server.url}#tiny")  # fmt: skip
        assert got.returncode == 0, got.stderr
        sent = json.dumps(server.asked[0].body)
    record = json.loads(got.stdout)
    assert [o["label"] for o in record["objects"]] == ["teapot"]
    assert record["rationale"] == "the teapot"
    assert "tiny" in record["models"]["reasoner"]["id"]
    assert "question: What pours tea?" in sent
    assert "purple teapot" in sent
    dead = edgetwin(
        "ask", twin, "-q", "x", "--json", "--language", f"{server.url}#tiny", "--budget-s", 5
    )
    assert dead.returncode == 2
    assert json.loads(dead.stdout)["status"] == "error"


@embedded
def test_a_source_is_perceived_kept_and_answered(tmp_path: Path) -> None:
    out = tmp_path / "o"
    got = edgetwin("ask", CLIP, "-q", QUESTION, "-o", out, "--json")
    assert got.returncode == 0, got.stderr
    record = json.loads(got.stdout)
    assert record["seen"] == {"frames": 32, "seconds": 3.875, "complete": True}
    assert [o["label"] for o in record["objects"]] == ["teapot"]
    assert {p.name for p in out.iterdir()} == {"masks.json", "twin.jsonl", "twin.sqlite"}
    assert edgetwin("twin", "check", out).returncode == 0


@embedded
def test_a_person_talks_to_it(twin: Path, tmp_path: Path) -> None:
    saved = tmp_path / "a.jsonl"
    steps = [
        (PROMPT, b"What is left of the blue glass?\n"),
        (b"teapot", b""),
        (PROMPT, b"/objects\n"),
        (b"moments", b""),
        (PROMPT, b"/trace on\n"),
        (b"trace on", b""),
        (PROMPT, b"What moved?\n"),
        (b"cache", b""),
        (PROMPT, b"/save %s\n" % bytes(saved)),
        (b"2 answers", b""),
        (PROMPT, CTRL_D),
    ]
    shown, code = talked(steps, twin)
    assert code == 0, shown
    assert "/help lists the commands" in shown
    assert len(saved.read_text().splitlines()) == 2
    shown, code = talked([(PROMPT, CTRL_C)], twin)
    assert code == 130, shown
    assert "interrupted" in shown
    assert "Traceback" not in shown


@embedded
def test_ctrl_c_ends_an_answer_and_the_session_goes_on(twin: Path) -> None:
    pytest.importorskip("httpx2", reason="endpoints need the [remote] extra")
    plan = '<reason>it</reason><plan>[{"tool":"find","words":["teapot"]}]</plan>'
    with serving() as server:
        slow = said(plan)
        slow.wait_s = 20.0
        server.script.extend([slow, said(plan), said("<answer>$1</answer>")])
        steps = [
            (PROMPT, b"What pours tea?\n"),
            (b"What pours tea?\r\n", b""),
            (lambda: bool(server.asked), CTRL_C),
            (PROMPT, b"What pours tea?\n"),
            (b"#", b"/quit\n"),
        ]
        began = time.monotonic()
        shown, code = talked(steps, twin, "--language", f"{server.url}#tiny", "--budget-s", 60)
    assert code == 0, shown
    assert "stopped; what was seen is kept" in shown
    assert "teapot" in shown
    assert time.monotonic() - began < 60


@embedded
def test_a_person_asks_a_stream_and_leaves_it(tmp_path: Path) -> None:
    clip, out = write_clip(tmp_path / "long.mp4", 3000, rate=30), tmp_path / "o"
    steps = [(b"] ? ", b"What moved?\n"), (b"] ? ", b"/quit\n")]
    shown, code = talked(steps, clip, "-o", out)
    assert code == 0, shown
    assert "seen " in shown
    assert 0 < len(read_frames(out / "twin.jsonl")) < 3000
    assert edgetwin("twin", "check", out).returncode == 0


@embedded
def test_ctrl_c_while_waiting_keeps_what_was_perceived(tmp_path: Path) -> None:
    clip, out = write_clip(tmp_path / "long.mp4", 3000, rate=30), tmp_path / "o"
    command = [*COMMAND, str(clip), "-q", QUESTION, "-o", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        lines, until = out / "twin.jsonl", time.monotonic() + 60
        while not (lines.exists() and lines.stat().st_size > 1000) and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, b"")
    assert stderr == b"interrupted: what was written is kept\n"
    assert edgetwin("twin", "check", out).returncode == 0
