"""``edgetwin twin`` as users meet it: a real subprocess, its output and exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .deploy.twins import tracked
from .test_cli import CLIP, assert_refused, edgetwin, embedded


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tracked(tmp_path_factory.mktemp("twin"))


def test_twin_commands_describe_themselves() -> None:
    assert "  twin " in edgetwin("--help").stdout
    text = edgetwin("twin", "--help").stdout
    for command in ("show", "check", "export"):
        assert f"  {command} " in text


def test_show_lists_objects_and_a_moment(twin: Path) -> None:
    got = edgetwin("twin", "show", twin)
    assert got.returncode == 0, got.stderr
    head, columns, *rows = got.stdout.splitlines()
    assert head == "squares.mp4: 8 frames of 128x96, 0.0-0.7 s"
    assert columns.split() == ["id", "color", "label", "seen", "moments"]
    assert rows[0].startswith("1   red    box    0.0-0.7 s  moved right")
    assert rows[1] == "2   blue   box    0.0-0.7 s"
    document = json.loads(edgetwin("twin", "show", twin / "twin.sqlite", "--json").stdout)
    assert [o["id"] for o in document["objects"]] == [1, 2]
    assert (document["frames"], document["width"], document["words"]) == (8, 128, None)
    moment = edgetwin("twin", "show", twin / "twin.jsonl", "--at", 0.35).stdout.splitlines()
    assert moment[0] == "frame 3 at 0.300 s, 128x96"
    assert moment[2].split()[:5] == ["1", "red", "box", "visible", "16"]
    frame = json.loads(edgetwin("twin", "show", twin, "--at", 0.35, "--json").stdout)
    assert (frame["index"], frame["objects"]["1"]["area"]) == (3, 400)


@embedded
def test_show_prints_exactly_what_the_model_reads_and_its_tokens(twin: Path) -> None:
    full = edgetwin("twin", "show", twin, "--text", "full")
    assert full.returncode == 0, full.stderr
    lines = full.stdout.splitlines()
    assert lines[:3] == ["twin", "frame 128x96", "2 blue box x95 y65 w30 h30"]
    assert lines[-1] == "time 0.0-0.7"
    compact = edgetwin("twin", "show", twin, "--text", "compact", "--json")
    document = json.loads(compact.stdout)
    assert document["text"].splitlines()[:2] == ["twin", "2 blue box x74 y67"]
    count = int(full.stderr.split()[0])
    assert full.stderr.split()[1] == "tokens"
    assert 10 < document["tokens"] < count < 80


def test_what_is_no_twin_or_no_moment_is_refused(twin: Path, tmp_path: Path) -> None:
    assert_refused(edgetwin("twin", "show", CLIP), "expected a twin", "edgetwin track")
    assert_refused(edgetwin("twin", "check", tmp_path / "none"), "nothing there")
    (tmp_path / "twin.jsonl").write_text("{}\n")
    assert_refused(edgetwin("twin", "show", tmp_path), "line 1", "edgetwin twin check")
    (tmp_path / "twin.jsonl").write_text("")
    assert edgetwin("twin", "show", tmp_path).stdout == "the twin holds no frame\n"
    assert_refused(edgetwin("twin", "show", tmp_path, "--at", 1), "--at")


def test_check_exits_by_what_it_found(twin: Path, tmp_path: Path) -> None:
    got = edgetwin("twin", "check", twin)
    assert (got.returncode, got.stderr) == (0, "")
    assert got.stdout.count("8 frames, ok") == 3
    faulty = Path(shutil.copytree(twin, tmp_path / "faulty"))
    text = (faulty / "twin.jsonl").read_text()
    (faulty / "twin.jsonl").write_text("{half\n" * 25 + text)
    got = edgetwin("twin", "check", twin, faulty)
    assert got.returncode == 1
    assert "8 frames, 25 faults" in got.stdout
    assert "  line 1: expected a frame of the twin as JSON" in got.stdout
    assert "and 5 more: --json lists them" in got.stdout
    found = json.loads(edgetwin("twin", "check", faulty, "--json").stdout)
    assert [(c["frames"], c["count"]) for c in found] == [(8, 25), (8, 0)]
    (faulty / "twin.sqlite").write_bytes((faulty / "twin.sqlite").read_bytes()[:5000])
    got = edgetwin("twin", "check", faulty)
    assert got.returncode == 1
    assert "SQLite finds damage" in got.stdout
    assert "Traceback" not in got.stdout + got.stderr


def test_export_writes_each_format_and_says_where(twin: Path, tmp_path: Path) -> None:
    for kind in ("jsonl", "coco", "davis"):
        out = tmp_path / kind
        got = edgetwin("twin", "export", twin, "-o", out, "--format", kind)
        assert got.returncode == 0, got.stderr
        assert got.stdout.startswith(f"{out}: 8 frames, ")
        assert out.exists()
    assert (tmp_path / "jsonl").read_bytes() == (twin / "twin.jsonl").read_bytes()
    assert len(json.loads((tmp_path / "coco").read_text())["annotations"]) == 16
    assert edgetwin("twin", "export", twin, "-o", tmp_path / "x", "--format", "xml").returncode == 2
    blocked = edgetwin("twin", "export", twin, "-o", "/proc/none/x", "--format", "csv")
    assert_refused(blocked, "/proc/none/x", "-o")
