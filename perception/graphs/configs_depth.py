"""Sizes of the embedded depth network, and what Depth Anything V2 was trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import DepthAnythingConfig

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "PATCH", "embedded_depth_config"]

# Pixel statistics of the published Depth Anything V2 checkpoints (ImageNet's).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PATCH = 14  # of every published checkpoint: both sides of the input are multiples of it


def embedded_depth_config(
    *,
    image_size: int = 256,
    patch: int = 16,
    width: int = 128,
    layers: int = 4,
    fusion: int = 32,
    max_depth: int = 2,
) -> DepthAnythingConfig:
    """Return the tiny metric Depth Anything V2 of the embedded set: 1.2 M parameters.

    Patches, width and activation are those of the embedded detector's image encoder, from
    which it starts; published checkpoints have patches of 14. ``max_depth`` in metres bounds the output (a sigmoid scaled by it).
    """
    from transformers import DepthAnythingConfig, Dinov2Config

    # transformers annotates its configurations for their files, not for callers.
    make: Any = Dinov2Config
    backbone = make(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 32),
        image_size=image_size,
        patch_size=patch,
        hidden_act="quick_gelu",
        out_indices=list(range(1, layers + 1))[-4:],
        reshape_hidden_states=False,
        use_mask_token=False,
    )
    return DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=patch,
        reassemble_hidden_size=width,
        reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_sizes=[fusion // 2, fusion, fusion * 2, fusion * 2],
        fusion_hidden_size=fusion,
        head_hidden_size=fusion // 2,
        depth_estimation_type="metric",
        max_depth=max_depth,
    )
