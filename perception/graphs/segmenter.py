"""SAM 2 and EdgeTAM as four stateless graphs: image encoder, mask decoder, and two for memory.

Each wrapper follows ``transformers``' ``Sam2VideoModel`` or ``EdgeTamVideoModel`` (their
``_single_frame_forward``; memory in :mod:`.segmenter_memory`), for many objects at once and
without their session. Nothing here holds state: memories and pointers come in and go out, and
the caller keeps them (:mod:`edgetwin.perception.segmenter`).

Layouts: S side of the picture, C fpn width, E = S/16, B feature batch (1, or one row per
tracked object), P prompts per row, K points per prompt.

Not covered: mask prompts; pictures that are not square.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import Sam2VideoConfig, Sam2VideoModel

from .edgetam import SegmenterModel
from .segmenter_decoder import two_way
from .segmenter_memory import MemoryAttentionGraph, MemoryEncoderGraph, pointer_time_encoding

__all__ = [
    "DecoderGraph",
    "EncoderGraph",
    "MemoryAttentionGraph",
    "MemoryEncoderGraph",
    "build_segmenter",
    "image_side",
    "pointer_time_encoding",
]


def build_segmenter(config: Sam2VideoConfig, seed: int = 0) -> Sam2VideoModel:
    """Return a randomly initialised model that can learn from scratch.

    PyTorch's default initial values replace the checkpoint-oriented std .02, the two random
    coordinate embeddings (prompts, picture) are made equal as in every published checkpoint,
    and objects count as present until training says otherwise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Sam2VideoModel(config)
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.LayerNorm):
                module.reset_parameters()
        with torch.no_grad():
            backbone = model.vision_encoder.backbone
            nn.init.normal_(backbone.pos_embed, std=0.1)
            nn.init.normal_(backbone.pos_embed_window, std=0.1)
            for name in ("iou_token", "mask_tokens", "obj_score_token"):
                nn.init.normal_(getattr(model.mask_decoder, name).weight, std=0.5)
            for name in ("point_embed", "not_a_point_embed", "no_mask_embed"):
                nn.init.normal_(getattr(model.prompt_encoder, name).weight, std=0.5)
            nn.init.normal_(model.memory_temporal_positional_encoding, std=0.02)
            scale = config.memory_fuser_layer_scale_init_value
            for layer in model.memory_encoder.memory_fuser.layers:
                cast(Tensor, layer.scale).fill_(scale)
            model.prompt_encoder.shared_embedding.positional_embedding.copy_(
                model.shared_image_embedding.positional_embedding
            )
            model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(4.0)
    return model


def image_side(model: SegmenterModel) -> int:
    """Return the side of the square picture the model takes, in pixels."""
    return cast(int, model.config.image_size)


class EncoderGraph(nn.Module):
    """Picture (1, 3, S, S) -> what the other graphs read.

    Returns ``embedding`` (1, C, E, E) for the memory graphs, ``image_embedding`` the same
    plus the "no memory" vector for prompts on a single picture, and the fine features
    ``high_res_0`` (1, C/8, 4E, 4E), ``high_res_1`` (1, C/4, 2E, 2E).
    """

    inputs = ("pixel_values",)
    outputs = ("embedding", "image_embedding", "high_res_0", "high_res_1")

    def __init__(self, model: SegmenterModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See the class."""
        model = self.model
        maps = model.vision_encoder(pixel_values, return_dict=True).fpn_hidden_states
        high_res_0 = model.mask_decoder.conv_s0(maps[0])
        high_res_1 = model.mask_decoder.conv_s1(maps[1])
        embedding = maps[-1]
        image_embedding = embedding + model.no_memory_embedding.reshape(1, -1, 1, 1)
        return embedding, image_embedding, high_res_0, high_res_1


class DecoderGraph(nn.Module):
    """Features and prompts -> masks.

    ``embedding`` (B, C, E, E); ``high_res_0`` and ``high_res_1`` of the one picture;
    ``points`` (B, P, K, 2) float xy on the S x S picture; ``labels`` (B, P, K) int64 with 1
    object, 0 background, 2 and 3 a box's first and second corner, -1 no point at all.
    A box is two points (labels 2, 3); tracking without a prompt is one point of label -1.

    Returns ``mask_logits`` (B, P, 4E, 4E), ``iou`` (B, P), ``pointers`` (B, P, C) and
    ``object_logits`` (B, P). Masks of absent objects (logit <= 0) are left as they are:
    erasing them is the caller's choice.
    """

    inputs = ("embedding", "high_res_0", "high_res_1", "points", "labels")
    outputs = ("mask_logits", "iou", "pointers", "object_logits")

    def __init__(self, model: SegmenterModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        embedding: Tensor,
        high_res_0: Tensor,
        high_res_1: Tensor,
        points: Tensor,
        labels: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See the class."""
        model = self.model
        sparse = model.prompt_encoder._embed_points(points, labels, pad=True)
        dense = model.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        grid = model.get_image_wide_positional_embeddings()
        masks, iou, tokens, object_logits = self._all_masks(
            embedding + dense,
            grid,
            sparse,
            high_res_0,
            high_res_1,
        )
        mask, score, token = self._choose(masks, iou, tokens, (labels >= 0).sum(-1))
        present = (object_logits > 0).to(token.dtype)
        pointers = model.object_pointer_proj(token)
        pointers = present * pointers + (1 - present) * model.no_object_pointer
        return mask, score, pointers, object_logits[..., 0]

    def _all_masks(
        self,
        embedding: Tensor,
        grid: Tensor,
        sparse: Tensor,
        high_res_0: Tensor,
        high_res_1: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return masks (B, P, m, h, w), iou (B, P, 4), tokens (B, P, m, C), object (B, P, 1).

        ``Sam2VideoMaskDecoder.forward`` up to its choice of masks; m is 1 where the
        configuration leaves no choice, else 4.
        """
        decoder: Any = self.model.mask_decoder
        rows, prompts = sparse.shape[:2]
        channels, height, width = embedding.shape[1:]
        learnt = torch.cat(
            [decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight]
        )
        tokens = torch.cat([learnt.expand(rows, prompts, -1, -1), sparse], dim=2)
        image, places = (x.flatten(2).transpose(1, 2)[:, None] for x in (embedding, grid))
        out, image = two_way(decoder.transformer, tokens, image, places)
        image = image.transpose(2, 3).reshape(rows * prompts, channels, height, width)
        fine = _add_fine(decoder.upscale_conv1(image), high_res_1, prompts)
        fine = decoder.activation(decoder.upscale_layer_norm(fine))
        fine = _add_fine(decoder.upscale_conv2(fine), high_res_0, prompts)
        fine = decoder.activation(fine).reshape(rows, prompts, channels // 8, -1)
        count = decoder.num_mask_tokens if self._chooses() else 1
        mask_tokens = out[:, :, 2 : 2 + count]
        keys = torch.stack(
            [decoder.output_hypernetworks_mlps[i](mask_tokens[:, :, i]) for i in range(count)], 2
        )
        masks = (keys @ fine).reshape(rows, prompts, count, 4 * height, 4 * width)
        iou = decoder.iou_prediction_head(out[:, :, 1])
        return masks, iou, mask_tokens, decoder.pred_obj_score_head(out[:, :, 0])

    def _chooses(self) -> bool:
        decoder: Any = self.model.mask_decoder
        return bool(
            self.model.config.multimask_output_in_sam or decoder.dynamic_multimask_via_stability
        )

    def _choose(
        self, masks: Tensor, iou: Tensor, tokens: Tensor, points: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pick one mask per prompt as the configuration says.

        Token 0 is the single mask; prompts of few points take the best of the others, and an
        unstable single mask falls back to them ("dynamic multimask").
        """
        config = self.model.config
        decoder: Any = self.model.mask_decoder
        mask, score, token = masks[:, :, 0], iou[:, :, 0], tokens[:, :, 0]
        if not self._chooses():
            return mask, score, token
        few = config.multimask_output_in_sam
        unstable = decoder.dynamic_multimask_via_stability
        best = iou[:, :, 1:].argmax(-1, keepdim=True) + 1
        best_mask = torch.gather(
            masks, 2, best[..., None, None].expand(-1, -1, 1, *masks.shape[-2:])
        )
        best_token = torch.gather(tokens, 2, best[..., None].expand(-1, -1, 1, tokens.shape[-1]))
        best_score = torch.gather(iou, 2, best)
        if unstable:  # upstream keeps token 0 as the pointer's source here
            swap = decoder._get_stability_scores(mask[:, :, None])[..., 0] < (
                decoder.dynamic_multimask_stability_thresh
            )
            mask = torch.where(swap[..., None, None], best_mask[:, :, 0], mask)
            score = torch.where(swap, best_score[..., 0], score)
        if few:
            lowest = config.multimask_min_pt_num
            if not config.multimask_output_for_tracking:  # a tracked frame has no points
                lowest = max(lowest, 1)
            swap = (points >= lowest) & (points <= config.multimask_max_pt_num)
            mask = torch.where(swap[..., None, None], best_mask[:, :, 0], mask)
            score = torch.where(swap, best_score[..., 0], score)
            token = torch.where(swap[..., None], best_token[:, :, 0], token)
        return mask, score, token


def _add_fine(maps: Tensor, fine: Tensor, prompts: int) -> Tensor:
    """Add a picture's fine features (1 or B, c, h, w) to maps (B * P, c, h, w)."""
    out: Tensor = (maps.unflatten(0, (-1, prompts)) + fine[:, None]).flatten(0, 1)
    return out
