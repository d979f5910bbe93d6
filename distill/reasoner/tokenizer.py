"""The embedded reasoner's tokenizer: byte-level BPE with Qwen2's pre-tokenizer, ~1,500 tokens.

Digits are single tokens; the protocol's tags and the fixed pieces of tool calls (``{"tool":"find"``,
``","of":"$``) are non-special added tokens, so that a three-step plan costs about twenty
tokens. Being non-special they appear in decoded text and in grammars as plain text.

The folder written is read alike by transformers and by ONNX Runtime GenAI
(tests/distill/test_reasoner_tokenizer.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from ...deploy.export.gguf import QWEN2_PATTERN
from ...reasoner.protocol import EOS, TAGS
from ...twin.errors import ModelError

__all__ = ["QWEN2_PATTERN", "extend", "save", "skeletons", "token_id", "train"]


def skeletons(schemas: Iterable[Mapping[str, Any]]) -> list[str]:
    """Fixed pieces of tool calls, from the JSON schemas of plan steps."""
    pieces: dict[str, None] = {}
    for end in ('"},', '"}]', '"]},', '"]}]', "},", "}]", "]},", "]}]", '","', "],"):
        pieces[end] = None
    for schema in schemas:
        properties = schema["properties"]
        pieces[f'{{"tool":"{properties["tool"]["const"]}"'] = None
        for name, value in properties.items():
            if name == "tool":
                continue
            openers = ['"$', "["] if "anyOf" in value else [_opener(value)]
            for opener in openers:
                for before in (",", '",', "],"):
                    pieces[f'{before}"{name}":{opener}'] = None
    for before in (",", '",', "],"):
        pieces[f'{before}"name":"color","value":"'] = None
    return list(pieces)


def train(texts: Iterable[str], schemas: Iterable[Mapping[str, Any]], size: int) -> Tokenizer:
    """Train on texts; ``size`` counts bytes, merges, tags and skeletons together."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    added = [*TAGS, *skeletons(schemas)]
    cut = sorted(added, key=len, reverse=True)
    trainer = BpeTrainer(
        vocab_size=size - len(added) - 1,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator((_without(text, cut) for text in texts), trainer)
    tokenizer.add_special_tokens([AddedToken(EOS, special=True, normalized=False)])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in added])
    return tokenizer


def extend(tokenizer: Tokenizer, schemas: Iterable[Mapping[str, Any]]) -> list[str]:
    """Append the tags and skeletons that the tokenizer lacks; old ids stay. Returns the new ones."""
    missing = [t for t in (*TAGS, *skeletons(schemas)) if tokenizer.token_to_id(t) is None]
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in missing])
    return missing


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """Id of a token that has to be there.

    Raises:
        ModelError: if the tokenizer lacks it.
    """
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ModelError(f"expected a tokenizer with the token {token}, got one without it")
    return int(found)


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": EOS,
        "pad_token": EOS,
        "bos_token": None,
        "unk_token": None,
        "add_prefix_space": False,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def _opener(value: Mapping[str, Any]) -> str:
    kind = value.get("type")
    if kind == "array":
        return '["'
    return '"' if kind == "string" else ""


def _without(text: str, added: list[str]) -> str:
    """The text with added tokens cut out, so that merges are not spent on them."""
    for piece in added:
        text = text.replace(piece, "\n\n")
    return text
