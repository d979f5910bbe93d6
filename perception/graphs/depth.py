"""Depth Anything V2 as one graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DepthAnythingForDepthEstimation

from .onnx_file import export_graph

__all__ = ["DepthGraph", "export_depth"]


class DepthGraph(nn.Module):
    """Picture (B, 3, H, W) -> depth (B, H, W), H and W multiples of its patch.

    Metres for a checkpoint with ``depth_estimation_type="metric"``; otherwise the published
    inverse depth, larger is nearer.
    """

    def __init__(self, model: DepthAnythingForDepthEstimation) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        """See the class."""
        depth: Tensor = self.model(pixel_values).predicted_depth
        return depth


def export_depth(
    model: DepthAnythingForDepthEstimation,
    folder: Path,
    *,
    size_hw: tuple[int, int] | None = None,
    tolerance: float = 1e-3,
) -> Path:
    """Write ``depth.onnx`` for one input size (default: the backbone's own, square).

    Raises:
        ModelError: if the written file and the module differ by more than ``tolerance``.
    """
    config: Any = model.config
    side = int(config.backbone_config.image_size)
    height, width = size_hw or (side, side)
    pixels = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return export_graph(
        DepthGraph(model),
        {"pixel_values": pixels},
        folder / "depth.onnx",
        ("depth",),
        tolerance=tolerance,
    )
