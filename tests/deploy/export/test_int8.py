"""int8's ranges: those of ONNX Runtime's own calibrator, of quantised tensors alone, in little memory."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetwin.deploy.export.graphs import simplify
from edgetwin.deploy.export.int8 import products, quantise, ranges
from edgetwin.perception.bundle import embedded_dir
from edgetwin.perception.engines import OnnxRuntimeEngine
from edgetwin.perception.engines.tensorrt_operators import unsupported
from edgetwin.twin.errors import ModelError

HEADS, WIDE = 4, 16


def attention(path: Path, layers: int) -> Path:
    """Layers of attention with residual sums over a free number of tokens."""
    rng = np.random.default_rng(0)
    width = HEADS * WIDE
    held = [
        numpy_helper.from_array(np.array([0, 0, HEADS, WIDE], np.int64), "split"),
        numpy_helper.from_array(np.array([0, 0, width], np.int64), "join"),
    ]
    nodes, x = [], "x"
    for k in range(layers):
        for part in "qkvo":
            weights = rng.normal(0, 0.1, (width, width)).astype(np.float32)
            held.append(numpy_helper.from_array(weights, f"{part}_weights{k}"))
        for part in "qkv":
            perm = [0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]
            nodes += [
                helper.make_node(
                    "MatMul", [x, f"{part}_weights{k}"], [f"{part}{k}"], f"{part}_product{k}"
                ),
                helper.make_node("Reshape", [f"{part}{k}", "split"], [f"{part}_split{k}"]),
                helper.make_node("Transpose", [f"{part}_split{k}"], [f"{part}_t{k}"], perm=perm),
            ]
        nodes += [
            helper.make_node(
                "MatMul", [f"q_t{k}", f"k_t{k}"], [f"scores{k}"], f"scores_product{k}"
            ),
            helper.make_node("Softmax", [f"scores{k}"], [f"shares{k}"], axis=-1),
            helper.make_node("MatMul", [f"shares{k}", f"v_t{k}"], [f"mixed{k}"], f"mixing{k}"),
            helper.make_node("Transpose", [f"mixed{k}"], [f"mixed_t{k}"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"mixed_t{k}", "join"], [f"joined{k}"]),
            helper.make_node("MatMul", [f"joined{k}", f"o_weights{k}"], [f"o{k}"], f"o_product{k}"),
            helper.make_node("Add", [f"o{k}", x], [f"h{k}"]),
        ]
        x = f"h{k}"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "tokens", width])]
    outputs = [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, "tokens", width])]
    made = helper.make_graph(nodes, "g", inputs, outputs, held)
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=10), str(path))
    return path


def tokens(count: int, *seeds: int) -> list[dict[str, np.ndarray]]:
    shape = (1, count, HEADS * WIDE)
    return [{"x": np.random.default_rng(k).normal(0, 1, shape).astype(np.float32)} for k in seeds]


class Reader:
    """What ONNX Runtime's calibrators read from."""

    def __init__(self, feeds: list[dict[str, np.ndarray]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def calibrated(graph: Path, feeds: list[dict[str, np.ndarray]]) -> dict[str, tuple[float, float]]:
    """ONNX Runtime's ranges of everything that a product reads or writes."""
    from onnxruntime import quantization as tools

    calibrator = tools.create_calibrator(
        str(graph),
        ["Conv", "MatMul", "Gemm"],
        augmented_model_path=str(graph.with_name("augmented.onnx")),
    )
    calibrator.collect_data(Reader(feeds))
    return {
        name: (float(np.min(one.lowest)), float(np.max(one.highest)))
        for name, one in calibrator.compute_data().items()
    }


def test_ranges_are_those_of_onnx_runtimes_calibrator(tmp_path: Path) -> None:
    graph, feeds = attention(tmp_path / "g.onnx", 3), tokens(20, 1, 2, 3)
    theirs = calibrated(graph, feeds)
    assert "scores1" in theirs
    ours = ranges(graph, theirs, feeds)
    assert {name: (float(a), float(b)) for name, (a, b) in ours.items()} == theirs


def test_only_quantised_tensors_are_measured(tmp_path: Path) -> None:
    """Layer 0's have no product before them; every o reaches the end through sums alone."""
    graph = attention(tmp_path / "g.onnx", 3)
    wanted = products(graph)
    assert wanted == {"h0", "q1", "k1", "v1", "h1", "q2", "k2", "v2"}
    assert set(ranges(graph, wanted, tokens(9, 1))) == wanted
    made = tmp_path / "int8.onnx"
    quantise(graph, made, tokens(9, 1))
    nodes = onnx.load(str(made)).graph.node
    quantised = {node.input[0] for node in nodes if node.op_type == "QuantizeLinear"}
    assert quantised == wanted


@pytest.mark.parametrize("name", ["segmenter_memory_attention", "detector_text"])
def test_the_same_file_as_onnx_runtimes_static_quantisation(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An embedded graph, with the options that :mod:`edgetwin.deploy.export.int8` gives."""
    from onnxruntime import quantization as tools

    graph, theirs, ours = (tmp_path / f"{part}.onnx" for part in ("plain", "theirs", "ours"))
    simplify(embedded_dir() / f"{name}.onnx", graph)
    feeds = [random_inputs(graph, seed) for seed in (1, 2)]
    quantised = products(graph)
    nodes = onnx.load(str(graph)).graph.node
    floats = [
        node.name
        for node in nodes
        if node.op_type in ("Conv", "MatMul", "Gemm") and not set(node.output) <= quantised
    ]
    with caplog.at_level(logging.CRITICAL):
        tools.quantize_static(
            str(graph),
            str(theirs),
            Reader(feeds),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            nodes_to_exclude=floats,
            per_channel=True,
            activation_type=tools.QuantType.QInt8,
            weight_type=tools.QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
            },
        )
    quantise(graph, ours, feeds)
    assert ours.read_bytes() == theirs.read_bytes()
    assert unsupported(ours, largest_opset=20) == []


def random_inputs(graph: Path, seed: int) -> dict[str, np.ndarray]:
    source = np.random.default_rng(seed)
    engine = OnnxRuntimeEngine(graph, device="cpu", threads=1)
    arrays: dict[str, Any] = {}
    for port in engine.inputs:
        shape = [n if isinstance(n, int) else 4 for n in port.shape]
        whole = port.dtype.startswith("int")
        array = source.integers(0, 4, shape) if whole else source.normal(size=shape)
        arrays[port.name] = array.astype(port.dtype)
    return arrays


_MEASURE = """
import re, sys
from pathlib import Path
import numpy as np, onnx, onnxruntime
from edgetwin.deploy.export.int8 import products, ranges
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
graph, count = Path(sys.argv[1]), int(sys.argv[2])
names = products(graph) | {f"{kind}{k}" for kind in ("scores", "shares") for k in range(8)}
feed = {"x": np.zeros((1, count, 64), np.float32)}
ranges(graph, names, [{"x": feed["x"][:, :4]}])  # everything that is loaded at first use
before = peak()
ranges(graph, names, [feed] * 3)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_that_of_one_layer(tmp_path: Path) -> None:
    """Eight layers whose scores take 64 MB each: all of them and their Softmax are 1 GB.

    They are measured, too, which quantising never asks for: each is gone before the next.
    """
    graph, count = attention(tmp_path / "g.onnx", 8), 2048
    scores_mb = HEADS * count * count * 4 / 2**20
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(graph), str(count)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) < 3 * scores_mb + 32


def test_inputs_of_another_graph_are_refused(tmp_path: Path) -> None:
    graph = attention(tmp_path / "g.onnx", 2)
    with pytest.raises(ModelError, match=r"inputs that g\.onnx runs on"):
        ranges(graph, {"joined0"}, [{"y": np.zeros((1, 4, 64), np.float32)}])
    assert ranges(graph, set(), []) == {}
