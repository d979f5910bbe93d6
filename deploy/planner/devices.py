"""Devices and what their makers publish of them; the machine at hand is measured.

Sources. NVIDIA gives sparse int8 rates of GPU and DLA together; ours are the GPU's alone,
dense, since TensorRT plans of these graphs run there: SMs x 4,096 int8 operations per clock
on Orin (half for fp16, 256 for fp32), checked against the rates that are published.

- jetson-orin-nano: Jetson Orin Nano Super Developer Kit data sheet (December 2024): 67 TOPS
  sparse, 33 dense, 17 TFLOPS fp16, 8 SMs at 1,020 MHz, 8 GB, 102 GB/s, 7 to 25 W.
- jetson-orin-nx: Jetson Orin NX Series data sheet and "NVIDIA JetPack 6.2 Brings Super Mode"
  (NVIDIA developer blog, January 2025): 16 GB, 8 SMs at 1,173 MHz, 102 GB/s, 40 W (157 TOPS
  sparse with the DLAs).
- jetson-agx-orin: Jetson AGX Orin Series technical brief v1.2: 64 GB, 16 SMs at 1,300 MHz,
  170 TOPS sparse on the GPU, 5.3 TFLOPS fp32, 204.8 GB/s, 15 to 60 W.
- jetson-thor: Jetson Thor (T5000) data sheet: 128 GB, 273 GB/s, 2,070 TFLOPS sparse fp4, 40 to
  130 W; dense fp8 is a quarter, fp16 an eighth of it. Int8 is taken to be as fast as fp8, which
  the data sheet does not say.
- Cards: their data sheets, dense rates (H200, H100 SXM, A100 80 GB SXM, L4, T4, RTX 4090).

``token_layer_ms`` is what one layer of a language model costs per token beyond reading its
weights. Thor: Qwen3-0.6B in int4 at 270.2 tokens/s (TensorRT-Edge-LLM's performance page, 0.4.0)
leaves 0.05 ms. Orin: SmolLM2-1.7B in int4 at 64.5 tokens/s (NVIDIA's Orin Nano Super blog, MLC)
leaves 0.18 ms, SmolLM2-135M at 165 tokens/s (smolhub.com, llama.cpp) 0.16 ms. Processors: the
embedded model in ONNX Runtime GenAI, measured.

``host_factor``: how much slower one core runs our own code than the one it was measured on
(:mod:`.predict`); a guess from clocks and width, 2 for Cortex-A78AE, 1.3 for Neoverse V3AE.

Not covered: power modes below the highest, DLAs, several GPUs.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...twin.errors import InputError
from ..machine import cpu_name, ram_mb, usable_cpus

__all__ = ["DEVICES", "Device", "find_device", "measure_cpu"]


@dataclass(frozen=True, slots=True)
class Device:
    """Rates of a device: bytes, operations and watts as published or ``measured``.

    ``fp32_tflops``, ``fp16_tflops`` and ``int8_tops`` are dense; ``shared``: whether GPU and
    CPU use the same memory; ``kernel_us``: what starting one kernel costs.
    """

    name: str
    title: str
    ram_gb: float
    bandwidth_gb_s: float
    fp32_tflops: float
    fp16_tflops: float
    int8_tops: float
    power_w: float | None
    kernel_us: float
    token_layer_ms: float
    host_factor: float
    shared: bool = True
    gpu: bool = True
    measured: bool = False


def _jetson(
    name: str, title: str, ram: float, bandwidth: float, sms: int, mhz: float, watts: float
) -> Device:
    clocks = sms * mhz * 1e6 / 1e12
    return Device(
        name, title, ram, bandwidth, 256 * clocks, 2048 * clocks, 4096 * clocks, watts, 8, 0.16, 2.0
    )


def _card(
    name: str, ram: float, bandwidth: float, fp32: float, fp16: float, int8: float, watts: float
) -> Device:
    return Device(
        name.lower().replace(" ", "-"), f"NVIDIA {name}", ram, bandwidth, fp32, fp16, int8, watts,
        4, 0.03, 1.0, shared=False,
    )  # fmt: skip


DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        _jetson("jetson-orin-nano", "Jetson Orin Nano Super 8 GB", 8, 102, 8, 1020, 25),
        _jetson("jetson-orin-nx", "Jetson Orin NX 16 GB, Super mode", 16, 102.4, 8, 1173, 40),
        _jetson("jetson-agx-orin", "Jetson AGX Orin 64 GB", 64, 204.8, 16, 1300, 60),
        Device(
            "jetson-thor", "Jetson T5000 (Thor) 128 GB", 128, 273, 8.06, 258.75, 517.5, 130,
            5, 0.05, 1.3,
        ),
        _card("H200", 141, 4800, 67, 989, 1979, 700),
        _card("H100", 80, 3350, 67, 989, 1979, 700),
        _card("A100", 80, 2039, 19.5, 312, 624, 400),
        _card("L4", 24, 300, 30.3, 121, 242, 72),
        _card("T4", 16, 320, 8.1, 65, 130, 70),
        _card("RTX 4090", 24, 1008, 82.6, 165, 661, 450),
    )
}  # fmt: skip


def find_device(target: str) -> Device:
    """Return a device by name; ``"cpu"`` measures this machine, ``"cuda"`` looks for its card.

    Raises:
        InputError: if there is none of that name, or no card that is known.
    """
    if target == "cpu":
        return measure_cpu()
    if target == "cuda":
        name = _card_name()
        found = next((d for d in DEVICES.values() if not d.shared and _same(d, name)), None)
        if found is None:
            cards = ", ".join(sorted(d.name for d in DEVICES.values() if not d.shared))
            raise InputError(
                f"expected a card whose rates are known ({cards}), nvidia-smi names "
                f"{name or 'none'}; give --target with one of those names"
            )
        return found
    if target not in DEVICES:
        raise InputError(
            f"expected a target among cpu, cuda, {', '.join(sorted(DEVICES))}, got {target!r}"
        )
    return DEVICES[target]


def measure_cpu(seconds: float = 2.0) -> Device:
    """Measure this machine's processor: matrix products and copies, half of ``seconds`` each.

    The fastest of the repetitions counts: the rate is a bound, as published ones are. Int8 is
    taken to be twice as fast as fp32 where the processor has VNNI or its like, else as fast;
    fp16 runs as fp32.
    """
    flops, moved = _gemm_rate(seconds / 2), _copy_rate(seconds / 2)
    fast = any(flag in _cpu_flags() for flag in ("avx512_vnni", "avx_vnni", "asimddp", "i8mm"))
    rate = flops / 1e12
    cpus = usable_cpus()
    return Device(
        "cpu",
        f"{cpu_name()}, {cpus} CPU{'s' if cpus > 1 else ''}",
        (ram_mb() or 0) / 1024,
        moved / 1e9,
        rate,
        rate,
        rate * (2 if fast else 1),
        None,
        6,
        0.055,
        1.0,
        gpu=False,
        measured=True,
    )


def _gemm_rate(seconds: float) -> float:
    """Return operations per second of fp32 matrix products (768 x 768, on every thread)."""
    side = 768
    a = np.random.default_rng(0).standard_normal((side, side), np.float32)
    b, out = a.T.copy(), np.empty_like(a)
    np.matmul(a, b, out=out)
    return 2.0 * side**3 / _fastest(lambda: np.matmul(a, b, out=out), seconds)


def _copy_rate(seconds: float) -> float:
    """Return bytes per second read and written by copying 64 MiB in one thread."""
    source = np.zeros(64 << 20, np.uint8)
    target = np.ones_like(source)
    return 2.0 * source.nbytes / _fastest(lambda: np.copyto(target, source), seconds)


def _fastest(work: Callable[[], object], seconds: float) -> float:
    end, best = time.perf_counter() + seconds, float("inf")
    while True:
        start = time.perf_counter()
        work()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return best


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(("flags", "Features")):
                    return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    return set()


def _card_name() -> str:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout else ""


def _same(device: Device, name: str) -> bool:
    words = name.upper().replace("-", " ").split()
    return all(word in words for word in device.title.upper().split()[1:])
