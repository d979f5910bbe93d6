"""One stage in every process of ``accelerate launch``.

``accelerate launch --config_file … -m edgetwin.distill.stages.run sft qwen3-8b --work runs/x``
is what ``edgetwin distill sft`` is for one process; :mod:`.launch` prints whole command lines. The
first process keeps the books of the work folder (:mod:`.pipeline`) and tells the others whether
the stage runs.

Teacher and grpo need all weights in every process, since their rollouts go on for as many tokens
as each process's questions need: with ZeRO-3 or FSDP the processes would wait for each other.

Not covered: chains (``edgetwin distill chains --engine ray``), different machines' folders: the
work folder must be the same one everywhere.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...twin.errors import EdgeTwinError, InputError, MissingExtraError
from .commands import changes_of
from .pipeline import run_stage
from .recipe import Recipe, load_recipe

__all__ = ["main", "run_everywhere"]

Tell = Callable[["bool | None"], bool]


def run_everywhere(
    recipe: Recipe, work: Path, *, device: str = "auto", resume: bool = True
) -> dict[str, float]:
    """Run a stage in this process, which is one of those that were launched together.

    Raises:
        InputError: for chains, and for GRPO with divided weights.
        MissingExtraError: without accelerate.
    """
    check_launch(recipe.stage, dict(os.environ))
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingExtraError("accelerate", "train") from error
    state = PartialState(cpu=device == "cpu")
    if not state.is_main_process:
        return _function(recipe)(recipe, work, device=device, resume=True) if _told() else {}
    ran = False

    def runner(recipe: Recipe, work: Path, *, device: str, resume: bool) -> dict[str, float]:
        nonlocal ran
        ran = True
        if not resume:
            shutil.rmtree(work / recipe.stage, ignore_errors=True)
        _tell(True)
        return _function(recipe)(recipe, work, device=device, resume=True)

    done = run_stage(recipe, work, device=device, resume=resume, runner=runner)
    if not ran:
        _tell(False)
    return dict(done.figures)


def check_launch(stage: str, environment: dict[str, str]) -> None:
    """Refuse what cannot work, from the variables that ``accelerate launch`` sets.

    Raises:
        InputError: for chains, and for GRPO with divided weights.
    """
    if stage == "chains":
        raise InputError(
            "expected teacher, sft or grpo here, got chains; over several workers it is "
            "'edgetwin distill chains --engine ray'"
        )
    zero = environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE")
    if environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "").endswith("zero3.json"):
        zero = "3"
    fsdp = environment.get("ACCELERATE_USE_FSDP", "false") == "true"
    if stage != "sft" and (fsdp or zero == "3"):
        raise InputError(
            f"expected whole weights in every process for {stage}, got "
            f"{'FSDP' if fsdp else 'ZeRO-3'}; launch it with ddp.yaml or zero2.yaml"
        )


def _function(recipe: Recipe) -> Callable[..., dict[str, float]]:
    if recipe.stage == "sft":
        from .sft import run_sft

        return run_sft
    from .grpo import run_grpo

    return run_grpo


def _tell(runs: bool) -> None:
    """From the first process to the others: whether the stage runs."""
    from accelerate.utils import broadcast_object_list

    broadcast_object_list([runs], from_process=0)


def _told() -> bool:
    from accelerate.utils import broadcast_object_list

    heard: list[Any] = broadcast_object_list([None], from_process=0)
    return bool(heard[0])


def _part() -> None:
    """Leave the processes' group: its threads must not outlive Python, or C++ aborts the process."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m edgetwin.distill.stages.run", description=__doc__.splitlines()[0]
    )
    parser.add_argument("stage", choices=("teacher", "sft", "grpo"))
    parser.add_argument("recipe", help="a YAML file, a folder of them, or a set's name")
    parser.add_argument("--work", type=Path, required=True, help="the distillation's folder")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="in the recipe's place")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--no-resume", action="store_true", help="begin anew")
    given = parser.parse_args(arguments)
    try:
        recipe = load_recipe(given.recipe, given.stage, changes_of(given.set))
        figures = run_everywhere(
            recipe, given.work, device=given.device, resume=not given.no_resume
        )
    except EdgeTwinError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        _part()
    for name, value in sorted(figures.items()):
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"{name} {value:.6g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
