"""Engines: ONNX Runtime on a network made by hand, torch on the same one, and their errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgetwin.perception.engines import (
    Engine,
    OnnxRuntimeEngine,
    Port,
    TorchEngine,
    available_devices,
    open_engine,
)
from edgetwin.twin.errors import InputError, ModelError

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """y = relu(x @ w + b) with w = [[1, -1], [2, 0]], b = [0.5, 0.25]; total = sum of x."""
    from onnx import TensorProto, helper, numpy_helper

    w = numpy_helper.from_array(np.array([[1, -1], [2, 0]], np.float32), "w")
    b = numpy_helper.from_array(np.array([0.5, 0.25], np.float32), "b")
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["z"]),
            helper.make_node("Relu", ["z"], ["y"]),
            helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("total", TensorProto.FLOAT, []),
        ],
        [w, b],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    path = tmp_path_factory.mktemp("net") / "tiny.onnx"
    onnx.save(model, str(path))
    return path


X = np.array([[1, 2], [-3, 0.5]], np.float32)
Y = np.array([[5.5, 0.0], [0.0, 3.25]], np.float32)


def test_ports_and_values_by_hand(network: Path) -> None:
    engine = open_engine(network, device="cpu", threads=1)
    assert isinstance(engine, Engine)
    assert engine.inputs == (Port("x", ("n", 2), "float32"),)
    assert [port.name for port in engine.outputs] == ["y", "total"]
    assert engine.device == "cpu"
    out = engine.run({"x": X})
    np.testing.assert_allclose(out["y"], Y)
    assert float(out["total"]) == pytest.approx(0.5)
    assert engine.run({"x": X[:1]})["y"].shape == (1, 2)


def test_torch_engine_agrees(network: Path) -> None:
    torch = pytest.importorskip("torch")

    class Tiny(torch.nn.Module):
        def forward(self, x):
            w = torch.tensor([[1.0, -1.0], [2.0, 0.0]])
            return torch.relu(x @ w + torch.tensor([0.5, 0.25])), x.sum()

    reference = open_engine(network, device="cpu", threads=1)
    engine = TorchEngine(Tiny(), reference.inputs, reference.outputs)
    assert isinstance(engine, Engine)
    rng = np.random.default_rng(0)
    for n in (1, 5):
        x = rng.normal(size=(n, 2)).astype(np.float32)
        want, got = reference.run({"x": x}), engine.run({"x": x})
        assert set(want) == set(got)
        for name in want:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-5)
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        engine.run({"x": X})


def test_torch_engine_on_tensors_and_in_half_precision(network: Path) -> None:
    torch = pytest.importorskip("torch")

    class Picture(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv = torch.nn.Conv2d(3, 8, 3)
            self.layouts = []

        def forward(self, x):
            self.layouts.append(x.is_contiguous(memory_format=torch.channels_last))
            return self.conv(x)

    module = Picture()
    ports = [Port("x", (1, 3, 8, 8), "float32")], [Port("y", (1, 8, 6, 6), "float32")]
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    want = TorchEngine(module, *ports).run({"x": x})["y"]
    laid_out = TorchEngine(module, *ports, channels_last=True)
    np.testing.assert_allclose(laid_out.run({"x": x})["y"], want, atol=1e-5)
    assert module.layouts == [False, True]
    half = TorchEngine(module, *ports, autocast="bfloat16")
    got = half.run({"x": x})["y"]
    assert got.dtype == np.float32
    assert 0 < np.abs(got - want).max() < 0.05
    kept = half.run_tensors({"x": torch.from_numpy(x)})["y"]
    assert kept.dtype == torch.bfloat16
    np.testing.assert_array_equal(kept.float().numpy(), got)
    with pytest.raises(InputError, match=r"expected inputs \['x'\], got \['z'\]"):
        half.run_tensors({"z": kept})
    with pytest.raises(InputError, match="got 'int8'"):
        TorchEngine(module, *ports, autocast="int8")
    half.close()
    with pytest.raises(ModelError, match="closed"):
        half.run_tensors({"x": kept})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"expected inputs \['x'\], got \[\]"),
        ({"x": X, "extra": X}, "'extra'"),
        ({"x": X.astype(np.float64)}, "'x' as float32, got float64"),
        ({"x": np.zeros((2, 3), np.float32)}, r"shape \('n', 2\), got \(2, 3\)"),
        ({"x": np.zeros(2, np.float32)}, r"got \(2,\)"),
    ],
)
def test_inputs_that_do_not_fit(network: Path, inputs: dict, message: str) -> None:
    engine = open_engine(network, device="cpu")
    with pytest.raises(InputError, match=r"tiny\.onnx.*" + message):
        engine.run(inputs)


def test_files_that_are_no_network(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="got no such file"):
        open_engine(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not a network at all")
    with pytest.raises(ModelError, match=r"can open at .*bad\.onnx"):
        open_engine(tmp_path / "bad.onnx")
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"ending in \.onnx, .*got weights\.bin"):
        open_engine(tmp_path / "weights.bin")


def test_devices(network: Path) -> None:
    assert "cpu" in available_devices()
    with pytest.raises(InputError, match="got 'quantum'"):
        OnnxRuntimeEngine(network, device="quantum")
    for device in {"cuda", "tensorrt"} - set(available_devices()):
        with pytest.raises(ModelError, match="onnxruntime-gpu"):
            OnnxRuntimeEngine(network, device=device)


def test_closed_engine_says_so(network: Path) -> None:
    engine = open_engine(network, device="cpu")
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        engine.run({"x": X})


def test_perception_never_imports_torch() -> None:
    code = (
        "import sys, edgetwin.perception.perceiver, edgetwin.perception.engines; "
        "bad = {'torch', 'transformers', 'mujoco', 'scipy'} & set(sys.modules); "
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_networks_with_free_sizes_give_memory_back() -> None:
    code = """
import numpy as np
from edgetwin.perception.bundle import embedded_dir
from edgetwin.perception.engines import open_engine

def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6

source = np.random.default_rng(0)
engine = open_engine(
    embedded_dir() / "segmenter_memory_attention.onnx", device="cpu", threads=1
)
before, seen = resident_mb(), []
for run in range(24):
    n, m = int(source.integers(1, 7)), int(source.integers(1, 8))
    sizes = {"objects": n, "memories": m, "pointers": 2 * m}
    shapes = {p.name: [sizes.get(d, d) for d in p.shape] for p in engine.inputs}
    engine.run({p.name: np.zeros(shapes[p.name], p.dtype) for p in engine.inputs})
    seen.append(resident_mb() - before)
print(max(seen[12:]))
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("reads /proc")
    # The C library, which may keep up to 64 MB of what it gets back, is told not to.
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "1000000"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 20
