# ruff: noqa: E402
"""The measurement of adapter steps, on a network of the published form made tiny."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
for name in ("trl", "peft", "datasets"):
    pytest.importorskip(name)

from edgetwin.distill.evaluate.language_sizes import write_random
from edgetwin.distill.evaluate.lora_steps import Steps, measure, table

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")


def test_two_steps_of_each_are_taken_and_counted(tmp_path: Path) -> None:
    folder = write_random(
        "0.6B",
        tmp_path / "random",
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        vocab_size=2100,
    )
    sft, grpo = measure(folder, tmp_path, steps=2, batch=2, max_tokens=8, r=4, device="cpu")
    for one in (sft, grpo):
        assert len(one.seconds) == len(one.losses) == len(one.grad_norms) == 2
        assert one.tokens > 400
        assert one.peak_gib > 0.1
        assert one.grad_norms[0] > 0
    assert sft.sampled == 0
    assert sft.losses[0] == pytest.approx(7.65, abs=0.5)  # log 2100
    assert grpo.sampled == 2 * 2 * 8  # noise never ends by itself
    assert grpo.tokens > grpo.sampled


def test_rates_count_all_of_the_time() -> None:
    one = Steps("sft", (1.5, 0.5), 100, 0, (1.0, 2.0), (0.1, 0.2), 3.0)
    assert one.tokens_per_s == 50.0
    assert "| sft | 1.5, 0.5 | 50.0 | 0 | 1.000, 2.000 | 3.00 |" in table([one])
