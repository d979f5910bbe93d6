"""The dry run against what torch, PEFT and transformers really make."""

from __future__ import annotations

import json
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import Qwen3Config, Qwen3ForCausalLM  # noqa: E402

from edgetwin.distill.stages.estimate import (  # noqa: E402
    activation_bytes,
    estimate,
    estimate_command,
    estimate_set,
    rollout_bytes,
    trained_bytes,
)
from edgetwin.distill.stages.recipe import LoraChoice, ModelChoice, load_recipe  # noqa: E402
from edgetwin.distill.stages.shapes import QWEN3, Shape, shape_of  # noqa: E402
from edgetwin.twin.errors import InputError  # noqa: E402

torch.set_num_threads(1)
# PEFT asks transformers by a name that 5.23 has replaced.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
SMALL = Shape(4, 128, 4, 2, 32, 384, 1000, True)
TOLERANCE = 0.05  # of activations: small tensors (angles, masks, norms' scales) are not counted
BATCH, LENGTH = 2, 64


def network(shape: Shape, device: str = "cpu") -> Any:
    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        head_dim=shape.head_dim,
        tie_word_embeddings=shape.tied,
        pad_token_id=0,
    )
    with torch.device(device):
        return Qwen3ForCausalLM(config)


def kept_bytes(model: Any) -> int:
    """Bytes that a loss keeps for its backward pass, parameters left out, plus the logits, which
    are alive, and their gradient, in fp32 and in the logits' own precision."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(0, SMALL.vocabulary, (BATCH, LENGTH))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model(input_ids=ids, labels=ids, use_cache=False)
    seen[out.logits.untyped_storage().data_ptr()] = out.logits.untyped_storage().nbytes()
    again = 0 if out.logits.dtype == torch.float32 else out.logits.nbytes
    return sum(seen.values()) + 4 * out.logits.numel() + again


@pytest.mark.parametrize("name", sorted(QWEN3))
def test_the_table_gives_the_parameters_of_the_network(name: str) -> None:
    model = network(QWEN3[name], "meta")
    assert sum(p.numel() for p in model.parameters()) == QWEN3[name].parameters


def test_published_sizes() -> None:
    millions = [round(shape.parameters / 1e6) for shape in QWEN3.values()]
    assert millions == [596, 1721, 8191]


def test_the_embedded_models_size_is_read_from_its_files() -> None:
    shape = shape_of(ModelChoice(source="embedded"))
    assert (shape.hidden, shape.layers) == (256, 5)
    assert shape_of(ModelChoice(source="scratch", widths={"hidden_size": 64})).hidden == 64
    with pytest.raises(InputError, match="got 'owner/other@0123abcd'"):
        shape_of(ModelChoice(source="owner/other@0123abcd"))


def test_adapters_and_optimiser_states_are_what_torch_allocates() -> None:
    peft = pytest.importorskip("peft")
    model = network(SMALL).half()
    lora = peft.LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, lora)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == SMALL.lora(8)
    choice = ModelChoice(source="x", dtype="fp16", lora=LoraChoice(r=8))
    found = trained_bytes(SMALL, choice, 1, "ddp")
    assert found["weights"] == sum(p.nbytes for p in model.parameters())
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimiser = torch.optim.AdamW(trained, lr=1e-3)
    optimiser.step()
    assert found["gradients"] == sum(p.grad.nbytes for p in trained)
    states = [v for s in optimiser.state.values() for k, v in s.items() if k != "step"]
    assert found["optimiser"] == sum(v.nbytes for v in states)


def test_full_training_of_a_small_network() -> None:
    model = network(SMALL)
    found = trained_bytes(SMALL, ModelChoice(source="x"), 1, "ddp")
    assert found["weights"] == sum(p.nbytes for p in model.parameters())
    assert found["gradients"] == found["weights"] == found["optimiser"] / 2


def test_activations_are_within_the_tolerance() -> None:
    rows = BATCH * LENGTH
    wanted = activation_bytes(SMALL, ModelChoice(source="x"), rows, rows)
    assert kept_bytes(network(SMALL)) == pytest.approx(wanted, rel=TOLERANCE)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_activations_with_an_adapter_are_within_the_tolerance(dtype: Any) -> None:
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = network(SMALL)
    model.enable_input_require_grads()
    half = dtype == "bf16"
    model = peft.get_peft_model(model.bfloat16() if half else model, lora)
    rows = BATCH * LENGTH
    wanted = activation_bytes(
        SMALL, ModelChoice(source="x", dtype=dtype, lora=LoraChoice(r=8)), rows, rows
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        assert kept_bytes(model) == pytest.approx(wanted, rel=TOLERANCE)


def test_layers_computed_twice_keep_their_inputs_only() -> None:
    choice = ModelChoice(source="x", gradient_checkpointing=True)
    rows = BATCH * LENGTH
    model = network(SMALL).train()
    # transformers 5.23 renamed it.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
    once = activation_bytes(SMALL, ModelChoice(source="x"), rows, rows)
    twice = activation_bytes(SMALL, choice, rows, rows)
    one_layer = (once - activation_bytes(SMALL, ModelChoice(source="x"), 0, rows)) / SMALL.layers
    # The formula has one layer on top: the one that is being computed again.
    assert kept_bytes(model) == pytest.approx(twice - one_layer, rel=2 * TOLERANCE)


def test_the_cache_of_rollouts_is_what_transformers_keeps() -> None:
    model = network(SMALL).eval()
    with torch.no_grad():
        out = model(input_ids=torch.zeros(6, 50, dtype=torch.long), use_cache=True)
    cache = sum(layer.keys.nbytes + layer.values.nbytes for layer in out.past_key_values.layers)
    zero = Shape(4, 0, 4, 2, 32, 0, 0, True)  # nothing but the cache
    assert rollout_bytes(zero, 4, 6, 50, 2) == cache


def test_the_papers_batch_and_what_divides_what() -> None:
    recipe = load_recipe("qwen3-8b", "sft")
    plain, zero2, zero3 = (
        estimate(recipe, gpus=8, launch=launch) for launch in ("ddp", "zero2", "zero3")
    )
    assert (plain.effective_batch, plain.micro_batch, plain.accumulation) == (512, 1, 64)
    assert plain.tokens_per_step == 512 * plain.tokens_per_row
    assert plain.trained == 174_587_904
    assert plain.gib["weights"] == zero2.gib["weights"] > 15
    assert zero2.gib["optimiser"] == pytest.approx(plain.gib["optimiser"] / 8, rel=0.01)
    assert zero3.gib["weights"] < 3
    assert plain.total_gib > zero2.total_gib > zero3.total_gib
    assert not plain.fits(16)
    assert plain.fits(80)
    with pytest.raises(InputError, match=r"multiple of micro_batch x GPUs \(7\), got 512"):
        estimate(recipe, gpus=7)


def test_a_full_model_in_half_precision_and_a_reference_are_said() -> None:
    recipe = load_recipe("qwen3-0.6b", "sft", {"model.lora": None})
    assert any("cannot be trained" in note for note in estimate(recipe).notes)
    shape = QWEN3["Qwen/Qwen3-0.6B"]
    changes = {"model.lora": None, "model.dtype": "bf16", "beta": 0.04}
    with_reference = estimate(load_recipe("qwen3-0.6b", "grpo", changes), shape=shape)
    without = estimate(load_recipe("qwen3-0.6b", "grpo", changes | {"beta": 0.0}), shape=shape)
    apart = with_reference.total_gib - without.total_gib
    assert apart == pytest.approx(2 * shape.parameters / 2**30, abs=0.01)


def test_every_set_is_estimated_with_the_model_behind_its_stages() -> None:
    found = {(one.stage, one.launch): one for one in estimate_set("qwen3-0.6b")}
    assert found["teacher", "ddp"].parameters == found["chains", "ddp"].parameters == 8_190_735_360
    assert found["grpo", "ddp"].parameters == found["sft", "zero3"].parameters == 596_049_920
    assert ("grpo", "zero3") not in found
    smoke = {one.stage: one for one in estimate_set("smoke", gpus=1)}
    assert smoke["teacher"].parameters == shape_of(ModelChoice(source="embedded")).parameters
    with pytest.raises(InputError, match="expected a YAML file"):
        estimate_set("nothing-here")


def test_the_command_prints_tables_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    estimate_command("qwen3-1.7b", gpus=8, gpu_gib=48.0)
    shown = capsys.readouterr().out
    assert "whether it fits" in shown
    assert "assumed: AdamW" in shown
    estimate_command("qwen3-1.7b", gpus=8, gpu_gib=48.0, as_json=True)
    record = json.loads(capsys.readouterr().out)
    assert {"24", "48", "80"} == set(record["stages"][0]["fits"])
    assert {one["effective_batch"] for one in record["stages"] if one["stage"] != "chains"} == {512}
