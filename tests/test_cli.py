"""The command line as users meet it: a real subprocess, its exit code, stdout and stderr.

Whatever is wrong with the input, stderr gets one line that begins with ``error:``, the exit
code is 2, there is no traceback, and what was computed before stays.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgetwin.perception.bundle import embedded_dir
from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.twin.jsonl import FrameReader

from .deploy.scenes import picture, write_clip

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "examples" / "spatial.mp4"
QUESTION = "What is left of the blue glass?"

embedded = pytest.mark.skipif(
    not (embedded_dir() / "manifest.json").is_file() or not (EMBEDDED / "manifest.json").is_file(),
    reason="the embedded set is not trained here: run `edgetwin distill embedded` first",
)


def edgetwin(
    *args: object, before: Callable[[], None] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgetwin.cli", *map(str, args)]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}  # a test asks no hub
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        preexec_fn=before,
        check=False,
        env=offline,
    )


def assert_refused(got: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2 and one clear line."""
    assert got.returncode == 2, got.stderr
    errors = [line for line in got.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, got.stderr
    assert "Traceback" not in got.stderr + got.stdout
    for word in words:
        assert word in errors[0]


def test_version_and_help() -> None:
    got = edgetwin("--version")
    assert (got.returncode, got.stdout) == (0, "edgetwin 0.1.0\n")
    text = edgetwin("--help").stdout
    for command in ("run", "track", "doctor", "sim", "distill", "eval", "bench", "export"):
        assert f"  {command} " in text


def test_missing_source_is_refused(tmp_path: Path) -> None:
    got = edgetwin("run", tmp_path / "none.mp4", "-q", QUESTION, "-o", tmp_path / "o")
    assert_refused(got, "none.mp4", "does not exist")
    assert not (tmp_path / "o").exists()


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no video\n" * 50)
    got = edgetwin("run", tmp_path / "text.mp4", "-q", QUESTION, "-o", tmp_path / "o")
    assert_refused(got, "text.mp4", "cannot be decoded")


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(CLIP.read_bytes())
    secret.chmod(0)
    if os.access(secret, os.R_OK):  # root reads everything: take a path that no one may enter
        secret = tmp_path / ("x" * 300)
    got = edgetwin("run", secret, "-q", QUESTION, "-o", tmp_path / "o")
    assert_refused(got)


@pytest.mark.parametrize("question", ["", "   ", "\t"])
def test_an_empty_question_is_refused(tmp_path: Path, question: str) -> None:
    got = edgetwin("run", CLIP, "-q", question, "-o", tmp_path / "o")
    assert_refused(got, "question")
    assert not (tmp_path / "o").exists()


def test_no_question_is_refused(tmp_path: Path) -> None:
    assert_refused(edgetwin("run", CLIP, "-o", tmp_path / "o"), "at least one question", "-q")


def test_a_model_set_that_is_not_here_is_refused(tmp_path: Path) -> None:
    for models in ("edge", "server", str(tmp_path / "nowhere")):
        got = edgetwin("run", CLIP, "-q", QUESTION, "--models", models, "-o", tmp_path / "o")
        assert_refused(got, "embedded")


def test_wrong_options_are_told_without_a_traceback() -> None:
    for args in (("run",), ("run", CLIP, "--nonsense"), ("sim", "x", "--tier", "moon"), ("what",)):
        got = edgetwin(*args)
        assert got.returncode == 2
        assert "Error:" in got.stderr
        assert "Traceback" not in got.stderr


@embedded
def test_run_writes_everything_and_prints_where(tmp_path: Path) -> None:
    got = edgetwin("run", CLIP, "-q", QUESTION, "-o", tmp_path / "o")
    assert got.returncode == 0, got.stderr
    assert "overlay.mp4" in got.stdout
    assert "ms per frame" in got.stdout
    names = {p.name for p in (tmp_path / "o").iterdir()}
    assert names == {
        "answer.json", "masks", "masks.json", "overlay.mp4", "twin.jsonl", "twin.sqlite"
    }  # fmt: skip
    answer = json.loads((tmp_path / "o" / "answer.json").read_text())
    for role in ("detector", "segmenter", "depth", "reasoner"):
        assert answer["models"][role]["sha256"]


@embedded
def test_json_is_all_that_stdout_gets(tmp_path: Path) -> None:
    got = edgetwin("run", CLIP, "-q", QUESTION, "-q", "What moved?", "-o", tmp_path / "o", "--json")
    assert got.returncode == 0, got.stderr
    answers = json.loads(got.stdout)
    assert [a["question"] for a in answers] == [QUESTION, "What moved?"]
    assert answers == json.loads((tmp_path / "o" / "answer.json").read_text())


@embedded
def test_a_video_cut_off_mid_frame_gives_status_partial(tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    data = CLIP.read_bytes()
    cut.write_bytes(data[: int(len(data) * 0.8)])
    got = edgetwin("run", cut, "-q", QUESTION, "-o", tmp_path / "o", "--json")
    assert got.returncode == 0, got.stderr
    answer = json.loads(got.stdout)
    assert answer["source"]["status"] == "partial"
    assert answer["status"] in ("partial", "none", "stale")
    assert got.stderr.count("warning: the video declares 32 frames and is cut") == 1
    assert 0 < answer["source"]["frames"] < 32


@embedded
def test_a_question_about_something_unknown_is_answered_plainly(tmp_path: Path) -> None:
    got = edgetwin("run", CLIP, "-q", "Where is the helicopter?", "-o", tmp_path / "o", "--json")
    assert got.returncode == 0, got.stderr
    assert "helicopter" in json.loads(got.stdout)["message"]
    got = edgetwin("run", CLIP, "-q", "Where is the helicopter?", "-o", tmp_path / "o")
    assert "does not know: helicopter" in got.stdout


@embedded
def test_a_full_disk_is_told_and_what_was_computed_is_kept(tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    out = tmp_path / "o"
    got = edgetwin("run", CLIP, "-q", QUESTION, "-o", out, before=small_files)
    assert_refused(got, "expected to write")
    kept = (out / "twin.jsonl").read_text().splitlines()
    assert json.loads(kept[0])["index"] == 0


@embedded
def test_a_folder_that_cannot_be_written_is_refused() -> None:
    got = edgetwin("run", CLIP, "-q", QUESTION, "-o", "/proc/edgetwin")
    assert_refused(got, "/proc/edgetwin", "-o")


@embedded
def test_interrupting_keeps_what_was_perceived(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "long.mp4", 3000, rate=30)
    out = tmp_path / "o"
    command = [
        sys.executable,
        "-m",
        "edgetwin.cli",
        "run",
        str(clip),
        "-q",
        QUESTION,
        "-o",
        str(out),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        jsonl = out / "twin.jsonl"
        until = time.monotonic() + 60
        while not (jsonl.exists() and jsonl.stat().st_size > 1000) and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    assert len(list(FrameReader(jsonl))) > 0
    assert json.loads((out / "masks.json").read_text())["frames"]


@embedded
def test_a_picture_and_a_folder_of_frames_are_sources_too(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for step in range(3):
        cv2.imwrite(str(frames / f"{step}.png"), picture(step)[:, :, ::-1])
    for source, count in ((frames / "0.png", 1), (frames, 3)):
        got = edgetwin("run", source, "-q", QUESTION, "-o", tmp_path / "o", "--json")
        assert got.returncode == 0, got.stderr
        assert json.loads(got.stdout)["source"]["frames"] == count
        assert len(list((tmp_path / "o" / "masks").glob("*.png"))) == count


@embedded
def test_a_foreign_video_gets_a_warning_in_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)  # coloured noise: like no table that was ever rendered
    clip = tmp_path / "noise"
    clip.mkdir()
    for step in range(2):
        noise = rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)
        cv2.imwrite(str(clip / f"{step}.png"), noise)
    got = edgetwin("run", clip, "-q", QUESTION, "-o", tmp_path / "o")
    assert got.returncode == 0, got.stderr
    warnings = [line for line in got.stderr.splitlines() if "simulated tabletop" in line]
    assert len(warnings) == 1


def test_doctor_lists_the_machine_and_exits_by_what_it_found() -> None:
    got = edgetwin("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(got.stdout)}
    assert checks["onnxruntime"]["state"] == "ok"
    missing = any(check["state"] == "missing" for check in checks.values())
    assert got.returncode == (1 if missing else 0)
    assert "onnxruntime" in edgetwin("doctor").stdout


@embedded
def test_doctor_lists_the_words_of_the_embedded_set() -> None:
    got = edgetwin("doctor")
    assert got.returncode == 0
    assert "teapot" in got.stdout
    assert "purple" in got.stdout


def test_sim_renders_a_world_with_truth(tmp_path: Path) -> None:
    pytest.importorskip("mujoco", reason="rendering needs the [sim] extra")
    got = edgetwin("sim", tmp_path / "w", "--seed", 3, "--seconds", 0.5)
    if got.returncode and ("EGL" in got.stderr or "OpenGL" in got.stderr):
        pytest.skip("this machine has no libEGL to render with")
    assert got.returncode == 0, got.stderr
    assert {p.name for p in (tmp_path / "w").iterdir()} == {"video.mp4", "twin.jsonl", "masks.json"}
    assert got.stdout.strip().endswith("video.mp4")


def test_a_missing_extra_is_told_with_its_pip_line(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['mujoco'] = None\n"
        f"sys.argv = ['edgetwin', 'sim', {str(tmp_path / 'w')!r}]\n"
        "from edgetwin.cli import main\n"
        "main()\n"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert_refused(got, "pip install 'edgetwin[sim]'")
