"""The stages of a distillation on the command line: parse, call, print."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...deploy.console import needs_extra
from ...twin.errors import InputError

if TYPE_CHECKING:
    from .recipe import Stage

__all__ = ["changes_of", "register"]

RecipeArgument = Annotated[
    str, typer.Argument(help="A YAML file, a folder of them, or a set: smoke, embedded, ...")
]
WorkOption = Annotated[
    Path | None, typer.Option(help="The distillation's folder; runs/distilled/<recipe>.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="key=value in place of the recipe's; repeat.")
]
SeedOption = Annotated[int | None, typer.Option(help="In place of the recipe's.")]
DeviceChoice = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume/--no-resume", help="Go on with what is there, or begin anew.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``edgetwin distill``."""
    app.command("teacher")(_teacher)
    app.command("chains")(_chains)
    app.command("sft")(_sft)
    app.command("grpo")(_grpo)
    app.command("reasoner")(_reasoner)
    app.command("estimate")(_estimate)


def changes_of(pairs: Sequence[str] | None) -> dict[str, Any]:
    """``["steps=3", "optimiser.learning_rate=1e-4"]`` as keys with values (JSON where they are).

    Raises:
        InputError: if there is no ``=``.
    """
    found: dict[str, Any] = {}
    for pair in pairs or ():
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise InputError(f"expected --set key=value, got {pair!r}; for instance --set steps=20")
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found


def _teacher(
    recipe: RecipeArgument,
    work: WorkOption = None,
    changes: SetOption = None,
    seed: SeedOption = None,
    device: DeviceChoice = "auto",
    resume: ResumeOption = True,
) -> None:
    """Train the teacher by GRPO: format and mask accuracy."""
    _one("teacher", recipe, work, changes_of(changes), seed, device, resume)


def _chains(
    recipe: RecipeArgument,
    work: WorkOption = None,
    changes: SetOption = None,
    seed: SeedOption = None,
    device: DeviceChoice = "auto",
    resume: ResumeOption = True,
    engine: Annotated[
        Literal["local", "ray"] | None, typer.Option(help="This process, or Ray Data's workers.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="With --engine ray.")] = None,
) -> None:
    """Roll out the teacher; keep chains that end at the right pixels."""
    given = {"engine": engine, "workers": workers}
    changed = changes_of(changes) | {k: v for k, v in given.items() if v is not None}
    _one("chains", recipe, work, changed, seed, device, resume)


def _sft(
    recipe: RecipeArgument,
    work: WorkOption = None,
    changes: SetOption = None,
    seed: SeedOption = None,
    device: DeviceChoice = "auto",
    resume: ResumeOption = True,
) -> None:
    """Train a student on the kept chains."""
    _one("sft", recipe, work, changes_of(changes), seed, device, resume)


def _grpo(
    recipe: RecipeArgument,
    work: WorkOption = None,
    changes: SetOption = None,
    seed: SeedOption = None,
    device: DeviceChoice = "auto",
    resume: ResumeOption = True,
) -> None:
    """Train the student on by GRPO, with judged reasoning or other papers' rewards."""
    _one("grpo", recipe, work, changes_of(changes), seed, device, resume)


def _one(
    stage: Stage,
    recipe: str,
    work: Path | None,
    changes: Mapping[str, Any],
    seed: int | None,
    device: str,
    resume: bool,
) -> None:
    """Load the recipe, run the stage, print its figures."""
    with needs_extra("train"), needs_extra("sim"):
        from .pipeline import run_stage
        from .recipe import load_recipe

        loaded = load_recipe(recipe, stage, dict(changes))
        if seed is not None:
            loaded = loaded.model_copy(update={"seed": seed})
        folder = work or _place(recipe)
        done = run_stage(loaded, folder, device=device, resume=resume)
    state = f"{done.seconds / 60:.1f} minutes" if done.ran else "was finished with this recipe"
    print(f"{stage}: {state}; {folder / stage}")
    for name, value in sorted(done.figures.items()):
        print(f"  {name} {value:.6g}")


def _reasoner(
    recipe: Annotated[str, typer.Argument(help="A set of recipes, or a folder of your own.")],
    work: WorkOption = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="stage.key=value, such as grpo.steps=20.")
    ] = None,
    seed: SeedOption = None,
    device: DeviceChoice = "auto",
    resume: ResumeOption = True,
    worlds: Annotated[
        int | None, typer.Option(min=1, help="Validation worlds that are asked; all of them.")
    ] = None,
    render: Annotated[
        bool, typer.Option(help="Exact twins; without rendering is faster and rough.")
    ] = True,
    export: Annotated[bool, typer.Option(help="Write the student as a bundle.")] = True,
    gguf: Annotated[
        str | None, typer.Option(help="Also as GGUF: f32, f16, q8_0 or q4_k_m.")
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Put the student in the shipped one's place if better."),
    ] = False,
    cache: Annotated[Path, typer.Option(help="Folder for rendered worlds.")] = Path(
        "runs/twinbench"
    ),
) -> None:
    """Run a whole recipe: teacher, chains, SFT, GRPO, then measure and export.

    Stopped at any moment, the same command goes on where it was.
    """
    with needs_extra("train"), needs_extra("sim"), needs_extra("export"):
        from ..evaluate.report import show
        from .after import finish
        from .pipeline import run_recipe

        folder = work or _place(recipe)
        finished = run_recipe(
            recipe,
            folder,
            changes=changes_of(changes),
            seed=seed,
            device=device,
            resume=resume,
            report=_say,
        )
        found = finish(
            folder,
            finished,
            device=device,
            worlds=worlds,
            render=render,
            cache=cache,
            export=export,
            gguf=gguf,
            replace=replace,
            report=_say,
        )
    show([found])


def _estimate(
    recipe: RecipeArgument,
    gpus: Annotated[int, typer.Option(min=1, help="How many.")] = 8,
    gpu_gib: Annotated[float, typer.Option(min=1, help="Memory of each, GiB.")] = 24.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout only.")] = False,
) -> None:
    """Print memory per GPU and the effective batch of a recipe, without training."""
    with needs_extra("train"):
        from .estimate import estimate_command

        estimate_command(recipe, gpus=gpus, gpu_gib=gpu_gib, as_json=as_json)


def _place(recipe: str) -> Path:
    """The work folder of a recipe's name."""
    path = Path(recipe)
    name = path.parent.name if path.suffix in (".yaml", ".yml") else path.name
    return Path("runs/distilled") / (name or "reasoner")


def _say(line: str) -> None:
    print(line, flush=True)
