"""The same graph in other number formats, made with ONNX Runtime's own tools.

``float32`` is the file as shipped: its weights are rounded to float16 in training, and stored as
float32. ``float16 weights`` stores them as float16 and casts them when the file is opened: the
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

__all__ = ["VARIANTS", "Feeds", "Variant", "make_variant"]

Variant = Literal["float32", "float16 weights", "float16", "int8"]
VARIANTS: tuple[Variant, ...] = ("float32", "float16 weights", "float16", "int8")
Feeds = Sequence[Mapping[str, NDArray[Any]]]
"""Inputs of real runs of one graph."""

_SMALL = 16  # values; scalars and short vectors stay as they are


def make_variant(source: Path, target: Path, variant: Variant, feeds: Feeds) -> None:
    """Write ``source`` in another number format; ``feeds`` calibrate int8."""
    target.parent.mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[], None]] = {
        "float32": lambda: _copy(source, target),
        "float16 weights": lambda: _stored(source, target),
        "float16": lambda: _half(source, target),
        "int8": lambda: _int8(source, target, feeds),
    }
    makers[variant]()


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def _stored(source: Path, target: Path) -> None:
    """Float16 initialisers, each followed by a Cast that is folded when the file is opened."""
    model = onnx.load(str(source))
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < _SMALL:
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
