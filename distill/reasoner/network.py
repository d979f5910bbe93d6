"""The embedded reasoner's network: Qwen3 from scratch, about 4.3M parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from ...twin.errors import ModelError

__all__ = ["WIDTHS", "build", "split_parameters", "take_over"]

# A new token begins as half of a known one: as an input it means the same (inputs are normed), as
# an output it is not said in its place. The noise tells new tokens from each other.
_NEW_SHARE, _NEW_NOISE = 0.5, 0.01

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


def take_over(model: Any, tokenizer: Tokenizer, start: Path) -> None:
    """Load the weights of the folder ``start`` into a network of the same or more tokens.

    A token that they do not have begins as a token of its kind (``{"tool":"detect"`` as
    ``{"tool":"find"``), or as the mean of its pieces, with a little noise.

    Raises:
        ModelError: if the weights belong to another network or another tokenizer.
    """
    from safetensors.torch import load_file

    try:
        tensors = {k: v.float() for k, v in load_file(start / "model.safetensors").items()}
        old = Tokenizer.from_file(str(start / "tokenizer.json"))
    except Exception as error:  # both libraries raise their own bare exceptions
        raise ModelError(
            f"expected model.safetensors and tokenizer.json in {start}, got: {error}"
        ) from error
    name = "model.embed_tokens.weight"
    tensors.pop("lm_head.weight", None)  # tied to the embeddings here
    rows, known = tensors.get(name), old.get_vocab_size()
    if rows is None or any(tokenizer.id_to_token(i) != old.id_to_token(i) for i in range(known)):
        raise ModelError(
            f"expected the tokenizer to begin with the tokens of {start}, got another; "
            "train in an empty folder"
        )
    more = [
        _first_row(str(tokenizer.id_to_token(i)), old, rows)
        for i in range(known, len(model.model.embed_tokens.weight))
    ]
    tensors[name] = torch.stack([*rows[:known], *more])
    try:
        missing = model.load_state_dict(tensors, strict=False).missing_keys
    except RuntimeError as error:
        raise ModelError(f"expected the network of {start} to have this shape: {error}") from error
    if set(missing) - {"lm_head.weight"}:
        raise ModelError(f"expected every weight in {start}, got none for {missing[0]}")


def _first_row(token: str, old: Tokenizer, rows: torch.Tensor) -> torch.Tensor:
    """Where a new token's embedding begins."""
    like = token
    if token.startswith("<"):
        like = "</reason>" if token.startswith("</") else "<reason>"
    elif token.startswith('{"tool":'):
        like = '{"tool":"find"'
    elif token.startswith("],"):
        like = f'"{token[1:]}'
    row = rows[old.encode(like).ids].mean(0)
    return _NEW_SHARE * row + _NEW_NOISE * torch.randn_like(row)


def split_parameters(model: Any) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """(matrices of the layers, everything else): Muon's and AdamW's shares."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and "embed" not in name else others).append(parameter)
    return matrices, others
