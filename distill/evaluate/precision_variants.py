"""The same graph in other number formats, made with ONNX Runtime's own tools.

The embedded weights are rounded to float16 when they are exported. ``float32`` stores them as
float32; ``float16 weights`` stores them as float16 and casts them when the file is opened: the
same numbers in half the bytes. ``float16`` computes in float16. ``int8`` is static quantisation
(QDQ) of convolutions and matrix products, per channel, ranges from real inputs of that graph.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers import float16

__all__ = ["VARIANTS", "Feeds", "Variant", "make_variant", "shipped_as"]

Variant = Literal["float32", "float16 weights", "float16", "int8"]
VARIANTS: tuple[Variant, ...] = ("float32", "float16 weights", "float16", "int8")
Feeds = Sequence[Mapping[str, NDArray[Any]]]
"""Inputs of real runs of one graph."""

_SMALL = 16  # values; scalars and short vectors stay as they are


def make_variant(source: Path, target: Path, variant: Variant, feeds: Feeds) -> None:
    """Write ``source`` (float32 or float16 weights) in a format; ``feeds`` calibrate int8."""
    target.parent.mkdir(parents=True, exist_ok=True)
    plain = target.with_suffix(".plain.onnx")
    _single(source, plain)
    makers: dict[str, Callable[[], None]] = {
        "float32": lambda: None,
        "float16 weights": lambda: _stored(plain, target),
        "float16": lambda: _half(plain, target),
        "int8": lambda: _int8(plain, target, feeds),
    }
    try:
        makers[variant]()
        if variant == "float32":
            plain.replace(target)
    finally:
        plain.unlink(missing_ok=True)


def shipped_as(source: Path) -> Variant:
    """The format that a file is in, of the two that hold float16-rounded weights."""
    model = onnx.load(str(source))
    return "float16 weights" if _halves(model) else "float32"


def _halves(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Name of a float16 initialiser -> the Cast that makes it float32."""
    half = {t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16}
    return {n.input[0]: n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in half}


def _single(source: Path, target: Path) -> None:
    """Float32 initialisers in place of cast float16 ones; else the file as it is."""
    model = onnx.load(str(source))
    halves = _halves(model)
    if not halves:
        target.write_bytes(source.read_bytes())
        return
    for tensor in model.graph.initializer:
        if tensor.name in halves:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, halves[tensor.name].output[0]))
    casts = {cast.output[0] for cast in halves.values()}
    nodes = [n for n in model.graph.node if not (n.op_type == "Cast" and n.output[0] in casts)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, str(target))


def _stored(source: Path, target: Path) -> None:
    """Float16 initialisers, each followed by a Cast that is folded when the file is opened."""
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


def _half(source: Path, target: Path) -> None:
    tools: Any = float16  # untyped
    half = tools.convert_float_to_float16(onnx.load(str(source)), keep_io_types=True)
    onnx.save(half, str(target))


class _Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
    """Gives calibration one input after another."""

    def __init__(self, feeds: Feeds) -> None:
        self._feeds: Iterator[Mapping[str, NDArray[Any]]] = iter(feeds)

    def get_next(self) -> Any:
        """The next input, or None at the end."""
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


def _int8(source: Path, target: Path, feeds: Feeds) -> None:
    prepared = target.with_suffix(".prepared.onnx")
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it suggests what is done here already
    try:
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            nodes_to_exclude=_batched(prepared),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    finally:
        logging.getLogger().setLevel(level)
        prepared.unlink(missing_ok=True)


def _batched(file: Path) -> list[str]:
    """Matrix products with a stack of constant matrices: ONNX Runtime has no per-channel form."""
    graph = onnx.load(str(file)).graph
    stacks = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 2}
    return [n.name for n in graph.node if n.op_type == "MatMul" and stacks & set(n.input)]
