"""What EdgeTAM adds to SAM 2: a resampler that turns a memory map into a few hundred tokens.

``EdgeTamVideoModel``'s ``spatial_perceiver`` for N objects at once (transformers' own takes one
object at a time): 1-D latents read the whole map, 2-D latents one window each. Attention over
them is told apart by position encodings: none for the 1-D latents, a sine grid and rotary
angles of that grid for the 2-D ones.

Not covered: a memory map whose side is no multiple of the latents' grid.
"""

from __future__ import annotations

import math
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import EdgeTamVideoModel, Sam2VideoModel

__all__ = ["SegmenterModel", "is_edgetam", "latent_grid", "resample", "sine_grid"]

SegmenterModel = Sam2VideoModel | EdgeTamVideoModel


def is_edgetam(model: nn.Module) -> TypeGuard[EdgeTamVideoModel]:
    """Tell the two families apart."""
    return isinstance(model, EdgeTamVideoModel)


def sine_grid(sine: nn.Module, channels: int, side: int) -> Tensor:
    """Return a sine position encoding as (side * side, channels) float32."""
    grid: Tensor = sine(torch.Size((1, channels, side, side)), torch.device("cpu"), torch.float32)
    return grid[0].flatten(1).transpose(0, 1).contiguous()


def resample(model: EdgeTamVideoModel, maps: Tensor) -> Tensor:
    """Turn memory maps (N, 64, E, E) into tokens (N, T, 64), 1-D latents first."""
    perceiver: Any = model.spatial_perceiver
    objects, channels, side, _ = maps.shape
    flat = maps.flatten(2).transpose(1, 2)
    out = []
    if perceiver.num_latents_1d > 0:
        latents = perceiver.latents_1d.expand(objects, -1, -1)
        sine = model.memory_encoder.position_encoding
        places = sine_grid(sine, channels, side).to(maps.device).expand(objects, -1, -1)
        for layer in perceiver.layers:
            latents = _layer(layer, latents, flat, places)
        out.append(perceiver.layer_norm(latents))
    if perceiver.num_latents_2d > 0:
        count = math.isqrt(perceiver.num_latents_2d)
        window = side // count
        tiles = flat.reshape(-1, count, window, count, window, channels).transpose(2, 3)
        tiles = tiles.reshape(-1, window * window, channels)
        latents = perceiver.latents_2d.expand(objects, -1, -1).reshape(-1, 1, channels)
        for layer in perceiver.layers:
            latents = _layer(layer, latents, tiles, None)
        out.append(perceiver.layer_norm(latents.reshape(objects, count * count, channels)))
    return torch.cat(out, dim=1)


def _layer(layer: Any, latents: Tensor, features: Tensor, places: Tensor | None) -> Tensor:
    """One resampler layer; its attention is spelt out because of the batch size it fixes."""
    read = layer.layer_norm_input(features)
    latents = latents + _attend(
        layer.cross_attention, layer.layer_norm_latents(latents), read, places
    )
    latents = latents + layer.mlp(latents)
    own = layer.layer_norm_self(latents)
    latents = latents + _attend(layer.self_attention, own, own, None)
    out: Tensor = latents + layer.self_mlp(latents)
    return out


def _attend(module: Any, query: Tensor, tokens: Tensor, places: Tensor | None) -> Tensor:
    heads, size = module.num_attention_heads, module.head_dim
    key, value = module.k_proj(tokens), module.v_proj(tokens)
    if places is not None:  # heads * size channels, as transformers reshapes them
        key, value = key + places, value + places
    asked, key, value = (
        x.reshape(*x.shape[:2], heads, size).transpose(1, 2)
        for x in (module.q_proj(query), key, value)
    )
    read = F.scaled_dot_product_attention(asked, key, value, scale=module.scaling)
    out: Tensor = module.o_proj(read.transpose(1, 2).flatten(2))
    return out


def latent_grid(model: EdgeTamVideoModel) -> tuple[Tensor, Tensor]:
    """Return positions (T, 64) and rotary cosines and sines (2, T, half a head) of the tokens.

    1-D latents stand nowhere: position zero, angle zero.
    """
    perceiver: Any = model.spatial_perceiver
    attention: Any = model.memory_attention
    loose, side = perceiver.num_latents_1d, math.isqrt(perceiver.num_latents_2d)
    places = sine_grid(perceiver.positional_encoding, perceiver.hidden_size, side)
    cos, sin = attention.rotary_emb(torch.zeros(1), attention.position_ids_k)
    cos, sin = cos[0, :, ::2], sin[0, :, ::2]
    still = (torch.ones(loose, cos.shape[1]), torch.zeros(loose, cos.shape[1]))
    turn = torch.stack([torch.cat([still[0], cos]), torch.cat([still[1], sin])])
    return torch.cat([torch.zeros(loose, places.shape[1]), places]), turn
