"""The two memory graphs of SAM 2 and EdgeTAM: what is remembered, and how it is read again.

They compute what ``Sam2VideoModel`` and ``EdgeTamVideoModel`` of transformers do in
``_encode_new_memory``, ``_build_memory_attention_inputs``, ``_process_object_pointers`` and
``memory_attention``, for N objects at once and with less arithmetic (the same algebra in
another order, so results agree to rounding):

- the first layer's self-attention and queries read the picture alone: once for all objects;
- values are linear in the memories, so attention weighs the 64 channels that are stored, and
  value and output projection follow as one matrix on the few queries;
- rotary positions turn the two halves of a head instead of neighbouring channels (weights
  permuted to suit), which needs no gathering.

Layouts: C fpn width, E side of the finest attended grid, T tokens of one memory (SAM 2: E * E;
EdgeTAM: the latents of its resampler, 1-D ones first), M memories, Q pointers.

Not covered: dropout (training runs these graphs without it); rotary positions for a picture of
another size than the configuration's.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .edgetam import SegmenterModel, is_edgetam, latent_grid, resample, sine_grid
from .segmenter_decoder import norm_planes

__all__ = ["MemoryAttentionGraph", "MemoryEncoderGraph", "pointer_time_encoding"]


class MemoryEncoderGraph(nn.Module):
    """A picture's features and N masks on it -> N memories.

    ``embedding`` (1, C, E, E), ``mask_logits`` (N, 4E, 4E), ``object_logits`` (N,),
    ``prompted`` (N,) float, above zero where the mask is made binary first, as it is when it
    came from a prompt. Returns ``memories`` (N, T, 64).
    """

    inputs = ("embedding", "mask_logits", "object_logits", "prompted")
    outputs = ("memories",)

    def __init__(self, model: SegmenterModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, embedding: Tensor, mask_logits: Tensor, object_logits: Tensor, prompted: Tensor
    ) -> Tensor:
        """See the class."""
        model, config = self.model, self.model.config
        encoder: Any = model.memory_encoder
        size = cast(int, config.image_size)
        fine = F.interpolate(
            mask_logits[:, None], size=(size, size), mode="bilinear", align_corners=False
        )
        soft, hard = torch.sigmoid(fine), (fine > 0).to(fine.dtype)
        binary = (prompted > 0).to(fine.dtype)[:, None, None, None]
        mask = soft + binary * (hard - soft)
        mask = mask * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
        for layer in encoder.mask_downsampler.layers:
            mask = layer.conv(mask)
            few = mask.shape[1] <= 16  # channels for which moving them last costs more
            mask = norm_planes(mask, layer.layer_norm) if few else layer.layer_norm(mask)
            mask = layer.activation(mask)
        mask = encoder.mask_downsampler.final_conv(mask)
        both = encoder.feature_projection(embedding) + mask
        maps: Tensor = encoder.projection(encoder.memory_fuser(both))
        absent = model.occlusion_spatial_embedding_parameter
        if absent is not None:
            gone = (object_logits <= 0).to(maps.dtype)[:, None, None, None]
            maps = maps + gone * absent[..., None, None]
        if is_edgetam(model):
            return resample(model, maps)
        return maps.flatten(2).transpose(1, 2)


class MemoryAttentionGraph(nn.Module):
    """A picture's features read N objects' pasts -> N conditioned embeddings.

    ``embedding`` (1, C, E, E); ``memories`` (N, M, T, 64); ``memory_offsets`` (N, M) int64
    frames into the past, 0 for a prompted frame, else 1 .. 6; ``pointers`` (N, Q, C);
    ``pointer_offsets`` (N, Q) float frames into the past. Offsets without the N count for all
    objects. Returns ``conditioned`` (N, C, E, E).
    """

    inputs = ("embedding", "memories", "memory_offsets", "pointers", "pointer_offsets")
    outputs = ("conditioned",)

    def __init__(self, model: SegmenterModel) -> None:
        super().__init__()
        self.model = model
        attention: Any = model.memory_attention
        side = model.prompt_encoder.image_embedding_size[0]
        with torch.no_grad():
            cos, sin = attention.rotary_emb(torch.zeros(1), attention.position_ids)
            turn = torch.stack([cos[0, :, ::2], sin[0, :, ::2]])
            if is_edgetam(model):
                places, turn_memory = latent_grid(model)
            else:
                places = sine_grid(model.memory_encoder.position_encoding, model.mem_dim, side)
                turn_memory = turn
            grid = sine_grid(model.vision_encoder.neck.position_encoding, model.hidden_dim, side)
        self.register_buffer("feature_grid", 0.1 * grid, persistent=False)  # (E*E, C)
        self.register_buffer("memory_grid", places, persistent=False)  # (T, 64)
        # Cosines and sines of the rotary angles: (2, tokens, half a head).
        self.register_buffer("turn", turn, persistent=False)
        self.register_buffer("turn_memory", turn_memory, persistent=False)

    def forward(
        self,
        embedding: Tensor,
        memories: Tensor,
        memory_offsets: Tensor,
        pointers: Tensor,
        pointer_offsets: Tensor,
    ) -> Tensor:
        """See the class."""
        model = self.model
        objects, count, _, channels = memories.shape
        width = embedding.shape[1]
        slots = model.memory_temporal_positional_encoding[:, 0, 0]
        slots = torch.cat([slots[-1:], slots[:-1]])  # offset 0, the prompted frame, reads the last
        time = F.embedding(memory_offsets, slots)
        # (N, M, T, 64), or (1, M, T, 64) where the offsets count for all objects.
        places = cast(Tensor, self.memory_grid) + time.reshape(-1, count, 1, channels)
        pieces = pointers.reshape(objects, -1, channels)
        when = pointer_time_encoding(model, pointer_offsets)
        when = when.reshape(-1, pointers.shape[1], 1, channels)
        when = when.expand(-1, -1, width // channels, -1).flatten(1, 2)
        values = torch.cat([memories.flatten(1, 2), pieces], dim=1)
        keys = torch.cat([(memories + places).flatten(1, 2), pieces + when], dim=1)
        turn = cast(Tensor, self.turn_memory)[:, None].expand(-1, count, -1, -1).flatten(1, 2)
        still = torch.stack([torch.ones_like(pieces[0]), torch.zeros_like(pieces[0])])
        turn = torch.cat([turn, still[..., :1].expand(-1, -1, turn.shape[-1])], dim=1)
        # Before the first cross-attention nothing depends on the object: (1, E*E, C).
        state = embedding.flatten(2).transpose(1, 2) + cast(Tensor, self.feature_grid)
        for layer in cast(Any, model.memory_attention.layers):
            state = self._layer(layer, state, keys, values, turn)
        out: Tensor = model.memory_attention.layer_norm(state)
        conditioned: Tensor = out.transpose(1, 2).reshape(objects, width, *embedding.shape[2:])
        return conditioned

    def _layer(
        self, layer: Any, state: Tensor, keys: Tensor, values: Tensor, turn: Tensor
    ) -> Tensor:
        own = cast(Tensor, self.turn)
        normed = layer.layer_norm1(state)
        state = state + _attend(layer.self_attn, normed, normed, normed, own, own)
        normed = layer.layer_norm2(state)
        state = state + _attend(layer.cross_attn_image, normed, keys, values, own, turn)
        normed = layer.layer_norm3(state)
        if is_edgetam(self.model):
            return state + cast(Tensor, layer.mlp(normed))
        return state + cast(Tensor, layer.linear2(layer.activation(layer.linear1(normed))))


def pointer_time_encoding(model: SegmenterModel, offsets: Tensor) -> Tensor:
    """Return the (..., 64) encoding of pointers ``offsets`` (...) frames old.

    ``_process_object_pointers`` with the streaming bound (``max_object_pointers_in_encoder``).
    """
    config = model.config
    if not config.enable_temporal_pos_encoding_for_object_pointers:
        return offsets[..., None].expand(*offsets.shape, model.mem_dim) * 0
    half = model.hidden_dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=offsets.device)
    rates = 10000.0 ** (2 * torch.div(steps, 2, rounding_mode="floor") / half)
    angles = (offsets / float(config.max_object_pointers_in_encoder - 1))[..., None] / rates
    sines = torch.cat([angles.sin(), angles.cos()], dim=-1)
    encoding: Tensor = model.temporal_positional_encoding_projection_layer(sines)
    return encoding


def _attend(
    module: Any, query: Tensor, keys: Tensor, values: Tensor, turn: Tensor, turn_keys: Tensor
) -> Tensor:
    """Rotary attention of (B, L, C) on keys and values (N, K, c), B = N or 1 -> (N, L, C).

    Values are weighed as they are; ``v_proj`` and ``o_proj`` come after, as one matrix. The
    weights of a row sum to one, so ``v_proj``'s bias passes through.
    """
    heads, size = cast(int, module.num_attention_heads), cast(int, module.head_dim)
    scale = cast(float, module.scaling)
    turned_query = _turned(cast(nn.Linear, module.q_proj), query, heads, size, turn)
    turned_keys = _turned(cast(nn.Linear, module.k_proj), keys, heads, size, turn_keys)
    given = values[:, None]
    if torch.compiler.is_exporting():  # runtimes know this form, and fuse it
        scores = (turned_query * scale) @ turned_keys.transpose(2, 3)
        read = torch.softmax(scores, dim=-1) @ given  # (N, heads, L, c)
    else:
        turned_query = turned_query.expand(turned_keys.shape[0], -1, -1, -1)
        given = given.expand(-1, heads, -1, -1)
        read = F.scaled_dot_product_attention(turned_query, turned_keys, given, scale=scale)
    value, out = cast(nn.Linear, module.v_proj), cast(nn.Linear, module.o_proj)
    split = out.weight.reshape(-1, heads, size).permute(1, 2, 0)  # (heads, size, C)
    joint = value.weight.reshape(heads, size, -1).transpose(1, 2) @ split  # (heads, c, C)
    bias = out.weight @ value.bias + out.bias
    if heads == 1:
        return read[:, 0] @ joint[0] + bias
    return (read @ joint).sum(1) + bias


def _turned(linear: nn.Linear, tokens: Tensor, heads: int, size: int, turn: Tensor) -> Tensor:
    """Project tokens (B, L, c) and rotate by angles (2, L, size/2) -> (B, heads, L, size).

    Pairs of channels (2i, 2i+1) come out at i and i + size/2.
    """
    cos, sin = turn[0], turn[1]
    weight = linear.weight.reshape(heads * size // 2, 2, -1)
    bias = linear.bias.reshape(heads * size // 2, 2)
    a, b = (F.linear(tokens, weight[:, i], bias[:, i]) for i in (0, 1))
    if heads == 1:
        a, b = a[:, None], b[:, None]
    else:
        a, b = (x.reshape(*tokens.shape[:2], heads, size // 2).transpose(1, 2) for x in (a, b))
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
