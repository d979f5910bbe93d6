"""Sizes of the embedded detector, and what published OWLv2 checkpoints were trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Owlv2Config

__all__ = ["CLIP_MEAN", "CLIP_STD", "PAD_VALUE", "embedded_detector_config"]

# OpenAI CLIP's pixel statistics, which every published OWLv2 checkpoint uses.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# OWLv2 pads to a square with black before it normalises (scenic's code; LVIS mAP 44.0
# against 43.4 with OWL-ViT's grey: huggingface/transformers#41938).
PAD_VALUE = 0.0


def embedded_detector_config(
    vocab_size: int,
    *,
    image_size: int = 256,
    width: int = 128,
    layers: int = 4,
    text_width: int = 64,
    text_layers: int = 2,
    text_length: int = 8,
) -> Owlv2Config:
    """Return the tiny OWLv2 of the embedded set: 1.1 M parameters, 16 × 16 patches.

    Heads are 32 wide in both towers. The class head compares in the text tower's width, so
    the projection has that width too.
    """
    from transformers import Owlv2Config

    return Owlv2Config(
        text_config={
            "vocab_size": vocab_size,
            "hidden_size": text_width,
            "intermediate_size": 2 * text_width,
            "num_hidden_layers": text_layers,
            "num_attention_heads": max(1, text_width // 32),
            "max_position_embeddings": text_length,
            "bos_token_id": vocab_size - 2,
            "eos_token_id": vocab_size - 1,
            "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": max(1, width // 32),
            "image_size": image_size,
            "patch_size": 16,
        },
        projection_dim=text_width,
    )
