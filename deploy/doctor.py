"""What this machine has and lacks: every line says what was found and what to do.

Works without any extra and without weights; nothing here imports torch.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from ..perception.bundle import embedded_dir, load_bundle, models_home
from ..reasoner.bundle import load_bundle as load_reasoner_bundle
from ..twin.errors import EdgeTwinError
from .doctor_check import Check, State
from .doctor_device import System, device_checks
from .machine import cpu_name, ram_mb, usable_cpus, version_of

__all__ = ["EXTRAS", "Check", "examine", "ready"]

MIN_RAM_MB = 1024  # the embedded set peaks below 400 MB; the rest is the system's

EXTRAS: dict[str, dict[str, str]] = {
    "train": {
        "torch": "torch",
        "transformers": "transformers",
        "trl": "trl",
        "peft": "peft",
        "accelerate": "accelerate",
        "mujoco": "mujoco",
        "safetensors": "safetensors",
        "tokenizers": "tokenizers",
        "onnx": "onnx",
        "onnxscript": "onnxscript",
        "pyyaml": "yaml",
        "datasets": "datasets",
        "tensorboard": "tensorboard",
    },
    "ray": {"ray": "ray"},
    "track": {"trackio": "trackio", "wandb": "wandb"},
    "vllm": {"vllm": "vllm"},
    "export": {
        "torch": "torch",
        "transformers": "transformers",
        "onnx": "onnx",
        "onnxscript": "onnxscript",
        "safetensors": "safetensors",
        "gguf": "gguf",
    },
    "sim": {"mujoco": "mujoco"},
    "llama": {"llama-cpp-python": "llama_cpp"},
    "remote": {"httpx2": "httpx2", "websockets": "websockets"},
    "serve": {
        "fastapi": "fastapi",
        "uvicorn": "uvicorn",
        "websockets": "websockets",
        "prometheus-client": "prometheus_client",
    },
    "webrtc": {"aiortc": "aiortc"},
    "mcp": {"mcp": "mcp"},
    "tensorrt": {"tensorrt": "tensorrt", "cuda-python": "cuda"},
    "viz": {"matplotlib": "matplotlib", "supervision": "supervision"},
}
"""Extra -> {distribution: module}; a test holds it to ``pyproject.toml``."""


def ready(checks: list[Check]) -> bool:
    """Whether this machine can run the embedded set."""
    return all(check.state != "missing" for check in checks)


def examine(system: System | None = None) -> list[Check]:
    """Look at the machine, the device, the packages, the model sets and the extras."""
    return [*_machine(), *device_checks(system), *_packages(), *_model_sets(), *_extras()]


def _machine() -> Iterator[Check]:
    version = platform.python_version()
    state: State = "ok" if sys.version_info >= (3, 11) else "missing"
    yield Check("python", state, version, "" if state == "ok" else "install Python 3.11 or newer")
    yield Check("system", "info", platform.platform())
    yield Check("machine", "info", f"{cpu_name()}, {usable_cpus()} CPUs, {platform.machine()}")
    ram = ram_mb()
    if ram is not None:
        small = ram < MIN_RAM_MB
        advice = f"close other programs: {MIN_RAM_MB} MB are wanted" if small else ""
        yield Check("memory", "info" if small else "ok", f"{ram} MB", advice)


def _packages() -> Iterator[Check]:
    yield _probe("onnxruntime", _onnxruntime, "pip install onnxruntime")
    yield _probe("onnxruntime-genai", _genai, "pip install onnxruntime-genai")
    yield _probe("llguidance", _llguidance, "pip install llguidance")
    yield _probe("PyAV", _av, "pip install av")
    yield _probe("OpenCV", _cv2, "pip install opencv-python-headless")


def _probe(name: str, look: Callable[[], str], advice: str) -> Check:
    try:
        return Check(name, "ok", look())
    except (ImportError, OSError, AttributeError) as error:
        return Check(name, "missing", " ".join(str(error).split())[:160], advice)


def _onnxruntime() -> str:
    import onnxruntime

    runtime: Any = onnxruntime  # its typing exports nothing
    return f"{runtime.__version__}, {', '.join(runtime.get_available_providers())}"


def _genai() -> str:
    import onnxruntime_genai

    runtime: Any = onnxruntime_genai
    return f"{runtime.__version__}{', CUDA' if runtime.is_cuda_available() else ''}"


def _llguidance() -> str:
    import llguidance  # noqa: F401  it is there if it loads

    return version_of("llguidance") or "there"


def _av() -> str:
    import av

    readable = [n for n in ("h264", "hevc", "vp9", "av1", "mjpeg") if n in av.codecs_available]
    writable = "libx264" if "libx264" in av.codecs_available else "mpeg4 (no libx264)"
    return f"{av.__version__}, reads {' '.join(readable)}, writes {writable}"


def _cv2() -> str:
    import cv2

    return str(cv2.__version__)


def _model_sets() -> Iterator[Check]:
    try:
        bundle = load_bundle("embedded")
        bundle.verify()
        networks = ", ".join(sorted(bundle.manifest.networks)) or "no network"
        yield Check("perception, embedded", "ok", f"{networks}; hashes agree")
        words = bundle.words
        yield Check(
            "words, embedded",
            "info",
            f"{len(words.nouns)} nouns: {', '.join(words.nouns)}; "
            f"{len(words.colors)} colours: {', '.join(words.colors)}",
            "other words get a warning: the set knows the simulated tabletop",
        )
    except EdgeTwinError as error:
        advice = f"reinstall edgetwin, or put the files into {embedded_dir()}"
        yield Check("perception, embedded", "missing", str(error), advice)
    yield _reasoner_set()
    for name in ("edge", "server"):
        folder = models_home() / name
        have = (folder / "manifest.json").is_file()
        found = f"at {folder}" if have else "not installed"
        yield Check(
            f"models, {name}", "ok" if have else "info", found, "" if have else f"goes to {folder}"
        )


def _reasoner_set() -> Check:
    try:
        bundle = load_reasoner_bundle("embedded")
    except EdgeTwinError as error:
        return Check("reasoner, embedded", "missing", str(error), "reinstall edgetwin")
    return Check("reasoner, embedded", "ok", f"{bundle.name}; hashes agree")


def _extras() -> Iterator[Check]:
    for extra, packages in EXTRAS.items():
        lacking = [name for name, module in packages.items() if find_spec(module) is None]
        if lacking:
            found = f"not installed: {', '.join(lacking)}"
            yield Check(f"extra [{extra}]", "info", found, f"pip install 'edgetwin[{extra}]'")
        else:
            shown = [f"{n} {version_of(n)}" for n in packages if n in ("torch", "mujoco")]
            yield Check(f"extra [{extra}]", "ok", ", ".join(shown) or "installed")
