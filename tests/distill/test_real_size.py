"""The speed comparison: equal work on both sides, a table of figures, its script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgetwin.deploy.bench_script import Film, ScriptedParts
from edgetwin.distill.evaluate import real_size
from edgetwin.perception.bundle import load_bundle
from edgetwin.tests.perception import hub_checkpoints as tiny
from edgetwin.twin.errors import InputError


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Tiny networks in place of the published sizes, live in place of exported."""
    found = {role: str(tmp_path / role) for role in tiny.SOURCES}
    for role, write in (("detector", tiny.write_detector), ("segmenter", tiny.write_segmenter),
                        ("depth", tiny.write_depth)):  # fmt: skip
        (tmp_path / role).mkdir()
        write(tmp_path / role)
    monkeypatch.setattr(real_size, "write_checkpoints", lambda *_, **__: found)
    monkeypatch.setattr(real_size, "_exported", lambda live, *_: live)
    return found


def test_the_film_says_which_frame_it_is() -> None:
    film = Film(4)
    for index in (0, 1, 255, 256, 70000):
        frame = film.frame(index)
        assert film.index_of(frame.image_hw3) == index
        boxes = film.boxes(index)
        assert boxes.shape == (4, 4)
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= 640).all()
        assert (boxes[:, 3] <= 360).all()
        assert (boxes[1:, 0] > boxes[:-1, 2]).all()  # objects never touch
    assert np.abs(film.boxes(5) - film.boxes(4)).max() < 10


def test_both_sides_run_and_are_compared(sources: dict[str, str]) -> None:
    speeds, stages = real_size.compare(objects=2, every=3, rounds=1, threads=1)
    assert [str(row[0])[:12] for row in speeds.rows[:2]] == ["transformers"] * 2
    assert len(speeds.rows) == 2 + len(real_size.VARIANTS)
    base = speeds.rows[0]
    assert base[-2:] == (1.0, 1.0)
    for row in speeds.rows:
        assert row[3] == pytest.approx(1000 / row[1], rel=0.6)  # type: ignore[operator]
    by_stage = {row[0]: row[1:] for row in stages.rows}
    assert stages.columns == ("stage", "plain", "session", *real_size.VARIANTS)
    for stage in ("encoder", "detector", "segmenter", "depth", "memory", "prepare"):
        assert stage in by_stage
    memory = dict(zip(real_size.VARIANTS, by_stage["memory"][2:], strict=True))
    assert isinstance(memory["memory"], float)
    assert memory["memory"] > 0
    assert memory["boxes"] is None


def test_each_variant_looks_as_often_as_it_says(sources: dict[str, str]) -> None:
    bundle = load_bundle(sources, device="cpu", threads=1)
    parts = ScriptedParts(bundle, Film(2))
    for variant, looks, memories in (("memory", 3, True), ("boxes", 3, False), ("looks", 9, True)):
        side: Any = real_size._Ours(parts, variant, 4, 2)
        for _ in range(9):
            side.frame()
        counts = side.perceiver.counts
        assert sum(counts.looks.values()) == looks, (variant, counts)
        assert counts.measured == looks
        assert ("memory" in side.perceiver.timings) is memories
        assert side.perceiver.timings["encoder"].runs == 9
        assert {t.id for t in side.perceiver.tracker.visible()} == {1, 2}


@pytest.mark.parametrize(
    "arguments", [{"objects": 0}, {"objects": 9}, {"every": 1}, {"rounds": 0}, {"variants": ("x",)},
                  {"segmenter": "sam3"}]
)  # fmt: skip
def test_arguments_out_of_range(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected"):
        real_size.compare(**arguments, cache=tmp_path)
