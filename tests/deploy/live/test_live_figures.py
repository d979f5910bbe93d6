"""The promises of a hub, in short: ``measure_hub`` has the long figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from .measure_hub import dead, slow


def test_perception_ten_times_too_slow_answers_on_what_is_new(tmp_path: Path) -> None:
    """Accounts exact at every look, frames bounded, half a second of age at most."""
    found = slow(4, tmp_path)
    frames = found["frames"]
    assert frames["read"] > 5 * frames["processed"] > 0
    assert frames["dropped"].keys() == {"queue"}
    assert found["accounts"]["looks"] > 200
    assert found["accounts"]["wrong"] == 0
    assert found["accounts"]["most_in_flight"] <= 3
    assert found["questions"] >= 4
    assert found["age_ms"]["p50"] <= 500


@pytest.mark.parametrize("how", ["silent", "refused"])
def test_a_dead_camera_does_not_slow_the_others(tmp_path: Path, how: str) -> None:
    for attempt in range(3):  # the two halves are seconds apart: a busy machine may slow either
        found = dead(2.0, tmp_path / str(attempt), how, rate=10.0)
        if min(found["kept"]) >= 0.95:
            break
    assert min(found["kept"]) >= 0.95, found
    assert found["dead"]["fourth"]["attempts"] >= 2
    assert found["dead"]["fourth"]["error"]
    assert found["dead"]["accounts"]["wrong"] == 0
