"""Packages ``tensorrt`` and ``cuda`` that stand in for a device: names, calls, no computing.

They let a test go the way of a device (ask for the release and the GPU, build a plan, keep it,
refuse it elsewhere) where there is neither. A "plan" is the hash of the network it was built
from. What a plan computes, only the tests with a GPU can say.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgetwin.perception.bundle import embedded_dir

_TENSORRT = '''
import hashlib

__version__ = "{version}"


class _Any:
    """Takes every call and every attribute."""

    def __getattr__(self, name):
        return _Any()

    def __call__(self, *arguments, **named):
        return _Any()

    def __int__(self):
        return 0


class ILogger:
    class Severity:
        ERROR = 1

    def __init__(self):
        pass


class OnnxParser:
    num_errors = 1

    def __init__(self, network, logger):
        self.network = network

    def parse(self, data, path):
        self.network.append(hashlib.sha256(data).digest())
        return b"REFUSED" not in data

    def get_error(self, index):
        return _Error()


class _Error:
    def node_operator(self):
        return "Strange"

    def node_name(self):
        return "node_7"

    def desc(self):
        return "no importer"


class Builder:
    def __init__(self, logger):
        pass

    def create_network(self, flags):
        return []

    def create_builder_config(self):
        return _Config()

    def create_optimization_profile(self):
        return _Any()

    def build_serialized_network(self, network, config):
        return b"plan of " + network[0]


class _Config(_Any):
    def create_timing_cache(self, known):
        return _Cache()

    def set_timing_cache(self, cache, ignore_mismatch):
        return True


class _Cache:
    def serialize(self):
        return b"timings"


NetworkDefinitionCreationFlag = MemoryPoolType = BuilderFlag = _Any()
Dims = list
'''

_RUNTIME = """
class _Found:
    name = b"{gpu}"
    major, minor = {major}, {minor}


def cudaGetDeviceCount():
    return 0, 1


def cudaGetDevice():
    return 0, 0


def cudaGetDeviceProperties(device):
    return 0, _Found


def cudaStreamCreate():
    return 0, 7


def cudaStreamDestroy(stream):
    return (0,)
"""


class Device:
    """A machine with TensorRT and a GPU, as far as names go; it may be changed on the way."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, monkeypatch
        self.become()
        monkeypatch.syspath_prepend(str(folder))

    def become(
        self,
        *,
        tensorrt: str = "10.3.0",
        gpu: str = "Orin",
        compute: str = "8.7",
        driver: str = "540.4.0",
    ) -> None:
        """Be this machine from now on."""
        major, minor = compute.split(".")
        values = {"gpu": gpu, "major": major, "minor": minor}
        self._write("tensorrt/__init__.py", _TENSORRT.replace("{version}", tensorrt))
        for package in ("cuda/__init__.py", "cuda/bindings/__init__.py"):
            self._write(package, "")
        text = _RUNTIME
        for name, value in values.items():
            text = text.replace("{" + name + "}", value)
        self._write("cuda/bindings/runtime.py", text)
        self.forget()
        self._patch.setattr("edgetwin.perception.engines.cuda.driver_version", lambda: driver)

    def _write(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def forget(self) -> None:
        """Take the packages out of Python's memory, and what it compiled of them."""
        for name in [n for n in sys.modules if n.split(".")[0] in ("tensorrt", "cuda")]:
            del sys.modules[name]
        for compiled in self.folder.rglob("*.pyc"):
            compiled.unlink()
        importlib.invalidate_caches()


@pytest.fixture
def standing_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """A device, as far as names go, for one test."""
    found = Device(tmp_path / "packages", monkeypatch)
    yield found
    found.forget()


@pytest.fixture
def device_bundle(tmp_path: Path) -> Path:
    """The folder of a device bundle with the embedded networks."""
    place = tmp_path / "bundle"
    shutil.copytree(embedded_dir(), place / "perception")
    return place
