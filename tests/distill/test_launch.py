"""Launch files: accelerate reads them, and two processes on this CPU train as one would."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("trl")
pytest.importorskip("accelerate")
yaml = pytest.importorskip("yaml")

from safetensors.torch import load_file  # noqa: E402

from edgetwin.distill.reasoner.records import Example, write  # noqa: E402
from edgetwin.distill.sim.questions.restricted import TRAINED  # noqa: E402
from edgetwin.distill.stages import launch, run  # noqa: E402
from edgetwin.distill.stages.launch import CONFIGS, LAUNCH, command_of, config_file  # noqa: E402
from edgetwin.distill.stages.recipe import WorldsChoice, load_recipe  # noqa: E402
from edgetwin.distill.tasks.worlds import Worlds  # noqa: E402
from edgetwin.reasoner.prompts import prefix, system  # noqa: E402
from edgetwin.twin.errors import InputError  # noqa: E402

torch.set_num_threads(1)
WIDTHS = (
    "{hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 2, "
    "num_key_value_heads: 1, head_dim: 32}"
)


@pytest.mark.parametrize("name", CONFIGS)
def test_accelerate_reads_every_configuration(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    loaded = load_config_from_file(str(config_file(name)))
    given = yaml.safe_load(config_file(name).read_text())
    assert loaded.distributed_type.value == given["distributed_type"]
    assert loaded.num_processes == given["num_processes"]
    assert not loaded.use_cpu
    assert (loaded.deepspeed_config or {}) == given.get("deepspeed_config", {})
    assert (loaded.fsdp_config or {}) == given.get("fsdp_config", {})
    line = command_of("sft", "qwen3-8b", Path("work"), name, gpus=1 if name == "single" else 8)
    parsed = launch_command_parser().parse_args(line[3:])  # its own parser knows every option
    assert parsed.config_file == str(config_file(name))
    assert parsed.training_script == "edgetwin.distill.stages.run"


def test_only_known_files_lie_there() -> None:
    stems = {path.stem for path in LAUNCH.iterdir()}
    assert stems == set(CONFIGS)


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_settings_leave_to_the_recipe_what_is_its_own(stage: int) -> None:
    from accelerate.utils.deepspeed import HfDeepSpeedConfig

    path = LAUNCH / f"zero{stage}.json"
    loaded = HfDeepSpeedConfig(str(path))
    assert loaded.is_zero3() is (stage == 3)
    assert loaded.is_zero2() is (stage == 2)
    assert not loaded.is_offload()
    config = json.loads(path.read_text())
    for name in ("train_batch_size", "gradient_accumulation_steps", "gradient_clipping"):
        assert config[name] == "auto"
    assert config["fp16"]["enabled"] == config["bf16"]["enabled"] == "auto"


def test_fsdp_wraps_the_layers_of_the_recipes_models() -> None:
    from transformers import Qwen3ForCausalLM

    config = yaml.safe_load(config_file("fsdp2").read_text())["fsdp_config"]
    assert config["fsdp_transformer_layer_cls_to_wrap"] in (
        Qwen3ForCausalLM._no_split_modules or ()
    )


def test_command_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch.main(["sft", "qwen3-8b", "--config", "zero3", "--set", "epochs=1"]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:5] == ["python", "-m", "accelerate.commands.launch", "--config_file",
                         str(LAUNCH / "zero3.yaml")]  # fmt: skip
    assert words[words.index("--deepspeed_config_file") + 1] == str(LAUNCH / "zero3.json")
    assert words[words.index("--num_processes") + 1] == "8"
    wanted = "-m edgetwin.distill.stages.run sft qwen3-8b --work runs/distilled/qwen3-8b"
    assert words[-8:] == [*wanted.split(), "--set", "epochs=1"]

    two = ["grpo", "qwen3-0.6b", "--machines", "2", "--gpus", "16", "--address", "10.0.0.1"]
    assert launch.main(two) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert [line[line.index("--machine_rank") + 1] for line in lines] == ["0", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["grpo", "qwen3-8b", "--config", "fsdp2"], "got FSDP; launch it with ddp.yaml"),
        (["teacher", "qwen3-8b", "--config", "zero3"], "got ZeRO-3; launch it with ddp.yaml"),
        (["sft", "qwen3-8b", "--gpus", "7"], "multiple of micro_batch x GPUs (7), got 512"),
        (["sft", "qwen3-8b", "--gpus", "16", "--machines", "2"], "address of machine 0"),
        (["sft", "qwen3-8b", "--config", "single", "--gpus", "2"], "got 2 GPUs"),
        (["sft", "nothing-here"], "expected a YAML file"),
    ],
)
def test_what_would_not_work_is_said_before_it_is_launched(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch.main(arguments) == 1
    assert message in capsys.readouterr().err


def test_a_launched_process_refuses_what_cannot_work() -> None:
    with pytest.raises(InputError, match="--engine ray"):
        run.check_launch("chains", {})
    with pytest.raises(InputError, match="got ZeRO-3"):
        run.check_launch("grpo", {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"})
    with pytest.raises(InputError, match="got FSDP"):
        run.check_launch("teacher", {"ACCELERATE_USE_FSDP": "true"})
    run.check_launch("sft", {"ACCELERATE_USE_FSDP": "true"})
    run.check_launch("grpo", {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"})


def prepared(folder: Path) -> list[str]:
    """Eight reference chains and a tiny student; returns the arguments of a run but --work."""
    tasks = Worlds(WorldsChoice(first=40, count=2, per_world=4))
    told = system(TRAINED, "short", "compact")
    examples = []
    for world in range(2):
        chosen = [tasks[4 * world + i] for i in range(4)]
        text = prefix(chosen[0].window, TRAINED, "short", layout="compact").removeprefix(told)
        items = tuple(task.reference for task in chosen if task.reference is not None)
        examples.append(Example(world, text, items))
    write(folder / "kept.jsonl", examples)
    (folder / "sft.yaml").write_text(
        f"stage: sft\nmodel: {{source: scratch, widths: {WIDTHS}}}\nchains: {folder}/kept.jsonl\n"
        "method: trl\nepochs: 1\nbatch: 4\nmicro_batch: 1\n"
        "score_every: 1000\nscore_worlds: 1\nsave_every: 1000\n"
        "optimiser: {learning_rate: 1.0e-3, warmup: 0.0, schedule: constant}\n"
    )
    return ["sft", str(folder / "sft.yaml"), "--device", "cpu"]


def curve(work: Path) -> list[dict[str, Any]]:
    return [json.loads(x) for x in (work / "sft" / "curve.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    arguments = prepared(tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    line = command_of("sft", arguments[1], tmp_path / "two", "ddp", gpus=2)
    line = [sys.executable, *line[1:], "--device", "cpu"]
    done = subprocess.run(
        line, capture_output=True, text=True, env=environment, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "steps 2" in done.stdout.splitlines(), done.stdout[-1000:]

    one = subprocess.run(
        [sys.executable, "-m", "edgetwin.distill.stages.run", *arguments, "--work",
         str(tmp_path / "one")],
        capture_output=True, text=True, env=environment, timeout=400, check=False,
    )  # fmt: skip
    assert one.returncode == 0, one.stderr[-3000:]
    apart, together = curve(tmp_path / "two"), curve(tmp_path / "one")
    assert [row["step"] for row in apart] == [row["step"] for row in together] == [1, 2]
    for row, other in zip(apart, together, strict=True):
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
    found = load_file(tmp_path / "two" / "sft" / "model" / "model.safetensors")
    wanted = load_file(tmp_path / "one" / "sft" / "model" / "model.safetensors")
    for name, tensor in wanted.items():
        # AdamW divides by the gradient's size: where that is next to nothing, rounding shows.
        assert (found[name] - tensor).abs().mean() < 2e-5, name

    again = subprocess.run(
        line, capture_output=True, text=True, env=environment, timeout=400, check=False
    )
    assert again.returncode == 0, again.stderr[-3000:]
    assert len(curve(tmp_path / "two")) == 2, "a finished stage was trained again"


def test_a_wrong_recipe_ends_with_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["sft", "nothing-here", "--work", "x"]) == 1
    assert capsys.readouterr().err.startswith("error: expected a YAML file")
    assert load_recipe("qwen3-8b", "sft").batch == 512
