"""Where a tiny Depth Anything V2 starts: at the encoder of a trained tiny OWLv2.

Both encoders are vision transformers on the same patches. Measured at equal CPU time (4
minutes of one core, one seed, object pixels within 10 %): .65 from whitened patch filters
with attention to neighbours, .69 from the detector's encoder, .73 with the auxiliary head of
:mod:`.depth_loss` as well.

Not covered: encoders of other widths; they start from the detector recipe's initial values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ...twin.errors import ModelError
from .detector_init import sincos_2d

__all__ = ["borrow_encoder", "initialise"]

_PARTS = {
    "self_attn.q_proj": ("attention.q_proj", "attention.attention.query"),
    "self_attn.k_proj": ("attention.k_proj", "attention.attention.key"),
    "self_attn.v_proj": ("attention.v_proj", "attention.attention.value"),
    "self_attn.out_proj": ("attention.o_proj", "attention.output.dense"),
    "mlp.fc1": ("mlp.fc1",),
    "mlp.fc2": ("mlp.fc2",),
    "layer_norm1": ("norm1",),
    "layer_norm2": ("norm2",),
}
"""OWLv2's names of a layer's parts, and DINOv2's in newer and in older transformers (5.17)."""


@torch.no_grad()
def initialise(model: Any) -> None:
    """Give every layer torch's own initial values; start at a mean depth of .75 m."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.LayerNorm):
            module.reset_parameters()
    config, embeddings = model.config.backbone_config, model.backbone.embeddings
    side = config.image_size // config.patch_size
    embeddings.position_embeddings.zero_()
    embeddings.position_embeddings[0, 1:] = sincos_2d(side, side, config.hidden_size) * 0.5
    share = 0.75 / model.config.max_depth
    nn.init.constant_(model.head.conv3.bias, float(np.log(share / (1 - share))))


@torch.no_grad()
def borrow_encoder(model: Any, file: Path, pixels_b3ss: Tensor) -> None:
    """Copy the vision encoder of a detector's checkpoint or safetensors into the backbone.

    OWLv2 normalises the embedded patches before its first layer, DINOv2 does not: their mean
    deviation over ``pixels_b3ss`` (normalised pictures) is folded into the embedding instead.

    Raises:
        ModelError: if the file is no detector of the backbone's size.
    """
    tensors = _vision(load_file(str(file)))
    embeddings = model.backbone.embeddings
    try:
        embeddings.patch_embeddings.projection.weight.copy_(
            tensors["embeddings.patch_embedding.weight"]
        )
        embeddings.patch_embeddings.projection.bias.zero_()
        embeddings.position_embeddings[0].copy_(tensors["embeddings.position_embedding.weight"])
        embeddings.cls_token[0, 0].copy_(tensors["embeddings.class_embedding"])
        for number, layer in enumerate(model.backbone.encoder.layer):
            known = dict(layer.named_modules())
            for theirs, names in _PARTS.items():
                part = next(known[name] for name in names if name in known)
                part.weight.copy_(tensors[f"encoder.layers.{number}.{theirs}.weight"])
                part.bias.copy_(tensors[f"encoder.layers.{number}.{theirs}.bias"])
        gain, shift = tensors["pre_layernorm.weight"], tensors["pre_layernorm.bias"]
    except (KeyError, RuntimeError) as error:
        raise ModelError(
            f"expected the embedded detector's weights, of this size, in {file}, got another "
            f"network ({str(error).splitlines()[0]}); train the detector first"
        ) from error
    gain = gain / embeddings(pixels_b3ss)[:, 1:].std(dim=-1).mean()
    embeddings.patch_embeddings.projection.weight.mul_(gain.view(-1, 1, 1, 1))
    embeddings.patch_embeddings.projection.bias.copy_(shift)
    embeddings.position_embeddings.mul_(gain)
    embeddings.cls_token.mul_(gain)


def _vision(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The vision tower's tensors by their short names; a checkpoint's averaged ones."""
    key, found = "owlv2.vision_model.", {}
    averaged = any(name.startswith("average.") for name in tensors)
    for name, value in tensors.items():
        if key in name and (not averaged or name.startswith("average.")):
            found[name.split(key, 1)[1]] = value.float()
    return found
