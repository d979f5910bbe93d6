"""Power: a board's files as they lie there, recorded lines, and sums by hand."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgetwin.deploy import bench_energy
from edgetwin.deploy.bench_energy import (
    EnergyMeter,
    PowerReader,
    find_reader,
    ina3221_reader,
    tegrastats_watts,
)

ORIN = {"VDD_IN": (5000, 1200), "VDD_CPU_GPU_CV": (5000, 400), "VDD_SOC": (5000, 300)}


def board(root: Path, rails: dict[str, tuple[int, int]], name: str = "ina3221") -> Path:
    """Write an hwmon folder as a Jetson's kernel shows it: a sensor, and the chip's rails."""
    other, chip = root / "hwmon0", root / "hwmon1"
    other.mkdir(parents=True)
    (other / "name").write_text("tmp451\n")
    (other / "in1_label").write_text("VDD_IN\n")
    chip.mkdir()
    (chip / "name").write_text(f"{name}\n")
    for number, (rail, (millivolts, milliamperes)) in enumerate(rails.items(), 1):
        (chip / f"in{number}_label").write_text(f"{rail}\n")
        (chip / f"in{number}_input").write_text(f"{millivolts}\n")
        (chip / f"curr{number}_input").write_text(f"{milliamperes}\n")
    (chip / "in7_label").write_text("sum of shunt voltages\n")
    return root


def test_the_whole_modules_rail_is_read(tmp_path: Path) -> None:
    reader = ina3221_reader(board(tmp_path, ORIN))
    assert reader is not None
    assert reader.name == "INA3221 VDD_IN"
    assert reader.watts() == pytest.approx(6.0)
    (tmp_path / "hwmon1" / "curr1_input").write_text("2000\n")
    assert reader.watts() == pytest.approx(10.0)
    (tmp_path / "hwmon1" / "curr1_input").unlink()
    assert reader.watts() is None


def test_rails_are_added_up_where_none_is_the_whole(tmp_path: Path) -> None:
    rails = {name: value for name, value in ORIN.items() if name != "VDD_IN"}
    reader = ina3221_reader(board(tmp_path, rails))
    assert reader is not None
    assert reader.watts() == pytest.approx(3.5)


def test_other_boards_have_no_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ina3221_reader(tmp_path / "none") is None
    assert ina3221_reader(board(tmp_path, ORIN, name="k10temp")) is None
    monkeypatch.setenv("PATH", str(tmp_path))  # neither tegrastats nor nvidia-smi
    assert find_reader(tmp_path) is None


@pytest.mark.parametrize(
    ("line", "watts"),
    [
        (
            "11-21-2026 10:00:00 RAM 2447/7620MB (lfb 2x4MB) SWAP 0/3810MB CPU [2%@1510,off] "
            "EMC_FREQ 0%@2133 GR3D_FREQ 0% cpu@48.5C VDD_IN 4866mW/4800mW VDD_CPU_GPU_CV "
            "560mW/560mW VDD_SOC 1401mW/1401mW",
            4.866,
        ),
        ("RAM 1/2MB POM_5V_IN 2345/2300 POM_5V_GPU 100/100", 2.345),
        ("RAM 2447/7620MB GR3D_FREQ 0%", None),
        ("", None),
    ],
)
def test_lines_of_tegrastats(line: str, watts: float | None) -> None:
    assert tegrastats_watts(line) == watts


def command(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_commands_are_asked_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    command(tmp_path, "nvidia-smi", "echo 71.25")
    reader = find_reader(tmp_path / "no-hwmon")
    assert reader is not None
    assert reader.name.startswith("NVML")
    assert reader.watts() == 71.25
    command(tmp_path, "nvidia-smi", "echo '[N/A]'")
    assert reader.watts() is None
    command(
        tmp_path, "tegrastats", "while :; do echo RAM 1/2MB VDD_IN 5000mW/1mW; sleep 0.05; done"
    )
    reader = find_reader(tmp_path / "no-hwmon")
    assert reader is not None
    assert (reader.name, reader.watts()) == ("tegrastats VDD_IN", 5.0)
    monkeypatch.setattr(bench_energy, "_TIMEOUT_S", 0.3)
    command(tmp_path, "tegrastats", "exec sleep 60")
    start = time.monotonic()
    assert reader.watts() is None
    assert time.monotonic() - start < 10


def test_power_adds_up_to_energy() -> None:
    meter = EnergyMeter(PowerReader("constant", lambda: 4.0), period_s=0.01)
    with meter:
        time.sleep(0.15)
    assert meter.seconds > 0.1
    assert meter.joules == pytest.approx(4.0 * meter.seconds)
    assert meter.mean_w == pytest.approx(4.0)


def test_a_reading_that_fails_is_left_out_and_none_is_no_energy() -> None:
    readings = iter([1.0, None, *[1.0] * 1000])
    with EnergyMeter(PowerReader("flaky", lambda: next(readings)), period_s=0.01) as meter:
        time.sleep(0.1)
    assert meter.joules == pytest.approx(meter.seconds)
    with EnergyMeter(PowerReader("dead", lambda: None), period_s=0.01) as dead:
        time.sleep(0.03)
    assert dead.joules is None
    assert dead.mean_w is None
    with EnergyMeter(None) as nothing:
        pass
    assert nothing.joules is None
