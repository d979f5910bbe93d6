"""Small ONNX graphs whose work is counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def save(path: Path, nodes: list[onnx.NodeProto], inputs, outputs, constants=()) -> Path:
    """Write a graph; inputs and outputs are (name, shape) of float32."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(n, FLOAT, s) for n, s in inputs],
        [helper.make_tensor_value_info(n, FLOAT, s) for n, s in outputs],
        [numpy_helper.from_array(a, n) for n, a in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def perceptron(path: Path) -> Path:
    """(rows, 8) times (8, 16), a bias, ReLU; then rows x 4 x 4 by a shape that it computes."""
    source = np.random.default_rng(0)
    weight, bias = source.standard_normal((8, 16), np.float32), np.zeros(16, np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Shape", ["x"], ["s"], start=0, end=1),
        helper.make_node("Concat", ["s", "four"], ["t"], axis=0),
        helper.make_node("Reshape", ["d", "t"], ["e"]),
        helper.make_node("MatMul", ["e", "e"], ["y"]),
    ]
    constants = [("w", weight), ("b", bias), ("four", np.array([4, 4], np.int64))]
    return save(path, nodes, [("x", ["rows", 8])], [("y", ["rows", 4, 4])], constants)
