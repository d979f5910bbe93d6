"""A perception graph in another number format, simplified and checked.

``fp32`` stores and computes float32. ``fp16`` computes in float16; inputs and outputs stay
float32. ``int8`` is static quantisation in the form that ONNX Runtime and TensorRT both read:
QuantizeLinear and DequantizeLinear around convolutions and products with weights, signed and
symmetric, weights per output channel, ranges from recorded inputs, biases left as floats.
Products of two activations (attention) stay floats: they lose most and gain least; so do the
first products and the last ones. ``rest`` says which floats: float32 for a processor, float16
where TensorRT or CUDA computes.

``float16 weights``, for measurements only, is float32 whose weights are stored as float16 and
cast when the file is opened: the same numbers in half the bytes.

Source for the form: TensorRT's developer guide, "Working with Quantized Types" (symmetric, zero
points 0), and the operator list in :mod:`edgetwin.perception.engines.tensorrt_list`.

Not covered: graphs above 2 GB, quantisation-aware training, int8 products between activations.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ...perception.engines.tensorrt_build import half_precision
from ...twin.errors import InputError, MissingExtraError, ModelError
from .int8 import Feeds, quantise

if TYPE_CHECKING:
    import onnx

__all__ = [
    "GRAPH_PRECISIONS",
    "VARIANTS",
    "Feeds",
    "GraphPrecision",
    "Rest",
    "Variant",
    "check",
    "convert",
    "make_variant",
    "shipped_as",
    "simplify",
    "store_half",
]

GraphPrecision = Literal["fp32", "fp16", "int8"]
GRAPH_PRECISIONS: tuple[GraphPrecision, ...] = get_args(GraphPrecision)
Rest = Literal["fp32", "fp16"]
Variant = Literal["float32", "float16 weights", "float16", "int8"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
_SMALL = 16  # values; scalars and short vectors stay as they are
_FOR: dict[Variant, GraphPrecision] = {"float32": "fp32", "float16": "fp16", "int8": "int8"}
# Makes one Gemm of a product and a sum, with a Reshape on each side where there are three
# dimensions: hides attention from engines that look for it.
_LEFT_OUT = ["MatMulAddFusion"]


def convert(
    source: Path,
    target: Path,
    precision: GraphPrecision,
    feeds: Feeds = (),
    *,
    rest: Rest = "fp32",
) -> None:
    """Write ``source`` (float32 or float16 weights) to ``target`` in a number format.

    The graph is simplified first and checked last; ``feeds`` calibrate int8, ``rest`` is what
    int8 leaves.

    Raises:
        InputError: if the precision is unknown, or int8 is asked for without feeds.
        ModelError: if the file is no valid ONNX graph, or the result is not.
        MissingExtraError: without the package onnx.
    """
    if precision not in GRAPH_PRECISIONS:
        raise InputError(
            f"expected a precision among {', '.join(GRAPH_PRECISIONS)}, got {precision!r}"
        )
    if precision == "int8" and not len(feeds):
        raise InputError(
            f"expected recorded inputs to calibrate {source.name} for int8, got none; run "
            "calibrate() on clips that reach this graph, or choose fp16"
        )
    _require()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}-") as folder:
        plain, made = Path(folder) / "plain.onnx", Path(folder) / "made.onnx"
        simplify(source, plain)
        if precision == "fp32":
            made = plain
        elif precision == "fp16":
            made.write_bytes(half_precision(plain))
        else:
            quantise(plain, made, feeds)
            if rest == "fp16":
                made.write_bytes(half_precision(made))
        check(made)
        made.replace(target)


def make_variant(source: Path, target: Path, variant: Variant, feeds: Feeds) -> None:
    """Write ``source`` in one of the formats that are measured; see :func:`convert`."""
    if variant != "float16 weights":
        convert(source, target, _FOR[variant], feeds)
        return
    _require()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}-") as folder:
        plain, made = Path(folder) / "plain.onnx", Path(folder) / "made.onnx"
        _single(source, plain)
        store_half(plain, made)
        made.replace(target)


def shipped_as(source: Path) -> Variant:
    """The format that a file is in, of the two that hold float16-rounded weights."""
    import onnx

    return "float16 weights" if _halves(onnx.load(str(source))) else "float32"


def store_half(source: Path, target: Path) -> None:
    """Write float16 weights, each with a Cast to float32 that is folded when the file is opened.

    What is computed stays float32, on numbers rounded to float16; the file is half as large.
    Weights of ``source`` may lie beside it; ``target`` is one file, at most 2 GB.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(source))
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < _SMALL:
            continue
        name = tensor.name
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, str(target))


def simplify(source: Path, target: Path) -> int:
    """Write ``source`` with constants folded and idle nodes gone; returns how many went.

    ONNX Runtime's machine-independent rewriting does it. Weights stored as float16 become
    float32. Where it would write operators that are not ONNX's, the graph stays as it was.

    Raises:
        ModelError: if ONNX Runtime cannot open the file.
    """
    import onnx
    import onnxruntime as ort

    _single(source, target)
    before = onnx.load(str(target))
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        file = Path(folder) / "simple.onnx"
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(file)
        options.log_severity_level = 3
        try:
            ort.InferenceSession(
                str(target), options, ["CPUExecutionProvider"], disabled_optimizers=_LEFT_OUT
            )
            after = onnx.load(str(file))
        except Exception as error:  # ONNX Runtime raises a dozen classes
            raise ModelError(
                f"expected a graph that ONNX Runtime opens at {source}, got: "
                f"{str(error).strip().splitlines()[0][:300]}; export it again"
            ) from error
    if any(node.domain not in ("", "ai.onnx") for node in after.graph.node):
        return 0
    kept = [entry for entry in after.opset_import if entry.domain in ("", "ai.onnx")]
    del after.opset_import[:]
    after.opset_import.extend(kept)
    del after.metadata_props[:]
    after.ir_version = before.ir_version
    onnx.save(after, str(target))
    return len(before.graph.node) - len(after.graph.node)


def check(path: Path) -> None:
    """Check a file with ONNX's own checker, types and shapes of every node included.

    Raises:
        ModelError: says what is wrong.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # the checker and shape inference raise unrelated classes
        raise ModelError(
            f"expected a valid ONNX graph at {path}, got: {str(error).strip()[:300]}; export it "
            "again, or report the operator"
        ) from error


def _require() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("onnx", "export") from error


# ---- float32 and float16 weights


def _halves(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Name of a float16 initialiser -> the Cast that makes it float32."""
    from onnx import TensorProto

    half = {t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16}
    return {n.input[0]: n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in half}


def _single(source: Path, target: Path) -> None:
    """Float32 initialisers in place of cast float16 ones; else the file as it is."""
    import onnx
    from onnx import numpy_helper

    try:
        model = onnx.load(str(source))
    except Exception as error:  # protobuf and onnx raise unrelated classes
        raise ModelError(f"expected an ONNX file at {source}, got: {error}") from error
    halves = _halves(model)
    for tensor in model.graph.initializer:
        if tensor.name in halves:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, halves[tensor.name].output[0]))
    casts = {cast.output[0] for cast in halves.values()}
    nodes = [n for n in model.graph.node if not (n.op_type == "Cast" and n.output[0] in casts)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, str(target))
