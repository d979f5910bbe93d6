"""What a right answer is worth: the stand-in says the truth, and as wrong as it is told."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("mujoco")

from typer.testing import CliRunner

from edgetwin.cli import app
from edgetwin.deploy.vision.replies import read_reply
from edgetwin.deploy.vision.rsvp import read_regions
from edgetwin.deploy.vision.strips import region_box
from edgetwin.distill.evaluate import vision
from edgetwin.distill.evaluate.vision import Case, Truthful, evaluate_vision
from edgetwin.distill.sim.truth import true_frames
from edgetwin.distill.sim.worlds import World


def test_the_stand_in_says_the_truth_or_as_wrong_as_told() -> None:
    (frame, *_) = true_frames(World(7), 1.0, 1.0)
    model = Truthful()
    for thing in (o for o in frame.objects.values() if o.state == "visible"):
        model.object, model.case = thing, Case("", "rsvp")
        value = read_reply(model.chat([]).text).value
        (exact,) = read_regions(value, (9, 9))
        x0, y0, x1, y1 = region_box(exact.rows, exact.columns, (9, 9), (256, 256))
        a0, b0, a1, b1 = thing.box_xyxy
        assert x0 <= a0
        assert y0 <= b0
        assert a1 <= x1
        assert b1 <= y1
        assert max(a0 - x0, b0 - y0, x1 - a1, y1 - b1) < 256 / 9
        off = []
        for seed in range(12):
            model.case, model.noise = Case("", "rsvp", strips=1), random.Random(seed)
            (wrong,) = read_regions(read_reply(model.chat([]).text).value, (9, 9))
            off.append(wrong.rows != exact.rows or wrong.columns != exact.columns)
            assert abs(wrong.rows[0] - exact.rows[0]) <= 1
            assert abs(wrong.columns[0] - exact.columns[0]) <= 1
        assert any(off)


def test_the_command_measures_a_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision, "_CACHE", tmp_path)
    monkeypatch.setattr(vision, "CASES", (vision.CASES[0], vision.CASES[5], vision.CASES[9]))
    out = tmp_path / "out.json"
    got = CliRunner().invoke(app, ["eval", "vision", "--limit", "1", "-o", str(out)])
    assert got.exit_code == 0, got.output
    given = json.loads(out.read_text())
    (table,) = given["tables"]
    rsvp, box, wrong = table["rows"]
    assert rsvp[0] == "RSVP, true regions"
    assert rsvp[1] > 0.8
    assert rsvp[3] > 0.8
    assert box[1] > 0.85 > wrong[1]
    assert given["objects"] >= 3
    again, _ = evaluate_vision(limit=1)
    assert [list(row) for row in again.rows] == table["rows"]
