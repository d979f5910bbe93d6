"""CUDA graphs: recorded for shapes that come back, bounded, given back, and done without.

TensorRT and CUDA are packages that keep their rules on the host's memory (tensorrt_running.py).
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetwin.perception.engines import TensorRtEngine, open_engine
from edgetwin.twin.errors import InputError, ModelError

from .tensorrt_running import RunningDevice


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningDevice]:
    made = RunningDevice(tmp_path / "packages", monkeypatch)
    yield made
    made.forget()


@pytest.fixture
def cuda(device: RunningDevice) -> Any:
    return importlib.import_module("cuda.bindings.runtime")


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    file = tmp_path / "x.engine"
    file.write_bytes(b"plan")
    return file


def doubled(engine: TensorRtEngine, rows: int, seed: int) -> bool:
    x = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    return np.array_equal(engine.run({"x": x})["y"], x * 2)


def test_shapes_that_come_back_are_launched_as_a_graph(cuda: Any, plan: Path) -> None:
    engine = TensorRtEngine(plan, cuda_graphs=True)
    launches = []
    for seed, rows in enumerate((4, 4, 4, 20, 4, 20, 20)):
        before = cuda.calls.count("cudaGraphLaunch")
        assert doubled(engine, rows, seed)
        launches.append(cuda.calls.count("cudaGraphLaunch") - before)
    assert launches == [0, 1, 1, 0, 1, 1, 1]  # the first run of each is plain
    assert cuda.calls.count("cudaStreamBeginCapture") == len(cuda.graphs) == 2
    engine.close()
    assert not cuda.graphs
    assert not cuda.memory


def test_without_the_switch_nothing_is_recorded(cuda: Any, plan: Path) -> None:
    engine = TensorRtEngine(plan)
    assert all(doubled(engine, 4, seed) for seed in range(3))
    assert "cudaStreamBeginCapture" not in cuda.calls
    assert len(importlib.import_module("tensorrt").contexts) == 1
    engine.close()
    assert not cuda.memory


def test_contexts_share_one_memory(cuda: Any, plan: Path) -> None:
    engine = TensorRtEngine(plan, cuda_graphs=True)
    assert all(doubled(engine, rows, rows) for rows in (1, 1, 2, 2, 9, 9))
    contexts = importlib.import_module("tensorrt").contexts
    assert len(contexts) == 4
    assert len({context.block for context in contexts}) == 1
    engine.close()


def test_graphs_are_bounded(cuda: Any, plan: Path) -> None:
    """Every number of rows that the plan takes, each twice; the first ones come back last."""
    engine = TensorRtEngine(plan, cuda_graphs=True)
    for rows in (*range(1, 33), 1, 2):
        assert doubled(engine, rows, rows)
        assert doubled(engine, rows, rows + 100)
        assert len(cuda.graphs) <= 16
    assert len(cuda.graphs) == 16
    engine.close()
    assert not cuda.graphs


def test_a_refused_recording_is_one_warning_and_plain_launches(cuda: Any, plan: Path) -> None:
    engine = TensorRtEngine(plan, cuda_graphs=True)
    assert doubled(engine, 4, 0)
    assert doubled(engine, 4, 1)
    assert doubled(engine, 5, 2)
    cuda.refuses = True
    with pytest.warns(RuntimeWarning, match=r"x\.engine: runs without CUDA graphs.*901"):
        assert doubled(engine, 5, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(doubled(engine, rows, rows) for rows in (4, 5, 5, 9, 9))
    assert not cuda.graphs
    engine.close()
    assert not cuda.memory


def test_inputs_read_on_the_host_are_not_recorded(cuda: Any, plan: Path) -> None:
    importlib.import_module("tensorrt").on_host = True
    engine = TensorRtEngine(plan, cuda_graphs=True)
    assert doubled(engine, 4, 0)
    with pytest.warns(RuntimeWarning, match="'x' read on the host"):
        assert doubled(engine, 4, 1)
    assert "cudaStreamBeginCapture" not in cuda.calls
    engine.close()


def test_inputs_outside_the_profiles_are_refused_with_graphs_too(cuda: Any, plan: Path) -> None:
    engine = TensorRtEngine(plan, cuda_graphs=True)
    with pytest.raises(InputError, match="profiles"):
        engine.run({"x": np.zeros((33, 3), np.float32)})
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        engine.run({"x": np.zeros((3, 3), np.float32)})


def test_the_switch_is_for_tensorrts_plans(cuda: Any, plan: Path, tmp_path: Path) -> None:
    engine = open_engine(plan, cuda_graphs=True)
    assert isinstance(engine, TensorRtEngine)
    assert all(doubled(engine, 4, seed) for seed in range(2))
    assert cuda.graphs
    engine.close()
    (tmp_path / "x.onnx").write_bytes(b"network")
    with pytest.raises(InputError, match=r"CUDA graphs.*'cpu'"):
        open_engine(tmp_path / "x.onnx", device="cpu", cuda_graphs=True)
