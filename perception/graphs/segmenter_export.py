"""Writes the segmenter's four graphs as ONNX and proves them equal at several sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ...twin.errors import ModelError
from .edgetam import SegmenterModel, is_edgetam
from .onnx_file import export_graph, parity
from .segmenter import (
    DecoderGraph,
    EncoderGraph,
    MemoryAttentionGraph,
    MemoryEncoderGraph,
    image_side,
)

__all__ = ["SEGMENTER_FILES", "decoder_inputs", "export_segmenter", "memory_inputs"]

SEGMENTER_FILES = (
    "segmenter_encoder.onnx",
    "segmenter_decoder.onnx",
    "segmenter_memory_encoder.onnx",
    "segmenter_memory_attention.onnx",
)

Inputs = dict[str, Tensor]


def export_segmenter(
    model: SegmenterModel, folder: Path, *, tolerance: float = 1e-3
) -> tuple[str, ...]:
    """Write the four files into ``folder`` and return their names.

    Object, prompt, point, memory and pointer counts stay free; the picture's size is fixed.

    Raises:
        ModelError: if a written file and its module differ by more than ``tolerance`` at any
            of the sizes tried (one and several objects, one to seven memories).
    """
    cast(nn.Module, model).eval()
    size = image_side(model)
    source = torch.Generator().manual_seed(0)
    pixels = torch.randn(1, 3, size, size, generator=source)
    with torch.no_grad():
        embedding, image_embedding, high_res_0, high_res_1 = EncoderGraph(model)(pixels)
    fine = (high_res_0, high_res_1)
    many = decoder_inputs(model, image_embedding.expand(2, -1, -1, -1), fine, 3, 2, source)
    rest = [
        decoder_inputs(model, image_embedding.expand(b, -1, -1, -1), fine, p, k, source)
        for b, p, k in ((1, 1, 1), (1, 6, 2), (5, 1, 1))
    ]
    features = {0: "rows"}
    prompts = {0: "rows", 1: "prompts", 2: "points_each"}
    _write(
        EncoderGraph(model),
        folder / SEGMENTER_FILES[0],
        {"pixel_values": pixels},
        {},
        [],
        tolerance,
    )
    _write(
        DecoderGraph(model),
        folder / SEGMENTER_FILES[1],
        many,
        {"embedding": features, "points": prompts, "labels": prompts},
        rest,
        tolerance,
    )
    _export_memory(model, folder, embedding, source, tolerance)
    return SEGMENTER_FILES


def _export_memory(
    model: SegmenterModel,
    folder: Path,
    embedding: Tensor,
    source: torch.Generator,
    tolerance: float,
) -> None:
    objects = {0: "objects"}
    _write(
        MemoryEncoderGraph(model),
        folder / SEGMENTER_FILES[2],
        _mask_inputs(embedding, 3, source),
        {"mask_logits": objects, "object_logits": objects, "prompted": objects},
        [_mask_inputs(embedding, n, source) for n in (1, 6)],
        tolerance,
    )
    _write(
        MemoryAttentionGraph(model),
        folder / SEGMENTER_FILES[3],
        memory_inputs(model, embedding, 3, 4, 5, source),
        {
            "memories": {0: "objects", 1: "memories"},
            "memory_offsets": {0: "objects", 1: "memories"},
            "pointers": {0: "objects", 1: "pointers"},
            "pointer_offsets": {0: "objects", 1: "pointers"},
        },
        [memory_inputs(model, embedding, *n, source) for n in ((1, 1, 1), (2, 7, 16), (1, 2, 3))],
        tolerance,
    )


def decoder_inputs(
    model: SegmenterModel,
    embedding: Tensor,
    high_res: Sequence[Tensor],
    prompts: int,
    points: int,
    source: torch.Generator,
) -> Inputs:
    """Return random decoder inputs; two points make a box, one is a click."""
    rows, size = embedding.shape[0], image_side(model)
    labels = torch.tensor([2, 3] if points == 2 else [1] * points)
    return {
        "embedding": embedding.contiguous(),
        "high_res_0": high_res[0],
        "high_res_1": high_res[1],
        "points": torch.rand(rows, prompts, points, 2, generator=source) * size,
        "labels": labels.expand(rows, prompts, -1).contiguous(),
    }


def _mask_inputs(embedding: Tensor, objects: int, source: torch.Generator) -> Inputs:
    side = 4 * embedding.shape[-1]
    return {
        "embedding": embedding,
        "mask_logits": torch.randn(objects, side, side, generator=source) * 4,
        "object_logits": torch.randn(objects, generator=source),
        "prompted": (torch.arange(objects) % 2).float(),
    }


def memory_inputs(
    model: SegmenterModel,
    embedding: Tensor,
    objects: int,
    memories: int,
    pointers: int,
    source: torch.Generator,
) -> Inputs:
    """Return random inputs of the memory attention."""
    width, tokens = embedding.shape[1], embedding.shape[-1] ** 2
    if is_edgetam(model):
        config = model.config
        tokens = config.perceiver_resampler_num_latents + config.perceiver_resampler_num_latents_2d
    reach = int(model.config.num_maskmem)
    ages = torch.arange(memories) + torch.arange(objects)[:, None]  # of unequal age
    pointer_ages = torch.arange(1, pointers + 1) + torch.arange(objects)[:, None]
    return {
        "embedding": embedding,
        "memories": torch.randn(objects, memories, tokens, model.mem_dim, generator=source),
        "memory_offsets": ages % reach,
        "pointers": torch.randn(objects, pointers, width, generator=source),
        "pointer_offsets": pointer_ages.float(),
    }


def _write(
    module: nn.Module,
    path: Path,
    inputs: Inputs,
    dynamic: Mapping[str, Mapping[int, str]],
    others: Sequence[Inputs],
    tolerance: float,
) -> None:
    outputs = module.outputs
    assert isinstance(outputs, tuple)
    export_graph(module, inputs, path, outputs, dynamic=dynamic, tolerance=tolerance)
    for other in others:
        error = parity(module, other, path)
        if error > tolerance:
            sizes = {name: tuple(array.shape) for name, array in other.items()}
            raise ModelError(
                f"expected {path.name} to equal its module within {tolerance:g} at {sizes}, got a "
                f"difference of {error:.3g}; try another opset, or report the operator"
            )
