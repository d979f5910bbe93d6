"""Plans of a bundle: used where they were built, refused elsewhere with the command to rebuild."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgetwin.perception.bundle import Bundle, load_bundle
from edgetwin.perception.engines import bundle_plans, cached_plan, find_plan
from edgetwin.perception.engines.driver import driver_version, l4t_release
from edgetwin.perception.engines.tensorrt import TensorRtEngine
from edgetwin.perception.engines.tensorrt_plan import read_record, record_path
from edgetwin.twin.errors import ModelError

from .tensorrt_standin import Device, device_bundle, standing_in

DEPTH = "depth.onnx"
MODULE = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024
GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)
"""
ORIN_MODULE = """NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (buildbrain@mobile-u64-6336-d8000)
GCC version:  collect2: error: ld returned 1 exit status
"""
L4T = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n"
)


device, unmarked = standing_in, device_bundle


@pytest.fixture
def folder(unmarked: Path) -> Path:
    """Messages name a bundle by its manifest, whatever is in it."""
    (unmarked / "bundle.json").write_text("{}")
    return unmarked


def opened(folder: Path, device: str = "auto") -> Bundle:
    return load_bundle(folder / "perception", device=device, threads=1)


def built(folder: Path) -> Path:
    return cached_plan(folder / "perception" / DEPTH, folder=folder / "plans")


def test_where_plans_are() -> None:
    assert bundle_plans(Path("/b/perception")) == Path("/b/plans")
    assert bundle_plans(Path("/b")) == Path("/b/plans")


@pytest.mark.usefixtures("device")
def test_the_record_binds_the_plan(folder: Path) -> None:
    plan = built(folder)
    record = read_record(plan)
    assert record is not None
    assert (record.tensorrt, record.gpu, record.compute) == ("10.3.0", "Orin", "8.7")
    assert record.driver == "540.4.0"
    assert find_plan(folder / "plans", folder / "perception" / DEPTH) == plan
    assert find_plan(folder / "plans", folder / "perception" / "detector_text.onnx") is None


def test_a_driver_of_its_own_is_a_plan_of_its_own(folder: Path, device: Device) -> None:
    one = built(folder)
    assert built(folder) == one
    device.become(driver="550.54.15")
    assert built(folder) != one


@pytest.mark.parametrize("name", ["auto", "tensorrt"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tensorrt": "10.7.0"}, r"TensorRT 10\.3\.0 \(here: 10\.7\.0\)"),
        ({"gpu": "Thor", "compute": "11.0"}, r"Orin, compute capability 8\.7 \(here: Thor, 11\.0"),
        ({"driver": "550.54.15"}, r"driver 540\.4\.0 \(here: 550\.54\.15\)"),
    ],
)
def test_a_plan_of_elsewhere_is_refused_with_the_command(
    folder: Path, device: Device, name: str, changes: dict[str, str], message: str
) -> None:
    built(folder)
    device.become(**changes)
    with pytest.raises(ModelError, match=rf"{message}.*`edgetwin engines {folder}`"):
        opened(folder, name).engine(DEPTH)


def forge(plan: Path, **changes: str) -> None:
    file = record_path(plan)
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **changes}))


@pytest.mark.usefixtures("device")
def test_a_forged_record_is_refused(folder: Path) -> None:
    plan = built(folder)
    forge(plan, gpu="NVIDIA H100", compute="9.0", driver="")
    with pytest.raises(ModelError, match=r"H100.* and driver not recorded .*edgetwin engines"):
        opened(folder).engine(DEPTH)
    forge(plan, onnx_sha256="0" * 64)
    with pytest.raises(ModelError, match=r"another version of that file.*edgetwin engines"):
        opened(folder).engine(DEPTH)


@pytest.mark.usefixtures("device")
def test_one_changed_byte_of_a_plan_is_refused(folder: Path) -> None:
    plan = built(folder)
    data = bytearray(plan.read_bytes())
    data[-1] ^= 1
    plan.write_bytes(data)
    with pytest.raises(ModelError, match=r"damaged or was changed.*`edgetwin engines"):
        TensorRtEngine(plan)


def test_without_tensorrt_the_bundle_runs_by_itself(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        device = Device(tmp_path / "packages", patch)
        built(folder)
        device.forget()
    engine = opened(folder).engine(DEPTH)
    assert engine.device in ("cpu", "cuda")
    with pytest.raises(ModelError, match=r"pip install 'edgetwin\[tensorrt\]'"):
        opened(folder, "tensorrt").engine(DEPTH)


@pytest.mark.parametrize(
    ("files", "driver"),
    [
        ({"proc/driver/nvidia/version": MODULE}, "550.54.15"),
        ({"proc/driver/nvidia/version": ORIN_MODULE, "etc/nv_tegra_release": L4T}, "540.4.0"),
        ({"sys/module/nvidia/version": "580.65.06\n"}, "580.65.06"),
        ({"etc/nv_tegra_release": L4T}, "L4T 36.4.3"),
        ({"proc/driver/nvidia/version": "garbage"}, ""),
        ({}, ""),
    ],
)
def test_the_driver_is_read_from_files(tmp_path: Path, files: dict[str, str], driver: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert driver_version(tmp_path) == driver
    assert l4t_release(tmp_path) == ("36.4.3" if "etc/nv_tegra_release" in files else "")
