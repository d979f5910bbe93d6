"""Read a quantised graph of the GenAI builder back to floats, and set how it computes.

The builder stores matrices as ``MatMulNBits``: 4 or 8 bits per value, one float scale per
block of a row, zero at 8 or 128 when the graph gives no zero points. Its attribute
``accuracy_level`` says what products are computed in: 4 rounds the *activations* to int8 as
well, 1 keeps them float32; weights and file size are the same.

A checkpoint written from the floats is the function that the device runs, up to the rounding of
activations: other backends give its answers, not those of the weights before quantisation.

Not covered: graphs of other architectures than Qwen3, mixtures of experts, other block operators
than MatMulNBits and GatherBlockQuantized.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import ModelError

__all__ = ["dequantised", "set_accuracy_level", "settle", "write_checkpoint"]

_Floats = NDArray[np.float32]
_HEAD = "lm_head.weight"
_EMBEDDING = "model.embed_tokens.weight"
_NORMS = {"attn.q_norm.layernorm": "self_attn.q_norm", "attn.k_norm.layernorm": "self_attn.k_norm"}


def settle(bundle: Path, level: int | None = None) -> bool:
    """Make a bundle's graph and its model.safetensors the same weights, to the last bit.

    Scales of the graph are rounded to 8 significant bits (relative change up to 2e-3, far below
    a step of 4 bits) and its other weights to float16: then products of 4-bit values and scales
    are float16 numbers, and the floats are written as such. Returns whether they could be; else
    (matrices of 8 bits, very small scales) they are written as float32.

    Args:
        bundle: folder with model.onnx, config.json and the tokenizer's files; changed in place.
        level: accuracy level to set, None leaves it.

    Raises:
        ModelError: if the graph is not one that this can read.
    """
    import onnx
    from onnx import TensorProto, numpy_helper

    graph = bundle / "model.onnx"
    if level is not None:
        set_accuracy_level(graph, graph, level)
    loaded = onnx.load(str(graph))
    for tensor in loaded.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or ".weight" not in tensor.name:
            continue
        values = numpy_helper.to_array(tensor)
        scales = tensor.name.endswith("_scales")
        rounded = _eight_bits(values) if scales else values.astype(np.float16).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    onnx.save(loaded, str(graph))
    config = json.loads((bundle / "config.json").read_text())
    floats = dequantised(graph, config).values()
    half = all(np.array_equal(v.astype(np.float16).astype(np.float32), v) for v in floats)
    write_checkpoint(bundle, bundle, half)
    return half


def write_checkpoint(bundle: Path, folder: Path, half: bool = False) -> Path:
    """Write the bundle's graph as a transformers folder with the floats that it stands for.

    Args:
        bundle: folder with model.onnx, config.json and the tokenizer's files.
        half: store float16, which rounds scales (relative error up to 5e-4).

    Raises:
        ModelError: if the graph is not one that this can read.
    """
    import torch
    from safetensors.torch import save_file

    config = json.loads((bundle / "config.json").read_text())
    tensors = dequantised(bundle / "model.onnx", config)
    config["tie_word_embeddings"] = _HEAD not in tensors
    folder.mkdir(parents=True, exist_ok=True)
    kind = torch.float16 if half else torch.float32
    written = {name: torch.from_numpy(values).to(kind) for name, values in tensors.items()}
    save_file(written, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if folder != bundle:
            shutil.copy(bundle / name, folder / name)
    return folder


def dequantised(graph: Path, config: dict[str, Any]) -> dict[str, _Floats]:
    """The floats of a graph under transformers' names; the head only where it is not tied.

    Raises:
        ModelError: if tensors of the architecture are missing.
    """
    import onnx
    from onnx import helper, numpy_helper

    loaded = onnx.load(str(graph))
    arrays = {i.name: numpy_helper.to_array(i) for i in loaded.graph.initializer}
    layers = int(config["num_hidden_layers"])
    found: dict[str, _Floats] = {}
    shared = False
    for node in loaded.graph.node:
        if node.op_type == "GatherBlockQuantized":
            shared = node.input[2] == "lm_head.MatMul.weight_scales"
        if node.op_type == "MatMulNBits":
            settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            matrix = _matrix(arrays, list(node.input), settings)
            found |= _parts(node.input[1].partition(".MatMul.")[0], matrix, config)
    for name, values in arrays.items():
        if own := _float_name(name, layers):
            matrix = values.astype(np.float32)
            found[own] = np.ascontiguousarray(matrix.T) if ".MatMul." in name else matrix
    if shared or _EMBEDDING not in found:
        found[_EMBEDDING] = found.pop(_HEAD, np.empty((0, 0), np.float32))
    _check(found, config, graph)
    return found


def set_accuracy_level(graph: Path, target: Path, level: int) -> None:
    """Copy a graph, products of quantised matrices in float32 (1) or with int8 activations (4)."""
    import onnx
    from onnx import helper

    loaded = onnx.load(str(graph))
    for node in loaded.graph.node:
        if node.op_type == "MatMulNBits":
            kept = [a for a in node.attribute if a.name != "accuracy_level"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("accuracy_level", level)])
    onnx.save(loaded, str(target))


def _matrix(arrays: dict[str, Any], inputs: list[str], settings: dict[str, Any]) -> _Floats:
    """(N, K) floats: (value - zero) * scale, block by block."""
    bits, block = int(settings["bits"]), int(settings["block_size"])
    rows, columns = int(settings["N"]), int(settings["K"])
    values = _unpacked(arrays[inputs[1]].reshape(rows, -1), bits)
    blocks = values.shape[1] // block
    scales = arrays[inputs[2]].astype(np.float32).reshape(rows, blocks, 1)
    zeros: Any = np.float32(1 << (bits - 1))
    if len(inputs) > 3 and inputs[3]:
        stored = arrays[inputs[3]].reshape(rows, -1)
        known = _unpacked(stored, bits) if stored.dtype == np.uint8 else stored.astype(np.float32)
        zeros = known[:, :blocks, None]
    floats = (values.reshape(rows, blocks, block) - zeros) * scales
    return np.ascontiguousarray(floats.reshape(rows, -1)[:, :columns], dtype=np.float32)


def _eight_bits(values: _Floats) -> _Floats:
    """Rounded to 8 significant bits, as bfloat16 has them."""
    fraction, exponent = np.frexp(values)
    rounded: _Floats = np.ldexp(np.round(fraction * 256) / 256, exponent).astype(np.float32)
    return rounded


def _unpacked(packed: NDArray[np.uint8], bits: int) -> _Floats:
    """One value per column; of two in a byte the lower half comes first."""
    if bits == 8:
        return packed.astype(np.float32)
    if bits != 4:
        raise ModelError(f"expected matrices of 4 or 8 bits, got {bits}; export them again")
    pairs = np.stack([packed & 15, packed >> 4], axis=-1)
    return pairs.reshape(len(packed), -1).astype(np.float32)


def _parts(name: str, matrix: _Floats, config: dict[str, Any]) -> dict[str, _Floats]:
    """The transformers matrices that one of the builder's holds."""
    if name == "lm_head":
        return {_HEAD: matrix}
    own = name.replace(".attn.", ".self_attn.")
    if not own.endswith("qkv_proj"):
        return {f"{own}.weight": matrix}
    head = int(config["head_dim"])
    heads, few = int(config["num_attention_heads"]), int(config["num_key_value_heads"])
    q, k, v = np.split(matrix, [heads * head, (heads + few) * head])
    stem = own.removesuffix("qkv_proj")
    pairs = (("q", q), ("k", k), ("v", v))
    return {f"{stem}{p}_proj.weight": np.ascontiguousarray(m) for p, m in pairs}


def _float_name(name: str, layers: int) -> str | None:
    """transformers' name of a tensor that the builder left as floats, None for others."""
    if name == _EMBEDDING:
        return name
    if name == f"model.layers.{layers}.final_norm_layernorm.weight":
        return "model.norm.weight"
    if not name.endswith(".weight") or not name.startswith("model.layers."):
        return None
    own = name.removesuffix(".weight")
    for theirs, ours in _NORMS.items():
        own = own.replace(theirs, ours)
    return f"{own}.weight" if own.endswith(("layernorm", "_norm")) else None


def _check(found: dict[str, _Floats], config: dict[str, Any], graph: Path) -> None:
    """All tensors of a Qwen3 are there, in their shapes."""
    wide, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
    expected = 2 + 11 * layers
    embedding = found[_EMBEDDING].shape
    count = len(found) - (_HEAD in found)
    if count != expected or embedding != (int(config["vocab_size"]), wide):
        raise ModelError(
            f"expected {expected} tensors of a quantised Qwen3 in {graph}, got {count} and an "
            f"embedding of {embedding}; build it with deploy.export.genai.build_genai"
        )
