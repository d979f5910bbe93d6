"""The embedded reasoner's network: Qwen3 from scratch, about 4.3M parameters."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["WIDTHS", "build", "split_parameters"]

WIDTHS: dict[str, int] = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
}


def build(vocab_size: int, eos: int, seed: int = 0, widths: dict[str, int] | None = None) -> Any:
    """A Qwen3ForCausalLM with tied embeddings and scaled random parameters.

    Matrices begin orthogonal-sized (std 1/sqrt(fan-in)), outputs of attention and MLP at zero,
    so that the network begins as its embedding; std .05 there keeps first logits small.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    shape: dict[str, Any] = {**WIDTHS, **(widths or {})}
    config = Qwen3Config(
        vocab_size=vocab_size,
        **shape,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        attention_bias=False,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=eos,
        use_cache=True,
    )
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(1.0)
            elif "embed_tokens" in name:
                parameter.normal_(0.0, 0.05)
            elif "o_proj" in name or "down_proj" in name:
                parameter.zero_()
            else:
                parameter.normal_(0.0, parameter.shape[1] ** -0.5)
    return model


def split_parameters(model: Any) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """(matrices of the layers, everything else): Muon's and AdamW's shares."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and "embed" not in name else others).append(parameter)
    return matrices, others
