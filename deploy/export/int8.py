"""Static int8 of one graph: QuantizeLinear and DequantizeLinear around products with weights.

ONNX Runtime's quantiser writes the graph; the ranges it needs are measured here. Its own
calibrators measure every tensor that a product reads or writes, attention's scores included,
and keep all of them until a run ends: of a network with 3600 tokens and 12 heads 0.6 GB twice
per layer. Here only tensors that get quantised are measured, each as soon as it is there, so a
run needs little more memory than the graph itself.

Not covered: per-channel ranges of activations, ranges from histograms.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import ModelError

if TYPE_CHECKING:
    import onnx

__all__ = ["Feeds", "Range", "products", "quantise", "ranges"]

Feeds = Sequence[Mapping[str, NDArray[Any]]]
"""Inputs of real runs of one graph."""
Range = tuple[np.float32, np.float32]
"""Smallest and largest value."""

_FEW = 4  # products; of a smaller graph nothing would remain between the first and the last
_QUANTISED = ("Conv", "MatMul", "Gemm")


def quantise(source: Path, target: Path, feeds: Feeds) -> None:
    """Write the float32 graph ``source`` as int8, its ranges taken from runs on ``feeds``.

    Signed and symmetric, weights per output channel, biases left as floats.

    Raises:
        ModelError: if ONNX Runtime cannot run the graph on ``feeds``.
    """
    from onnxruntime import quantization as tools
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

    found: dict[str, Any] = dict(ranges(source, products(source), feeds))
    make: Callable[..., Any] = tools.QDQQuantizer
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it suggests what is done here already
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, of ranges that are one number
            quantiser = make(
                load_model_with_shape_infer(source),
                per_channel=True,
                reduce_range=False,
                weight_qType=tools.QuantType.QInt8,
                activation_qType=tools.QuantType.QInt8,
                tensors_range=tools.TensorsData(tools.CalibrationMethod.MinMax, found),
                nodes_to_quantize=[],
                nodes_to_exclude=_floats(source),
                op_types_to_quantize=list(_QUANTISED),
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,  # TensorRT's DequantizeLinear takes no int32
                },
            )
            quantiser.quantize_model()
            quantiser.model.save_model_to_file(str(target))
    finally:
        logging.getLogger().setLevel(level)


def products(file: Path) -> set[str]:
    """Names of the activations that quantised products read and write."""
    import onnx

    graph = onnx.load(str(file), load_external_data=False).graph
    floats, held = set(_floats(file)), {tensor.name for tensor in graph.initializer}
    chosen = [n for n in graph.node if n.op_type in _QUANTISED and n.name not in floats]
    return {name for n in chosen for name in (*n.input, *n.output) if name} - held


def ranges(file: Path, names: Collection[str], feeds: Feeds) -> dict[str, Range]:
    """Measure the smallest and largest value of float tensors over ``feeds``.

    Each reduction follows its tensor in the file, and nodes run in the file's order: by
    default ONNX Runtime would leave all of them to the end and hold every tensor until then.

    Raises:
        ModelError: if ONNX Runtime cannot run the graph on ``feeds``.
    """
    if not names:
        return {}
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        measuring = Path(folder) / "ranges.onnx"
        wanted = _add_reductions(file, measuring, names)
        session = _in_order(measuring)
        outputs = [output for pair in wanted.values() for output in pair]
        nothing = (np.float32(np.inf), np.float32(-np.inf))
        found: dict[str, Range] = dict.fromkeys(wanted, nothing)
        for feed in feeds:
            try:
                values = session.run(outputs, dict(feed))
            except Exception as error:  # ONNX Runtime raises a dozen classes
                raise ModelError(
                    f"expected inputs that {file.name} runs on, got: "
                    f"{str(error).strip().splitlines()[0][:300]}; record them from this graph"
                ) from error
            pairs = zip(values[::2], values[1::2], strict=True)
            for name, (low, high) in zip(wanted, pairs, strict=True):
                # fmin and fmax: a value that is not a number says nothing about the range
                least, most = found[name]
                found[name] = (np.fmin(least, low.ravel()[0]), np.fmax(most, high.ravel()[0]))
    return found


def _add_reductions(
    source: Path, target: Path, names: Collection[str]
) -> dict[str, tuple[str, str]]:
    """Write ``source`` with a ReduceMin and a ReduceMax behind each tensor that holds floats.

    Returns tensor -> names of their outputs.
    """
    import onnx
    from onnx import helper

    model = onnx.load(str(source))
    kinds = _kinds(source, names)
    wanted: dict[str, tuple[str, str]] = {}
    nodes: list[onnx.NodeProto] = []

    def reduce(name: str) -> None:
        if name not in kinds or name in wanted:
            return
        wanted[name] = (f"{name}/lowest", f"{name}/highest")
        for kind, output in zip(("ReduceMin", "ReduceMax"), wanted[name], strict=True):
            nodes.append(helper.make_node(kind, [name], [output], output))
            model.graph.output.append(helper.make_tensor_value_info(output, kinds[name], None))

    for value in model.graph.input:
        reduce(value.name)
    for node in model.graph.node:
        nodes.append(node)
        for name in node.output:
            reduce(name)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, str(target))
    return wanted


def _kinds(source: Path, names: Collection[str]) -> dict[str, int]:
    """Element types of those of ``names`` that hold float32."""
    import onnx

    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        inferred = Path(folder) / "inferred.onnx"
        onnx.shape_inference.infer_shapes_path(str(source), str(inferred))
        graph = onnx.load(str(inferred)).graph
    values = (*graph.value_info, *graph.output, *graph.input)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    return {name: kinds[name] for name in names if kinds.get(name) == onnx.TensorProto.FLOAT}


def _in_order(file: Path) -> Any:
    """A session that computes what the file says, in the file's order."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.enable_cpu_mem_arena = False  # inputs of changing sizes would each keep theirs
    options.log_severity_level = 3
    return ort.InferenceSession(str(file), options, ["CPUExecutionProvider"])


def _floats(file: Path) -> list[str]:
    """Names of products that stay floats: those of two activations; with a stack of matrices, for
    which ONNX Runtime has no per-channel form; the first ones and those next to an output, whose
    rounding nothing evens out. (Of the embedded set the errors of segmenter and depth fall by a
    tenth to a third so; the detector's stay.)"""
    import onnx

    graph = onnx.load(str(file)).graph
    held = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in _QUANTISED]
    able = {n.name for n in nodes if held.get(n.input[1], 0) == 2 or n.op_type == "Conv"}
    ends = _ends(graph, able) if len(able) > _FEW else set()
    return sorted({node.name for node in nodes} - (able - ends))


def _ends(graph: onnx.GraphProto, able: set[str]) -> set[str]:
    """Of the nodes ``able`` those with none of them before, or none between them and an output."""
    behind: set[str] = set()  # values that one of the nodes is behind
    found: set[str] = set()
    for node in graph.node:  # in topological order
        after = not behind.isdisjoint(node.input)
        if node.name in able and not after:
            found.add(node.name)
        if after or node.name in able:
            behind.update(node.output)
    made = {name: node for node in graph.node for name in node.output}
    waiting, seen = [value.name for value in graph.output], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in made:
            continue
        seen.add(name)
        if made[name].name in able:
            found.add(made[name].name)
        else:
            waiting += made[name].input
    return found
