"""One way to write a torch module as an ONNX file, and the proof that both agree."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from ...twin.errors import ModelError
from ..engines import open_engine

__all__ = ["export_graph", "listed_forms", "parity", "strip_traces"]


def export_graph(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    path: Path,
    outputs: Sequence[str],
    *,
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
    tolerance: float = 1e-3,
) -> Path:
    """Write ``module`` to ``path``, weights inside, and compare it with onnxruntime.

    ``inputs`` are sample arrays by port name in the order of ``forward``; ``dynamic`` names
    the free dimensions of an input.

    Raises:
        ModelError: if any output differs by more than ``tolerance`` (see :func:`parity`).
    """
    module = module.eval()
    dims = {
        name: {axis: torch.export.Dim(label) for axis, label in axes.items()}
        for name, axes in (dynamic or {}).items()
    }
    shapes = tuple(dims.get(name) for name in inputs) if dims else None
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = io.StringIO()  # the exporter prints its progress
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(noise), torch.no_grad():
            warnings.simplefilter("ignore")  # of torch's and onnxscript's own making
            torch.onnx.export(
                module,
                tuple(inputs.values()),
                str(path),
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=shapes,
                dynamo=True,
                external_data=False,
                optimize=True,
                verbose=False,
            )
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    listed_forms(path)
    strip_traces(path)
    error = parity(module, inputs, path)
    if error > tolerance:
        raise ModelError(
            f"expected {path.name} to equal its module within {tolerance:g}, "
            f"got a difference of {error:.3g}; try another opset, or report the operator"
        )
    return path


def listed_forms(path: Path) -> int:
    """Write operators in the forms that TensorRT's operator list has; returns how many.

    Clip of whole numbers, which the list gives for floating-point numbers only, becomes Max
    and Min, which it gives for both. A bicubic Resize, which it does not have, becomes its
    result where that is constant: the position embedding of an image encoder, stretched to
    the picture's size. Values do not change.
    """
    model = onnx.load(str(path))
    changed = _whole_clips(model.graph) + _constant_resizes(model)
    if changed:
        onnx.save(model, str(path))
    return changed


def strip_traces(path: Path) -> None:
    """Take out what the exporter notes beside nodes and values: stack traces with the paths
    of the machine that exported, a seventh of a small file.
    """
    model = onnx.load(str(path))
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        for part in (*graph.node, *graph.value_info, *getattr(graph, "initializer", ())):
            del part.metadata_props[:]
            part.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    onnx.save(model, str(path))


def _whole_clips(graph: onnx.GraphProto) -> int:
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info)}
    whole = (TensorProto.INT32, TensorProto.INT64)
    nodes: list[onnx.NodeProto] = []
    changed = 0
    for node in graph.node:
        if node.op_type != "Clip" or kinds.get(node.input[0]) not in whole:
            nodes.append(node)
            continue
        changed += 1
        bounds = [b for b in zip(("Max", "Min"), node.input[1:], strict=False) if b[1]]
        if not bounds:
            nodes.append(helper.make_node("Identity", node.input[:1], node.output, node.name))
        value = node.input[0]
        for index, (operator, limit) in enumerate(bounds):
            last = index == len(bounds) - 1
            result = node.output[0] if last else f"{node.output[0]}_{operator}"
            nodes.append(
                helper.make_node(operator, [value, limit], [result], f"{node.name}_{operator}")
            )
            value = result
    if changed:
        del graph.node[:]
        graph.node.extend(nodes)
    return changed


def _constant_resizes(model: onnx.ModelProto) -> int:
    graph = model.graph
    folded = [
        (node, sources)
        for node in graph.node
        if node.op_type == "Resize"
        and any(a.name == "mode" and a.s == b"cubic" for a in node.attribute)
        and (sources := _sources(graph, node)) is not None
    ]
    for node, sources in folded:
        name = node.output[0]
        used = {source for one in sources for source in one.input}
        constants = [tensor for tensor in graph.initializer if tensor.name in used]
        wanted = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        part = helper.make_graph(sources, "constant", [], [wanted], constants)
        small = helper.make_model(
            part, opset_imports=model.opset_import, ir_version=model.ir_version
        )
        with tempfile.TemporaryDirectory() as folder:
            onnx.save(small, str(Path(folder) / "constant.onnx"))
            value = open_engine(Path(folder) / "constant.onnx", device="cpu").run({})[name]
        graph.node.remove(node)
        graph.initializer.append(numpy_helper.from_array(value, name))
    if folded:
        _drop_unused(graph)
    return len(folded)


def _sources(graph: onnx.GraphProto, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    """Return the nodes that a node's result comes from, None if an input is among them."""
    made = {name: one for one in graph.node for name in one.output}
    given = {value.name for value in graph.input}
    needed, waiting = {node.output[0]}, list(node.input)
    while waiting:
        name = waiting.pop()
        if name in given:
            return None
        if name in made and name not in needed:
            needed.add(name)
            waiting += made[name].input
    return [one for one in graph.node if needed.intersection(one.output)]


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and constants that nothing reads any more (none where subgraphs may)."""
    if any(a.HasField("g") or a.graphs for node in graph.node for a in node.attribute):
        return
    while True:
        read = {name for node in graph.node for name in node.input}
        read.update(value.name for value in graph.output)
        dead = [node for node in graph.node if not read.intersection(node.output)]
        if not dead:
            break
        for node in dead:
            graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def parity(module: nn.Module, inputs: Mapping[str, Tensor], path: Path) -> float:
    """Return the largest difference between the module and the file, relative to its output.

    Per output: max |a - b| / max(1, max |a|); the result is the worst output's.
    """
    with torch.no_grad():
        value = module.eval()(*inputs.values())
    expected = [value] if isinstance(value, Tensor) else list(value)
    engine = open_engine(path, device="cpu")
    got = engine.run({name: array.numpy() for name, array in inputs.items()}).values()
    worst = 0.0
    for a, b in zip(expected, got, strict=True):
        array = a.detach().cpu().numpy()
        scale = max(1.0, float(np.abs(array).max()))
        worst = max(worst, float(np.abs(array - b).max()) / scale)
    return worst
