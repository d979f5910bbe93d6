"""Random-weight SAM 2 and EdgeTAM models of any size, and transformers' streaming session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import EdgeTamVideoConfig, EdgeTamVideoModel, Sam2VideoConfig, Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from edgetwin.perception.graphs.configs_segmenter import (
    SAM2_MEAN,
    SAM2_STD,
    embedded_segmenter_config,
)
from edgetwin.perception.graphs.segmenter_bundle import TorchSegmenterBundle
from edgetwin.perception.segmenter import SegmentedMasks, Segmenter

Model = Sam2VideoModel | EdgeTamVideoModel
SIDE = 128

# As the published checkpoints are configured: several masks for tracking, stability for boxes.
CHOOSING = {"multimask_output_in_sam": True, "multimask_output_for_tracking": True}


def awake(family: Any, config: Any, seed: int = 0) -> Any:
    """Return a model with random weights that make masks clear and make every input matter.

    Initial values for long training (std .02, zero embeddings) would leave masks near zero and
    memories without effect. Objects count as present, by a margin that varies.
    """
    torch.manual_seed(seed)
    model = family(config)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.LayerNorm):
            module.reset_parameters()
    with torch.no_grad():
        for name, value in model.named_parameters():
            learnt = any(
                part in name for part in ("embed", "token.", "tokens.", "latents", "pointer")
            )
            if learnt and "proj" not in name and "neck" not in name:
                nn.init.normal_(value, std=0.5)
            if name.endswith("memory_temporal_positional_encoding"):
                nn.init.normal_(value, std=1.0)
        for layer in model.memory_encoder.memory_fuser.layers:
            layer.scale.fill_(0.3)
        embedding = model.shared_image_embedding.positional_embedding
        model.prompt_encoder.shared_embedding.positional_embedding.copy_(embedding)
        # Masks, memories and pointers that differ must lead to masks that differ.
        model.memory_encoder.mask_downsampler.final_conv.weight.mul_(2)
        model.memory_encoder.projection.weight.mul_(2)
        for layer in model.memory_attention.layers:
            layer.cross_attn_image.q_proj.weight.mul_(2)
            layer.cross_attn_image.o_proj.weight.mul_(2)
        decoder = model.mask_decoder
        for mlp in decoder.output_hypernetworks_mlps:
            mlp.proj_out.weight.mul_(12)
        decoder.iou_prediction_head.proj_out.weight.mul_(4)
        decoder.pred_obj_score_head.proj_out.weight.mul_(60)
        scores = _object_scores(model.eval())
        decoder.pred_obj_score_head.proj_out.bias.add_(3 - float(scores.min()))
    return model


def _object_scores(model: Any) -> NDArray[np.float32]:
    """Of box prompts on one frame and of the same objects tracked on the next."""
    side = int(model.config.image_size)
    segmenter = Segmenter(TorchSegmenterBundle(model))
    first, second = film(2, side)
    features, bank = segmenter.encode(first), segmenter.new_bank()
    boxes = side * np.array([[0.1, 0.1, 0.5, 0.4], [0.5, 0.2, 0.9, 0.7]], np.float32)
    masks = segmenter.from_boxes(features, boxes, margin=None)
    segmenter.remember(features, masks, bank)
    bank.advance()
    tracked = segmenter.propagate(segmenter.encode(second), bank)
    return np.concatenate([masks.object_logits_n, tracked.object_logits_n])


def tiny_sam2(fpn: int = 128, seed: int = 2, **changes: Any) -> Sam2VideoModel:
    config = embedded_segmenter_config(
        image_size=SIDE, widths=(8, 16, 24, 32), blocks=(1, 1, 2, 1), fpn=fpn, mlp=32
    )
    config.memory_attention_num_layers = 2
    config.mask_decoder_config.dynamic_multimask_via_stability = True
    for name, value in (CHOOSING | changes).items():
        setattr(config, name, value)
    return awake(Sam2VideoModel, config, seed)


def edgetam_config(
    side: int, fpn: int, latents: tuple[int, int], mlp: int, fuser: int, **repvit: Any
) -> EdgeTamVideoConfig:
    """A RepViT-M1 as in the published checkpoint (or ``repvit``'s), the rest of any size."""
    from transformers import TimmWrapperConfig
    from transformers.models.edgetam.configuration_edgetam import EdgeTamVisionConfig

    arguments = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    arguments |= repvit
    backbone = TimmWrapperConfig(architecture="repvit_m1", model_args=arguments)
    sizes = [[side // stride, side // stride] for stride in (4, 8, 16)]
    heads = {"hidden_size": fpn, "mlp_dim": mlp, "iou_head_hidden_dim": fpn}
    keys = [round(latents[1] ** 0.5)] * 2
    return EdgeTamVideoConfig(
        vision_config=EdgeTamVisionConfig(
            backbone_config=backbone,
            backbone_channel_list=list(reversed(repvit.get("embed_dim", (48, 96, 192, 384)))),
            backbone_feature_sizes=sizes,
            fpn_hidden_size=fpn,
        ),
        prompt_encoder_config={"hidden_size": fpn, "image_size": side},
        mask_decoder_config=heads,
        image_size=side,
        memory_attention_hidden_size=fpn,
        memory_attention_mlp_hidden_size=mlp,
        memory_attention_rope_feat_sizes=[side // 16, side // 16],
        memory_attention_rope_k_sizes=keys,
        perceiver_resampler_num_latents=latents[0],
        perceiver_resampler_num_latents_2d=latents[1],
        memory_encoder_hidden_size=fpn,
        mask_downsampler_embed_dim=fpn,
        memory_fuser_embed_dim=fpn,
        memory_fuser_intermediate_dim=fuser,
    )


def tiny_edgetam() -> EdgeTamVideoModel:
    """Needs timm: call it within ``torchvision_stub``."""
    small = {"embed_dim": (8, 16, 24, 32), "depth": (1, 1, 2, 1)}
    return awake(EdgeTamVideoModel, edgetam_config(SIDE, 128, (8, 16), 32, 32, **small))


def published_sam2() -> Sam2VideoConfig:
    """``facebook/sam2.1-hiera-tiny``: the defaults, and Hiera's windows of the tiny size."""
    from transformers import Sam2HieraDetConfig, Sam2VisionConfig

    backbone = Sam2HieraDetConfig(
        hidden_size=96,
        blocks_per_stage=[1, 2, 7, 2],
        embed_dim_per_stage=[96, 192, 384, 768],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 14, 7],
        global_attention_blocks=[5, 7, 9],
        window_positional_embedding_background_size=[7, 7],
    )
    vision = Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=[768, 384, 192, 96])
    return Sam2VideoConfig(vision_config=vision)


def film(count: int, side: int) -> NDArray[np.uint8]:
    """A smooth random pattern that drifts, (count, side, side, 3)."""
    rng = np.random.default_rng(0)
    cells = side // 16
    coarse = rng.integers(0, 255, (cells, 2 * cells, 3), dtype=np.uint8)
    wide = coarse.repeat(16, 0).repeat(16, 1)
    steps = np.linspace(0, side - 1, count).astype(int)
    frames = np.stack([wide[:, step : step + side] for step in steps])
    noise = rng.integers(0, 20, frames.shape, dtype=np.uint8)
    return frames // 2 + noise


Prompts = Mapping[int, Mapping[int, Sequence[float]]]  # frame -> object -> box


class Reference:
    """transformers' own streaming: frames one by one, objects when they are prompted."""

    def __init__(self, model: Any, side: int) -> None:
        self.model = model
        self.session = Sam2VideoInferenceSession(
            video_height=side, video_width=side, dtype=torch.float32
        )

    def step(
        self, picture: NDArray[np.uint8], number: int, boxes: Mapping[int, Sequence[float]]
    ) -> NDArray[np.float32]:
        """Return logits (N, h, w) of all objects so far."""
        for key, box in boxes.items():
            prompt = {
                "point_coords": torch.tensor(box, dtype=torch.float32).reshape(1, 1, 2, 2),
                "point_labels": torch.tensor([[[2, 3]]]),
            }
            self.session.add_point_inputs(self.session.obj_id_to_idx(key), number, prompt)
        self.session.obj_with_new_inputs = list(boxes)
        out = self.model(self.session, frame=torch.from_numpy(pixels_of(picture)))
        logits: NDArray[np.float32] = out.pred_masks[:, 0].numpy()
        return logits


class Ours:
    """The same with our segmenter and bank."""

    def __init__(self, segmenter: Segmenter, *, any_prompt_is_binary: bool) -> None:
        self.segmenter, self.bank = segmenter, segmenter.new_bank()
        self.spill = any_prompt_is_binary

    def step(
        self, picture: NDArray[np.uint8], number: int, boxes: Mapping[int, Sequence[float]]
    ) -> NDArray[np.float32]:
        """See :class:`Reference`; object ids count up as they are prompted."""
        segmenter, bank = self.segmenter, self.bank
        if number:
            bank.advance()
        features = segmenter.encode(picture)
        known = [key for key in bank.ids() if key not in boxes]
        parts: list[tuple[list[int], SegmentedMasks]] = []
        if known:
            parts.append((known, segmenter.propagate(features, bank, known)))
        if boxes:
            corners = np.array(list(boxes.values()), np.float32)
            parts.append((list(boxes), segmenter.from_boxes(features, corners, margin=None)))
        rows: dict[int, NDArray[np.float32]] = {}
        for ids, masks in parts:
            binary = True if self.spill and boxes else None
            segmenter.remember(features, masks, bank, ids, binary=binary)
            rows.update(zip(ids, masks.logits_nhw, strict=True))
        return np.stack([rows[key] for key in sorted(rows)])


def pixels_of(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The picture as the encoder takes it, (1, 3, S, S)."""
    mean, std = np.array(SAM2_MEAN, np.float32), np.array(SAM2_STD, np.float32)
    planes = (picture.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(planes.transpose(2, 0, 1)[None])
