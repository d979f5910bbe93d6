"""Graphs in other number formats: the same function, TensorRT's rules, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetwin.deploy.export.fallback import Bound, choose, ladder, output_errors
from edgetwin.deploy.export.graphs import check, convert, simplify
from edgetwin.perception.engines import open_engine
from edgetwin.perception.engines.tensorrt_operators import unsupported
from edgetwin.twin.errors import InputError, ModelError


def graph(path: Path, *, outlier: float = 1.0, name: str = "y") -> Path:
    """Convolution, product with weights and a bias, product of two activations.

    ``outlier`` scales one channel of the activations before the product with weights, and back
    after it: int8 with one range for all channels then loses the others.
    """
    rng = np.random.default_rng(0)
    scale = np.ones(16, np.float32)
    scale[0] = outlier
    arrays = {
        "kernel": rng.normal(0, 0.3, (16, 3, 3, 3)),
        "offsets": rng.normal(0, 0.3, 16),
        "up": scale,
        "weights": rng.normal(0, 0.3, (16, 16)) / scale[:, None],
        "bias": rng.normal(0, 0.3, 16),
        "unused": rng.normal(0, 1, 1000),
    }
    held = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in arrays.items()]
    held += [numpy_helper.from_array(np.array([0, 16, -1], np.int64), "flat")]
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "offsets"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["c", "flat"], ["r"], "reshape"),
        helper.make_node("Transpose", ["r"], ["t"], "transpose", perm=[0, 2, 1]),
        helper.make_node("Identity", ["t"], ["i"], "idle"),
        helper.make_node("Mul", ["i", "up"], ["u"], "scaled"),
        helper.make_node("MatMul", ["u", "weights"], ["m"], "linear"),
        helper.make_node("Add", ["m", "bias"], ["b"], "biased"),
        helper.make_node("MatMul", ["r", "b"], [name], "attention"),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["objects", 3, 8, 8])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["objects", 16, 16])]
    made = helper.make_graph(nodes, "g", inputs, outputs, held)
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=10), str(path))
    return path


def inputs(*seeds: int) -> list[dict[str, np.ndarray]]:
    return [
        {"x": np.random.default_rng(k).normal(0, 1, (2, 3, 8, 8)).astype(np.float32)} for k in seeds
    ]


def run(path: Path, feed: dict[str, np.ndarray]) -> np.ndarray:
    return open_engine(path, device="cpu", threads=1).run(dict(feed))["y"]


@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-6), ("fp16", 3e-3), ("int8", 0.03)])
def test_the_function_stays(tmp_path: Path, precision: str, error: float) -> None:
    source, target = graph(tmp_path / "g.onnx"), tmp_path / "made" / "g.onnx"
    convert(source, target, precision, inputs(1, 2, 3))
    before, after = (open_engine(path, device="cpu", threads=1) for path in (source, target))
    found = output_errors(before, after, inputs(7, 8))
    assert found.worst <= error
    assert precision == "fp32" or found.worst > 0
    assert [path.name for path in target.parent.iterdir()] == ["g.onnx"]
    assert onnx.load(str(target)).opset_import[0].version == 20
    free = open_engine(target, device="cpu", threads=1).inputs[0].shape
    assert free == ("objects", 3, 8, 8)


def test_int8_is_what_tensorrt_reads(tmp_path: Path) -> None:
    source, target = graph(tmp_path / "g.onnx"), tmp_path / "int8.onnx"
    convert(source, target, "int8", inputs(1, 2))
    assert unsupported(target, largest_opset=20) == []
    made = onnx.load(str(target)).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.initializer}
    quantised = [n for n in made.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zeros = [constants[node.input[2]] for node in quantised]
    assert zeros
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert constants["weights_quantized"].dtype == np.int8
    scales = {n.input[0]: constants[n.input[1]] for n in quantised}
    assert scales["weights_quantized"].shape == (16,)  # one per output channel
    assert scales["kernel_quantized"].shape == (16,)
    assert constants["offsets"].dtype == np.float32
    attention = next(node for node in made.node if node.name == "attention")
    assert not any("Quantize" in name for name in attention.input)


def test_first_and_last_products_stay_floats(tmp_path: Path) -> None:
    """Six products in a row, with a second output after the third."""
    rng = np.random.default_rng(0)
    held = [
        numpy_helper.from_array(rng.normal(0, 0.3, (16, 16)).astype(np.float32), f"w{k}")
        for k in range(6)
    ]
    nodes = [helper.make_node("MatMul", [f"h{k}", f"w{k}"], [f"m{k}"], f"p{k}") for k in range(6)]
    nodes += [helper.make_node("Tanh", [f"m{k}"], [f"h{k + 1}"], f"t{k}") for k in range(6)]
    nodes.sort(key=lambda node: (node.name[1], node.name[0]))
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 16])
        for name in ("h0", "h3", "h6")
    ]
    made = helper.make_graph(nodes, "g", values[:1], values[1:], held)
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=10), tmp_path / "g.onnx")
    feeds = [{"h0": rng.normal(0, 1, (4, 16)).astype(np.float32)}]
    convert(tmp_path / "g.onnx", tmp_path / "t.onnx", "int8", feeds)
    names = {tensor.name for tensor in onnx.load(tmp_path / "t.onnx").graph.initializer}
    quantised = {name[:2] for name in names if name.endswith("_quantized")}
    assert quantised == {"w1", "w3", "w4"}


def test_int8_with_float16_around_it(tmp_path: Path) -> None:
    source, target = graph(tmp_path / "g.onnx"), tmp_path / "int8.onnx"
    found = choose(source, target, "int8", inputs(1, 2, 3), inputs(7, 8), rest="fp16")
    assert found.precision == "int8"
    assert unsupported(target, largest_opset=20) == []
    constants = {
        tensor.name: tensor.data_type for tensor in onnx.load(str(target)).graph.initializer
    }
    assert constants["weights_quantized"] == TensorProto.INT8
    assert constants["offsets"] == constants["bias"] == TensorProto.FLOAT16
    engine = open_engine(target, device="cpu", threads=1)
    assert {port.dtype for port in (*engine.inputs, *engine.outputs)} == {"float32"}


def test_simplification_keeps_the_operators_onnx_has(tmp_path: Path) -> None:
    source, target = graph(tmp_path / "g.onnx"), tmp_path / "s.onnx"
    assert simplify(source, target) >= 1
    made = onnx.load(str(target))
    names = {node.op_type for node in made.graph.node}
    assert "Identity" not in names
    assert {"MatMul", "Conv"} <= names  # nothing became a Gemm between two Reshapes
    assert {node.domain for node in made.graph.node} <= {"", "ai.onnx"}
    assert "unused" not in {tensor.name for tensor in made.graph.initializer}
    assert [entry.domain for entry in made.opset_import] == [""]
    np.testing.assert_allclose(run(target, inputs(4)[0]), run(source, inputs(4)[0]), rtol=1e-5)


def test_what_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    source, target = graph(tmp_path / "g.onnx"), tmp_path / "t.onnx"
    with pytest.raises(InputError, match="calibrate"):
        convert(source, target, "int8")
    with pytest.raises(InputError, match="int4"):
        convert(source, target, "int4")
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        convert(tmp_path / "bad.onnx", target, "fp32")
    broken = onnx.load(str(source))
    broken.graph.node[0].input[0] = "nowhere"
    onnx.save(broken, str(tmp_path / "broken.onnx"))
    with pytest.raises(ModelError, match="valid ONNX graph"):
        check(tmp_path / "broken.onnx")
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        convert(tmp_path / "broken.onnx", target, "fp32")
    assert not target.exists()


def test_a_graph_that_int8_serves_is_int8(tmp_path: Path) -> None:
    source = graph(tmp_path / "g.onnx")
    found = choose(source, tmp_path / "t.onnx", "int8", inputs(1, 2, 3), inputs(7))
    assert (found.precision, found.fell_back, len(found.tried)) == ("int8", None, 1)
    assert found.error is not None
    assert 0 < found.error < 0.05
    assert found.error == found.tried[0].errors.worst


def test_a_graph_that_int8_spoils_falls_back(tmp_path: Path) -> None:
    source, target = graph(tmp_path / "g.onnx", outlier=2000.0), tmp_path / "t.onnx"
    found = choose(source, target, "int8", inputs(1, 2, 3), inputs(7))
    assert (found.wanted, found.precision) == ("int8", "fp16")
    assert found.fell_back is not None
    assert found.fell_back.startswith("int8: error ")
    assert not any(n.op_type == "QuantizeLinear" for n in onnx.load(str(target)).graph.node)
    on_cpu = choose(
        source, target, "int8", inputs(1), inputs(7), steps=ladder("int8", target="cpu")
    )
    assert [one.precision for one in on_cpu.tried] == ["int8", "fp32"]


def test_an_overflow_in_float16_falls_back_to_float32(tmp_path: Path) -> None:
    source = graph(tmp_path / "g.onnx", outlier=1e6)
    found = choose(source, tmp_path / "t.onnx", "fp16", (), inputs(7))
    assert found.precision == "fp32"
    assert found.error is not None
    assert found.error < 1e-3


def test_masks_are_judged_by_their_overlap(tmp_path: Path) -> None:
    source = graph(tmp_path / "g.onnx", name="mask_logits")
    loose, strict = {"int8": Bound(0.05, 0.5)}, {"int8": Bound(0.05, 1.0)}
    target, feeds = tmp_path / "t.onnx", inputs(1, 2, 3)
    kept = choose(source, target, "int8", feeds, inputs(7, 8), bounds=loose)
    assert kept.precision == "int8"
    assert kept.tried[0].errors is not None
    assert 0.9 < (kept.tried[0].errors.mask_iou or 0) < 1
    fallen = choose(source, target, "int8", feeds, inputs(7, 8), bounds=strict)
    assert fallen.precision == "fp16"
    assert "mask IoU" in str(fallen.fell_back)


def test_without_inputs_a_graph_stays_float32(tmp_path: Path) -> None:
    source = graph(tmp_path / "g.onnx")
    found = choose(source, tmp_path / "t.onnx", "int8", (), ())
    assert (found.precision, found.error) == ("fp32", None)
    assert "calibrate" in str(found.fell_back)
    with pytest.raises(InputError, match="fp32"):
        choose(source, tmp_path / "t.onnx", "int8", (), (), steps=("int8",))
    with pytest.raises(InputError, match="int4"):
        ladder("int4")
