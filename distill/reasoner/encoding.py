"""Training examples as tokens, exactly those of inference: every text is encoded for itself."""

from __future__ import annotations

import json
import random

from tokenizers import Tokenizer

from ...reasoner.prompts import system
from ..sim.questions.restricted import TRAINED
from .packing import Pack, make_pack
from .records import Example, Question, pieces, prompt

__all__ = ["breaking", "encode", "tokens_of"]


def encode(
    tokenizer: Tokenizer, example: Example, broken: Tokenizer | None = None, head: str | None = None
) -> Pack:
    """Tokens of an example: prefix, then per item its prompt (given) and the chain.

    Every second question is cut by ``broken`` if there is one (see :func:`breaking`). ``head`` is
    the text before the twin, by default that of the short style.
    """
    head = system(TRAINED) if head is None else head
    prefix = tokenizer.encode(head + example.twin, add_special_tokens=False).ids
    items = []
    for number, item in enumerate(example.items):
        cut = tokenizer if broken is None or number % 2 else broken
        items.append(tokens_of(tokenizer, item, cut))
    return make_pack(prefix, items)


def tokens_of(
    tokenizer: Tokenizer, item: Question, cut: Tokenizer | None = None
) -> tuple[list[int], list[bool]]:
    """Tokens of a question and its chain, and which of them are the model's own to learn.

    Every text is encoded for itself, as inference does; ``cut`` encodes the question's.
    """
    asked = cut or tokenizer
    ids = [t for text in prompt(item) for t in asked.encode(text, add_special_tokens=False).ids]
    targets = [False] * len(ids)
    for text, learnt in pieces(item):
        part = tokenizer.encode(text, add_special_tokens=False).ids
        ids += part
        targets += [learnt] * len(part)
    return ids, targets


def breaking(tokenizer: Tokenizer, dropout: float, seed: int = 0) -> Tokenizer | None:
    """A copy without some of its merges, each left out with the given chance; None for 0.

    With it short pieces, of which unseen words are made, are trained in many surroundings (after
    BPE-dropout, Provilkov et al. 2020, which draws anew at every place of a text; here a seed
    draws for all of them, so that a run can be repeated).
    """
    if not dropout:
        return None
    record = json.loads(tokenizer.to_str())
    rng = random.Random(seed)
    record["model"]["merges"] = [m for m in record["model"]["merges"] if rng.random() >= dropout]
    return Tokenizer.from_str(json.dumps(record))
