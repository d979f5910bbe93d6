"""The doctor on devices that are not here: files and answers in the form NVIDIA's tools give."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgetwin.deploy.doctor import examine
from edgetwin.deploy.doctor_check import Check
from edgetwin.deploy.doctor_device import System, device_checks, say
from edgetwin.deploy.doctor_texts import (
    GpuLine,
    cuda_of_driver,
    cuda_toolkit,
    gpus,
    jetpack,
    meminfo,
    power_mode,
)

L4T = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n"
    "# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
)
SMI = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 550.54.15              Driver Version: 550.54.15      CUDA Version: 12.4     |
|-----------------------------------------+------------------------+----------------------+
"""
MEMINFO = """\
MemTotal:        7802660 kB
MemFree:          512000 kB
MemAvailable:     819200 kB
SwapTotal:       3901324 kB
SwapFree:        3901324 kB
HugePages_Total:       0
"""
CUDA_JSON = '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}, "nvcc": {"version": "12.6.68"}}'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "NVIDIA H200, 550.54.15, 143771 MiB, 9.0\nNVIDIA L4, 550.54.15, 23034 MiB, 8.9\n",
            [
                GpuLine("NVIDIA H200", "550.54.15", 143771, "9.0"),
                GpuLine("NVIDIA L4", "550.54.15", 23034, "8.9"),
            ],
        ),
        ("Orin (nvgpu), 540.4.0, [N/A], [N/A]\n", [GpuLine("Orin (nvgpu)", "540.4.0", None, "")]),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", []),
        ("No devices were found\n", []),
        ("", []),
    ],
)
def test_gpus(text: str, found: list[GpuLine]) -> None:
    assert gpus(text) == found


def test_versions() -> None:
    assert cuda_of_driver(SMI) == "12.4"
    assert (
        cuda_of_driver("| NVIDIA-SMI 580.1  KMD Version: 580.1  CUDA UMD Version: 13.0 |") == "13.0"
    )
    assert cuda_of_driver("NVIDIA-SMI has failed") is None
    assert cuda_toolkit(CUDA_JSON) == "12.6.11"
    assert cuda_toolkit('{"cuda": []}') is None
    assert cuda_toolkit("") is None
    assert jetpack("36.4.3") == "6.2"
    assert jetpack("36.4.0") == "6.1"
    assert jetpack("39.2.1") == "7.2"
    assert jetpack("36.4.3", "6.2.1+b38") == "6.2.1"
    assert jetpack("77.1.0") == ""


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("NV Power Mode: MAXN_SUPER\n2\n", "MAXN_SUPER"),
        ("NV Fan Mode:quiet\nNV Power Mode: 15W\n0\n", "15W"),
        ("NVPM ERROR: optMask is 1, no request for power mode\n", None),
    ],
)
def test_power_modes(text: str, mode: str | None) -> None:
    assert power_mode(text) == mode


def test_memory() -> None:
    assert meminfo(MEMINFO)["MemAvailable"] == 800
    assert "HugePages_Total" not in meminfo(MEMINFO)


def made(root: Path, files: dict[str, str], answers: dict[str, str], **more: object) -> System:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    def answer(command: Sequence[str]) -> str:
        line = " ".join(command)
        return next((text for start, text in answers.items() if line.startswith(start)), "")

    values: dict[str, object] = {
        "codecs": lambda: frozenset({"h264", "h264_cuvid", "h264_v4l2m2m"}),
        "providers": lambda: ("CPUExecutionProvider",),
        "library": lambda name: None,
        "module": lambda name: False,
    }
    return System(root, answer, **{**values, **more})


def by_name(system: System) -> dict[str, Check]:
    return {check.name: check for check in device_checks(system)}


def test_an_orin_nano(tmp_path: Path) -> None:
    files = {
        "etc/nv_tegra_release": L4T,
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit\0",
        "proc/meminfo": MEMINFO,
        "usr/local/cuda/version.json": CUDA_JSON,
        "dev/v4l2-nvdec": "",
        "dev/video0": "",
    }
    answers = {
        "nvidia-smi --query-gpu": "Orin (nvgpu), 540.4.0, [N/A], [N/A]\n",
        "nvpmodel -q": "NV Power Mode: 15W\n0\n",
        "dpkg-query -W -f ${Version} libnvinfer10": "10.3.0.30-1+cuda12.5",
        "gst-inspect-1.0 nvv4l2decoder": "Factory Details:\n  Long-name  NVIDIA v4l2 (nvv4l2decoder)",
    }
    found = by_name(made(tmp_path, files, answers))
    assert found["board"].found.endswith("Kit, JetPack 6.2, L4T 36.4.3")
    assert found["GPU"].found == "Orin (nvgpu), driver 540.4.0"
    assert found["CUDA"].found == "toolkit 12.6.11"
    assert "10.3.0.30" in found["TensorRT"].found
    assert "engines BUNDLE --print" in found["TensorRT"].advice
    assert "Python 3.10" in found["ONNX Runtime on the GPU"].advice
    assert "older Python" in found["board"].advice
    assert "/dev/v4l2-nvdec" in found["video in hardware"].found
    assert "nvv4l2decoder" in found["video in hardware"].found
    assert "cameras /dev/video0" in found["video in hardware"].found
    assert found["memory available"].found == "800 MB, swap 3809 of 3809 MB free; the GPU shares it"
    assert "init 3" in found["memory available"].advice
    assert (found["power mode"].state, found["power mode"].found) == ("info", "15W")
    assert "jetson_clocks" in found["power mode"].advice


def test_a_workstation(tmp_path: Path) -> None:
    files = {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64  550.54.15  Tue\n"}
    answers = {
        "nvidia-smi --query-gpu": "NVIDIA L4, 550.54.15, 23034 MiB, 8.9\n",
        "nvidia-smi": SMI,
    }
    system = made(
        tmp_path,
        files,
        answers,
        providers=lambda: ("CUDAExecutionProvider", "CPUExecutionProvider"),
        library=lambda name: "libnvcuvid.so.1" if name == "nvcuvid" else None,
        module=lambda name: True,
    )
    found = by_name(system)
    assert "board" not in found
    assert found["GPU"].found == "NVIDIA L4, 23034 MiB, compute capability 8.9, driver 550.54.15"
    assert found["CUDA"].found == "the driver runs up to 12.4"
    assert "edgetwin engines" in found["TensorRT"].found
    assert found["ONNX Runtime on the GPU"].state == "ok"
    assert "h264_cuvid" in found["video in hardware"].found


def test_a_machine_without_a_gpu_is_told_nothing_of_cuda(tmp_path: Path) -> None:
    found = by_name(made(tmp_path, {"proc/meminfo": MEMINFO}, {}))
    assert set(found) == {"GPU", "video in hardware", "memory available"}
    assert "CPU" in found["GPU"].found
    assert all(check.state != "missing" for check in found.values())


def test_an_old_jetpack_is_told_to_update(tmp_path: Path) -> None:
    old = L4T.replace("R36", "R35").replace("4.3", "4.1")
    found = by_name(made(tmp_path, {"etc/nv_tegra_release": old}, {}))
    assert "JetPack 5.1.2" in found["board"].found
    assert "JetPack 7" in found["board"].advice


def test_a_thor(tmp_path: Path) -> None:
    release = L4T.replace("R36", "R38").replace("4.3", "2.1")
    answers = {"dpkg-query -W -f ${Version} libnvinfer10": "10.13.3.9-1+cuda13.0"}
    found = by_name(made(tmp_path, {"etc/nv_tegra_release": release}, answers))
    assert (found["board"].state, found["board"].found) == (
        "ok",
        "a Jetson, JetPack 7.0, L4T 38.2.1",
    )
    assert "--system-site-packages" in found["TensorRT"].advice
    assert "sbsa/cu130" in found["ONNX Runtime on the GPU"].advice


def test_commands_that_are_missing_fail_or_hang_say_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert say(["no-such-command-here"]) == ""
    assert say([sys.executable, "-c", "print('half'); raise SystemExit(3)"]) == ""
    assert say([sys.executable, "-c", "print('whole')"]) == "whole\n"
    monkeypatch.setattr("edgetwin.deploy.doctor_device._TIMEOUT_S", 0.2)
    start = time.monotonic()
    assert say([sys.executable, "-c", "import time; time.sleep(30)"]) == ""
    assert time.monotonic() - start < 5


def test_the_report_has_the_devices_lines(tmp_path: Path) -> None:
    names = [check.name for check in examine(made(tmp_path, {"etc/nv_tegra_release": L4T}, {}))]
    assert names.index("board") < names.index("onnxruntime")
