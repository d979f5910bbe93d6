"""Engines: ONNX Runtime on a network made by hand, torch on the same one, and their errors."""

from __future__ import annotations

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
