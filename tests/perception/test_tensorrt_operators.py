"""Every graph against TensorRT's published operator list; and files that it would not take."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetwin.perception.bundle import embedded_dir
from edgetwin.perception.engines import open_engine
from edgetwin.perception.engines.tensorrt_build import half_precision
from edgetwin.perception.engines.tensorrt_list import OPSETS, SINCE, SUPPORTED, UNSUPPORTED
from edgetwin.perception.engines.tensorrt_operators import unsupported
from edgetwin.twin.errors import ModelError

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

F, INT, B, D = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.DOUBLE
JETPACK_6_OPSET = 20  # TensorRT 10.3
EMBEDDED = sorted(embedded_dir().glob("*.onnx"))
slow = pytest.mark.skipif(not os.environ.get("EDGETWIN_SLOW"), reason="EDGETWIN_SLOW is not set")


def faults(file: Path) -> list[str]:
    return unsupported(file, largest_opset=JETPACK_6_OPSET)


@pytest.mark.parametrize("file", EMBEDDED, ids=lambda f: f.stem)
def test_tensorrt_takes_the_embedded_graphs(file: Path) -> None:
    assert faults(file) == []
    used = {node.op_type for node in onnx.load(str(file)).graph.node}
    assert len(used) > 10
    assert not used & SINCE


@pytest.mark.parametrize("file", EMBEDDED, ids=lambda f: f.stem)
def test_tensorrt_takes_their_half_precision_forms(file: Path, tmp_path: Path) -> None:
    (tmp_path / file.name).write_bytes(half_precision(file))
    assert faults(tmp_path / file.name) == []


def test_the_list_is_whole_and_consistent() -> None:
    assert len(SUPPORTED) == 158
    assert len(UNSUPPORTED) == 42
    assert not SUPPORTED.keys() & UNSUPPORTED
    assert SUPPORTED.keys() > SINCE
    assert SUPPORTED["Add"] == {"FP32", "FP16", "BF16", "INT32", "INT64"}
    assert SUPPORTED["And"] == {"BOOL"}
    assert OPSETS == (9, 24)


def value(name: str, kind: int, shape: list[Any] | None) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def node(operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    return helper.make_node(operator, inputs, outputs, f"n_{outputs[0]}", **attributes)


def constant(name: str, array: Any, dtype: Any = np.int64) -> Any:
    return numpy_helper.from_array(np.array(array, dtype), name)


def model(
    nodes: list[Any],
    inputs: list[Any],
    outputs: list[Any],
    constants: tuple[Any, ...] = (),
    *,
    opset: int = 20,
    **more: Any,
) -> Any:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    opsets = [helper.make_opsetid("", opset), *more.pop("opsets", [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **more)


X, Y = value("x", F, [2, 8]), value("y", F, None)


def one(operator: str, *names: str, y: int = F, x: Any = X, **attributes: Any) -> Callable:
    """A model of one node on ``x`` and the constants and inputs that the names call for."""

    def build(*constants: Any, inputs: tuple[Any, ...] = ()) -> Any:
        nodes = [node(operator, ["x", *names], ["y"], **attributes)]
        return model(nodes, [x, *inputs], [value("y", y, None)], constants)

    return build


def branch(name: str, shape: list[int]) -> Any:
    return helper.make_graph(
        [node("Unique", ["x"], [name], sorted=1)], "b", [], [value(name, F, shape)]
    )


def function_model() -> Any:
    body = [node("Det", ["a"], ["b"])]
    opset = [helper.make_opsetid("", 20)]
    function = helper.make_function("own", "Twice", ["a"], ["b"], body, opset)
    own = [helper.make_opsetid("own", 1)]
    call = helper.make_node("Twice", ["x"], ["y"], "n", domain="own")
    return model([call], [value("x", F, [2, 2])], [Y], functions=[function], opsets=own)


def external_model() -> Any:
    weights = constant("w", [1.0] * 8, np.float32)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="w.bin")
    return one("Add", "w")(weights)


def subgraph_model(shapes: tuple[list[int], list[int]] = ([2], [2])) -> Any:
    both = {"then_branch": branch("a", shapes[0]), "else_branch": branch("b", shapes[1])}
    return model([node("If", ["c"], ["y"], **both)], [X, value("c", B, [])], [Y])


PICTURE = value("x", F, [1, 2, 8, 8])
to_float = node("Cast", ["e"], ["y"], to=F)
total = node("ReduceSum", ["x", "a"], ["y"])
axis_of = node("Unsqueeze", ["z", "zero"], ["a"])
BAD: dict[str, tuple[Any, str]] = {
    "named as unsupported": (one("Det", x=value("x", F, [2, 2]))(), "named as unsupported"),
    "missing": (one("Swish")(), "missing in the operator list"),
    "domain": (
        model(
            [helper.make_node("FusedGelu", ["x"], ["y"], "n", domain="com.microsoft")],
            [X], [Y], opsets=[helper.make_opsetid("com.microsoft", 1)],
        ),
        "domain 'com.microsoft'",
    ),
    "in a subgraph": (subgraph_model(), r"n_y \(If\) > n_a \(Unique\): named as unsupported"),
    "branches of two ranks": (subgraph_model(([2], [2, 1])), "one rank, got 1 and 2"),
    "in a function": (function_model(), r"\(Det\): named as unsupported"),
    "opset too new": (
        model([node("Relu", ["x"], ["y"])], [X], [Y], opset=21), "opset 21: .* 9 to 20",
    ),
    "opset too old": (model([node("Relu", ["x"], ["y"])], [X], [Y], opset=8), "opset 8: "),
    "float64 input": (one("Relu", x=value("x", D, [2]), y=D)(), r"x \(input or output\).*FP64"),
    "float64 weights": (
        model(
            [node("Cast", ["w"], ["v"], to=F), node("Add", ["x", "v"], ["y"])],
            [X], [Y], (constant("w", [1.0] * 8, np.float64),),
        ),
        r"w \(initializer\): its type is FP64",
    ),
    "float64 inside": (
        model(
            [node("Cast", ["x"], ["d"], to=D), node("Sqrt", ["d"], ["e"]), to_float],
            [X], [Y],
        ),
        "input 'd' is FP64, the list gives BF16 FP16 FP32",
    ),
    "type not in the row": (
        one("Clip", "low", x=value("x", INT, [2]), y=INT)(constant("low", 0)),
        r"\(Clip\): input 'x' is INT64",
    ),
    "text": (one("Identity", x=value("x", TensorProto.STRING, [2]))(), "input or output"),
    "uint8 arithmetic": (
        one("Relu", x=value("x", TensorProto.UINT8, [2]), y=TensorProto.UINT8)(), "is UINT8",
    ),
    "free dimension": (
        one("Relu", x=value("x", F, ["batch", 3]))(), "no profile covers .* dimension 0 'batch'",
    ),
    "free dimension of no name": (one("Relu", x=value("x", F, [None, 3]))(), "without a name"),
    "free rank": (one("Relu", x=value("x", F, None))(), "number of dimensions is free"),
    "zero dimension": (one("Relu", x=value("x", F, [0, 3]))(), "dimension 0 is 0"),
    "empty tensor": (
        one("Concat", "w", axis=0)(constant("w", np.zeros((0, 8)), np.float32)), "an empty tensor",
    ),
    "external data": (external_model(), r"w \(initializer\): its values lie in another file"),
    "NonZero": (one("NonZero", y=INT)(), "size of its output depends on data"),
    "NonMaxSuppression": (
        one("NonMaxSuppression", "s", x=value("x", F, [1, 9, 4]), y=INT)(
            inputs=(value("s", F, [1, 1, 9]),)
        ),
        "size of its output depends on data",
    ),
    "Reshape to values": (
        one("Reshape", "s")(inputs=(value("s", INT, [2]),)), "depends on the values of 's'",
    ),
    "Range to a sum": (
        model(
            [node("ReduceSum", ["i"], ["n"], keepdims=0), node("Range", ["a", "n", "b"], ["y"])],
            [value("i", INT, [4])], [value("y", INT, None)], (constant("a", 0), constant("b", 1)),
        ),
        r"\(Range\): .* values of 'n'",
    ),
    "TopK of an input": (
        model(
            [node("TopK", ["x", "k"], ["y", "i"])], [X, value("k", INT, [1])],
            [Y, value("i", INT, None)],
        ),
        "values of 'k'",
    ),
    "TopK too large": (
        model(
            [node("TopK", ["x", "k"], ["y", "i"])], [value("x", F, [1, 9000])],
            [Y, value("i", INT, None)], (constant("k", [3840]),),
        ),
        "less than 3840, got 3840",
    ),
    "TopK unsorted": (
        model(
            [node("TopK", ["x", "k"], ["y", "i"], sorted=0)], [X], [Y, value("i", INT, None)],
            (constant("k", [1]),),
        ),
        "sorted must be 1",
    ),
    "computed axes": (
        model(
            [node("Size", ["x"], ["s"]), node("Sub", ["s", "s"], ["z"]), axis_of, total],
            [X], [Y], (constant("zero", [0]),),
        ),
        "axes must be constant, got 'a'",
    ),
    "Resize cubic": (
        one("Resize", "", "s", x=PICTURE, mode="cubic")(constant("s", [1, 1, 2, 2], np.float32)),
        "mode must be one of nearest, linear, got cubic",
    ),
    "Resize crops": (
        one(
            "Resize", "r", "s", x=PICTURE, mode="linear",
            coordinate_transformation_mode="tf_crop_and_resize",
        )(constant("r", [0] * 4 + [1] * 4, np.float32), constant("s", [1, 1, 2, 2], np.float32)),
        "coordinate_transformation_mode must be one of half_pixel",
    ),
    "Resize antialias": (
        one("Resize", "", "s", x=PICTURE, mode="linear", antialias=1)(
            constant("s", [1, 1, 0.5, 0.5], np.float32)
        ),
        "antialiasing",
    ),
    "MaxPool indices": (
        model(
            [node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2])], [PICTURE],
            [Y, value("i", INT, None)],
        ),
        "Indices is not supported",
    ),
    "MaxPool dilations": (
        one("MaxPool", x=PICTURE, kernel_shape=[2, 2], dilations=[2, 2])(), "dilations must be 1",
    ),
    "pooling in 1-D": (
        one("AveragePool", x=value("x", F, [1, 2, 8]), kernel_shape=[2])(), "2-D or 3-D, got 1-D",
    ),
    "GridSample in 3-D": (
        one("GridSample", "g", x=value("x", F, [1, 2, 4, 4, 4]))(
            inputs=(value("g", F, [1, 4, 4, 4, 3]),)
        ),
        "must be 4-D, got 5-D",
    ),
    "LayerNormalization's mean": (
        model(
            [node("LayerNormalization", ["x", "w"], ["y", "m"])], [X], [Y, value("m", F, None)],
            (constant("w", [1] * 8, np.float32),),
        ),
        "only the first output",
    ),
    "ScatterND adds": (
        one("ScatterND", "i", "u", reduction="add")(
            constant("i", [[0]]), constant("u", [[1] * 8], np.float32)
        ),
        "reduction must be none, got add",
    ),
    "EyeLike of a free size": (
        one("EyeLike", x=value("x", F, ["objects", "objects"]))(), "must have fixed dimensions",
    ),
    "OneHot of a computed depth": (
        model(
            [node("Size", ["x"], ["d"]), node("OneHot", ["i", "d", "v"], ["y"])],
            [X, value("i", INT, [2])], [Y], (constant("v", [0, 1], np.float32),),
        ),
        "depth must be constant",
    ),
    "zero point": (
        one("QuantizeLinear", "s", "z", y=TensorProto.INT8)(
            constant("s", 0.1, np.float32), constant("z", 3, np.int8)
        ),
        "y_zero_point must be zero",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_tensorrt_does_not_take_is_found(name: str, tmp_path: Path) -> None:
    bad, message = BAD[name]
    onnx.save(bad, str(tmp_path / "m.onnx"))
    found = faults(tmp_path / "m.onnx")
    assert found
    with pytest.raises(AssertionError, match=message):
        raise AssertionError("\n".join(found))


def test_sizes_from_shapes_and_covered_dimensions_are_fine(tmp_path: Path) -> None:
    """Shape -> Gather -> Concat -> Expand, with empty optional inputs: what exporters write."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Concat", ["n", "eight"], ["to"], axis=0),
        node("Expand", ["w", "to"], ["e"]),
        node("Range", ["none", "count", "step"], ["r"]),
        node("Clip", ["e", "", "high"], ["c"]),
        node("Add", ["x", "c"], ["y"]),
        node("Squeeze", ["n", "zero"], ["count"]),
    ]
    nodes.insert(4, nodes.pop())
    good = model(
        nodes,
        [value("x", F, ["objects", 8])],
        [value("y", F, ["objects", 8]), value("r", INT, ["objects"])],
        (
            constant("zero", [0]), constant("eight", [8]), constant("w", [1.0], np.float32),
            constant("none", 0), constant("step", 1), constant("high", 1.0, np.float32),
        ),
    )  # fmt: skip
    onnx.save(good, str(tmp_path / "m.onnx"))
    assert faults(tmp_path / "m.onnx") == []
    assert unsupported(tmp_path / "m.onnx", covers=lambda port, dim: dim == "other") == [
        "x (input): no profile covers its free dimension 0 'objects'"
    ]


def test_files_that_are_no_onnx(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"valid ONNX file at .*m\.onnx"):
        unsupported(tmp_path / "m.onnx")


def test_whole_number_clips_become_max_and_min(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from edgetwin.perception.graphs.onnx_file import listed_forms

    clips = model(
        [
            node("Clip", ["x", "low", "high"], ["a"]),
            node("Clip", ["a", "", "high"], ["b"]),
            node("Clip", ["b"], ["c"]),
            node("Cast", ["c"], ["f"], to=F),
            node("Clip", ["f", "half"], ["y"]),
        ],
        [value("x", INT, [6])],
        [value("y", F, [6])],
        (constant("low", -1), constant("high", 2), constant("half", 0.5, np.float32)),
    )
    clips.graph.value_info.extend(value(name, INT, [6]) for name in "abc")
    file = tmp_path / "m.onnx"
    onnx.save(clips, str(file))
    x = np.arange(-3, 3)
    before = open_engine(file, device="cpu").run({"x": x})["y"]
    assert any("Clip" in fault for fault in faults(file))
    assert listed_forms(file) == 3
    assert faults(file) == []
    assert listed_forms(file) == 0
    np.testing.assert_array_equal(open_engine(file, device="cpu").run({"x": x})["y"], before)


def test_bicubic_resizes_of_constants_become_their_results(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from edgetwin.perception.graphs.onnx_file import listed_forms

    table = np.random.default_rng(0).normal(size=(1, 7, 7, 2))

    def build(source: str) -> Path:
        stretched = model(
            [
                node("Transpose", [source], ["t"], perm=[0, 3, 1, 2]),
                node("Resize", ["t", "", "", "size"], ["r"], mode="cubic", cubic_coeff_a=-0.75),
                node("Add", ["x", "r"], ["y"]),
            ],
            [value("x", F, [1, 2, 16, 16]), value("z", F, [1, 7, 7, 2])],
            [value("y", F, [1, 2, 16, 16])],
            (constant("table", table, np.float32), constant("size", [1, 2, 16, 16])),
        )
        onnx.save(stretched, str(tmp_path / f"{source}.onnx"))
        return tmp_path / f"{source}.onnx"

    file = build("table")
    arrays = {"x": np.ones((1, 2, 16, 16), np.float32), "z": np.ones((1, 7, 7, 2), np.float32)}
    before = open_engine(file, device="cpu").run(arrays)["y"]
    assert "got cubic" in faults(file)[0]
    assert listed_forms(file) == 1
    assert faults(file) == []
    left = onnx.load(str(file)).graph
    assert [one.op_type for one in left.node] == ["Add"]
    assert [tensor.name for tensor in left.initializer] == ["r"]
    np.testing.assert_allclose(open_engine(file, device="cpu").run(arrays)["y"], before, atol=1e-6)
    computed = build("z")  # of an input: stays, and is found
    assert listed_forms(computed) == 0
    assert "got cubic" in faults(computed)[0]


@slow
@pytest.mark.parametrize("family", ["tiny_sam2", "tiny_edgetam"])
def test_tensorrt_takes_fresh_segmenters(family: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from edgetwin.perception.graphs.segmenter_export import export_segmenter

    from . import segmenter_models
    from .torchvision_stub import torchvision_stub

    with torchvision_stub():
        if family == "tiny_edgetam":
            pytest.importorskip("timm")
        network = getattr(segmenter_models, family)()
    files = export_segmenter(network, tmp_path)
    assert len(files) == 4
    assert {file: faults(tmp_path / file) for file in files} == {file: [] for file in files}


@slow
def test_tensorrt_takes_fresh_detectors_and_depth(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from transformers import DepthAnythingForDepthEstimation, Owlv2ForObjectDetection

    from edgetwin.perception.graphs.depth import export_depth
    from edgetwin.perception.graphs.detector import export_detector

    from .hub_checkpoints import write_depth, write_detector

    write_detector(tmp_path / "owl")
    write_depth(tmp_path / "depth")
    owl = Owlv2ForObjectDetection.from_pretrained(tmp_path / "owl")
    depth = DepthAnythingForDepthEstimation.from_pretrained(tmp_path / "depth")
    files = (*export_detector(owl, tmp_path), export_depth(depth, tmp_path))
    assert {file.name: faults(file) for file in files} == {file.name: [] for file in files}
