"""Reads an ONNX file with TensorRT's published operator list: what would it not take?

:func:`unsupported` needs the onnx package (``[export]`` extra), not TensorRT and no GPU, so
exporters and tests can ask before a file reaches a device. It walks the main graph, the
subgraphs of If, Loop and Scan, and local functions, and looks at operators, opset, types,
the restrictions that the list gives in words, sizes that would depend on data, and free
dimensions of the inputs that no profile covers (:mod:`.profiles`).

Not covered: whether TensorRT finds a kernel (only building shows that), plugins, and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...twin.errors import MissingExtraError, ModelError
from .profiles import bound
from .tensorrt_list import OPSETS, RELEASE, SUPPORTED, UNSUPPORTED
from .tensorrt_rules import RULES

if TYPE_CHECKING:
    import onnx

__all__ = ["Node", "unsupported"]

Covers = Callable[[str, str], bool]

CONSTANT, SHAPE, DATA = 0, 1, 2
"""Where a tensor's values come from: the file, sizes of tensors, or the inputs' values."""

_TYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "FP16",
    11: "FP64", 16: "BF16", 17: "FP8", 22: "INT4", 23: "FP4",
}  # fmt: skip

# Which inputs the list's types are about, where it is not the first; -1: the first output.
_TYPED = {
    "Where": (1, 2), "OneHot": (2,), "Constant": (-1,), "ConstantOfShape": (-1,),
    "RandomNormal": (-1,), "RandomUniform": (-1,), "Cast": (0, -1), "CastLike": (0, -1),
    "Concat": (0, 1, 2, 3), "Loop": (), "If": (), "Scan": (),
}  # fmt: skip

# Inputs whose values say how large the output is.
_SIZES = {
    "Reshape": (1,), "Expand": (1,), "Tile": (1,), "ConstantOfShape": (0,), "Range": (0, 1, 2),
    "Slice": (1, 2, 3, 4), "Pad": (1, 3), "Resize": (2, 3), "Upsample": (1,), "TopK": (1,),
    "OneHot": (1,), "Split": (1,), "Squeeze": (1,), "Unsqueeze": (1,),
    "BlackmanWindow": (0,), "HammingWindow": (0,), "HannWindow": (0,),
}  # fmt: skip
_SIZE_IS_DATA = ("NonZero", "NonMaxSuppression", "Unique", "Compress")
_RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")


@dataclass
class Scope:
    """What is known of the tensors of a graph, those of the graphs around it included."""

    types: dict[str, int] = field(default_factory=dict)
    dims: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    origin: dict[str, int] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def inner(self) -> Scope:
        """Return a copy that a subgraph may add to."""
        return Scope(dict(self.types), dict(self.dims), dict(self.origin), dict(self.values))


class Node:
    """One node with what its scope knows of its inputs; rules ask it."""

    def __init__(self, proto: onnx.NodeProto, scope: Scope, opset: int) -> None:
        from onnx import helper

        self.proto, self.scope, self.opset = proto, scope, opset
        self.operator = proto.op_type
        self.attributes: dict[str, Any] = {
            a.name: helper.get_attribute_value(a) for a in proto.attribute
        }

    @property
    def title(self) -> str:
        """The node's name, or that of its first output, and its operator."""
        name = self.proto.name or next(iter(self.proto.output), "")
        return f"{name} ({self.operator})"

    def input(self, index: int) -> str:
        """Return the name of an input, "" where it is absent or left empty."""
        return self.proto.input[index] if index < len(self.proto.input) else ""

    def has(self, index: int) -> bool:
        """Return whether an input is given."""
        return bool(self.input(index))

    def gives(self, index: int) -> bool:
        """Return whether an output is asked for."""
        return index < len(self.proto.output) and bool(self.proto.output[index])

    def constant(self, index: int) -> bool:
        """Return whether an input is absent or its values are in the file."""
        return not self.has(index) or self.origin(index) == CONSTANT

    def origin(self, index: int) -> int:
        """Return where an input's values come from."""
        return self.scope.origin.get(self.input(index), DATA)

    def rank(self, index: int) -> int | None:
        """Return an input's number of dimensions, None where it is not known."""
        dims = self.scope.dims.get(self.input(index))
        return None if dims is None else len(dims)

    def dims(self, index: int) -> tuple[int | None, ...] | None:
        """Return an input's shape, None where it is not known."""
        return self.scope.dims.get(self.input(index))

    def kind(self, index: int) -> str | None:
        """Return the type of an input, or of the first output for -1, as the list calls it."""
        name = self.proto.output[0] if index < 0 else self.input(index)
        code = self.scope.types.get(name)
        return None if code is None else _TYPES.get(code, f"type {code} of ONNX")

    def value(self, index: int) -> Any:
        """Return an input's values as an array, None where they are not in the file."""
        return self.scope.values.get(self.input(index))

    def text(self, attribute: str, default: str) -> str:
        """Return a string attribute."""
        found = self.attributes.get(attribute, default)
        return found.decode() if isinstance(found, bytes) else str(found)


def unsupported(
    model_path: str | Path, *, covers: Covers | None = None, largest_opset: int = OPSETS[1]
) -> list[str]:
    """Return what TensorRT would not take of an ONNX file: node, operator, reason; [] if all.

    ``covers(input, dimension)`` says whether a profile bounds a free dimension (default: the
    table of :mod:`.profiles`); ``largest_opset`` is the release's (10.0 to 10.3: 20).

    Raises:
        ModelError: if the onnx package is missing, or the file is no valid ONNX.
    """
    model, external = _load(Path(model_path))
    covers = covers or (lambda port, dim: bound(port, dim) is not None)
    found = [f"{name} (initializer): its values lie in another file" for name in external]
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if not OPSETS[0] <= opset <= largest_opset:
        found.append(f"opset {opset}: TensorRT takes {OPSETS[0]} to {largest_opset}")
    scope = Scope()
    initializers = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in initializers:
            found += _input_faults(value, covers)
            scope.origin[value.name] = DATA
    found += _graph_faults(model.graph, scope, opset)
    return found


def _load(path: Path) -> tuple[onnx.ModelProto, list[str]]:
    """Return the model with functions inlined and types inferred, and its external tensors."""
    try:
        import onnx
        from onnx import inliner, shape_inference
    except ImportError as error:
        raise MissingExtraError("onnx", "export") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
        external = [t.name for t in model.graph.initializer if t.data_location == t.EXTERNAL]
        if model.functions:
            model = inliner.inline_local_functions(model)
        if external:  # inference would look for the other file
            return model, external
        return shape_inference.infer_shapes(model, data_prop=True), external
    except Exception as error:  # protobuf and onnx raise unrelated classes
        raise ModelError(
            f"expected a valid ONNX file at {path}, got: {str(error).strip()[:300]}; export it again"
        ) from error


def _input_faults(value: onnx.ValueInfoProto, covers: Covers) -> Iterator[str]:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        yield f"{value.name} (input): its number of dimensions is free"
        return
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value"):
            if dim.dim_value == 0:
                yield f"{value.name} (input): dimension {axis} is 0"
        elif not covers(value.name, dim.dim_param):
            label = repr(dim.dim_param) if dim.dim_param else "without a name"
            yield f"{value.name} (input): no profile covers its free dimension {axis} {label}"


def _graph_faults(graph: onnx.GraphProto, scope: Scope, opset: int) -> Iterator[str]:
    _learn(graph, scope)
    for value in [*graph.input, *graph.output]:
        kind = scope.types.get(value.name)
        if _TYPES.get(kind or 0) in (None, "FP64") and value.type.HasField("tensor_type"):
            yield f"{value.name} (input or output): its type {_TYPES.get(kind or 0, kind)}"
    optional = {
        name for n in graph.node if n.op_type in ("Resize", "Upsample") for name in n.input[1:3]
    }
    for tensor in graph.initializer:
        if 0 in tensor.dims and tensor.name not in optional:
            yield f"{tensor.name} (initializer): an empty tensor of shape {list(tensor.dims)}"
        elif _TYPES.get(tensor.data_type) in (None, "FP64"):
            yield f"{tensor.name} (initializer): its type is FP64 or one TensorRT does not have"
    for proto in graph.node:
        node = Node(proto, scope, opset)
        yield from (f"{node.title}: {reason}" for reason in _node_faults(node))
        for inner in _subgraphs(proto):
            around = scope.inner()
            around.origin.update((value.name, DATA) for value in inner.input)
            yield from (f"{node.title} > {fault}" for fault in _graph_faults(inner, around, opset))
        _trace(node)


def _learn(graph: onnx.GraphProto, scope: Scope) -> None:
    """Add types, shapes and constants of a graph to its scope."""
    from onnx import numpy_helper

    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        scope.types[value.name] = tensor.elem_type
        if tensor.HasField("shape"):
            scope.dims[value.name] = tuple(
                d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim
            )
    for constant in graph.initializer:
        scope.types[constant.name] = constant.data_type
        scope.dims[constant.name] = tuple(constant.dims)
        scope.origin[constant.name] = CONSTANT
        if constant.data_location != constant.EXTERNAL and len(constant.raw_data) <= 4096:
            scope.values[constant.name] = numpy_helper.to_array(constant)


def _trace(node: Node) -> None:
    """Write down where the values of a node's outputs come from."""
    from onnx import numpy_helper

    origins = [node.scope.origin.get(name, DATA) for name in node.proto.input if name]
    origin = max(origins, default=CONSTANT)
    if node.operator in ("Shape", "Size"):
        origin = min(origin, SHAPE)
    if node.operator in _RANDOM or list(_subgraphs(node.proto)):
        origin = DATA
    node.scope.origin.update(dict.fromkeys(node.proto.output, origin))
    value = node.attributes.get("value")
    if node.operator == "Constant" and value is not None:
        node.scope.values[node.proto.output[0]] = numpy_helper.to_array(value)


def _subgraphs(proto: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in proto.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _node_faults(node: Node) -> Iterator[str]:
    operator = node.operator
    if node.proto.domain not in ("", "ai.onnx"):
        yield f"operators of domain {node.proto.domain!r} are not ONNX's"
        return
    if operator not in SUPPORTED:
        said = "named as unsupported" if operator in UNSUPPORTED else "missing"
        yield f"{said} in the operator list of TensorRT {RELEASE}"
        return
    for index in _TYPED.get(operator, (0,)):
        kind = node.kind(index) if index < 0 or node.has(index) else None
        if kind is not None and kind not in SUPPORTED[operator]:
            where = "output" if index < 0 else f"input {node.input(index)!r}"
            yield f"{where} is {kind}, the list gives {' '.join(sorted(SUPPORTED[operator]))}"
    if operator in _SIZE_IS_DATA:
        yield "the size of its output depends on data"
    for index in _SIZES.get(operator, ()):
        if node.has(index) and node.origin(index) == DATA:
            yield f"the size of its output depends on the values of {node.input(index)!r}"
    rules: Mapping[str, Callable[[Node], Iterator[str]]] = RULES
    if operator in rules:
        yield from rules[operator](node)
