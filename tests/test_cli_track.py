"""``edgetwin track`` as users meet it: a real subprocess, its files, output and exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgetwin.twin.jsonl import FrameReader

from .deploy.scenes import write_clip
from .test_cli import CLIP, assert_refused, edgetwin, embedded


@embedded
def test_track_writes_everything_and_prints_where(tmp_path: Path) -> None:
    out = tmp_path / "o"
    got = edgetwin("track", CLIP, "-o", out, "--max-frames", 10)
    assert got.returncode == 0, got.stderr
    assert "10 frames of 256x256" in got.stdout
    assert "ms per frame: decode" in got.stdout
    assert "frames/s" in got.stdout
    assert "tracks.json" in got.stdout
    assert {p.name for p in out.iterdir()} == {
        "masks.json", "overlay.mp4", "tracks.json", "twin.jsonl", "twin.sqlite"
    }  # fmt: skip
    told = json.loads((out / "tracks.json").read_text())
    assert told["frames"] == {"in": 10, "processed": 10, "dropped": {}, "in_flight": 0}
    assert {"detector", "segmenter", "depth"} == set(told["models"])
    assert len(told["tracks"]) >= 3


@embedded
def test_track_words_choose_what_is_looked_for(tmp_path: Path) -> None:
    out = tmp_path / "o"
    words = "teapot, purple plate, zebra"
    got = edgetwin("track", CLIP, "-o", out, "--words", words, "--max-frames", 6, "--json",
                   "--no-overlay")  # fmt: skip
    assert got.returncode == 0, got.stderr
    told = json.loads(got.stdout)
    assert told == json.loads((out / "tracks.json").read_text())
    assert told["words"] == ["teapot", "purple plate", "zebra"]
    assert {t["label"] for t in told["tracks"]} == {"teapot", "plate"}
    assert got.stderr.count("warning: ") == 1
    assert "does not know: zebra" in got.stderr
    assert not (out / "overlay.mp4").exists()


@embedded
def test_track_refuses_what_cannot_be_used_in_one_line(tmp_path: Path) -> None:
    out = tmp_path / "o"
    assert_refused(edgetwin("track", CLIP, "-o", out, "--words", "zebra"), "zebra", "teapot")
    assert_refused(edgetwin("track", CLIP, "-o", out, "--words", " ,"), "words")
    assert_refused(edgetwin("track", tmp_path / "no.mp4", "-o", out), "does not exist")
    assert not out.exists()
    assert edgetwin("track", CLIP, "--max-frames", 0).returncode == 2
    assert edgetwin("track", CLIP, "--follow", "magic").returncode == 2


@embedded
def test_interrupting_track_keeps_what_was_perceived(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "long.mp4", 2000, rate=30)
    out = tmp_path / "o"
    command = [sys.executable, "-m", "edgetwin.cli", "track", str(clip), "-o", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        jsonl = out / "twin.jsonl"
        until = time.monotonic() + 60
        while not (jsonl.exists() and jsonl.stat().st_size > 1000) and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    assert b"interrupted: what was written is kept" in stderr
    told = json.loads((out / "tracks.json").read_text())
    assert told["status"] == "interrupted"
    frames = told["frames"]
    assert 0 < frames["processed"] == len(list(FrameReader(jsonl))) < 2000
    assert frames["in"] == frames["processed"] + frames["in_flight"]
    assert len(json.loads((out / "masks.json").read_text())["frames"]) == frames["processed"]


def test_networks_and_devices_that_cannot_be_had_are_told_in_one_line(tmp_path: Path) -> None:
    out = tmp_path / "o"
    for network in ("x", "=y", "segmenter="):
        assert_refused(edgetwin("track", CLIP, "-o", out, "--network", network), "role=checkpoint")
    refused = edgetwin("track", CLIP, "-o", out, "--network", "segmenter=a/b")
    assert_refused(refused, "embedded", "fixed")
    assert_refused(edgetwin("track", CLIP, "-o", out, "--device", "abacus"), "abacus")
    assert not out.exists()


def test_exporting_to_a_full_folder_or_without_a_size_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="exporting needs the [export] extra")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    assert_refused(edgetwin("export", "-o", tmp_path / "full"), "new or empty folder")
    assert_refused(edgetwin("export", "-o", tmp_path / "b", "--size", "large"), "1920x1080")
    assert edgetwin("export", "-o", tmp_path / "b", "--target", "toaster").returncode == 2
    assert not (tmp_path / "b").exists()


def test_eval_commands_describe_themselves() -> None:
    text = edgetwin("eval", "--help").stdout
    for command in ("twinbench", "soak", "tracking", "speed"):
        assert f"  {command} " in text
        assert edgetwin("eval", command, "--help").returncode == 0


@embedded
def test_a_soak_is_told_in_tables_and_json(tmp_path: Path) -> None:
    pytest.importorskip("mujoco", reason="rendering needs the [sim] extra")
    out = tmp_path / "soak.json"
    got = edgetwin("eval", "soak", "--frames", 40, "--no-loads", "--sprites", 12, "--cache",
                   tmp_path / "cut", "-o", out)  # fmt: skip
    if got.returncode and ("EGL" in got.stderr or "OpenGL" in got.stderr):
        pytest.skip("this machine has no libEGL to render with")
    assert got.returncode in (0, 1), got.stderr  # forty frames are too few to judge memory
    assert "Soak, 40 frames" in got.stdout
    told = json.loads(out.read_text())
    assert told["frames"] == told["counts"]["frames"] == 40
    assert set(told["growth"]) == {"memory", "latency", "cpu"}
