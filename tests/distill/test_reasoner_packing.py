# ruff: noqa: E402
from __future__ import annotations

import random
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edgetwin.distill.reasoner import network
from edgetwin.distill.reasoner.packing import (
    Item,
    collate,
    make_pack,
    packed_hidden,
    packed_loss,
)

TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
VOCABULARY, PREFIX = 61, 17


@pytest.fixture(scope="module")
def model() -> Any:
    made = network.build(VOCABULARY, eos=0, seed=1, widths=TINY)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "o_proj" in name or "down_proj" in name:
                parameter.normal_(0.0, 0.2)  # they begin at zero, which would hide attention
            elif parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    return made


@pytest.fixture(scope="module")
def drawn() -> tuple[list[int], list[tuple[list[int], list[bool]]]]:
    rng = random.Random(3)
    tokens = [rng.randrange(VOCABULARY) for _ in range(PREFIX)]
    items = []
    for length in (9, 4, 23, 7, 12):
        ids = [rng.randrange(VOCABULARY) for _ in range(length)]
        items.append((ids, [rng.random() < 0.5 for _ in range(length)]))
    return tokens, items


@torch.no_grad()
def test_packed_equals_each_item_alone(model: Any, drawn: Any) -> None:
    prefix, items = drawn
    hidden = packed_hidden(model, collate(make_pack(prefix, items), group=2))
    place = PREFIX
    total = 0.0
    for ids, targets in sorted(items, key=lambda item: len(item[0])):
        alone = model(input_ids=torch.tensor([prefix + ids])).logits[0]
        packed = model.lm_head(hidden[place : place + len(ids)])
        torch.testing.assert_close(packed, alone[PREFIX:], atol=2e-5, rtol=2e-5)
        labels = torch.tensor([i if t else -100 for i, t in zip(ids, targets, strict=True)])
        total += float(
            torch.nn.functional.cross_entropy(alone[PREFIX - 1 : -1], labels, reduction="sum")
        )
        place += len(ids)
    assert place == len(hidden)
    loss, count = packed_loss(model, collate(make_pack(prefix, items), group=3))
    assert count == sum(sum(targets) for _, targets in items)
    assert float(loss) == pytest.approx(total, rel=1e-5)


def test_gradients_equal_each_item_alone(model: Any, drawn: Any) -> None:
    prefix, items = drawn
    together, apart = [], []
    packed_loss(model, collate(make_pack(prefix, items)))[0].backward()
    together = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for item in items:
        packed_loss(model, collate(make_pack(prefix, [item])))[0].backward()
    apart = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for a, b in zip(together, apart, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_items_do_not_see_each_other(model: Any, drawn: Any) -> None:
    prefix, items = drawn
    ids, targets = items[0]
    first = packed_hidden(model, collate(make_pack(prefix, [(ids, targets), items[2]])))
    changed = ([1] * 23, items[2][1])
    second = packed_hidden(model, collate(make_pack(prefix, [(ids, targets), changed])))
    torch.testing.assert_close(first[: PREFIX + 9], second[: PREFIX + 9])
    assert not torch.allclose(first[PREFIX + 9 :], second[PREFIX + 9 :])


@torch.no_grad()
def test_bfloat16_is_close(model: Any, drawn: Any) -> None:
    prefix, items = drawn
    batch = collate(make_pack(prefix, items))
    exact = float(packed_loss(model, batch)[0])
    assert float(packed_loss(model, batch, torch.bfloat16)[0]) == pytest.approx(exact, rel=0.02)


def test_refuses_what_cannot_be_packed() -> None:
    with pytest.raises(ValueError, match="as many targets as ids"):
        Item((1, 2), (True,))
    with pytest.raises(ValueError, match="got 0 and 1"):
        collate(make_pack([], [([1], [True])]))
    with pytest.raises(ValueError, match="got 2 and 0"):
        collate(make_pack([1, 2], []))


def test_embedded_size() -> None:
    made = network.build(1536, eos=0)
    assert 4.2e6 < sum(p.numel() for p in made.parameters()) < 4.4e6
    matrices, others = network.split_parameters(made)
    assert len(matrices) == 5 * 7
    assert sum(p.numel() for p in others) < 0.4e6
