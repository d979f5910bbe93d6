"""What of NVIDIA's is on the device: board, JetPack, driver, CUDA, TensorRT, video, power.

Reads files and asks short commands, each with a time limit; a command that is missing, fails or
hangs says nothing and stops nothing. None of it is needed to run on a CPU, so no line here is
ever ``missing``: each says what is there and what to install for more.

Not covered: DLA, several GPUs beyond their names, video of other makers' hardware.
"""

from __future__ import annotations

import ctypes.util
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..perception.engines.driver import driver_version, l4t_release
from .doctor_check import Check
from .doctor_texts import (
    GpuLine,
    cuda_of_driver,
    cuda_toolkit,
    gpus,
    jetpack,
    meminfo,
    power_mode,
)
from .machine import version_of

__all__ = ["System", "device_checks", "say"]

_TIMEOUT_S = 5.0
_MAX_TEXT = 100_000
_LOW_MB = 1024  # the embedded set peaks below 400 MB; the rest is room
_MAXN = ("MAXN", "MAXN_SUPER")
_DECODERS = ("/dev/nvhost-nvdec", "/dev/v4l2-nvdec", "/dev/nvhost-nvdec1")
_QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap")


def say(command: Sequence[str]) -> str:
    """Return what a command prints; empty if it is missing, fails or takes over 5 s."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return "" if done.returncode else done.stdout[:_MAX_TEXT].decode("utf-8", "replace")


def _codecs() -> frozenset[str]:
    import av

    return frozenset(av.codecs_available)


def _providers() -> tuple[str, ...]:
    import onnxruntime

    runtime: Any = onnxruntime  # its typing exports nothing
    return tuple(runtime.get_available_providers())


@dataclass(frozen=True)
class System:
    """Where to look; tests give another root, other answers, other libraries."""

    root: Path = Path("/")
    say: Callable[[Sequence[str]], str] = say
    codecs: Callable[[], frozenset[str]] = _codecs
    providers: Callable[[], Sequence[str]] = _providers
    library: Callable[[str], str | None] = ctypes.util.find_library
    module: Callable[[str], bool] = field(default=lambda name: find_spec(name) is not None)

    def read(self, name: str) -> str:
        """Return a file's text; empty if it cannot be read."""
        try:
            return (self.root / name).read_text(errors="replace")[:_MAX_TEXT].strip("\0\n ")
        except OSError:
            return ""


def device_checks(system: System | None = None) -> Iterator[Check]:
    """Look at the device's hardware and NVIDIA's software, one line each."""
    system = system or System()
    l4t = l4t_release(system.root)
    found = gpus(system.say([*_QUERY, "--format=csv,noheader"]))
    there = bool(found or l4t or driver_version(system.root))
    release = ""
    if l4t:
        package = system.say(["dpkg-query", "-W", "-f", "${Version}", "nvidia-jetpack"])
        release = jetpack(l4t, package)
        yield _jetson(system, l4t, release)
    yield _gpu(system, found, there)
    if there:
        yield _cuda(system)
        yield _tensorrt(system, l4t, release)
        yield _onnxruntime(system, l4t, release)
    yield _video(system)
    yield from _memory(system, jetson=bool(l4t))
    yield from _power(system)


def _jetson(system: System, l4t: str, release: str) -> Check:
    board = system.read("proc/device-tree/model") or "a Jetson"
    advice = ""
    if not release:
        advice = "the package nvidia-jetpack says which: sudo apt install nvidia-jetpack"
    elif _old(release):
        advice = (
            f"JetPack {release.split('.')[0]} has TensorRT and ONNX Runtime for the GPU in an "
            "older Python than EdgeTwin's 3.11: networks run on the CPU; JetPack 7 (Python 3.12, "
            "Orin from 7.2) has both"
        )
    named = f"JetPack {release}" if release else "JetPack unknown"
    return Check("board", "info" if advice else "ok", f"{board}, {named}, L4T {l4t}", advice)


def _gpu(system: System, found: list[GpuLine], there: bool) -> Check:
    if found:
        return Check("GPU", "ok", "; ".join(_gpu_text(gpu) for gpu in found))
    driver = driver_version(system.root)
    if there:
        return Check("GPU", "ok", f"NVIDIA, driver {driver}")
    return Check("GPU", "info", "no NVIDIA driver: networks run on the CPU")


def _gpu_text(gpu: GpuLine) -> str:
    parts = [gpu.name]
    if gpu.memory_mib is not None:
        parts.append(f"{gpu.memory_mib} MiB")
    if gpu.compute:
        parts.append(f"compute capability {gpu.compute}")
    return ", ".join([*parts, f"driver {gpu.driver}"])


def _cuda(system: System) -> Check:
    toolkit = cuda_toolkit(system.read("usr/local/cuda/version.json"))
    newest = cuda_of_driver(system.say(["nvidia-smi"]))
    parts = [f"toolkit {toolkit}"] if toolkit else []
    parts += [f"the driver runs up to {newest}"] if newest else []
    advice = "" if system.module("cuda") else "for plans: pip install 'edgetwin[tensorrt]'"
    if not parts:
        return Check("CUDA", "info", "no toolkit found", advice)
    return Check("CUDA", "ok", ", ".join(parts), advice)


def _old(release: str) -> bool:
    """Whether a JetPack's own packages are for a Python before 3.11 (Ubuntu 20.04 and 22.04)."""
    return bool(release) and int(release.split(".")[0]) < 7


def _tensorrt(system: System, l4t: str, release: str) -> Check:
    if system.module("tensorrt"):
        version = version_of("tensorrt") or "of the system"
        return Check("TensorRT", "ok", f"{version}; plans: edgetwin engines BUNDLE")
    package = system.say(["dpkg-query", "-W", "-f", "${Version}", "libnvinfer10"])
    if package:
        advice = "make the venv with --system-site-packages (sudo apt install python3-libnvinfer)"
        if _old(release):
            advice = "trtexec works: edgetwin engines BUNDLE --print"
        return Check("TensorRT", "info", f"libraries {package}, not for this Python", advice)
    advice = "sudo apt install nvidia-jetpack" if l4t else "pip install 'edgetwin[tensorrt]'"
    return Check("TensorRT", "info", "not installed: networks run in ONNX Runtime", advice)


def _onnxruntime(system: System, l4t: str, release: str) -> Check:
    try:
        there = system.providers()
    except (ImportError, OSError, AttributeError):
        return Check("ONNX Runtime on the GPU", "info", "onnxruntime cannot be loaded")
    fast = [
        name for name in there if name in ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    ]
    if fast:
        return Check("ONNX Runtime on the GPU", "ok", ", ".join(fast))
    advice = "pip uninstall onnxruntime && pip install onnxruntime-gpu"
    if l4t:
        advice += " --extra-index-url https://pypi.jetson-ai-lab.io/sbsa/cu130"
    if _old(release):
        advice = "see the board's line: wheels for this JetPack are for Python 3.10"
    return Check("ONNX Runtime on the GPU", "info", f"only {', '.join(there)}", advice)


def _video(system: System) -> Check:
    """Decoders in hardware that the device and PyAV's FFmpeg both have; ours is in software."""
    try:
        codecs = system.codecs()
    except (ImportError, OSError, AttributeError):
        return Check("video in hardware", "info", "PyAV cannot be loaded")
    found = []
    if system.library("nvcuvid") and "h264_cuvid" in codecs:
        found.append("NVDEC through FFmpeg (h264_cuvid)")
    nodes = [name for name in _DECODERS if (system.root / name.lstrip("/")).exists()]
    if nodes:
        found.append(f"NVDEC of the board ({nodes[0]})")
    if "h264_v4l2m2m" in codecs and any((system.root / "dev").glob("video1[0-9]")):
        found.append("V4L2 memory-to-memory (h264_v4l2m2m)")
    if "nvv4l2decoder" in system.say(["gst-inspect-1.0", "nvv4l2decoder"]):
        found.append("GStreamer nvv4l2decoder")
    cameras = sorted(node.name for node in (system.root / "dev").glob("video?"))
    seen = "; ".join(found) or "none found"
    seen += f"; cameras /dev/{', /dev/'.join(cameras)}" if cameras else ""
    return Check("video in hardware", "info", f"{seen}; EdgeTwin decodes in software (FFmpeg)")


def _memory(system: System, *, jetson: bool) -> Iterator[Check]:
    found = meminfo(system.read("proc/meminfo"))
    free = found.get("MemAvailable")
    if free is None:
        return
    text = f"{free} MB, swap {found.get('SwapFree', 0)} of {found.get('SwapTotal', 0)} MB free"
    text += "; the GPU shares it" if jetson else ""
    advice = f"close other programs: {_LOW_MB} MB are wanted" if free < _LOW_MB else ""
    if free < _LOW_MB and jetson:
        advice += "; without a desktop a Jetson has about 1 GB more: sudo init 3"
    yield Check("memory available", "info" if advice else "ok", text, advice)


def _power(system: System) -> Iterator[Check]:
    mode = power_mode(system.say(["nvpmodel", "-q"]))
    if mode is not None:
        fast = mode in _MAXN
        advice = (
            ""
            if fast
            else "for speed, where power and cooling allow: the board's MAXN mode "
            "(sudo nvpmodel -m ID; IDs are in /etc/nvpmodel.conf), then sudo jetson_clocks"
        )
        yield Check("power mode", "ok" if fast else "info", mode, advice)
    governor = system.read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor:
        yield Check("CPU governor", "info", governor)
