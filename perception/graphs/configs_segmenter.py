"""Sizes of the embedded SAM 2 segmenter, and the pixel statistics SAM 2 was trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Sam2VideoConfig

__all__ = ["SAM2_MEAN", "SAM2_STD", "embedded_segmenter_config"]

# Pixel statistics of the published SAM 2 checkpoints (ImageNet's).
SAM2_MEAN = (0.485, 0.456, 0.406)
SAM2_STD = (0.229, 0.224, 0.225)


def embedded_segmenter_config(
    *,
    image_size: int = 256,
    widths: tuple[int, int, int, int] = (32, 64, 96, 128),
    blocks: tuple[int, int, int, int] = (1, 2, 3, 1),
    fpn: int = 128,
    mlp: int = 256,
    memory_layers: int = 1,
) -> Sam2VideoConfig:
    """Return the tiny SAM 2 video model of the embedded set: about 1.9 M parameters.

    ``fpn`` is a multiple of 64 (the memory channel, fixed by the architecture) and
    ``image_size`` a multiple of 128 (an 8x8 window at stride 16). Multimask tokens are never
    chosen: the embedded training teaches the single-mask token only. ``memory_layers`` counts
    the layers of both the memory attention (4 in the published checkpoints) and the memory
    encoder's fuser (2): one each keeps six tracked objects within a frame's time on two cores.
    """
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VisionConfig
    from transformers.models.sam2_video.configuration_sam2_video import (
        Sam2VideoMaskDecoderConfig,
        Sam2VideoPromptEncoderConfig,
    )

    strides = (4, 8, 16)
    backbone = Sam2HieraDetConfig(
        hidden_size=widths[0],
        image_size=[image_size, image_size],
        blocks_per_stage=list(blocks),
        embed_dim_per_stage=list(widths),
        num_attention_heads_per_stage=[1, 2, 3, 4],
        window_size_per_stage=[8, 4, 8, 8],
        global_attention_blocks=[blocks[0] + blocks[1] + 1],
        window_positional_embedding_background_size=[8, 8],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=list(reversed(widths)),
        backbone_feature_sizes=[[image_size // s, image_size // s] for s in strides],
        fpn_hidden_size=fpn,
    )
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(hidden_size=fpn, image_size=image_size),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(
            hidden_size=fpn,
            mlp_dim=mlp,
            iou_head_hidden_dim=fpn,
            dynamic_multimask_via_stability=False,
        ),
        image_size=image_size,
        multimask_output_in_sam=False,
        multimask_output_for_tracking=False,
        memory_attention_hidden_size=fpn,
        memory_attention_num_layers=memory_layers,
        memory_attention_feed_forward_hidden_size=mlp,
        memory_attention_rope_feat_sizes=[image_size // 16, image_size // 16],
        memory_attention_dropout=0.0,
        memory_attention_rope_dropout=0.0,
        memory_encoder_hidden_size=fpn,
        mask_downsampler_embed_dim=fpn,
        memory_fuser_num_layers=memory_layers,
        memory_fuser_embed_dim=fpn,
        memory_fuser_intermediate_dim=fpn * 2,
        # 1e-6 (the published value, for long training) would keep the fuser silent here.
        memory_fuser_layer_scale_init_value=0.1,
    )
