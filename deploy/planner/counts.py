"""Operations and bytes of an ONNX file, node by node, with its free dimensions bound.

Shapes come from onnx's own inference, one node at a time, with the values of small tensors
carried along (sizes that a graph computes from shapes are values there). Weights are never
loaded into numbers, so files of hundreds of megabytes cost little memory beyond the file.

Needs the onnx package (``[export]`` extra); a bundle carries the result, so a device does not.

Not covered, counted in ``GraphCounts.unknown`` and left out: subgraphs of If, Loop and Scan,
operators outside ONNX's own domain, sizes that depend on data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import InputError, MissingExtraError, ModelError
from .records import GraphCounts, KindCounts

if TYPE_CHECKING:
    import onnx

__all__ = ["count", "free_dimensions"]

_SMALL = 4096  # values of tensors up to this size are carried along: shapes, indices, axes
_FREE = {
    "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Shape", "Size", "Constant",
    "ConstantOfShape", "Cast", "QuantizeLinear", "DequantizeLinear", "Dropout",
}  # fmt: skip
# Quantisation and casts are part of the neighbouring kernel in every engine we run.
_MOVE = {
    "Transpose", "Concat", "Slice", "Gather", "GatherND", "GatherElements", "Expand", "Tile",
    "Pad", "Split", "ScatterElements", "ScatterND", "DepthToSpace", "SpaceToDepth", "Range",
    "Resize", "Where", "OneHot", "Trilu", "NonZero",
}  # fmt: skip
_NORM = {  # floating-point operations per element of the input
    "Softmax": 5, "LogSoftmax": 6, "LayerNormalization": 8, "InstanceNormalization": 8,
    "GroupNormalization": 8, "BatchNormalization": 2, "RMSNormalization": 5, "ReduceMean": 1,
    "ReduceSum": 1, "ReduceMax": 1, "ReduceMin": 1, "ReduceL2": 2, "ReduceL1": 1, "ReduceProd": 1,
    "ReduceSumSquare": 2, "ReduceLogSumExp": 4, "ArgMax": 1, "ArgMin": 1, "TopK": 4, "CumSum": 1,
    "MaxPool": 1, "AveragePool": 1, "GlobalAveragePool": 1, "GlobalMaxPool": 1,
}  # fmt: skip
_COSTLY = {"Gelu": 8, "Erf": 6, "Exp": 4, "Sigmoid": 4, "Tanh": 5, "Sin": 4, "Cos": 4, "Pow": 4,
           "Log": 4, "Elu": 4, "Softplus": 6, "HardSwish": 3, "Mish": 8, "Swish": 5}  # fmt: skip


def count(path: Path, sizes: Mapping[str, int] | None = None) -> GraphCounts:
    """Count one run of a graph whose free dimensions have the given sizes.

    Raises:
        MissingExtraError: without the onnx package.
        InputError: if a free dimension has no size, or one below 1.
        ModelError: if the file is not an ONNX graph.
    """
    model = _load(path)
    bound = _bound_inputs(path, model, dict(sizes or {}))
    walk = _Walk(model)
    for node in model.graph.node:
        walk.step(node)
    return walk.result(bound)


def free_dimensions(path: Path) -> tuple[str, ...]:
    """Return the names of a graph's free dimensions, sorted.

    Raises:
        MissingExtraError, ModelError: as :func:`count`.
    """
    inputs = _load(path).graph.input
    dims = [d.dim_param for value in inputs for d in value.type.tensor_type.shape.dim]
    return tuple(sorted(set(dims) - {""}))


def _load(path: Path) -> onnx.ModelProto:
    try:
        import onnx
        import onnx.inliner
    except ModuleNotFoundError as error:
        raise MissingExtraError("onnx", "export") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError, for one
        raise ModelError(
            f"expected an ONNX graph at {path}, got {type(error).__name__}: {error}; export it again"
        ) from error
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _bound_inputs(path: Path, model: onnx.ModelProto, sizes: dict[str, int]) -> dict[str, int]:
    bound: dict[str, int] = {}
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value"):
                continue
            size = sizes.get(dim.dim_param, 0)
            if size < 1:
                raise InputError(
                    f"expected a size of at least 1 for free dimension {dim.dim_param!r} of input "
                    f"{value.name!r} of {path.name}, got {sizes.get(dim.dim_param)}; give one"
                )
            bound[dim.dim_param] = size
            dim.dim_value = size
    return bound


@dataclass(frozen=True, slots=True)
class _Tensor:
    """``shape`` and bytes per number; ``stored`` > 0: made of constants that take so many bytes."""

    shape: tuple[int, ...]
    item: float
    elem_type: int
    stored: float = 0.0
    sources: frozenset[str] = frozenset()

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> float:
        return self.numbers * self.item


@dataclass(slots=True)
class _Sum:
    nodes: int = 0
    flops: float = 0
    int8_flops: float = 0
    weight_bytes: float = 0
    activation_bytes: float = 0


@dataclass(slots=True)
class _Walk:
    """Goes through a graph in its order and adds up."""

    model: Any
    known: dict[str, _Tensor] = field(default_factory=dict)
    values: dict[str, NDArray[Any]] = field(default_factory=dict)
    kinds: dict[str, _Sum] = field(default_factory=dict)
    unknown: int = 0
    quantised: set[str] = field(default_factory=set)
    storage: dict[str, str] = field(default_factory=dict)  # a view -> the tensor it views
    constants: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)  # constants that were counted already
    opsets: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        from onnx import numpy_helper

        graph = self.model.graph
        self.opsets = list(self.model.opset_import)
        for tensor in graph.initializer:
            shape, item = tuple(tensor.dims), _item(tensor.data_type)
            self.known[tensor.name] = _Tensor(
                shape, item, tensor.data_type, math.prod(shape) * item, frozenset((tensor.name,))
            )
            self.constants.add(tensor.name)
            if math.prod(shape) <= _SMALL and not tensor.external_data:
                self.values[tensor.name] = numpy_helper.to_array(tensor)
        for value in graph.input:
            if value.name not in self.known:
                kind = value.type.tensor_type
                shape = tuple(d.dim_value for d in kind.shape.dim)
                self.known[value.name] = _Tensor(shape, _item(kind.elem_type), kind.elem_type)

    def step(self, node: Any) -> None:
        """Infer a node's outputs and add its work."""
        inputs = [name for name in node.input if name]
        if any(name not in self.known for name in inputs) or not self._infer(node):
            self.unknown += 1
            return
        if node.op_type == "DequantizeLinear":
            self.quantised.update(node.output)
        fixed = all(name in self.constants for name in inputs)
        if fixed or all(name in self.values for name in node.output if name):
            self._fold(node, inputs)
            return
        if node.op_type in _FREE:
            source = inputs[0] if inputs else ""
            for name in node.output:
                self.storage[name] = self.storage.get(source, source)
            return
        self._add(node, inputs)

    def _infer(self, node: Any) -> bool:
        import onnx
        from onnx import shape_inference

        outputs = [name for name in node.output if name]
        found = self._evaluate(node)
        if found is not None:
            for name, array in zip(outputs, found, strict=False):
                kind = int(onnx.helper.np_dtype_to_tensor_dtype(array.dtype))
                self.known[name] = _Tensor(tuple(array.shape), float(array.itemsize), kind)
                self.values[name] = array
            return True
        version = next((o.version for o in self.opsets if o.domain == node.domain), None)
        if version is None:
            return False
        names = [name for name in node.input if name]
        types = {
            n: onnx.helper.make_tensor_type_proto(self.known[n].elem_type, self.known[n].shape)
            for n in names
        }
        data = {
            n: onnx.numpy_helper.from_array(self.values[n], n) for n in names if n in self.values
        }
        try:
            schema = onnx.defs.get_schema(node.op_type, version, node.domain)
            kinds = shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=self.opsets
            )
        except (onnx.defs.SchemaError, shape_inference.InferenceError, KeyError):
            return False
        return all(self._learn(name, kinds.get(name)) for name in outputs)

    def _learn(self, name: str, kind: Any) -> bool:
        if kind is None or not kind.tensor_type.HasField("shape"):
            return False
        dims = kind.tensor_type.shape.dim
        if not all(d.HasField("dim_value") for d in dims):
            return False
        elem = kind.tensor_type.elem_type
        self.known[name] = _Tensor(tuple(d.dim_value for d in dims), _item(elem), elem)
        return True

    def _evaluate(self, node: Any) -> list[NDArray[Any]] | None:
        """Return the values of a node whose inputs' values are known and small, else None."""
        from onnx.reference import ReferenceEvaluator

        names = [name for name in node.input if name]
        if node.op_type in ("Shape", "Size"):
            shape = self.known[names[0]].shape
            if node.op_type == "Size":
                return [np.array(math.prod(shape), np.int64)]
            ends = {a.name: a.i for a in node.attribute}
            return [np.array(shape[ends.get("start", 0) : ends.get("end")], np.int64)]
        if not all(name in self.values for name in names):
            return None
        given = {name: self.values[name] for name in names}
        makes = node.op_type in ("ConstantOfShape", "Expand", "Tile", "Range")
        if makes and not _few(node, list(given.values())):
            return None
        try:
            alone = _alone(node, self.opsets, self.known)
            return list(ReferenceEvaluator(alone).run(None, given))
        except Exception:  # an operator that the evaluator lacks: its shape is inferred instead
            return None

    def _fold(self, node: Any, inputs: list[str]) -> None:
        """What is made of constants alone is made once, when the engine opens."""
        sources = frozenset[str]().union(*(self.known[n].sources for n in inputs))
        stored = sum(self.known[n].stored for n in inputs)
        for name in node.output:
            if name in self.known:
                tensor = self.known[name]
                self.known[name] = _Tensor(
                    tensor.shape, tensor.item, tensor.elem_type, stored, sources
                )
                self.constants.add(name)

    def _add(self, node: Any, inputs: list[str]) -> None:
        operands = [self.known[name] for name in inputs]
        results = [self.known[name] for name in node.output if name in self.known]
        kind, flops = _work(node, operands, results)
        total = self.kinds.setdefault(kind, _Sum())
        total.nodes += 1
        total.flops += flops
        if kind in ("conv", "matmul") and all(n in self.quantised for n in inputs[:2]):
            total.int8_flops += flops
        for name, tensor in zip(inputs, operands, strict=True):
            if name not in self.constants:
                total.activation_bytes += tensor.bytes
            elif not tensor.sources & self.read:
                total.weight_bytes += tensor.stored
                self.read |= tensor.sources
        total.activation_bytes += sum(tensor.bytes for tensor in results)

    def result(self, sizes: dict[str, int]) -> GraphCounts:
        graph = self.model.graph
        kinds = {
            name: KindCounts(s.nodes, s.flops, s.int8_flops, s.weight_bytes, s.activation_bytes)
            for name, s in sorted(self.kinds.items())
        }
        given = [v.name for v in graph.input if v.name not in self.constants]
        made = [v.name for v in graph.output]
        flowing = [
            self.known[n].item for node in graph.node for n in node.output
            if n in self.known and n not in self.values and self.known[n].elem_type in (1, 10, 16)
        ]  # fmt: skip
        return GraphCounts(
            sizes,
            kinds,
            2 if flowing and sum(i == 2 for i in flowing) > len(flowing) / 2 else 4,
            sum(self.known[n].bytes for n in given),
            sum(self.known[n].bytes for n in made if n in self.known),
            self._peak(given, made),
            self.unknown,
        )

    def _peak(self, given: list[str], made: list[str]) -> float:
        """Return the most bytes of activations alive at once, inputs and outputs included."""
        nodes = self.model.graph.node
        last: dict[str, int] = {}
        for place, node in enumerate(nodes):
            for name in node.input if node.op_type not in ("Shape", "Size") else ():
                last[self.storage.get(name, name)] = place
        for name in made:
            last[self.storage.get(name, name)] = len(nodes)
        alive = {name: self.known[name].bytes for name in given}
        peak = sum(alive.values())
        for place, node in enumerate(nodes):
            for name in node.output:
                fresh = name in self.known and name not in self.storage
                if fresh and name not in self.constants and name in last:
                    alive[name] = self.known[name].bytes
            peak = max(peak, sum(alive.values()))
            alive = {name: size for name, size in alive.items() if last.get(name, -1) > place}
        return peak


def _work(node: Any, operands: list[_Tensor], results: list[_Tensor]) -> tuple[str, float]:
    """Return a node's kind and its floating-point operations."""
    made = sum(tensor.numbers for tensor in results)
    name = node.op_type
    if name == "Conv":
        weight = operands[1].shape
        return "conv", 2.0 * made * math.prod(weight[1:])
    if name == "ConvTranspose":
        return "conv", 2.0 * operands[0].numbers * math.prod(operands[1].shape[1:])
    if name in ("MatMul", "Gemm"):
        transposed = name == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
        inner = operands[0].shape[0 if transposed else -1]
        return "matmul", 2.0 * made * inner
    if name == "Einsum":
        return "matmul", _einsum(node, operands)
    if name == "Attention":
        query, key = operands[0].shape, operands[1].shape
        return "matmul", 4.0 * math.prod(query) * key[-2]
    if name in _NORM:
        return "norm", float(_NORM[name] * operands[0].numbers)
    if name in _MOVE:
        return "move", 0.0
    return "elementwise", float(_COSTLY.get(name, 1) * made)


def _einsum(node: Any, operands: list[_Tensor]) -> float:
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation")
    sizes: dict[str, int] = {}
    for term, operand in zip(equation.split("->")[0].split(","), operands, strict=True):
        letters = [c for c in term if c.isalpha()]
        sizes.update(zip(letters[::-1], operand.shape[::-1], strict=False))
    return 2.0 * math.prod(sizes.values())


def _item(elem_type: int) -> float:
    """Return the bytes of one number of an ONNX type; four-bit ones take half a byte."""
    from onnx import TensorProto, helper

    if elem_type in (TensorProto.INT4, TensorProto.UINT4):
        return 0.5
    if elem_type == TensorProto.BFLOAT16:
        return 2.0
    try:
        return float(np.dtype(helper.tensor_dtype_to_np_dtype(elem_type)).itemsize)
    except (KeyError, TypeError):
        return 4.0


def _few(node: Any, values: list[NDArray[Any]]) -> bool:
    """Whether a node that makes as many numbers as its inputs say makes few."""
    if node.op_type == "Range":
        start, limit, delta = (float(v) for v in values)
        return (limit - start) / (delta or 1) <= _SMALL
    if node.op_type == "Tile":
        return bool(values[0].size * np.prod(values[1]) <= _SMALL)
    return bool(np.prod(values[-1]) <= _SMALL)


def _alone(node: Any, opsets: list[Any], known: Mapping[str, _Tensor]) -> Any:
    """Return a model of one node."""
    from onnx import helper

    inputs = [
        helper.make_tensor_value_info(n, known[n].elem_type, known[n].shape)
        for n in dict.fromkeys(node.input)
        if n
    ]
    outputs = [helper.make_empty_tensor_value_info(n) for n in node.output if n]
    graph = helper.make_graph([node], "node", inputs, outputs)
    return helper.make_model(graph, opset_imports=opsets)
