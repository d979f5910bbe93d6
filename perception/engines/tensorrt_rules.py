"""The restrictions that TensorRT's operator list gives in words, one rule per operator.

A rule takes a node of :mod:`.tensorrt_operators` and yields a reason for each restriction it
breaks. Source as of :mod:`.tensorrt_list`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["RULES"]

Rule = Callable[[Any], Iterator[str]]

_TOPK = 3840
_COORDINATES = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric")
_RESIZE = {
    "coordinate_transformation_mode": ("half_pixel", (*_COORDINATES, "align_corners")),
    "mode": ("nearest", ("nearest", "linear")),
    "nearest_mode": (
        "round_prefer_floor",
        ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"),
    ),
    "keep_aspect_ratio_policy": ("stretch", ("stretch",)),
}


def _constant(index: int, name: str) -> Rule:
    def rule(node: Any) -> Iterator[str]:
        if not node.constant(index):
            yield f"{name} must be constant, got {node.input(index)!r}, which is computed"

    return rule


def _zero(index: int, name: str) -> Rule:
    def rule(node: Any) -> Iterator[str]:
        value = node.value(index)
        if not node.constant(index) or (value is not None and value.any()):
            yield f"{name} must be zero"

    return rule


def _pooling(node: Any) -> Iterator[str]:
    kernel = node.attributes.get("kernel_shape", ())
    if node.operator != "LpPool" and len(kernel) not in (2, 3):
        yield f"pooling is 2-D or 3-D, got {len(kernel)}-D"
    if any(step != 1 for step in node.attributes.get("dilations", ())):
        yield f"dilations must be 1, got {node.attributes['dilations']}"
    if node.operator == "MaxPool" and node.gives(1):
        yield "the output Indices is not supported"


def _resize(node: Any) -> Iterator[str]:
    for attribute, (default, allowed) in _RESIZE.items():
        if attribute == "nearest_mode" and node.text("mode", "nearest") != "nearest":
            continue
        got = node.text(attribute, default)
        if got not in allowed:
            yield f"{attribute} must be one of {', '.join(allowed)}, got {got}"
    if node.attributes.get("antialias", 0):
        yield "antialiasing is not supported"
    axes, rank = node.attributes.get("axes"), node.rank(0)
    if axes is not None and node.has(2) and (rank is None or list(axes) != list(range(rank))):
        yield f"with scales as input, axes must be all axes in order, got {list(axes)}"


def _top_k(node: Any) -> Iterator[str]:
    if not node.attributes.get("sorted", 1):
        yield "sorted must be 1"
    count = node.value(1)
    if count is not None and int(count.reshape(-1)[0]) >= _TOPK:
        yield f"K must be less than {_TOPK}, got {int(count.reshape(-1)[0])}"


def _grid_sample(node: Any) -> Iterator[str]:
    if node.rank(0) not in (4, None):
        yield f"its input must be 4-D, got {node.rank(0)}-D"


def _scatter_nd(node: Any) -> Iterator[str]:
    if node.text("reduction", "none") != "none":
        yield f"reduction must be none, got {node.text('reduction', 'none')}"


def _layer_norm(node: Any) -> Iterator[str]:
    if node.gives(1) or node.gives(2):
        yield "only the first output is supported"


def _constant_node(node: Any) -> Iterator[str]:
    for attribute in ("sparse_value", "value_string", "value_strings"):
        if attribute in node.attributes:
            yield f"attribute {attribute} is not supported"


def _eye_like(node: Any) -> Iterator[str]:
    if node.dims(0) is None or None in node.dims(0):
        yield "its input must have fixed dimensions"


def _hardmax(node: Any) -> Iterator[str]:
    dims = node.dims(0)
    if dims is None or dims[node.attributes.get("axis", -1)] is None:
        yield "the dimension along axis must be fixed"


def _dropout(node: Any) -> Iterator[str]:
    value = node.value(2)
    if not node.constant(2) or (value is not None and bool(value)):
        yield "training_mode must be a constant and false"


def _deform_conv(node: Any) -> Iterator[str]:
    if node.rank(0) not in (3, 4, None):
        yield "its input must have one or two spatial dimensions"
    pads = list(node.attributes.get("pads", ()))
    if pads[: len(pads) // 2] != pads[len(pads) // 2 :]:
        yield f"pads must be the same at both ends, got {pads}"


def _recurrent(node: Any) -> Iterator[str]:
    names = [str(name) for name in node.attributes.get("activations", ())]
    half = len(names) // 2
    if node.text("direction", "forward") == "bidirectional" and names[:half] != names[half:]:
        yield "activations must be the same in both directions"
    if node.operator == "LSTM":
        for attribute in ("input_forget", "layout"):
            if node.attributes.get(attribute, 0):
                yield f"{attribute} must be 0"


def _if(node: Any) -> Iterator[str]:
    branches = [node.attributes[name].output for name in ("then_branch", "else_branch")]
    for one, other in zip(*branches, strict=True):
        if one.name == other.name:
            yield f"outputs of the two branches must have different names, got {one.name!r} twice"
        ranks = [len(value.type.tensor_type.shape.dim) for value in (one, other)]
        if ranks[0] != ranks[1]:
            yield f"outputs of the two branches must have one rank, got {ranks[0]} and {ranks[1]}"


def _loop(node: Any) -> Iterator[str]:
    carried = len(node.proto.input) - 2
    if len(node.proto.output) > carried and not (node.has(0) and node.constant(0)):
        yield "the length of its scan outputs must be constant"


def _attention(node: Any) -> Iterator[str]:
    if any(node.has(index) and node.rank(index) not in (4, None) for index in range(4)):
        yield "Q, K, V and attn_mask must be 4-D"
    if any(node.has(index) for index in (4, 5, 6)):
        yield "past_key, past_value and nonpad_kv_seqlen are not supported"
    if any(node.gives(index) for index in (1, 2, 3)):
        yield "only the first output is supported"
    for attribute in ("qk_matmul_output_mode", "softcap"):
        if node.attributes.get(attribute, 0):
            yield f"attribute {attribute} is not supported"


def _rotary(node: Any) -> Iterator[str]:
    if node.has(3) and node.kind(3) not in ("INT64", None):
        yield "position_ids must be INT64"


def _stft(node: Any) -> Iterator[str]:
    if not (node.constant(1) and node.constant(2)):
        yield "frame_step and window must be constants"
    dims = node.dims(0)
    if dims is not None and dims[-1] == 2:
        yield "its input must be real"


def _tensor_scatter(node: Any) -> Iterator[str]:
    if any(node.rank(index) not in (4, None) for index in (0, 1)):
        yield "past_cache and update must be 4-D"
    if node.attributes.get("axis", -2) != -2:
        yield "axis must be -2"


_REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"

RULES: dict[str, Rule] = {
    "Attention": _attention,
    "AveragePool": _pooling,
    "Constant": _constant_node,
    "CumSum": _constant(1, "axis"),
    "DeformConv": _deform_conv,
    "DequantizeLinear": _zero(2, "x_zero_point"),
    "Dropout": _dropout,
    "EyeLike": _eye_like,
    "GRU": _recurrent,
    "GridSample": _grid_sample,
    "Hardmax": _hardmax,
    "If": _if,
    "LSTM": _recurrent,
    "LayerNormalization": _layer_norm,
    "Loop": _loop,
    "LpPool": _pooling,
    "MaxPool": _pooling,
    "OneHot": _constant(1, "depth"),
    "QuantizeLinear": _zero(2, "y_zero_point"),
    "RNN": _recurrent,
    "Resize": _resize,
    "RotaryEmbedding": _rotary,
    "STFT": _stft,
    "ScatterND": _scatter_nd,
    "Squeeze": _constant(1, "axes"),
    "TensorScatter": _tensor_scatter,
    "TopK": _top_k,
    "Unsqueeze": _constant(1, "axes"),
    **{f"Reduce{name}": _constant(1, "axes") for name in _REDUCTIONS.split()},
}
