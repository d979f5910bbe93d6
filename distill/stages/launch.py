"""Command lines of ``accelerate launch`` for a stage, with the settings that lie in
``distill/recipes/launch``. They name accelerate's module, which is what ``accelerate launch`` runs
and also starts where timm is installed without torchvision.

``python -m edgetwin.distill.stages.launch sft qwen3-8b --config fsdp2 --gpus 8`` prints one line
per machine. Each process then is :mod:`.run`.

Not covered: queues of a cluster; put the printed line into the job.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ...twin.errors import EdgeTwinError, InputError
from .recipe import RECIPES, GrpoRecipe, SftRecipe, load_recipe
from .run import check_launch

__all__ = ["CONFIGS", "LAUNCH", "batch_problem", "command_of", "config_file", "main"]

LAUNCH = RECIPES / "launch"
CONFIGS: tuple[str, ...] = ("single", "ddp", "zero2", "zero3", "fsdp2")
_PORT = 29500  # of the first machine, where the others find it


def config_file(name: str) -> Path:
    """The file of a launch configuration.

    Raises:
        InputError: if there is none of this name.
    """
    if name not in CONFIGS:
        raise InputError(f"expected a configuration of {', '.join(CONFIGS)}, got {name!r}")
    return LAUNCH / f"{name}.yaml"


def command_of(
    stage: str,
    recipe: str,
    work: Path,
    config: str = "ddp",
    *,
    gpus: int = 1,
    machines: int = 1,
    machine: int = 0,
    address: str = "",
    changes: Sequence[str] = (),
) -> list[str]:
    """The command for one machine, as arguments.

    Args:
        stage: teacher, sft or grpo.
        recipe: a YAML file, a folder of them, or a set's name.
        work: the distillation's folder, the same on all machines.
        config: one of :data:`CONFIGS`.
        gpus: of all machines together, one process each.
        machines: how many; ``machine`` is this one's number, from 0.
        address: of machine 0, where there are several.
        changes: ``key=value`` in place of the recipe's.

    Raises:
        InputError: if it would not work: an unknown configuration, GRPO with divided weights, a
            batch that cannot be spread over so many processes.
    """
    path = config_file(config)
    environment = {
        "ACCELERATE_USE_FSDP": str(config == "fsdp2").lower(),
        "ACCELERATE_DEEPSPEED_CONFIG_FILE": f"{config}.json",
    }
    check_launch(stage, environment)
    if machines > 1 and not address:
        raise InputError("expected the address of machine 0 with several machines, got none")
    if gpus % machines or (config == "single" and gpus != 1):
        raise InputError(f"expected {machines} machines with equally many GPUs, got {gpus} GPUs")
    command = ["python", "-m", "accelerate.commands.launch", "--config_file", str(path)]
    command += ["--num_processes", str(gpus)]
    if config.startswith("zero"):
        command += ["--deepspeed_config_file", str(path.with_suffix(".json"))]
    if machines > 1:
        command += ["--num_machines", str(machines), "--machine_rank", str(machine)]
        command += ["--main_process_ip", address, "--main_process_port", str(_PORT)]
    command += ["-m", "edgetwin.distill.stages.run", stage, recipe, "--work", str(work)]
    for change in changes:
        command += ["--set", change]
    return command


def batch_problem(recipe: GrpoRecipe | SftRecipe, gpus: int) -> str:
    """Why a recipe's effective batch cannot be spread over so many processes; empty if it can."""
    batch = (
        recipe.prompts * recipe.sampling.group if isinstance(recipe, GrpoRecipe) else recipe.batch
    )
    at_once = recipe.micro_batch * gpus
    if batch % at_once == 0:
        return ""
    return (
        f"expected an effective batch that is a multiple of micro_batch x GPUs ({at_once}), "
        f"got {batch}; change micro_batch or the number of GPUs"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    from .commands import changes_of

    parser = argparse.ArgumentParser(
        prog="python -m edgetwin.distill.stages.launch",
        description="Print the command line of every machine.",
    )
    parser.add_argument("stage", choices=("teacher", "sft", "grpo"))
    parser.add_argument("recipe", help="a YAML file, a folder of them, or a set's name")
    parser.add_argument("--work", type=Path, help="runs/distilled/<recipe> if left out")
    parser.add_argument("--config", choices=CONFIGS, default="ddp")
    parser.add_argument("--gpus", type=int, default=8, help="of all machines together")
    parser.add_argument("--machines", type=int, default=1)
    parser.add_argument("--address", default="", help="of machine 0")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    try:
        recipe = load_recipe(given.recipe, given.stage, changes_of(given.set))
        problem = batch_problem(recipe, given.gpus)
        if problem:
            raise InputError(problem)
        work = given.work or Path("runs/distilled") / Path(given.recipe).name
        for machine in range(given.machines):
            command = command_of(
                given.stage,
                given.recipe,
                work,
                given.config,
                gpus=given.gpus,
                machines=given.machines,
                machine=machine,
                address=given.address,
                changes=given.set,
            )
            print(shlex.join(command))
    except EdgeTwinError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
